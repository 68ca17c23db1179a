/* Classifiers on real data, minibatches of 8, softmax and cross-entropy; what is reported is the loss on
 * validation rows that training never sees.  Logistic regression (no hidden layer) on pairs of classes, and
 * softmax on all, from the first half of the rows; small networks with one hidden layer of tanh on all
 * classes from the second half, so that the held-out class shares no row with the one that is trained on. n:
 * training rows, validation rows, hidden units, data set; data: their numbers, then the start [dim]; c[0],
 * c[1]: the pair of classes (c[0] < 0: all); c[2]: scale of the inputs; c[3]: share of wrong labels. */
#include "train/data.h"
#include "train/problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH       8
#define CLASSES_MAX 10
#define HIDDEN_MAX  16

static const struct data_set *set_of(const struct problem *p)
{
    return &data_sets[p->n[3]];
}

static size_t outputs_of(const struct problem *p)
{
    return p->c[0] < 0 ? set_of(p)->classes : 2;
}

/* x: [hidden][columns], bias [hidden], then [outputs][hidden or columns], bias [outputs]. */
struct layers {
    size_t columns, hidden, outputs, wide;
    const double *first, *first_bias, *second, *second_bias;
};

static struct layers layers_of(const struct problem *p, const double *x)
{
    struct layers l = {.columns = set_of(p)->columns, .hidden = p->n[2], .outputs = outputs_of(p)};

    l.wide = l.hidden ? l.hidden : l.columns;
    l.first = x;
    l.first_bias = x + l.hidden * l.columns;
    l.second = l.first_bias + l.hidden;
    l.second_bias = l.second + l.outputs * l.wide;
    return l;
}

/* Probabilities, and what the last layer saw. */
static void forward(const struct problem *p, const struct layers *l, const double *in, double *seen,
                    double *out)
{
    double most = -INFINITY, sum = 0;

    for (size_t h = 0; h < l->wide; h++) {
        if (!l->hidden) {
            seen[h] = p->c[2] * in[h];
            continue;
        }
        double a = 0;

        for (size_t j = 0; j < l->columns; j++)
            a += l->first[h * l->columns + j] * in[j];
        seen[h] = tanh(p->c[2] * a + l->first_bias[h]);
    }
    for (size_t k = 0; k < l->outputs; k++) {
        out[k] = l->second_bias[k];
        for (size_t h = 0; h < l->wide; h++)
            out[k] += l->second[k * l->wide + h] * seen[h];
        most = fmax(most, out[k]);
    }
    for (size_t k = 0; k < l->outputs; k++)
        sum += out[k] = exp(out[k] - most);
    for (size_t k = 0; k < l->outputs; k++)
        out[k] /= sum;
}

static uint32_t label_of(const struct problem *p, size_t row, bool training)
{
    uint32_t label = set_of(p)->label[row];

    if (p->c[0] >= 0) label = label > p->c[0];
    if (!training) return label;
    struct rng rng = rng_of(p->seed, 1000 + row);

    return rng_unit(&rng) < p->c[3] ? rng_below(&rng, (uint32_t)outputs_of(p)) : label;
}

static void backward(const struct problem *p, const struct layers *l, const double *in, const double *seen,
                     const double *error, double *g)
{
    double *first = g, *first_bias = g + l->hidden * l->columns, *second = first_bias + l->hidden;
    double *second_bias = second + l->outputs * l->wide, back[HIDDEN_MAX] = {0};

    for (size_t k = 0; k < l->outputs; k++) {
        for (size_t h = 0; h < l->wide; h++)
            second[k * l->wide + h] += error[k] * seen[h];
        second_bias[k] += error[k];
        for (size_t h = 0; h < l->hidden; h++)
            back[h] += error[k] * l->second[k * l->wide + h];
    }
    for (size_t h = 0; h < l->hidden; h++) {
        double e = back[h] * (1 - seen[h] * seen[h]);

        first_bias[h] += e;
        e *= p->c[2];
        for (size_t j = 0; j < l->columns; j++)
            first[h * l->columns + j] += e * in[j];
    }
}

static double network_batch(const struct problem *p, const double *x, uint64_t seed, double *g)
{
    struct layers l = layers_of(p, x);
    struct rng rng = rng_of(p->seed, seed);
    double seen[64], out[CLASSES_MAX], value = 0;

    if (g) memset(g, 0, p->dim * sizeof(double));
    for (int i = 0; i < BATCH; i++) {
        size_t row = (size_t)p->data[rng_below(&rng, (uint32_t)p->n[0])];
        const double *in = set_of(p)->x + row * l.columns;
        uint32_t label = label_of(p, row, true);

        forward(p, &l, in, seen, out);
        value -= log(out[label] + 1e-300) / BATCH;
        if (!g) continue;
        out[label] -= 1;
        for (size_t k = 0; k < l.outputs; k++)
            out[k] /= BATCH;
        backward(p, &l, in, seen, out, g);
    }
    return value;
}

static double network_loss(const struct problem *p, const double *x)
{
    struct layers l = layers_of(p, x);
    double seen[64], out[CLASSES_MAX], value = 0;

    for (size_t i = 0; i < p->n[1]; i++) {
        size_t row = (size_t)p->data[p->n[0] + i];

        forward(p, &l, set_of(p)->x + row * l.columns, seen, out);
        value -= log(out[label_of(p, row, false)] + 1e-300);
    }
    return value / (double)p->n[1];
}

static void network_start(const struct problem *p, double *x)
{
    memcpy(x, p->data + p->n[0] + p->n[1], p->dim * sizeof(double));
}

/* Rows of the half that the class has, of the pair if there is one; training first. */
static bool draw_rows(struct problem *p, struct rng *rng, bool second_half, size_t train, size_t validate)
{
    const struct data_set *set = set_of(p);
    size_t half = set->rows / 2, begin = second_half ? half : 0, n = 0;
    double *rows = malloc((half + 1 + DIM_MAX) * sizeof(double));

    p->data = rows;
    if (!rows) return false;
    for (size_t i = begin; i < begin + half; i++) {
        double label = set->label[i];

        if (p->c[0] < 0 || fabs(label - p->c[0]) < 0.5 || fabs(label - p->c[1]) < 0.5) rows[n++] = (double)i;
    }
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = rng_below(rng, (uint32_t)i + 1);
        double row = rows[i];

        rows[i] = rows[k];
        rows[k] = row;
    }
    p->n[0] = train < n / 2 ? train : n / 2;
    p->n[1] = validate < n - p->n[0] ? validate : n - p->n[0];
    return true;
}

static bool logistic_draw(struct problem *p, struct rng *rng)
{
    p->n[3] = rng_below(rng, DATA_SETS);
    uint32_t classes = set_of(p)->classes, a = rng_below(rng, classes - 1);

    p->c[0] = a;
    p->c[1] = a + 1 + rng_below(rng, classes - a - 1);
    p->c[2] = rng_power(rng, -0.5, 0.5);
    p->c[3] = rng_between(rng, 0, 0.2);
    if (!draw_rows(p, rng, false, 60, 30)) return false;
    p->dim = 2 * (set_of(p)->columns + 1);
    memset(p->data + p->n[0] + p->n[1], 0, p->dim * sizeof(double));
    /* 1/2 of the largest eigenvalue of the inputs' covariance, which their number bounds; a quarter is near.
     */
    p->reference = 8 / (p->c[2] * p->c[2] * (double)set_of(p)->columns);
    return true;
}

/* The same on all classes at once. */
static bool softmax_draw(struct problem *p, struct rng *rng)
{
    p->n[3] = rng_below(rng, DATA_SETS);
    p->c[0] = -1;
    p->c[2] = rng_power(rng, -0.5, 0.5);
    p->c[3] = rng_between(rng, 0, 0.2);
    if (!draw_rows(p, rng, false, 200, 50)) return false;
    p->dim = set_of(p)->classes * (set_of(p)->columns + 1);
    memset(p->data + p->n[0] + p->n[1], 0, p->dim * sizeof(double));
    p->reference = 8 / (p->c[2] * p->c[2] * (double)set_of(p)->columns);
    return true;
}

/* The rate is measured by the best of some constant ones, as somebody with time would have found it. */
static double best_constant(struct problem *p)
{
    double *x = malloc(2 * p->dim * sizeof(double)), *g = x + p->dim, best = INFINITY, at = 0.1;

    for (int k = -4; x && k <= 3; k++) {
        double rate = pow(10, 0.5 * k), sum = 0;

        network_start(p, x);
        for (uint32_t t = 0; t < 40 * p->steps; t++) {
            network_batch(p, x, 50000 + t, g);
            for (size_t i = 0; i < p->dim; i++)
                x[i] -= rate * g[i];
            if (t >= 20 * p->steps && t % 8 == 0) sum += network_loss(p, x);
        }
        if (sum < best) {
            best = sum;
            at = rate;
        }
    }
    free(x);
    return at;
}

static bool network_draw(struct problem *p, struct rng *rng)
{
    p->n[3] = rng_below(rng, DATA_SETS);
    p->c[0] = -1;
    p->c[2] = rng_power(rng, -0.5, 0.3);
    p->c[3] = rng_between(rng, 0, 0.1);
    if (!draw_rows(p, rng, true, 400, 100)) return false;
    size_t columns = set_of(p)->columns, hidden = 6 + rng_below(rng, HIDDEN_MAX - 6 + 1);

    if (hidden * columns + 11 * hidden + 10 > DIM_MAX) hidden = 14;
    p->n[2] = hidden;
    p->dim = hidden * (columns + 1) + outputs_of(p) * (hidden + 1);
    double *start = p->data + p->n[0] + p->n[1];

    for (size_t i = 0; i < p->dim; i++)
        start[i] = rng_normal(rng) / sqrt((double)(i < hidden * columns ? columns : hidden)) *
                   (i >= hidden * columns && i < hidden * (columns + 1) ? 0 : 1);
    p->steps *= 2;
    p->reference = best_constant(p);
    return true;
}

const struct problem_class class_logistic = {"logistic",    false,        logistic_draw, network_start,
                                             network_batch, network_loss, NULL,          NULL};
const struct problem_class class_softmax = {"softmax",     false,        softmax_draw, network_start,
                                            network_batch, network_loss, NULL,         NULL};
const struct problem_class class_network = {"network",     true,         network_draw, network_start,
                                            network_batch, network_loss, NULL,         NULL};
