/* Points in time, as seconds since 1970 by the clock of this machine. */
#ifndef GREEDYLR_CLI_MOMENT_H
#define GREEDYLR_CLI_MOMENT_H

#include <stddef.h>
#include <stdint.h>

double moment_now(void);
/* From RFC 3339 in UTC, "2026-01-31T12:00:00.5Z"; NaN if it is none. */
double moment_parse(const char *text);
/* By how many seconds a clock is before ours that has just said date, which is cut to seconds: 0 where that
 * may be all there is to it. */
double moment_ahead(int64_t date);
/* "3s", "12m", "5h", "40d"; "" for NaN. */
void moment_age(double seconds, char *out, size_t size);

#endif
