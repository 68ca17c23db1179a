/* Sets of problems and their results. */
#include "train/suite.h"

#include "train/evolve.h"
#include "train/parallel.h"

#include <math.h>
#include <stdlib.h>

struct draw {
    struct suite *suite;
    const struct problem_class *class;
    const struct setting *setting;
    uint64_t seed;
    bool failed;
};

static void draw_one(void *arg, size_t i)
{
    struct draw *draw = arg;
    struct rng rng = rng_of(draw->seed, 5 + i);

    if (!problem_draw(&draw->suite->problems[i], draw->class, draw->setting, rng_next(&rng)))
        draw->failed = true;
}

bool suite_draw(struct suite *suite, const struct problem_class *class, size_t n,
                const struct setting *setting, uint64_t seed, unsigned threads)
{
    struct draw draw = {suite, class, setting, seed, false};

    *suite = (struct suite){.problems = calloc(n, sizeof(*suite->problems)), .n = n};
    if (!suite->problems) return false;
    if (!class) return evolve_problems(suite->problems, n, MIX_EVALUATION, setting, seed);
    parallel(threads, n, draw_one, &draw);
    return !draw.failed;
}

void suite_free(struct suite *suite)
{
    for (size_t i = 0; suite->problems && i < suite->n; i++)
        problem_free(&suite->problems[i]);
    free(suite->problems);
    free(suite->results);
    *suite = (struct suite){0};
}

static void run_one(void *arg, size_t i)
{
    struct suite *suite = arg;

    for (size_t k = 0; k < suite->n_schedules; k++)
        suite->results[k * suite->n + i] =
            run_schedule(&suite->problems[i], &suite->schedules[k], NULL, NULL);
}

bool suite_run(struct suite *suite, const struct schedule *schedules, size_t n, unsigned threads)
{
    free(suite->results);
    suite->results = calloc(n * suite->n, sizeof(*suite->results));
    suite->schedules = schedules;
    suite->n_schedules = n;
    if (!suite->results) return false;
    parallel(threads, suite->n, run_one, suite);
    return true;
}

const struct result *suite_results(const struct suite *suite, size_t schedule)
{
    return suite->results + schedule * suite->n;
}

static struct mean mean_of(double sum, double squares, size_t n)
{
    double mean = n ? sum / (double)n : NAN, variance = n ? squares / (double)n - mean * mean : 0;

    return (struct mean){mean, n ? 1.96 * sqrt(fmax(variance, 0) / (double)n) : NAN, n};
}

struct mean suite_mean(const struct suite *suite, size_t schedule, bool (*of)(const struct problem *p))
{
    double sum = 0, squares = 0;
    size_t n = 0;

    for (size_t i = 0; i < suite->n; i++) {
        double j = suite_results(suite, schedule)[i].j;

        if (of && !of(&suite->problems[i])) continue;
        sum += j;
        squares += j * j;
        n++;
    }
    return mean_of(sum, squares, n);
}

struct mean suite_paired(const struct suite *suite, size_t schedule, size_t other,
                         bool (*of)(const struct problem *p))
{
    double sum = 0, squares = 0;
    size_t n = 0;

    for (size_t i = 0; i < suite->n; i++) {
        double d = suite_results(suite, schedule)[i].j - suite_results(suite, other)[i].j;

        if (of && !of(&suite->problems[i])) continue;
        sum += d;
        squares += d * d;
        n++;
    }
    return mean_of(sum, squares, n);
}

size_t suite_diverged(const struct suite *suite, size_t schedule)
{
    size_t n = 0;

    for (size_t i = 0; i < suite->n; i++)
        n += suite_results(suite, schedule)[i].diverged;
    return n;
}

struct mean suite_best(const struct suite *suite, size_t from, size_t to)
{
    double sum = 0, squares = 0;

    for (size_t i = 0; i < suite->n; i++) {
        double best = INFINITY;

        for (size_t k = from; k < to; k++)
            best = fmin(best, suite_results(suite, k)[i].j);
        sum += best;
        squares += best * best;
    }
    return mean_of(sum, squares, suite->n);
}
