/* Jobs: the one function that decides.
 *
 * Happy path of a report: job_step copies the state, lets the ramp or the policy step on the value, takes the
 * rates to answer with (an anneal lowers them) and writes down what happened.  Failures leave nothing
 * changed: an attempt that was replaced, a finished job, a refused value, a step beyond uint32, rates out of
 * bounds. */
#include "core/job_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define APPLIED_TOLERANCE 1e-6
#define ATTEMPT_MAX       INT32_MAX /* that a training run may begin */

enum report_relation job_relation(const struct job_state *state, const struct job_event *event)
{
    uint32_t attempt = event->report.has_attempt ? event->report.attempt : state->attempt;
    bool beyond = !event->report.has_step || !state->has_step || event->report.step > state->step;

    if (attempt < state->attempt) return REPORT_STALE;
    if (beyond) return REPORT_NEW;
    return attempt > state->attempt ? REPORT_NEEDS_REWIND : REPORT_RECORDED;
}

/* What every kind of decision says. */
static void fill_decision(const struct job_spec *spec, const struct job_state *next,
                          const struct job_event *event, struct job_decision *decision)
{
    struct policy_view view;

    job_view(spec, next, &view);
    decision->revision = next->revision;
    decision->attempt = next->attempt;
    decision->step = next->step;
    decision->has_step = next->has_step;
    decision->time_us = event->time_us;
    decision->best = view.best;
    decision->has_best = view.has_best;
    decision->num_good = view.num_good;
    decision->num_bad = view.num_bad;
    decision->stage = view.stage;
    decision->at_min = view.at_min;
    decision->at_max = view.at_max;
    decision->plateaued = view.plateaued;
    decision->groups = next->groups;
    decision->lrs = next->data;
    snprintf(decision->actor, sizeof(decision->actor), "%s", event->actor ? event->actor : "");
}

/* One slip of the keyboard must not use up the numbers for ever. */
static int check_attempt(const struct job_state *state, uint32_t attempt, struct error *err)
{
    if (attempt <= ATTEMPT_MAX || attempt <= state->attempt) return ST_OK;
    return error_set(err, ST_FIELD_INVALID, "attempt: must be at most %d, got %u", ATTEMPT_MAX, attempt);
}

int job_admit(const struct job_spec *spec, const struct job_state *state, const struct job_event *event,
              struct error *err)
{
    char value[DOUBLE_TEXT_MAX];

    if (job_relation(state, event) == REPORT_STALE)
        return error_set(err, ST_STALE_ATTEMPT, "attempt: %u was replaced by attempt %u; stop this process",
                         event->report.attempt, state->attempt);
    if (event->report.has_attempt && check_attempt(state, event->report.attempt, err))
        return (int)err->status;
    if (state->status == JOB_FINISHED)
        return error_set(err, ST_JOB_FINISHED, "the job is finished and takes no reports; resume it first");
    if (!event->report.has_step && state->has_step && state->step == UINT32_MAX)
        return error_set(err, ST_FIELD_INVALID, "step: there is no step after %u; rewind the job",
                         UINT32_MAX);
    /* The policy refuses what it sees; a value it does not see must not slip in past its rule. */
    if (spec->on_nonfinite == NONFINITE_REJECT && !isfinite(event->report.value)) {
        double_text(value, event->report.value);
        return error_set(err, ST_NONFINITE_REJECTED,
                         "value: is %s and the job's on_nonfinite is reject; report a finite value, or set "
                         "on_nonfinite to bad, skip "
                         "or cut",
                         value);
    }
    return ST_OK;
}

bool job_applied_differs(const struct job_state *state, double applied)
{
    double now = state->data[0], told = state->told_lr;

    return !isnan(applied) && !(fabs(applied - now) <= APPLIED_TOLERANCE * fabs(now)) &&
           !(fabs(applied - told) <= APPLIED_TOLERANCE * fabs(told));
}

static void step_ramp(const struct job_spec *spec, struct job_state *next, struct policy_outcome *out)
{
    next->ramp_done++;
    *out = (struct policy_outcome){.action = ACTION_RAMP};
    snprintf(out->reason, sizeof(out->reason), "ramp: report %u of %u%s", next->ramp_done, spec->ramp.reports,
             job_ramping(spec, next) ? "" : "; the policy decides from the next report on");
}

static uint32_t count_one_more(uint32_t n)
{
    return n < UINT32_MAX ? n + 1 : n;
}

static void say_anneal(const struct job_spec *spec, const struct job_state *next, double lr_cap,
                       char reason[DECISION_REASON_MAX])
{
    double factor = job_anneal_factor(spec, next->anneal_done);
    size_t n = strlen(reason), room = DECISION_REASON_MAX - n;

    if (factor >= 1) return;
    if (factor > 0 && isfinite(lr_cap))
        snprintf(reason + n, room, "; anneal x%.3g (lr_cap %.6g is %.6g before it)", factor, lr_cap,
                 lr_cap / factor);
    else
        snprintf(reason + n, room, "; anneal x%.3g%s", factor, factor > 0 ? "" : ", its end");
}

/* Lets whoever is in charge step on the value. */
static int step_value(const struct job_spec *spec, struct job_state *next, const struct job_event *event,
                      struct policy_outcome *out, struct error *err)
{
    struct policy_report report = {event->report.value, next->step, event->report.lr_cap};
    double factor = job_anneal_factor(spec, count_one_more(next->anneal_done));

    if (next->status == JOB_PAUSED) {
        *out = (struct policy_outcome){.action = ACTION_HOLD,
                                       .reason = "the job is paused: recorded, nothing changes"};
        return ST_OK;
    }
    if (job_ramping(spec, next)) {
        step_ramp(spec, next, out);
    } else {
        /* The cap is one for the answer: what the anneal takes off anyhow need not come off the policy's
         * rate. */
        report.lr_cap = factor > 0 ? report.lr_cap / factor : INFINITY;
        int rc = spec->policy->step(spec, job_policy_block(next), &report, out, err);

        if (rc) return rc;
    }
    if (out->action != ACTION_SKIP) next->anneal_done = count_one_more(next->anneal_done);
    say_anneal(spec, next, event->report.lr_cap, out->reason);
    return ST_OK;
}

/* The policy clamps its own state; this holds for what did not pass through it. */
static void clamp_answer(struct job_state *next, double lr_cap, struct policy_outcome *out)
{
    bool capped = false;

    for (uint32_t i = 0; i < next->groups; i++) {
        if (next->data[i] > lr_cap) {
            next->data[i] = lr_cap;
            capped = true;
        }
    }
    size_t n = strlen(out->reason);

    if (capped)
        snprintf(out->reason + n, sizeof(out->reason) - n, "; the answer is limited to lr_cap %.6g", lr_cap);
}

int job_take_report(const struct job_spec *spec, struct job_state *next, const struct job_event *event,
                    struct policy_outcome *out, struct error *err)
{
    next->step = event->report.has_step ? event->report.step : next->has_step ? next->step + 1 : 1;
    next->has_step = true;
    if (event->report.has_attempt) next->attempt = event->report.attempt;
    next->reports++;
    next->revision++;
    int rc = step_value(spec, next, event, out, err);

    if (rc) return rc;
    job_rates_now(spec, next, next->data);
    clamp_answer(next, event->report.lr_cap, out);
    next->told_lr = next->data[0];
    return ST_OK;
}

static int step_report(const struct job_spec *spec, const struct job_state *state,
                       const struct job_event *event, struct job_state *next, struct job_decision *decision,
                       struct error *err)
{
    struct policy_outcome out;
    int rc = job_admit(spec, state, event, err);

    if (rc) return rc;
    if (job_relation(state, event) != REPORT_NEW)
        return error_set(err, ST_INTERNAL, "job_step: step %u is not beyond the last decided step %u",
                         event->report.step, state->step);
    memcpy(next, state, job_state_size(spec));
    rc = job_take_report(spec, next, event, &out, err);
    if (rc) return rc;

    *decision = (struct job_decision){
        .action = out.action,
        .value = event->report.value,
        .has_value = true,
        .smoothed = out.smoothed,
        .has_smoothed = out.has_smoothed,
        .applied_mismatch = job_applied_differs(state, event->report.applied_lr),
        .ranks = event->report.ranks,
    };
    memcpy(decision->reason, out.reason, sizeof(decision->reason));
    fill_decision(spec, next, event, decision);
    return job_shadows_step(spec, next, event, decision, err);
}

static int step_update(const struct job_spec *spec, const struct job_state *state,
                       const struct job_event *event, struct job_state *next, struct job_decision *decision,
                       struct error *err)
{
    const struct job_spec *changed = event->update.spec;

    if (changed->policy != spec->policy || changed->lr.n != spec->lr.n)
        return error_set(err, ST_INTERNAL, "job_step: an update keeps the policy and the number of groups");
    job_state_carry(spec, state, changed, next);
    next->revision++;

    *decision = (struct job_decision){.action = ACTION_UPDATE};
    snprintf(decision->reason, sizeof(decision->reason), "%s",
             event->update.changed ? event->update.changed : "");
    fill_decision(changed, next, event, decision);
    return ST_OK;
}

static int refuse_finished(const struct job_state *state, const char *what, struct error *err)
{
    if (state->status != JOB_FINISHED) return ST_OK;
    return error_set(err, ST_JOB_FINISHED, "the job is finished and takes no %s; resume it first", what);
}

/* The policy's rate that is answered as lr once the anneal has lowered it.  Its bounds hold for both. */
static int rate_before_anneal(const struct job_spec *spec, uint32_t group, double factor, double lr,
                              double *out, struct error *err)
{
    const double *min = job_bounds(spec, "min_lr"), *max = job_bounds(spec, "max_lr");
    char got[DOUBLE_TEXT_MAX], low[DOUBLE_TEXT_MAX], high[DOUBLE_TEXT_MAX], by[48] = "";
    double least = min ? min[group] : 0, most = (max ? max[group] : INFINITY) * factor;

    *out = lr / factor;
    if (isfinite(*out) && lr > 0 && lr >= least && lr <= most) {
        if (max && *out > max[group]) *out = max[group]; /* by a rounding */
        return ST_OK;
    }
    double_text(got, lr);
    double_text(low, least);
    double_text(high, most);
    if (max && factor < 1) snprintf(by, sizeof(by), " (max_lr times the anneal's %.3g)", factor);
    return error_set(
        err, ST_FIELD_INVALID,
        "lr[%u]: must be finite, above 0 and within the bounds %s to %s%s, got %s; PATCH the job "
        "to move the bounds",
        group, low, high, by, got);
}

/* The policy's rates for an operator's. */
static int rates_to_set(const struct job_spec *spec, const struct job_state *state, const double *lrs,
                        double *out, struct error *err)
{
    double factor = job_anneal_factor(spec, state->anneal_done);

    if (factor <= 0)
        return error_set(
            err, ST_FIELD_INVALID,
            "lr: the anneal is at its end, %u of anneal.total_reports %u, and takes any rate down; "
            "PATCH the job with a larger anneal.total_reports first",
            state->anneal_done, spec->anneal.total_reports);
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        if (rate_before_anneal(spec, i, factor, lrs[i], &out[i], err)) return (int)err->status;
    }
    return ST_OK;
}

static int step_set_lr(const struct job_spec *spec, const struct job_state *state,
                       const struct job_event *event, struct job_state *next, struct job_decision *decision,
                       struct error *err)
{
    int rc = refuse_finished(state, "override", err);
    char from[DOUBLE_TEXT_MAX], to[DOUBLE_TEXT_MAX];
    double rates[GROUPS_MAX];

    if (!rc) rc = rates_to_set(spec, state, event->set_lr.lrs, rates, err);
    if (rc) return rc;
    memcpy(next, state, job_state_size(spec));
    next->revision++;
    next->ramp_done = spec->ramp.reports; /* the override is to be seen at once, and to last */
    rc = spec->policy->set_rates(spec, job_policy_block(next), rates, err);
    if (rc) return rc;
    job_rates_now(spec, next, next->data);
    *decision = (struct job_decision){.action = ACTION_OVERRIDE};
    double_text(from, state->data[0]);
    double_text(to, next->data[0]);
    snprintf(decision->reason, sizeof(decision->reason), "set from %s to %s%s%s", from, to,
             spec->lr.n > 1 ? " (first group)" : "", job_ramping(spec, state) ? "; the ramp ends" : "");
    say_anneal(spec, next, INFINITY, decision->reason);
    fill_decision(spec, next, event, decision);
    return ST_OK;
}

int job_status_after(const struct job_state *state, enum action action, enum job_status *out,
                     struct error *err)
{
    if (action == ACTION_PAUSE && state->status == JOB_FINISHED) return refuse_finished(state, "pause", err);
    *out = action == ACTION_PAUSE ? JOB_PAUSED : action == ACTION_FINISH ? JOB_FINISHED : JOB_ACTIVE;
    return ST_OK;
}

static int step_status(const struct job_spec *spec, const struct job_state *state,
                       const struct job_event *event, struct job_state *next, struct job_decision *decision,
                       struct error *err)
{
    enum job_status status = JOB_ACTIVE;
    int rc = job_status_after(state, event->status.action, &status, err);

    if (rc) return rc;
    memcpy(next, state, job_state_size(spec));
    next->revision++;
    next->status = (uint8_t)status;
    *decision = (struct job_decision){.action = event->status.action};
    snprintf(decision->reason, sizeof(decision->reason), "was %s, is %s", job_status_words[state->status],
             job_status_words[status]);
    fill_decision(spec, next, event, decision);
    return ST_OK;
}

static int next_attempt(const struct job_state *state, bool has, uint32_t attempt, uint32_t *out,
                        struct error *err)
{
    if (!has && state->attempt == UINT32_MAX)
        return error_set(err, ST_FIELD_INVALID, "attempt: there is none after %u", UINT32_MAX);
    *out = has ? attempt : state->attempt + 1;
    if (*out > state->attempt) return ST_OK;
    return error_set(err, ST_FIELD_INVALID, "attempt: must be above the job's attempt %u, got %u",
                     state->attempt, attempt);
}

static int step_begin(const struct job_spec *spec, const struct job_state *state,
                      const struct job_event *event, struct job_state *next, struct job_decision *decision,
                      struct error *err)
{
    uint32_t attempt = 0;
    int rc = refuse_finished(state, "attempt", err);

    if (!rc) rc = next_attempt(state, event->begin.has_attempt, event->begin.attempt, &attempt, err);
    if (rc) return rc;
    memcpy(next, state, job_state_size(spec));
    next->revision++;
    next->attempt = attempt;
    *decision = (struct job_decision){.action = ACTION_BEGIN};
    if (state->has_step)
        snprintf(decision->reason, sizeof(decision->reason), "attempt %u begins after step %u", attempt,
                 state->step);
    else
        snprintf(decision->reason, sizeof(decision->reason), "attempt %u begins before the first step",
                 attempt);
    fill_decision(spec, next, event, decision);
    return ST_OK;
}

static int step_restore(const struct job_spec *spec, const struct job_state *state,
                        const struct job_event *event, struct job_state *next, struct job_decision *decision,
                        struct error *err)
{
    int rc = refuse_finished(state, action_words[event->restore.action], err);

    if (rc) return rc;
    memcpy(next, event->restore.to, job_state_size(spec));
    next->revision = state->revision + 1;
    next->attempt = state->attempt;
    next->status = state->status;
    next->has_rewound = state->has_rewound;
    next->rewound = state->rewound;
    if (event->restore.has_attempt) {
        if (event->restore.attempt < state->attempt)
            return error_set(err, ST_STALE_ATTEMPT,
                             "attempt: %u was replaced by attempt %u; stop this process",
                             event->restore.attempt, state->attempt);
        if (check_attempt(state, event->restore.attempt, err)) return (int)err->status;
        next->attempt = event->restore.attempt;
        next->has_rewound = true;
        next->rewound = event->restore.attempt;
    }
    *decision = (struct job_decision){.action = event->restore.action};
    snprintf(decision->reason, sizeof(decision->reason), "%s", event->restore.why ? event->restore.why : "");
    fill_decision(spec, next, event, decision);
    return ST_OK;
}

int job_step(const struct job_spec *spec, const struct job_state *state, const struct job_event *event,
             struct job_state *next, struct job_decision *decision, struct error *err)
{
    switch (event->kind) {
    case EVENT_REPORT: return step_report(spec, state, event, next, decision, err);
    case EVENT_UPDATE: return step_update(spec, state, event, next, decision, err);
    case EVENT_SET_LR: return step_set_lr(spec, state, event, next, decision, err);
    case EVENT_STATUS: return step_status(spec, state, event, next, decision, err);
    case EVENT_BEGIN: return step_begin(spec, state, event, next, decision, err);
    case EVENT_RESTORE: return step_restore(spec, state, event, next, decision, err);
    }
    return error_set(err, ST_INTERNAL, "job_step: unknown kind of event");
}
