/* Noisy quadratics: 1/2 sum l_i x_i^2, gradient noise of one variance in all directions.
 * data: l [dim], start [dim]; c[0]: standard deviation of the noise. */
#include "train/problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double quadratic_loss(const struct problem *p, const double *x)
{
    double sum = 0;

    for (size_t i = 0; i < p->dim; i++)
        sum += p->data[i] * x[i] * x[i];
    return sum / 2;
}

static bool quadratic_draw(struct problem *p, struct rng *rng)
{
    double spread = rng_between(rng, 0.5, 3), scale = rng_power(rng, -1, 1), floor = rng_power(rng, -6, -1);

    p->dim = 3 + rng_below(rng, 8);
    p->data = malloc(2 * p->dim * sizeof(double));
    if (!p->data) return false;
    for (size_t i = 0; i < p->dim; i++) {
        p->data[i] = scale * (i ? rng_power(rng, -spread, 0) : 1);
        /* Half of the start is as likely in flat directions as in steep ones. */
        p->data[p->dim + i] =
            rng_normal(rng) * sqrt(scale / p->data[i] * (rng_below(rng, 2) ? 1 : p->data[i] / scale));
    }
    p->data[p->dim] += 0.3;
    p->reference = 1 / scale;
    /* At the reference rate the loss ends around `floor` of the first one. */
    p->c[0] = sqrt(4 * floor * quadratic_loss(p, p->data + p->dim) / ((double)p->dim * p->reference));
    return true;
}

static void quadratic_start(const struct problem *p, double *x)
{
    memcpy(x, p->data + p->dim, p->dim * sizeof(double));
}

static double quadratic_batch(const struct problem *p, const double *x, uint64_t seed, double *g)
{
    struct rng rng = rng_of(p->seed, seed);
    double value = quadratic_loss(p, x);

    for (size_t i = 0; i < p->dim; i++) {
        double noise = p->c[0] * rng_normal(&rng);

        value += noise * x[i];
        if (g) g[i] = p->data[i] * x[i] + noise;
    }
    return value;
}

static double quadratic_cap(const struct problem *p, const double *x)
{
    double most = 0;

    (void)x;
    for (size_t i = 0; i < p->dim; i++)
        most = fmax(most, p->data[i]);
    return 0.9 * 2 / most;
}

const struct problem_class class_quadratic = {
    "quadratic",     false,          quadratic_draw, quadratic_start,
    quadratic_batch, quadratic_loss, NULL,           quadratic_cap};
