/* StepLR: the policy "step".
 *
 * lr * gamma ^ floor(t / step_size): the closed form of PyTorch's StepLR (torch/optim/lr_scheduler.py). */
#include "core/schedule.h"

#include <math.h>

struct params {
    double gamma;
    uint32_t step_size;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(step_size, PARAM_U32, PARAM_REQUIRED, 1, UINT32_MAX),
    SCHEDULE_ROW(gamma, PARAM_F64, PARAM_LO_OPEN, 0, INFINITY),
};

static const struct params defaults = {.gamma = 0.1};

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;

    return spec->lr.v[group] * pow(p->gamma, t / p->step_size);
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate};

const struct policy policy_step = {.name = "step", SCHEDULE_PARAMS, SCHEDULE_COMMON};
