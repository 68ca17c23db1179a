/* ExponentialLR: the policy "exponential".
 *
 * lr * gamma ^ t: the closed form of PyTorch's ExponentialLR (torch/optim/lr_scheduler.py). */
#include "core/schedule.h"

#include <math.h>

struct params {
    double gamma;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(gamma, PARAM_F64, PARAM_LO_OPEN | PARAM_REQUIRED, 0, INFINITY),
};

static const struct params defaults = {0};

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;

    return spec->lr.v[group] * pow(p->gamma, t);
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate};

const struct policy policy_exponential = {.name = "exponential", SCHEDULE_PARAMS, SCHEDULE_COMMON};
