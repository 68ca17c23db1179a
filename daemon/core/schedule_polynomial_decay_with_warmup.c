/* Transformers' polynomial schedule: the policy "polynomial_decay_with_warmup".
 *
 * lr * t / num_warmup_steps, then lr_end + (lr - lr_end) * (1 - p) ^ power, p being the part of the way from
 * num_warmup_steps to num_training_steps, and lr_end from there on: get_polynomial_decay_schedule_with_warmup
 * (transformers/optimization.py). */
#include "core/schedule.h"

#include "core/policy_parts.h"

#include <math.h>

struct params {
    double power;
    struct f64_list lr_end;
    uint32_t num_warmup_steps, num_training_steps;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(num_warmup_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(num_training_steps, PARAM_U32, PARAM_REQUIRED, 1, UINT32_MAX),
    SCHEDULE_ROW(lr_end, PARAM_F64_LIST, 0, 0, INFINITY),
    SCHEDULE_ROW(power, PARAM_F64, PARAM_LO_OPEN, 0, INFINITY),
};

static const struct params defaults = {.lr_end = {(double[]){1e-7}, 1}, .power = 1};

static int check(const struct job_spec *spec, struct error *err)
{
    const struct params *p = spec->params;

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        if (p->lr_end.v[i] >= spec->lr.v[i])
            return policy_refuse_rate(spec, "lr_end", i, "below", p->lr_end.v[i], err);
    }
    return schedule_check_total(spec, p->num_warmup_steps, p->num_training_steps, err);
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    double lr = spec->lr.v[group], left;

    if (t < p->num_warmup_steps) return lr * schedule_progress(t, p->num_warmup_steps);
    left = 1 - schedule_progress_after(p->num_warmup_steps, p->num_training_steps, t);
    return schedule_blend(lr, p->lr_end.v[group], pow(fmax(0, left), p->power));
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->num_training_steps;
}

static const struct schedule schedule = {
    .defaults = &defaults, .check = check, .rate = rate, .length = length};

const struct policy policy_polynomial_decay_with_warmup = {
    .name = "polynomial_decay_with_warmup", SCHEDULE_PARAMS, SCHEDULE_COMMON};
