/* Jobs: the one function that decides.
 *
 * Happy path of a report: job_step copies the state, lets the ramp or the policy step on the value, takes the
 * rates to answer with and writes down what happened.  Failures leave nothing changed: an attempt that was
 * replaced, a finished job, a refused value, a step beyond uint32.
 *
 * States as bytes, version 1, little-endian: u8 version, u8 length and bytes of the policy's name, u32
 * revision, attempt, step, reports, u8 has_step, u8 status, u32 ramp_done, u32 groups, f64 rates [groups],
 * then what the policy's io writes. */
#include "core/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STATE_VERSION     1
#define APPLIED_TOLERANCE 1e-6

const char *const job_status_words[] = {"active", "paused", "finished", NULL};

const double *job_lrs(const struct job_state *state)
{
    return state->data;
}

static void *policy_block(struct job_state *state)
{
    return state->data + state->groups;
}

const void *job_policy_state(const struct job_state *state)
{
    return state->data + state->groups;
}

size_t job_state_size(const struct job_spec *spec)
{
    return sizeof(struct job_state) + spec->lr.n * sizeof(double) + spec->policy->state_size(spec);
}

static bool ramping(const struct job_spec *spec, const struct job_state *state)
{
    return state->ramp_done < spec->ramp.reports;
}

/* Rates before any lr_cap: those of the policy, which rests at its initial ones while the ramp leads up to
 * them. */
static void rates_now(const struct job_spec *spec, const struct job_state *state, double *lrs)
{
    const struct ramp *ramp = &spec->ramp;

    spec->policy->rates(spec, job_policy_state(state), lrs);
    if (!ramping(spec, state)) return;
    double t = state->ramp_done, n = ramp->reports;

    for (uint32_t i = 0; i < spec->lr.n; i++)
        lrs[i] = lrs[i] * (ramp->start_factor + (1 - ramp->start_factor) * t / n);
}

void job_init(const struct job_spec *spec, struct job_state *state)
{
    memset(state, 0, job_state_size(spec));
    state->groups = spec->lr.n;
    state->status = JOB_ACTIVE;
    spec->policy->init(spec, policy_block(state));
    rates_now(spec, state, state->data);
}

/* The bounds of a policy that has them, by their names in its table; NULL for one that has not. */
static const double *bounds(const struct job_spec *spec, const char *name)
{
    const struct policy *policy = spec->policy;
    int row = param_find(policy->params, policy->n_params, name);

    if (row < 0 || policy->params[row].kind != PARAM_F64_LIST) return NULL;
    return param_get(spec->params, &policy->params[row]).list;
}

/* During a ramp, or under an lr_cap that left the policy alone, the answered rates are not the policy's. */
static void view_answered(const struct job_spec *spec, const struct job_state *state,
                          struct policy_view *view)
{
    const double *min = bounds(spec, "min_lr"), *max = bounds(spec, "max_lr");

    view->at_min = min != NULL;
    view->at_max = max != NULL;
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        view->at_min = view->at_min && state->data[i] <= min[i];
        view->at_max = view->at_max && state->data[i] >= max[i];
    }
}

void job_view(const struct job_spec *spec, const struct job_state *state, struct policy_view *view)
{
    double lrs[GROUPS_MAX];

    spec->policy->view(spec, job_policy_state(state), view);
    spec->policy->rates(spec, job_policy_state(state), lrs);
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        if (lrs[i] < state->data[i] || lrs[i] > state->data[i]) {
            view_answered(spec, state, view);
            return;
        }
    }
}

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
}

/* Whether a report may be decided at all. */
static int admit(const struct job_spec *spec, const struct job_state *state, const struct job_event *event,
                 struct error *err)
{
    char value[DOUBLE_TEXT_MAX];

    switch (job_relation(state, event)) {
    case REPORT_NEW: break;
    case REPORT_STALE:
        return error_set(err, ST_STALE_ATTEMPT, "attempt: %u was replaced by attempt %u; stop this process",
                         event->report.attempt, state->attempt);
    case REPORT_RECORDED:
    case REPORT_NEEDS_REWIND:
        return error_set(err, ST_INTERNAL, "job_step: step %u is not beyond the last decided step %u",
                         event->report.step, state->step);
    }
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

static bool applied_differs(const struct job_state *state, double applied)
{
    double answered = state->data[0];

    return !isnan(applied) && !(fabs(applied - answered) <= APPLIED_TOLERANCE * fabs(answered));
}

static void step_ramp(const struct job_spec *spec, struct job_state *next, struct policy_outcome *out)
{
    next->ramp_done++;
    *out = (struct policy_outcome){.action = ACTION_RAMP};
    snprintf(out->reason, sizeof(out->reason), "ramp: report %u of %u%s", next->ramp_done, spec->ramp.reports,
             ramping(spec, next) ? "" : "; the policy decides from the next report on");
}

/* Lets whoever is in charge step on the value. */
static int step_value(const struct job_spec *spec, struct job_state *next, const struct job_event *event,
                      struct policy_outcome *out, struct error *err)
{
    struct policy_report report = {event->report.value, next->step, event->report.lr_cap};

    if (next->status == JOB_PAUSED) {
        *out = (struct policy_outcome){.action = ACTION_HOLD,
                                       .reason = "the job is paused: recorded, nothing changes"};
        return ST_OK;
    }
    if (ramping(spec, next)) {
        step_ramp(spec, next, out);
        return ST_OK;
    }
    return spec->policy->step(spec, policy_block(next), &report, out, err);
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

static int step_report(const struct job_spec *spec, const struct job_state *state,
                       const struct job_event *event, struct job_state *next, struct job_decision *decision,
                       struct error *err)
{
    struct policy_outcome out;
    int rc = admit(spec, state, event, err);

    if (rc) return rc;
    memcpy(next, state, job_state_size(spec));
    next->step = event->report.has_step ? event->report.step : state->has_step ? state->step + 1 : 1;
    next->has_step = true;
    next->attempt = event->report.has_attempt ? event->report.attempt : state->attempt;
    next->reports++;
    next->revision++;
    rc = step_value(spec, next, event, &out, err);
    if (rc) return rc;
    rates_now(spec, next, next->data);
    clamp_answer(next, event->report.lr_cap, &out);

    *decision = (struct job_decision){
        .action = out.action,
        .value = event->report.value,
        .has_value = true,
        .smoothed = out.smoothed,
        .has_smoothed = out.has_smoothed,
        .applied_mismatch = applied_differs(state, event->report.applied_lr),
    };
    memcpy(decision->reason, out.reason, sizeof(decision->reason));
    fill_decision(spec, next, event, decision);
    return ST_OK;
}

static int step_update(const struct job_spec *spec, const struct job_state *state,
                       const struct job_event *event, struct job_state *next, struct job_decision *decision,
                       struct error *err)
{
    const struct job_spec *changed = event->update.spec;

    if (changed->policy != spec->policy || changed->lr.n != spec->lr.n)
        return error_set(err, ST_INTERNAL, "job_step: an update keeps the policy and the number of groups");
    memset(next, 0, job_state_size(changed));
    memcpy(next, state, sizeof(*next));
    next->revision++;
    spec->policy->update(spec, job_policy_state(state), changed, policy_block(next));
    rates_now(changed, next, next->data);

    *decision = (struct job_decision){.action = ACTION_UPDATE};
    snprintf(decision->reason, sizeof(decision->reason), "%s",
             event->update.changed ? event->update.changed : "");
    fill_decision(changed, next, event, decision);
    return ST_OK;
}

int job_step(const struct job_spec *spec, const struct job_state *state, const struct job_event *event,
             struct job_state *next, struct job_decision *decision, struct error *err)
{
    switch (event->kind) {
    case EVENT_REPORT: return step_report(spec, state, event, next, decision, err);
    case EVENT_UPDATE: return step_update(spec, state, event, next, decision, err);
    }
    return error_set(err, ST_INTERNAL, "job_step: unknown kind of event");
}

/* The policy's name; reading another one fails. */
static void io_policy(struct state_io *io, const struct policy *policy)
{
    size_t n = strlen(policy->name);
    uint8_t len = (uint8_t)n;

    state_io_u8(io, &len);
    if (len != n) io->failed = true;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)policy->name[i];

        state_io_u8(io, &c);
        if (c != (uint8_t)policy->name[i]) io->failed = true;
    }
}

static bool plausible(const struct job_spec *spec, const struct job_state *state)
{
    if (state->groups != spec->lr.n || state->has_step > 1 || state->status > JOB_FINISHED) return false;
    return state->ramp_done <= spec->ramp.reports;
}

static void job_io(struct state_io *io, const struct job_spec *spec, struct job_state *state)
{
    uint8_t version = STATE_VERSION;

    state_io_u8(io, &version);
    if (version != STATE_VERSION) io->failed = true;
    io_policy(io, spec->policy);
    state_io_u32(io, &state->revision);
    state_io_u32(io, &state->attempt);
    state_io_u32(io, &state->step);
    state_io_u32(io, &state->reports);
    state_io_u8(io, &state->has_step);
    state_io_u8(io, &state->status);
    state_io_u32(io, &state->ramp_done);
    state_io_u32(io, &state->groups);
    if (io->failed || !plausible(spec, state)) {
        io->failed = true;
        return;
    }
    state_io_f64s(io, state->data, state->groups);
    for (uint32_t i = 0; i < state->groups; i++) {
        if (!isfinite(state->data[i]) || state->data[i] < 0) io->failed = true;
    }
    if (!io->failed) spec->policy->io(io, spec, policy_block(state));
}

size_t job_state_encoded_size(const struct job_spec *spec, const struct job_state *state)
{
    struct state_io io = {0};

    /* Writing only reads; one function for both directions cannot say so. */
    job_io(&io, spec, (struct job_state *)(uintptr_t)state);
    return io.pos;
}

void job_state_encode(const struct job_spec *spec, const struct job_state *state, uint8_t *out)
{
    struct state_io io = {.out = out};

    job_io(&io, spec, (struct job_state *)(uintptr_t)state);
}

int job_state_decode(const struct job_spec *spec, const uint8_t *in, size_t len, struct job_state *state,
                     struct error *err)
{
    struct state_io io = {.in = in, .len = len, .reading = true};

    memset(state, 0, job_state_size(spec));
    job_io(&io, spec, state);
    if (io.failed || io.pos != len)
        return error_set(err, ST_DATA_DAMAGED, "the state of the job is damaged at byte %zu of %zu", io.pos,
                         len);
    return ST_OK;
}
