/* CosineAnnealingWarmRestarts: the policy "cosine_annealing_warm_restarts".
 *
 * As cosine_annealing within a cycle; the first one lasts t_0 reports, each other one t_mult times as long as
 * the one before.  PyTorch's CosineAnnealingWarmRestarts (torch/optim/lr_scheduler.py), after Loshchilov,
 * Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", arXiv 1608.03983. */
#include "core/schedule.h"

#include <math.h>

struct params {
    struct f64_list eta_min;
    uint32_t t_0, t_mult;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(t_0, PARAM_U32, PARAM_REQUIRED, 1, UINT32_MAX),
    SCHEDULE_ROW(t_mult, PARAM_U32, 0, 1, UINT32_MAX),
    SCHEDULE_ROW(eta_min, PARAM_F64_LIST, 0, 0, INFINITY),
};

static const struct params defaults = {.t_mult = 1, .eta_min = {(double[]){0}, 1}};

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    uint64_t length = p->t_0, in_cycle = t;

    if (p->t_mult == 1) in_cycle %= length;
    while (in_cycle >= length) {
        in_cycle -= length;
        length *= p->t_mult;
    }
    return schedule_blend(spec->lr.v[group], p->eta_min.v[group],
                          schedule_cosine((double)in_cycle / (double)length));
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate};

const struct policy policy_cosine_annealing_warm_restarts = {
    .name = "cosine_annealing_warm_restarts", SCHEDULE_PARAMS, SCHEDULE_COMMON};
