/* Time that only goes forward, and pauses. */
#ifndef GREEDYLR_LIB_CLOCK_H
#define GREEDYLR_LIB_CLOCK_H

#include <stdint.h>

/* Milliseconds since some moment. */
int64_t clock_ms(void);
/* Sleeps for ms milliseconds, signals or not; not at all if ms <= 0. */
void clock_sleep(int64_t ms);

/* The pause before repetition `tries` (0 for the first), in milliseconds: doubles from 50 to at most 2,000,
 * of which a random half to whole is taken, so that many processes do not knock at once. */
int64_t clock_backoff(unsigned tries);

#endif
