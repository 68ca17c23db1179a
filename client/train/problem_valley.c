/* Curved valleys: f = sum over pairs (c u^2 + b (v - k u^2)^2) / 2, loss f^q / q, with gradient noise.  The
 * floor of the valley bends, its curvature changes along the way, and with q other than 1 it changes with the
 * loss as well, as it does in networks.
 * c[0]: standard deviation of the noise; c[1] c, c[2] b, c[3] k, c[4] q; data: start [dim]. */
#include "train/problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TINY 1e-12

static double inner(const struct problem *p, const double *x)
{
    double sum = 0;

    for (size_t i = 0; i < p->dim; i += 2) {
        double u = x[i], w = x[i + 1] - p->c[3] * u * u;

        sum += p->c[1] * u * u + p->c[2] * w * w;
    }
    return sum / 2 + TINY;
}

static double valley_loss(const struct problem *p, const double *x)
{
    return pow(inner(p, x), p->c[4]) / p->c[4];
}

static bool valley_draw(struct problem *p, struct rng *rng)
{
    double floor = rng_power(rng, -6, -1), steep = 0;

    p->dim = 2 * (1 + rng_below(rng, 3));
    p->data = malloc(p->dim * sizeof(double));
    if (!p->data) return false;
    p->c[2] = rng_power(rng, -1, 1);
    p->c[1] = p->c[2] * rng_power(rng, -2, -0.3);
    p->c[3] = rng_between(rng, 0.1, 0.8);
    p->c[4] = rng_between(rng, 0.7, 1.2);
    for (size_t i = 0; i < p->dim; i += 2) {
        p->data[i] = rng_between(rng, 0.5, 2) * (rng_below(rng, 2) ? 1 : -1);
        p->data[i + 1] = rng_normal(rng);
        steep = fmax(steep, 1 + 4 * p->c[3] * p->c[3] * p->data[i] * p->data[i]);
    }
    double f = inner(p, p->data);

    p->reference = 1 / (p->c[2] * steep * pow(f, p->c[4] - 1));
    p->c[0] = sqrt(4 * floor * valley_loss(p, p->data) / ((double)p->dim * p->reference));
    return true;
}

static void valley_start(const struct problem *p, double *x)
{
    memcpy(x, p->data, p->dim * sizeof(double));
}

static double valley_batch(const struct problem *p, const double *x, uint64_t seed, double *g)
{
    struct rng rng = rng_of(p->seed, seed);
    double f = inner(p, x), outer = pow(f, p->c[4] - 1), value = f * outer / p->c[4];

    for (size_t i = 0; i < p->dim; i += 2) {
        double u = x[i], w = x[i + 1] - p->c[3] * u * u;
        double first = p->c[0] * rng_normal(&rng), second = p->c[0] * rng_normal(&rng);

        value += first * u + second * x[i + 1];
        if (!g) continue;
        g[i] = outer * (p->c[1] * u - 2 * p->c[2] * p->c[3] * u * w) + first;
        g[i + 1] = outer * p->c[2] * w + second;
    }
    return value;
}

const struct problem_class class_valley = {"valley",     false,       valley_draw, valley_start,
                                           valley_batch, valley_loss, NULL,        NULL};
