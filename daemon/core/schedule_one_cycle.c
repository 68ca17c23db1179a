/* OneCycleLR: the policy "one_cycle".
 *
 * From max_lr / div_factor up to max_lr, then down to max_lr / div_factor / final_div_factor, on half cosines
 * or on lines: PyTorch's OneCycleLR (torch/optim/lr_scheduler.py), after Smith, Topin, "Super-Convergence",
 * arXiv 1708.07120.  A phase ends at a count that need not be whole: pct_start * total_steps - 1 the way up,
 * as far again with three_phase the way back to the first rate, total_steps - 1 the rest.  The last rate
 * stays. */
#include "core/schedule.h"

#include <math.h>

enum anneal_strategy { ANNEAL_COS, ANNEAL_LINEAR };
static const char *const anneal_strategy_words[] = {"cos", "linear", NULL};

struct params {
    double pct_start, div_factor, final_div_factor;
    struct f64_list max_lr;
    uint32_t total_steps;
    uint8_t anneal_strategy;
    bool three_phase;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(max_lr, PARAM_F64_LIST, PARAM_LO_OPEN | PARAM_REQUIRED, 0, INFINITY),
    SCHEDULE_ROW(total_steps, PARAM_U32, PARAM_REQUIRED, 2, UINT32_MAX),
    SCHEDULE_ROW(pct_start, PARAM_F64, PARAM_LO_OPEN | PARAM_HI_OPEN, 0, 1),
    SCHEDULE_ROW(div_factor, PARAM_F64, PARAM_LO_OPEN, 0, INFINITY),
    SCHEDULE_ROW(final_div_factor, PARAM_F64, PARAM_LO_OPEN, 0, INFINITY),
    SCHEDULE_WORD(anneal_strategy, anneal_strategy_words),
    SCHEDULE_ROW(three_phase, PARAM_BOOL, 0, 0, 0),
};

static const struct params defaults = {
    .pct_start = 0.3, .div_factor = 25, .final_div_factor = 1e4, .anneal_strategy = ANNEAL_COS};

static int check(const struct job_spec *spec, struct error *err)
{
    const struct params *p = spec->params;
    char got[DOUBLE_TEXT_MAX];

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double first = p->max_lr.v[i] / p->div_factor, last = first / p->final_div_factor;

        if (!isfinite(last))
            return error_set(
                err, ST_FIELD_INVALID,
                "one_cycle.%s: is so small that the %s rate of group %u is not finite; give a larger one",
                isfinite(first) ? "final_div_factor" : "div_factor", isfinite(first) ? "last" : "first", i);
    }
    if (!p->three_phase || p->pct_start < 0.5) return ST_OK;
    double_text(got, p->pct_start);
    return error_set(
        err, ST_FIELD_INVALID,
        "one_cycle.pct_start: must be below 0.5 with three_phase, whose way down is as long as the way up, "
        "got %s",
        got);
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    double max = p->max_lr.v[group], first = max / p->div_factor, last = first / p->final_div_factor;
    double end = p->total_steps - 1.0, up = p->pct_start * p->total_steps - 1;
    double down = 2 * p->pct_start * p->total_steps - 2, at = fmin(t, end);
    double start = 0, from = first, to = max, stop = up, part;

    if (at > stop) {
        start = stop, from = max;
        to = p->three_phase ? first : last;
        stop = p->three_phase ? down : end;
    }
    if (at > stop) start = stop, from = first, to = last, stop = end;
    part = stop > start ? (at - start) / (stop - start) : 1;
    return schedule_blend(from, to, p->anneal_strategy == ANNEAL_COS ? schedule_cosine(part) : 1 - part);
}

static uint64_t length(const struct job_spec *spec)
{
    return ((const struct params *)spec->params)->total_steps - 1;
}

static const struct schedule schedule = {
    .defaults = &defaults, .check = check, .rate = rate, .length = length};

const struct policy policy_one_cycle = {.name = "one_cycle", SCHEDULE_PARAMS, SCHEDULE_COMMON};
