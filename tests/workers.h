/* Work shared by processes, for the model check and the power losses: one that crashes or hangs is found, and
 * its place is taken by another. */
#ifndef GREEDYLRD_TESTS_WORKERS_H
#define GREEDYLRD_TESTS_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#define WORKERS_MAX 64

/* As many as there are processors, or `wanted` where that is 1 to WORKERS_MAX. */
uint32_t workers_count(uint32_t wanted);

/* Runs work(i) in a process for each i below count, and returns when all have ended.  work returns when
 * nothing is left to do.  A process that ends in another way is told to failed, in this process, with the
 * status of waitpid; true starts another in its place. */
void workers_run(uint32_t count, void (*work)(uint32_t i), bool (*failed)(uint32_t i, int status));

/* Seconds, for durations. */
double workers_clock(void);

#endif
