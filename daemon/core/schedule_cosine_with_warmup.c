/* Transformers' cosine schedule: the policy "cosine_with_warmup".
 *
 * lr * t / num_warmup_steps, then min_lr + (lr - min_lr) * (1 + cos(2 * pi * num_cycles * p)) / 2, p being
 * the part of the way from num_warmup_steps to num_training_steps: get_cosine_schedule_with_warmup, and with
 * min_lr get_cosine_with_min_lr_schedule_with_warmup (transformers/optimization.py).  Neither ends at
 * num_training_steps: the wave goes on. */
#include "core/schedule.h"

#include "core/policy_parts.h"

#include <math.h>

struct params {
    double num_cycles;
    struct f64_list min_lr;
    uint32_t num_warmup_steps, num_training_steps;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(num_warmup_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(num_training_steps, PARAM_U32, PARAM_REQUIRED, 1, UINT32_MAX),
    SCHEDULE_ROW(num_cycles, PARAM_F64, PARAM_LO_OPEN, 0, INFINITY),
    SCHEDULE_ROW(min_lr, PARAM_F64_LIST, 0, 0, INFINITY),
};

static const struct params defaults = {.num_cycles = 0.5, .min_lr = {(double[]){0}, 1}};

static int check(const struct job_spec *spec, struct error *err)
{
    const struct params *p = spec->params;

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        if (p->min_lr.v[i] > spec->lr.v[i])
            return policy_refuse_rate(spec, "min_lr", i, "at most", p->min_lr.v[i], err);
    }
    return schedule_check_total(spec, p->num_warmup_steps, p->num_training_steps, err);
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    double lr = spec->lr.v[group], part;

    if (t < p->num_warmup_steps) return lr * schedule_progress(t, p->num_warmup_steps);
    part = schedule_progress_after(p->num_warmup_steps, p->num_training_steps, t);
    return schedule_blend(lr, p->min_lr.v[group], schedule_cosine(2 * p->num_cycles * part));
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->num_training_steps;
}

static const struct schedule schedule = {
    .defaults = &defaults, .check = check, .rate = rate, .length = length};

const struct policy policy_cosine_with_warmup = {
    .name = "cosine_with_warmup", SCHEDULE_PARAMS, SCHEDULE_COMMON};
