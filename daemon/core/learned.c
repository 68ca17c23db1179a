/* One report to the learned policy.
 *
 * Happy path: learned_step takes the loss in, reads the features, and moves every group's rate by what the
 * model says, within bounds, ceiling and lr_cap.  What goes around the model is said in the reason: the
 * tripwire, the gate, the envelope, the watch, GreedyLR in its place.  Failure: a non-finite value under
 * on_nonfinite reject, before anything is touched. */
#include "core/learned.h"

#include "core/exact_math.h"
#include "core/policy_parts.h"

#include <math.h>
#include <string.h>

#define LOG_2       0x1.62e42fefa39efp-1
#define LOG_4       0x1.62e42fefa39efp+0
#define LOG_0_7     (-0x1.6d3c324e13f50p-2)
#define ACTED_SHARE 0.2
#define RAISE       0.5 /* an action that counts as one */
#define TRIP_REST   3   /* reports after a trip in which only a loss that still rises trips again */

/* A divergence: twice the first loss, or half of the progress lost and that not by noise.  The jump of a
 * divergence is in the noise as well and would excuse itself, so that a model which raises into a loss that
 * rises gets no allowance: one that was trained hardly does that. */
static bool diverges(const struct learned_state *s, double action)
{
    double gap = s->last - s->least, progress = s->first - s->least;
    double noise = s->pilot == LEARNED_WATCHED && action > RAISE && s->ratio > 0 ? 0 : s->noise;
    bool high = s->last - s->first > LOG_2 + 6 * noise;
    bool lost = gap > progress / 2 && gap > 6 * noise + 0.05 && progress > 0;

    if (s->trips && s->since_trip < TRIP_REST && s->ratio <= 0) return false;
    return high || lost;
}

/* Multiplies every rate by exp(by), within the bounds. */
static void move_rates(const struct job_spec *spec, struct learned_state *s, double by)
{
    const struct learned_params *p = spec->params;
    double factor = exact_exp(by), most = isinf(s->ceiling) ? INFINITY : exact_exp(s->ceiling);

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double lr = s->data[i], moved = lr * factor, top = p->max_lr.v[i];

        if (spec->lr.v[i] * most < top) top = spec->lr.v[i] * most;
        if (moved > top) moved = by > 0 && top < lr ? lr : top;
        if (moved < p->min_lr.v[i]) moved = p->min_lr.v[i];
        /* An lr_cap may have taken the rate below its bound: nothing but a raise brings it back. */
        if (by < 0 && moved > lr) moved = lr;
        s->data[i] = moved;
    }
}

static void trip(const struct job_spec *spec, struct learned_state *s, double log_rate)
{
    double ceiling = log_rate + LOG_0_7, to = log_rate - LOG_4;

    if (s->at_best < to) to = s->at_best;
    if (ceiling < s->ceiling) s->ceiling = ceiling;
    move_rates(spec, s, to - log_rate);
    s->trips++;
    s->since_trip = 0;
}

static int outside_of(const struct learned_params *p, const double features[LEARNED_FEATURES])
{
    for (int i = 0; i < LEARNED_FEATURES; i++) {
        if (!(features[i] >= p->feature_lo.v[i] && features[i] <= p->feature_hi.v[i])) return i;
    }
    return -1;
}

static void act(const struct job_spec *spec, struct learned_state *s, double action,
                struct learned_move *move)
{
    const struct learned_params *p = spec->params;

    move->gated = action > 0 && p->noise_gate > 0 && s->noise > p->noise_gate;
    if (move->gated) action = 0;
    move->action = action;
    move_rates(spec, s, action * exact_log(action > 0 ? p->up : p->down));
}

/* Back to the initial rates, where nobody would be had the model not come. */
static void start_over(const struct job_spec *spec, struct learned_state *s, double log_rate,
                       const struct policy_report *report)
{
    move_rates(spec, s, -log_rate);
    learned_hand_over(spec, s, LEARNED_ASTRAY, report);
}

/* The third report in a row at which the model is not followed. */
static void give_up(const struct job_spec *spec, struct learned_state *s, double log_rate,
                    const struct policy_report *report, const struct learned_move *move)
{
    if (move->outside >= 0)
        learned_hand_over(spec, s, LEARNED_STRANGE, report);
    else if (move->course == LEARNED_CUTS)
        learned_greedy_take_over(spec, s, report->step);
    else
        start_over(spec, s, log_rate, report);
}

static void count_strange(struct learned_state *s, const struct learned_move *move)
{
    if (move->outside >= 0 || move->course == LEARNED_CUTS || move->course == LEARNED_LOST)
        s->outside++;
    else if (move->course != LEARNED_EXCUSED)
        s->outside = 0;
}

void learned_move(const struct job_spec *spec, struct learned_state *s, const struct policy_report *report,
                  struct learned_move *move)
{
    const struct learned_params *p = spec->params;
    double log_rate = learned_log_rate(spec, s), action;

    learned_observe(s, report->value, report->step, log_rate);
    learned_features(s, p->total_reports, log_rate, move->features);
    action = learned_action(p->weights.v, move->features);
    move->action = 0;
    move->gated = false;
    move->outside = outside_of(p, move->features);
    move->course = learned_watch(s, log_rate, action);
    count_strange(s, move);
    s->since_trip++;
    move->tripped = diverges(s, action);
    if (move->tripped) {
        move->action = -1;
        trip(spec, s, log_rate);
        if (s->trips >= LEARNED_TRIPS) learned_hand_over(spec, s, LEARNED_TRIPPED_OUT, report);
    } else if (s->outside >= LEARNED_OUTSIDE && move->course != LEARNED_EXCUSED) {
        give_up(spec, s, log_rate, report, move);
    } else if (move->outside < 0 && (move->course == LEARNED_STEADY || move->course == LEARNED_EXCUSED)) {
        act(spec, s, action, move);
    }
    s->action = move->action;
    s->acted += ACTED_SHARE * (move->action - s->acted);
}

static void say_loss(const struct learned_state *s, const struct policy_report *report,
                     struct policy_outcome *out)
{
    policy_say(out, "loss %.6g, best %.6g (step %u)", report->value, s->best, s->best_step);
}

static void say_move(const struct job_spec *spec, const struct learned_state *s,
                     const struct learned_move *move, const double *before, struct policy_outcome *out)
{
    const struct learned_params *p = spec->params;

    if (move->tripped) {
        policy_say(out, "; tripwire %u of %d: rate cut x%.3g, no raise beyond x%.3g of the initial rate",
                   s->trips, LEARNED_TRIPS, s->data[0] / before[0], exact_exp(s->ceiling));
    } else if (move->outside >= 0) {
        double f = move->features[move->outside];
        bool below = f < p->feature_lo.v[move->outside];

        policy_say(out, "; %s %.3g is %s the %.3g seen in training (%u of %d): rate held",
                   learned_feature_names[move->outside], f, below ? "below" : "above",
                   below ? p->feature_lo.v[move->outside] : p->feature_hi.v[move->outside], s->outside,
                   LEARNED_OUTSIDE);
    } else if (move->course == LEARNED_CUTS) {
        policy_say(out, "; the model cuts and the loss did not rise (%u of %d): rate held", s->outside,
                   LEARNED_OUTSIDE);
    } else if (move->course == LEARNED_LOST) {
        policy_say(out, "; x%.2g of the initial rate and the loss hardly moves (%u of %d): rate held",
                   s->data[0] / spec->lr.v[0], s->outside, LEARNED_OUTSIDE);
    } else if (move->gated) {
        policy_say(out, "; noise %.3g is above noise_gate %.3g: no raise", s->noise, p->noise_gate);
    } else {
        policy_say(out, "; model %s x%.4g", p->model, s->data[0] / before[0]);
    }
}

static enum action what_became(const struct job_spec *spec, const double *before, const double *lrs)
{
    bool up = false, down = false;

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        up |= lrs[i] > before[i];
        down |= lrs[i] < before[i];
    }
    return up ? ACTION_RAISE : down ? ACTION_CUT : ACTION_HOLD;
}

/* In front of what GreedyLR said. */
static void say_greedy(const struct learned_state *s, bool now, const struct policy_outcome *said,
                       struct policy_outcome *out)
{
    static const char *const why[] = {
        [LEARNED_BAD_LOSS] = "a loss that is not above 0",
        [LEARNED_STRANGE] = "outside of what the model was trained on",
        [LEARNED_TRIPPED_OUT] = "the tripwire's last time",
        [LEARNED_ASTRAY] = "the model drives the rate away",
    };

    *out = *said;
    out->reason[0] = '\0';
    if (now)
        policy_say(out, "%s: GreedyLR takes over: %s", why[s->pilot], said->reason);
    else
        policy_say(out, "GreedyLR since step %u (%s): %s", s->handed_step, why[s->pilot], said->reason);
}

/* GreedyLR decides, from this report on or since long. */
static int step_greedy(const struct job_spec *spec, struct learned_state *s, bool now,
                       const struct policy_report *report, struct policy_outcome *out, struct error *err)
{
    struct policy_outcome said;
    int rc = learned_greedy_step(spec, s, report, &said, err);

    if (rc == ST_OK) say_greedy(s, now, &said, out);
    return rc;
}

/* on_nonfinite; true where the report is dealt with. */
static bool step_nonfinite(const struct job_spec *spec, const struct policy_report *report,
                           struct policy_outcome *out, struct error *err, int *rc)
{
    char value[DOUBLE_TEXT_MAX];

    double_text(value, report->value);
    *rc = ST_OK;
    if (spec->on_nonfinite == NONFINITE_REJECT) {
        *rc = error_set(err, ST_NONFINITE_REJECTED,
                        "value: is %s and the job's on_nonfinite is reject; report a finite value, or set "
                        "on_nonfinite to bad, skip or cut",
                        value);
        return true;
    }
    if (spec->on_nonfinite != NONFINITE_SKIP) return false;
    *out = (struct policy_outcome){.action = ACTION_SKIP};
    policy_say(out, "value is %s and on_nonfinite is skip: nothing changes", value);
    return true;
}

/* The model did not keep the rate. */
static int step_handed_over(const struct job_spec *spec, struct learned_state *s,
                            const struct learned_move *move, const struct policy_outcome *along,
                            const struct policy_report *report, const double *before,
                            struct policy_outcome *out, struct error *err)
{
    int rc = ST_OK;

    if (s->pilot == LEARNED_ASTRAY && move->course == LEARNED_CUTS)
        say_greedy(s, true, along, out);
    else
        rc = step_greedy(spec, s, true, report, out, err);
    if (rc == ST_OK && s->pilot == LEARNED_ASTRAY) out->action = what_became(spec, before, s->data);
    return rc;
}

int learned_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                 struct policy_outcome *out, struct error *err)
{
    struct learned_state *s = state;
    struct policy_outcome along;
    struct learned_move move;
    double before[GROUPS_MAX];
    int rc;

    if (!isfinite(report->value) && step_nonfinite(spec, report, out, err, &rc)) return rc;
    if (!learned_decides(s)) return step_greedy(spec, s, false, report, out, err);
    if (!(isfinite(report->value) && report->value > 0)) {
        learned_hand_over(spec, s, LEARNED_BAD_LOSS, report);
        return step_greedy(spec, s, true, report, out, err);
    }
    if (learned_on_trial(s) && (rc = learned_greedy_along(spec, s, report, &along, err)) != ST_OK) return rc;
    memcpy(before, s->data, spec->lr.n * sizeof(double));
    learned_move(spec, s, report, &move);
    if (s->pilot == LEARNED_STRANGE || s->pilot == LEARNED_ASTRAY)
        return step_handed_over(spec, s, &move, &along, report, before, out, err);
    learned_watch_end(spec, s);
    *out = (struct policy_outcome){.action = ACTION_HOLD};
    say_loss(s, report, out);
    say_move(spec, s, &move, before, out);
    if (s->pilot == LEARNED_TRIPPED_OUT) policy_say(out, "; GreedyLR decides from here on");
    if (policy_clamp_to_cap(s->data, spec->lr.n, report->lr_cap))
        policy_say(out, "; limited to lr_cap %.6g", report->lr_cap);
    if (s->pilot == LEARNED_TRIPPED_OUT) learned_greedy_set_rates(spec, s, s->data);
    out->action = what_became(spec, before, s->data);
    return ST_OK;
}

const struct policy policy_learned = {
    .name = "learned",
    .params = learned_param_defs,
    .n_params = LEARNED_PARAMS,
    .params_size = sizeof(struct learned_params),
    .resolve = learned_resolve,
    .state_size = learned_state_size,
    .init = learned_init,
    .step = learned_step,
    .rates = learned_rates,
    .set_rates = learned_set_rates,
    .view = learned_view,
    .update = learned_update,
    .io = learned_io,
    .own_nonfinite = true,
};
