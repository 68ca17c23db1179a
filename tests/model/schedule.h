/* Random schedules: the same steps for the daemon's service and for the reference, compared after each. */
#ifndef GREEDYLRD_TESTS_MODEL_SCHEDULE_H
#define GREEDYLRD_TESTS_MODEL_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

/* What was done, for the account at the end. */
struct tally {
    uint64_t steps, calls, answers, changes, crashes, restarts, failures, rewinds, rounds;
};

/* Runs one schedule; false: something differed, said on stdout.  trace: every step is printed. */
bool schedule_run(uint64_t seed, bool trace, struct tally *tally);

#endif
