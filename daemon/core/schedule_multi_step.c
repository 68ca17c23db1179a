/* MultiStepLR: the policy "multi_step".
 *
 * lr * gamma ^ (number of milestones that are at most t): the closed form of PyTorch's MultiStepLR
 * (torch/optim/lr_scheduler.py). */
#include "core/schedule.h"

#include <math.h>

struct params {
    double gamma;
    struct u32_list milestones;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(milestones, PARAM_U32_LIST, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(gamma, PARAM_F64, PARAM_LO_OPEN, 0, INFINITY),
};

static const struct params defaults = {.gamma = 0.1};

static int check(const struct job_spec *spec, struct error *err)
{
    const struct params *p = spec->params;
    const uint32_t *at = p->milestones.v;

    for (uint32_t i = 1; i < p->milestones.n; i++) {
        if (at[i] < at[i - 1])
            return error_set(
                err, ST_FIELD_INVALID,
                "multi_step.milestones[%u]: must be at least the one before it, %u, got %u; give them in "
                "ascending order",
                i, at[i - 1], at[i]);
    }
    return ST_OK;
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    uint32_t passed = 0;

    while (passed < p->milestones.n && p->milestones.v[passed] <= t)
        passed++;
    return spec->lr.v[group] * pow(p->gamma, passed);
}

static const struct schedule schedule = {.defaults = &defaults, .check = check, .rate = rate};

const struct policy policy_multi_step = {.name = "multi_step", SCHEDULE_PARAMS, SCHEDULE_COMMON};
