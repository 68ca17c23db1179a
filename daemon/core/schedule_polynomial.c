/* PolynomialLR: the policy "polynomial".
 *
 * lr * (1 - min(t, total_iters) / total_iters) ^ power: the closed form of PyTorch's PolynomialLR
 * (torch/optim/lr_scheduler.py). */
#include "core/schedule.h"

#include <math.h>

struct params {
    double power;
    uint32_t total_iters;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(total_iters, PARAM_U32, 0, 1, UINT32_MAX),
    SCHEDULE_ROW(power, PARAM_F64, 0, 0, INFINITY),
};

static const struct params defaults = {.total_iters = 5, .power = 1};

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;

    return spec->lr.v[group] * pow(1 - schedule_progress(t, p->total_iters), p->power);
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->total_iters;
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate, .length = length};

const struct policy policy_polynomial = {.name = "polynomial", SCHEDULE_PARAMS, SCHEDULE_COMMON};
