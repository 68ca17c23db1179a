/* Work on several cores: call(arg, i) for every i below n, in any order; results go by i, so that they do not
 * depend on the number of threads. */
#ifndef GREEDYLRD_TRAIN_PARALLEL_H
#define GREEDYLRD_TRAIN_PARALLEL_H

#include <stddef.h>

#define THREADS_MAX 64

void parallel(unsigned threads, size_t n, void (*call)(void *arg, size_t i), void *arg);

#endif
