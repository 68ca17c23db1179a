/* CosineAnnealingLR: the policy "cosine_annealing".
 *
 * eta_min + (lr - eta_min) * (1 + cos(pi * t / t_max)) / 2: the closed form of PyTorch's CosineAnnealingLR
 * (torch/optim/lr_scheduler.py), which goes up again after t_max. */
#include "core/schedule.h"

#include <math.h>

struct params {
    struct f64_list eta_min;
    uint32_t t_max;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(t_max, PARAM_U32, PARAM_REQUIRED, 1, UINT32_MAX),
    SCHEDULE_ROW(eta_min, PARAM_F64_LIST, 0, 0, INFINITY),
};

static const struct params defaults = {.eta_min = {(double[]){0}, 1}};

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;

    return schedule_blend(spec->lr.v[group], p->eta_min.v[group], schedule_cosine((double)t / p->t_max));
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->t_max;
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate, .length = length};

const struct policy policy_cosine_annealing = {.name = "cosine_annealing", SCHEDULE_PARAMS, SCHEDULE_COMMON};
