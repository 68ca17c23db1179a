/* Transformers' constant_with_warmup: the policy of that name.
 *
 * lr * min(t / num_warmup_steps, 1), and lr without a warm-up: get_constant_schedule_with_warmup
 * (transformers/optimization.py). */
#include "core/schedule.h"

struct params {
    uint32_t num_warmup_steps;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(num_warmup_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
};

static const struct params defaults = {0};

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;

    return spec->lr.v[group] * schedule_progress(t, p->num_warmup_steps);
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate};

const struct policy policy_constant_with_warmup = {
    .name = "constant_with_warmup", SCHEDULE_PARAMS, SCHEDULE_COMMON};
