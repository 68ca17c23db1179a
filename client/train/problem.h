/* Optimisation problems that stand for training runs: small enough that a run takes well under a millisecond.
 *
 * A problem is drawn from a class by a seed and never changes after that, so that every schedule meets the
 * same one: the same start, the same minibatches, the same noise in what is reported. */
#ifndef GREEDYLRD_TRAIN_PROBLEM_H
#define GREEDYLRD_TRAIN_PROBLEM_H

#include "train/past.h"
#include "train/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIM_MAX 1200

struct problem;

/* A class of problems.  x has problem->dim elements. */
struct problem_class {
    const char *name;
    bool held_out; /* never trained on */
    /* Draws the problem's own part: data, dim, reference (the rate that rates are measured by). */
    bool (*draw)(struct problem *p, struct rng *rng);
    void (*start)(const struct problem *p, double *x);
    /* Value and gradient on the minibatch of a seed; g NULL: the value alone. */
    double (*batch)(const struct problem *p, const double *x, uint64_t seed, double *g);
    /* What is reported: the expected loss, or that of the validation data. */
    double (*loss)(const struct problem *p, const double *x);
    void (*project)(const struct problem *p, double *x); /* NULL: none */
    /* What a trainer would report as lr_cap; NULL: it knows none. */
    double (*cap)(const struct problem *p, const double *x);
};

struct problem {
    const struct problem_class *class;
    uint64_t seed;
    size_t dim;
    double reference;
    double *data; /* of the class, owned */
    size_t n[4];  /* sizes, as the class has them */
    double c[8];  /* numbers, as the class has them */
    /* How it is run. */
    uint32_t reports, steps; /* and steps of SGD before each */
    bool known;              /* whether the policy is told the number of reports */
    double lr;               /* initial rate */
    double noise, offset;    /* of what is reported: relative; in initial losses */
};

/* What the runs are like: noise of the reports, offset, log10 of initial rate over reference. */
struct setting {
    double noise, offset; /* the most */
    double rate_lo, rate_hi;
    double noise_least, offset_least; /* to have nothing but one value */
    double near;                      /* share of problems that start from 0.4 to 3.2 of the reference */
    const struct past *past;          /* half of the problems are like these; NULL: none */
};
extern const struct setting setting_evaluation, setting_training;

extern const struct problem_class class_quadratic, class_nmf, class_valley, class_logistic, class_softmax,
    class_network;

/* problem_free it.  False: out of memory. */
bool problem_draw(struct problem *p, const struct problem_class *class, const struct setting *setting,
                  uint64_t seed);
void problem_free(struct problem *p);

#endif
