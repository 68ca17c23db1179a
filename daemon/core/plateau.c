/* One report to ReduceLROnPlateau.
 *
 * Happy path: plateau_step compares the value with the best and counts, a running cooldown forgets what was
 * counted, and more than `patience` values that were not better cut the rates.  Then lr_cap clamps, and the
 * outcome says what became of the rates.  Nothing can fail: a NaN compares false, as in Python. */
#include "core/plateau.h"

#include <math.h>
#include <string.h>

static void compare(const struct plateau_params *p, struct plateau_state *s,
                    const struct policy_report *report, struct policy_outcome *out)
{
    bool better = policy_is_better(p->mode, p->threshold_mode, p->threshold, report->value, s->best);

    policy_say_compared(out, p->mode, report->value, report->value, better, s->best,
                        s->has_best_step ? &s->best_step : NULL);
    if (!better) {
        s->num_bad++;
        return;
    }
    s->best = report->value;
    s->best_step = report->step;
    s->has_best_step = true;
    s->plateaued = false;
    s->num_bad = 0;
}

static void cut(const struct job_spec *spec, struct plateau_state *s, struct policy_outcome *out)
{
    const struct plateau_params *p = spec->params;
    bool floor = plateau_at_min(spec, s->lrs);
    double before[GROUPS_MAX];

    policy_say(out, "; bad %u beyond patience %u", s->num_bad, p->patience);
    memcpy(before, s->lrs, spec->lr.n * sizeof(double));
    policy_lower(s->lrs, p->factor, &p->min_lr, p->eps);
    s->cooldown_left = p->cooldown;
    s->num_bad = 0;
    if (floor) s->plateaued = true;
    if (floor)
        policy_say(out, ": cut due, but every rate is at min_lr; plateaued, consider stopping");
    else if (memcmp(before, s->lrs, spec->lr.n * sizeof(double)) != 0)
        policy_say(out, ": rate cut");
    else
        policy_say(out, ": cut due, but no change is larger than eps %.6g", p->eps);
}

static bool any_lower(const double *lrs, const double *before, uint32_t groups)
{
    for (uint32_t i = 0; i < groups; i++) {
        if (lrs[i] < before[i]) return true;
    }
    return false;
}

int plateau_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                 struct policy_outcome *out, struct error *err)
{
    const struct plateau_params *p = spec->params;
    struct plateau_state *s = state;
    double before[GROUPS_MAX];

    (void)err;
    *out = (struct policy_outcome){.action = ACTION_HOLD, .smoothed = report->value, .has_smoothed = true};
    memcpy(before, s->lrs, spec->lr.n * sizeof(double));
    compare(p, s, report, out);
    if (s->cooldown_left) {
        s->cooldown_left--;
        s->num_bad = 0;
        policy_say(out, "; cooldown ignores worse values, %u more to come", s->cooldown_left);
    } else if (s->num_bad > p->patience) {
        cut(spec, s, out);
    } else {
        policy_say(out, "; bad %u of %u", s->num_bad, p->patience);
    }
    if (policy_clamp_to_cap(s->lrs, spec->lr.n, report->lr_cap))
        policy_say(out, "; limited to lr_cap %.6g", report->lr_cap);
    if (any_lower(s->lrs, before, spec->lr.n)) out->action = ACTION_CUT;
    return ST_OK;
}

const struct policy policy_plateau = {
    .name = "plateau",
    .params = plateau_param_defs,
    .n_params = PLATEAU_PARAMS,
    .params_size = sizeof(struct plateau_params),
    .resolve = plateau_resolve,
    .state_size = plateau_state_size,
    .init = plateau_init,
    .step = plateau_step,
    .rates = plateau_rates,
    .set_rates = plateau_set_rates,
    .view = plateau_view,
    .update = plateau_update,
    .io = plateau_io,
    .form = &plateau_form,
};
