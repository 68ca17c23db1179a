/* A set of problems, and what schedules made of each: results go by schedule and problem, so that schedules
 * can be compared problem by problem. */
#ifndef GREEDYLRD_TRAIN_SUITE_H
#define GREEDYLRD_TRAIN_SUITE_H

#include "train/run.h"

#include <stdbool.h>
#include <stddef.h>

struct suite {
    struct problem *problems;
    size_t n;
    struct result *results; /* [schedules][n] */
    const struct schedule *schedules;
    size_t n_schedules;
};

/* n problems: of `class`, or of the trained classes in the mix of the evaluation (NULL).  False: no memory.
 * suite_free it in either case. */
bool suite_draw(struct suite *suite, const struct problem_class *class, size_t n,
                const struct setting *setting, uint64_t seed, unsigned threads);
void suite_free(struct suite *suite);

/* Runs every schedule on every problem; the schedules are kept. */
bool suite_run(struct suite *suite, const struct schedule *schedules, size_t n, unsigned threads);

const struct result *suite_results(const struct suite *suite, size_t schedule);

/* Mean and half the width of its 95 % interval. */
struct mean {
    double mean, half;
    size_t n;
};
/* Of J, where `of` is not NULL of the problems that it says yes to. */
struct mean suite_mean(const struct suite *suite, size_t schedule, bool (*of)(const struct problem *p));
/* Of the differences of J, problem by problem: schedule minus other. */
struct mean suite_paired(const struct suite *suite, size_t schedule, size_t other,
                         bool (*of)(const struct problem *p));
size_t suite_diverged(const struct suite *suite, size_t schedule);
/* Mean over the problems of the lowest J of the schedules from `from` to `to` (not included). */
struct mean suite_best(const struct suite *suite, size_t from, size_t to);

#endif
