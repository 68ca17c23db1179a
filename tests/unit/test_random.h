/* Random numbers of tests: the seed is printed, and TEST_SEED repeats a failure. */
#ifndef GREEDYLRD_TESTS_TEST_RANDOM_H
#define GREEDYLRD_TESTS_TEST_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t rng_state;

/* From the clock unless TEST_SEED is set; printed, so that a failure can be repeated. */
static inline uint64_t rng_seed(const char *test)
{
    const char *given = getenv("TEST_SEED");

    rng_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
    fprintf(stderr, "%s: TEST_SEED=%llu\n", test, (unsigned long long)rng_state);
    return rng_state;
}

/* splitmix64 */
static inline uint64_t rng(void)
{
    uint64_t z = (rng_state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
