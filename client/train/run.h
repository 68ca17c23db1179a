/* One run: SGD on a problem with its rates from a schedule, and what became of it. */
#ifndef GREEDYLRD_TRAIN_RUN_H
#define GREEDYLRD_TRAIN_RUN_H

#include "core/learned.h"
#include "train/problem.h"

#include <stdbool.h>

enum schedule_kind {
    BY_POLICY,          /* a policy of the daemon */
    BY_WEIGHTS,         /* the learned policy without words, as the trainer runs it */
    HYPERGRADIENT,      /* the rate follows the product of successive gradients; sees gradients */
    HYPERGRADIENT_EACH, /* the same with a rate per parameter */
    ARMIJO, /* stochastic line search: halves until the minibatch's loss falls enough; sees losses of steps */
};

struct schedule {
    const char *name;
    enum schedule_kind kind;
    const char *policy; /* BY_POLICY: its name and settings, "factor=0.8 patience=2" (run.c: T, E) */
    const char *settings;
    const struct learned_model *model; /* of the learned policy */
    double rate;                       /* the hypergradient's own */
    double factor;                     /* of the initial rate; 0: 1; below 0: of the reference */
    bool capped;                       /* reports carry the problem's lr_cap, where it knows one */
};

struct result {
    double j;     /* half the mean and half the end of ln(loss / first loss); lower is better */
    double final; /* ln(loss / first loss) at the end */
    bool diverged;
    double noise; /* mean noise that the policy estimated, BY_WEIGHTS */
};

/* lo and hi, if not NULL, are widened to the features met (BY_WEIGHTS). */
struct result run_schedule(const struct problem *p, const struct schedule *schedule, double *lo, double *hi);

#endif
