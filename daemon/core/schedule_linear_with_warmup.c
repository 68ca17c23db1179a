/* Transformers' linear schedule: the policy "linear_with_warmup".
 *
 * lr * t / num_warmup_steps, then lr * (num_training_steps - t) / (num_training_steps - num_warmup_steps), at
 * least 0: get_linear_schedule_with_warmup (transformers/optimization.py). */
#include "core/schedule.h"

struct params {
    uint32_t num_warmup_steps, num_training_steps;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(num_warmup_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(num_training_steps, PARAM_U32, PARAM_REQUIRED, 1, UINT32_MAX),
};

static const struct params defaults = {0};

static int check(const struct job_spec *spec, struct error *err)
{
    const struct params *p = spec->params;

    return schedule_check_total(spec, p->num_warmup_steps, p->num_training_steps, err);
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    uint32_t total = p->num_training_steps;

    if (t < p->num_warmup_steps) return spec->lr.v[group] * schedule_progress(t, p->num_warmup_steps);
    return t < total ? spec->lr.v[group] * (total - t) / (total - p->num_warmup_steps) : 0;
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->num_training_steps;
}

static const struct schedule schedule = {
    .defaults = &defaults, .check = check, .rate = rate, .length = length};

const struct policy policy_linear_with_warmup = {
    .name = "linear_with_warmup", SCHEDULE_PARAMS, SCHEDULE_COMMON};
