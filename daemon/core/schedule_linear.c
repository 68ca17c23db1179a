/* LinearLR: the policy "linear".
 *
 * lr * (start_factor + (end_factor - start_factor) * min(t, total_iters) / total_iters): the closed form of
 * PyTorch's LinearLR (torch/optim/lr_scheduler.py). */
#include "core/schedule.h"

struct params {
    double start_factor, end_factor;
    uint32_t total_iters;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(start_factor, PARAM_F64, PARAM_LO_OPEN, 0, 1),
    SCHEDULE_ROW(end_factor, PARAM_F64, 0, 0, 1),
    SCHEDULE_ROW(total_iters, PARAM_U32, 0, 1, UINT32_MAX),
};

static const struct params defaults = {.start_factor = 1.0 / 3, .end_factor = 1, .total_iters = 5};

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;

    return spec->lr.v[group] *
           schedule_blend(p->end_factor, p->start_factor, schedule_progress(t, p->total_iters));
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->total_iters;
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate, .length = length};

const struct policy policy_linear = {.name = "linear", SCHEDULE_PARAMS, SCHEDULE_COMMON};
