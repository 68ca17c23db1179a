/* The policy "constant": the initial rates, whatever happens.  For comparison, and for SetLr alone. */
#include "core/schedule.h"

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    (void)t;
    return spec->lr.v[group];
}

static const struct schedule schedule = {.rate = rate};

const struct policy policy_constant = {.name = "constant", SCHEDULE_COMMON};
