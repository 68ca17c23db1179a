/* Transformers' cosine schedule with restarts: the policy "cosine_with_hard_restarts".
 *
 * lr * t / num_warmup_steps, then lr * (1 + cos(pi * frac(num_cycles * p))) / 2, p being the part of the way
 * from num_warmup_steps to num_training_steps, and 0 from there on:
 * get_cosine_with_hard_restarts_schedule_with_warmup (transformers/optimization.py). */
#include "core/schedule.h"

#include <math.h>

struct params {
    uint32_t num_warmup_steps, num_training_steps, num_cycles;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(num_warmup_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(num_training_steps, PARAM_U32, PARAM_REQUIRED, 1, UINT32_MAX),
    SCHEDULE_ROW(num_cycles, PARAM_U32, 0, 1, UINT32_MAX),
};

static const struct params defaults = {.num_cycles = 1};

static int check(const struct job_spec *spec, struct error *err)
{
    const struct params *p = spec->params;

    return schedule_check_total(spec, p->num_warmup_steps, p->num_training_steps, err);
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    double lr = spec->lr.v[group], part;

    if (t < p->num_warmup_steps) return lr * schedule_progress(t, p->num_warmup_steps);
    part = schedule_progress_after(p->num_warmup_steps, p->num_training_steps, t);
    return part < 1 ? lr * schedule_cosine(fmod(p->num_cycles * part, 1)) : 0;
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->num_training_steps;
}

static const struct schedule schedule = {
    .defaults = &defaults, .check = check, .rate = rate, .length = length};

const struct policy policy_cosine_with_hard_restarts = {
    .name = "cosine_with_hard_restarts", SCHEDULE_PARAMS, SCHEDULE_COMMON};
