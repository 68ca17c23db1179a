/* Transformers' inverse square root schedule: the policy "inverse_sqrt".
 *
 * lr * t / num_warmup_steps, then lr / sqrt((t + timescale - num_warmup_steps) / timescale):
 * get_inverse_sqrt_schedule (transformers/optimization.py). */
#include "core/schedule.h"

#include <math.h>

struct params {
    uint32_t num_warmup_steps, timescale;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(num_warmup_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(timescale, PARAM_U32, 0, 1, UINT32_MAX),
};

static const struct params defaults = {0};

static void fill(struct job_spec *spec)
{
    struct params *p = spec->params;

    if (!p->timescale) p->timescale = p->num_warmup_steps ? p->num_warmup_steps : 10000;
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    double lr = spec->lr.v[group];

    if (t < p->num_warmup_steps) return lr * schedule_progress(t, p->num_warmup_steps);
    return lr / sqrt(1 + (double)(t - p->num_warmup_steps) / p->timescale);
}

static const struct schedule schedule = {.defaults = &defaults, .fill = fill, .rate = rate};

const struct policy policy_inverse_sqrt = {.name = "inverse_sqrt", SCHEDULE_PARAMS, SCHEDULE_COMMON};
