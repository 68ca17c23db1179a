/* Random numbers that are the same everywhere: splitmix64, and normals from a table of 1024 quantiles. */
#ifndef GREEDYLRD_TRAIN_RNG_H
#define GREEDYLRD_TRAIN_RNG_H

#include <stdint.h>

#define RNG_NORMALS 1024

/* Filled by rng_begin; read by all threads. */
extern double rng_normals[RNG_NORMALS];
void rng_begin(void);

struct rng {
    uint64_t state;
    uint64_t bits; /* left of the last number, ten at a time */
    unsigned left;
};

/* A stream of its own for each pair. */
struct rng rng_of(uint64_t seed, uint64_t stream);

static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* In [0, 1). */
static inline double rng_unit(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

static inline double rng_between(struct rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * rng_unit(rng);
}

/* 0 .. n - 1. */
static inline uint32_t rng_below(struct rng *rng, uint32_t n)
{
    return (uint32_t)((rng_next(rng) >> 32) * n >> 32);
}

static inline double rng_normal(struct rng *rng)
{
    if (!rng->left) {
        rng->bits = rng_next(rng);
        rng->left = 6;
    }
    double v = rng_normals[rng->bits & (RNG_NORMALS - 1)];

    rng->bits >>= 10;
    rng->left--;
    return v;
}

/* 10 to a power between lo and hi. */
double rng_power(struct rng *rng, double lo, double hi);

#endif
