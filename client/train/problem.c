/* Drawing a problem: its class draws what is to be minimised, this how it is run. */
#include "train/problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REPORTS_MIN 30
#define REPORTS_MAX 150
#define PAST_SHARE  0.5    /* of the problems, where there are past jobs */
#define NEAR_LO     (-0.4) /* log10 of the rate over the reference, of starts near a good rate */
#define NEAR_HI     0.5
#define UNKNOWN     0.3 /* share of runs whose length the policy is not told */

const struct setting setting_evaluation = {.noise = 0.05, .offset = 10, .rate_lo = -2.5, .rate_hi = 0.5};
const struct setting setting_training = {
    .noise = 0.20, .offset = 30, .rate_lo = -2.5, .rate_hi = 0.5, .near = 0.2};

static double within(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* Length, noise and offset of a past job, within what a simulation can bear. */
static void resemble(struct problem *p, const struct past_job *job)
{
    p->reports = (uint32_t)within((double)job->n, 10, 400);
    p->noise = within(job->noise, 0, 0.5);
    p->offset = within(job->offset, 0, 100);
}

bool problem_draw(struct problem *p, const struct problem_class *class, const struct setting *setting,
                  uint64_t seed)
{
    struct rng rng = rng_of(seed, 1);

    *p = (struct problem){.class = class, .seed = seed};
    p->reports = REPORTS_MIN + rng_below(&rng, REPORTS_MAX - REPORTS_MIN + 1);
    p->known = rng_unit(&rng) >= UNKNOWN;
    p->steps = 1 + rng_below(&rng, 4);
    /* Most runs have little of either; squares keep the large ones rare. */
    double noise = rng_unit(&rng), offset = rng_unit(&rng),
           rate = rng_between(&rng, setting->rate_lo, setting->rate_hi);

    if (setting->near > 0 && rng_unit(&rng) < setting->near) rate = rng_between(&rng, NEAR_LO, NEAR_HI);
    p->noise = setting->noise_least + (setting->noise - setting->noise_least) * noise * noise;
    p->offset = offset < 0.5 ? 0 : setting->offset * pow(2 * offset - 1, 3);
    if (setting->offset_least > 0) p->offset = setting->offset_least;
    if (setting->past && rng_unit(&rng) < PAST_SHARE)
        resemble(p, &setting->past->jobs[rng_below(&rng, (uint32_t)setting->past->n)]);
    if (!class->draw(p, &rng)) {
        problem_free(p);
        return false;
    }
    p->lr = p->reference * pow(10, rate);
    return true;
}

void problem_free(struct problem *p)
{
    free(p->data);
    p->data = NULL;
}
