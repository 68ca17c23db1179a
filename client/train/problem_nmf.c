/* Non-negative matrix factorisation: 1/2 ||X - W H||^2 by projected SGD with noise of one variance per entry
 * of the gradients.
 * n: rows, columns, rank; data: X [rows * columns], start [dim]; x: W [rows][rank], then H [rank][columns];
 * c[0]: standard deviation of the noise. */
#include "train/problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX 160

/* WH - X, and half the sum of its squares. */
static double residual(const struct problem *p, const double *x, double *r)
{
    size_t rows = p->n[0], columns = p->n[1], rank = p->n[2];
    const double *h = x + rows * rank;
    double sum = 0;

    for (size_t i = 0; i < rows; i++) {
        double *line = r + i * columns;

        for (size_t j = 0; j < columns; j++)
            line[j] = -p->data[i * columns + j];
        for (size_t k = 0; k < rank; k++) {
            double w = x[i * rank + k];

            for (size_t j = 0; j < columns; j++)
                line[j] += w * h[k * columns + j];
        }
        for (size_t j = 0; j < columns; j++)
            sum += line[j] * line[j];
    }
    return sum / 2;
}

static double nmf_loss(const struct problem *p, const double *x)
{
    double r[CELLS_MAX];

    return residual(p, x, r);
}

/* Largest eigenvalue of the rank x rank Gram matrix of the vectors v[k], element i of k at v[k * by + i *
 * to]. */
static double gram_norm(const double *v, size_t rank, size_t n, size_t by, size_t to)
{
    double gram[4][4] = {{0}}, e[4] = {1, 1, 1, 1}, norm = 0;

    for (size_t a = 0; a < rank; a++) {
        for (size_t b = 0; b < rank; b++) {
            for (size_t i = 0; i < n; i++)
                gram[a][b] += v[a * by + i * to] * v[b * by + i * to];
        }
    }
    for (int round = 0; round < 30; round++) {
        double next[4] = {0}, sum = 0;

        for (size_t a = 0; a < rank; a++) {
            for (size_t b = 0; b < rank; b++)
                next[a] += gram[a][b] * e[b];
            sum += next[a] * next[a];
        }
        norm = sqrt(sum);
        for (size_t a = 0; a < rank && norm > 0; a++)
            e[a] = next[a] / norm;
    }
    return norm;
}

/* L_J = ||H H'|| + ||W' W|| + ||WH - X||; the Frobenius norm is above the last. */
static double lipschitz(const struct problem *p, const double *x)
{
    size_t rows = p->n[0], columns = p->n[1], rank = p->n[2];

    return gram_norm(x, rank, rows, 1, rank) + gram_norm(x + rows * rank, rank, columns, columns, 1) +
           sqrt(2 * nmf_loss(p, x));
}

static bool nmf_draw(struct problem *p, struct rng *rng)
{
    size_t rows = 6 + rng_below(rng, 7), columns = 5 + rng_below(rng, 6), rank = 2 + rng_below(rng, 2);
    double truth[23 * 3], floor = rng_power(rng, -5, -1), sum = 0;

    p->n[0] = rows;
    p->n[1] = columns;
    p->n[2] = rank;
    p->dim = (rows + columns) * rank;
    p->data = malloc((rows * columns + p->dim) * sizeof(double));
    if (!p->data) return false;
    for (size_t i = 0; i < p->dim; i++)
        truth[i] = fabs(rng_normal(rng));
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            double v = 0.02 * fabs(rng_normal(rng));

            for (size_t k = 0; k < rank; k++)
                v += truth[i * rank + k] * truth[rows * rank + k * columns + j];
            p->data[i * columns + j] = v;
            sum += v;
        }
    }
    double *start = p->data + rows * columns, scale = sqrt(sum / (double)(rows * columns * rank));

    for (size_t i = 0; i < p->dim; i++)
        start[i] = scale * rng_between(rng, 0.2, 1.2);
    p->steps = 1 + p->steps / 2;
    p->reference = 2 / lipschitz(p, start);
    p->c[0] = sqrt(4 * floor * nmf_loss(p, start) / ((double)p->dim * p->reference));
    return true;
}

static void nmf_start(const struct problem *p, double *x)
{
    memcpy(x, p->data + p->n[0] * p->n[1], p->dim * sizeof(double));
}

static double nmf_batch(const struct problem *p, const double *x, uint64_t seed, double *g)
{
    size_t rows = p->n[0], columns = p->n[1], rank = p->n[2];
    const double *h = x + rows * rank;
    struct rng rng = rng_of(p->seed, seed);
    double r[CELLS_MAX], value = residual(p, x, r);

    for (size_t i = 0; i < p->dim; i++) {
        double noise = p->c[0] * rng_normal(&rng);

        value += noise * x[i];
        if (g) g[i] = noise;
    }
    for (size_t i = 0; g && i < rows; i++) {
        for (size_t k = 0; k < rank; k++) {
            double sum = 0, w = x[i * rank + k], *gh = g + rows * rank + k * columns;

            for (size_t j = 0; j < columns; j++) {
                sum += r[i * columns + j] * h[k * columns + j];
                gh[j] += w * r[i * columns + j];
            }
            g[i * rank + k] += sum;
        }
    }
    return value;
}

static void nmf_project(const struct problem *p, double *x)
{
    for (size_t i = 0; i < p->dim; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

static double nmf_cap(const struct problem *p, const double *x)
{
    return 0.9 * 2 / lipschitz(p, x);
}

const struct problem_class class_nmf = {"nmf",     false,    nmf_draw,    nmf_start,
                                        nmf_batch, nmf_loss, nmf_project, nmf_cap};
