/* PolynomialLR: the policy "polynomial".
 *
 * lr * (1 - min(t, total_iters) / total_iters) ^ power: the closed form of PyTorch's PolynomialLR
 * (torch/optim/lr_scheduler.py), which computes it from rate to rate. */
#include "core/schedule.h"

#include <math.h>

struct params {
    double power;
    uint32_t total_iters;
};

static const struct param_def rows[] = {
    {"total_iters", PARAM_U32, 0, offsetof(struct params, total_iters), 1, UINT32_MAX, NULL},
    {"power", PARAM_F64, 0, offsetof(struct params, power), 0, INFINITY, NULL},
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

const struct policy policy_polynomial = {
    .name = "polynomial",
    .params = rows,
    .n_params = sizeof(rows) / sizeof(rows[0]),
    .params_size = sizeof(struct params),
    .schedule = &schedule,
    SCHEDULE_COMMON,
};
