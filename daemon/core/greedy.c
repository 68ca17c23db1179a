/* One report to GreedyLR.
 *
 * Happy path: greedy_step smooths the value, compares it with the best, counts, and moves the rates when a
 * counter passes patience; a running stage goes its own way (stage_mode); a divergence goes to the guard
 * instead.  Then lr_cap clamps, and the outcome says what became of the rates, not what was meant for them.
 * Failure: a non-finite value under on_nonfinite reject, before anything is touched. */
#include "core/greedy.h"

#include <math.h>
#include <string.h>

/* One report on its way through the rules. */
struct stepping {
    const struct job_spec *spec;
    const struct greedy_params *p;
    const struct policy_report *report;
    struct greedy_state *s;
    struct policy_outcome *out;
    double before[GROUPS_MAX]; /* rates before the report */
    double current;            /* what is compared */
    bool comparable;  /* false: a non-finite value of the greedylr dialect, which only counts as worse */
    bool raised, cut; /* due, whether or not a rate moved */
    bool reset;
};

static void raise_rates(struct stepping *t)
{
    for (uint32_t i = 0; i < t->spec->lr.n; i++) {
        double lr = t->s->data[i], new = lr / t->p->factor;

        if (new > t->p->max_lr.v[i]) new = t->p->max_lr.v[i];
        if (new - lr > t->p->eps) t->s->data[i] = new;
    }
    t->s->resets_left = (int32_t)t->p->reset_start;
    t->raised = true;
}

static void lower_rates(struct stepping *t, double factor)
{
    policy_lower(t->s->data, factor, &t->p->min_lr, t->p->eps);
    t->cut = true;
}

static void cut_rates(struct stepping *t)
{
    struct greedy_state *s = t->s;

    lower_rates(t, t->p->factor);
    if (!greedy_resets(t->p) || !greedy_at_min(t->spec, s->data)) return;
    s->resets_left--;
    if (s->resets_left <= 0) {
        greedy_start_over(t->spec, s);
        t->reset = true;
    }
}

static void begin_stage(struct greedy_state *s, enum stage stage, uint32_t length)
{
    s->stage = (uint8_t)(length ? stage : STAGE_NONE);
    s->stage_left = length;
}

static void shorten_stage(struct greedy_state *s)
{
    s->stage_left--;
    if (s->stage_left == 0) s->stage = STAGE_NONE;
}

/* Compares, and keeps a better value as the best one. */
static bool compare(struct stepping *t)
{
    const struct greedy_params *p = t->p;
    struct greedy_state *s = t->s;
    bool better =
        t->comparable && policy_is_better(p->mode, p->threshold_mode, p->threshold, t->current, s->best);

    policy_say_compared(t->out, p->mode, t->report->value, t->current, better, s->best,
                        s->has_best_step ? &s->best_step : NULL);
    if (better) {
        s->best = t->current;
        s->best_step = t->report->step;
        s->has_best_step = true;
        /* Before a rate can leave the floor: only a run of bests raises. */
        s->plateaued = false;
    }
    return better;
}

static void count(struct greedy_state *s, bool better)
{
    if (better) {
        s->num_good++;
        s->num_bad = 0;
    } else {
        s->num_bad++;
        s->num_good = 0;
    }
}

/* Step 3: raise or cut once a run is longer than patience. */
static void trigger(struct stepping *t)
{
    struct greedy_state *s = t->s;
    uint32_t patience = t->p->patience;

    if (s->num_good > patience) {
        policy_say(t->out, "; good %u beyond patience %u", s->num_good, patience);
        s->num_good = 0;
        raise_rates(t);
        begin_stage(s, STAGE_WARMUP, t->p->warmup);
    } else if (s->num_bad > patience) {
        bool floor = greedy_at_min(t->spec, s->data);

        policy_say(t->out, "; bad %u beyond patience %u", s->num_bad, patience);
        s->num_bad = 0;
        cut_rates(t);
        if (floor && !t->reset) s->plateaued = true;
        begin_stage(s, STAGE_COOLDOWN, t->p->cooldown);
    } else if (s->num_good) {
        policy_say(t->out, "; good %u of %u", s->num_good, patience);
    } else {
        policy_say(t->out, "; bad %u of %u", s->num_bad, patience);
    }
}

static void step_continue(struct stepping *t)
{
    struct greedy_state *s = t->s;
    bool warmup = s->stage == STAGE_WARMUP;

    compare(t);
    s->num_good = s->num_bad = 0;
    shorten_stage(s);
    policy_say(t->out, "; %s goes on, %u more to come", stage_words[warmup ? STAGE_WARMUP : STAGE_COOLDOWN],
               s->stage_left);
    if (warmup)
        raise_rates(t);
    else
        cut_rates(t);
}

static void step_hold(struct stepping *t)
{
    struct greedy_state *s = t->s;
    const char *word = stage_words[s->stage];

    s->num_good = s->num_bad = 0;
    shorten_stage(s);
    policy_say(t->out, "%s: the rate rests and nothing is compared, %u more to come", word, s->stage_left);
}

static void step_ignore(struct stepping *t)
{
    struct greedy_state *s = t->s;

    count(s, compare(t));
    if (s->stage == STAGE_COOLDOWN)
        s->num_bad = 0;
    else
        s->num_good = 0;
    policy_say(t->out, "; %s ignores %s values", stage_words[s->stage],
               s->stage == STAGE_COOLDOWN ? "worse" : "better");
    shorten_stage(s);
    trigger(t);
}

/* Whether the value is a divergence.  With best at 0 or below a ratio says nothing. */
static bool diverges(const struct stepping *t)
{
    return t->p->guard_ratio > 1 && t->s->best > 0 && t->current > t->p->guard_ratio * t->s->best;
}

/* No cut of step 3: patience is not asked, and no reset draws nearer. */
static void step_guard(struct stepping *t)
{
    struct greedy_state *s = t->s;

    policy_say(t->out, "smoothed %.6g is above guard_ratio %.6g * best %.6g", t->current, t->p->guard_ratio,
               s->best);
    if (s->has_best_step) policy_say(t->out, " (step %u)", s->best_step);
    if (s->stage != STAGE_NONE) policy_say(t->out, "; %s ends", stage_words[s->stage]);
    s->num_good = s->num_bad = 0;
    begin_stage(s, STAGE_NONE, 0);
    lower_rates(t, t->p->guard_factor);
}

static void step_compared(struct stepping *t)
{
    static void (*const by_mode[])(struct stepping *) = {
        [GREEDY_CONTINUE] = step_continue, [GREEDY_HOLD] = step_hold, [GREEDY_IGNORE] = step_ignore};

    if (t->s->stage != STAGE_NONE) {
        by_mode[t->p->stage_mode](t);
        return;
    }
    count(t->s, compare(t));
    trigger(t);
}

static void step_nonfinite_cut(struct stepping *t, const char *value)
{
    policy_say(t->out, "value is %s and on_nonfinite is cut", value);
    t->s->num_good = t->s->num_bad = 0;
    cut_rates(t);
    begin_stage(t->s, STAGE_COOLDOWN, t->p->cooldown);
}

/* What the rates did; lr_cap may have turned a raise into a cut. */
static enum action net_action(const struct stepping *t)
{
    bool up = false, down = false;

    for (uint32_t i = 0; i < t->spec->lr.n; i++) {
        up |= t->s->data[i] > t->before[i];
        down |= t->s->data[i] < t->before[i];
    }
    if (t->reset) return ACTION_RESET;
    if (up && t->raised) return ACTION_RAISE;
    return down ? ACTION_CUT : ACTION_HOLD;
}

static void say_held(struct stepping *t)
{
    const char *due = t->raised ? "raise" : "cut";

    bool floor = t->cut && greedy_at_min(t->spec, t->s->data);

    if (t->raised && greedy_at_max(t->spec, t->s->data))
        policy_say(t->out, ": raise due, but every rate is at max_lr");
    else if (floor)
        policy_say(t->out, ": cut due, but every rate is at min_lr");
    else
        policy_say(t->out, ": %s due, but no change is larger than eps %.6g", due, t->p->eps);
    if (floor && greedy_resets(t->p))
        policy_say(t->out, "; reset in %d cuts", (int)t->s->resets_left);
    else if (t->s->plateaued)
        policy_say(t->out, "; plateaued, consider stopping");
}

/* Clamps, and says what became of the rates. */
static void conclude(struct stepping *t)
{
    bool moved = memcmp(t->before, t->s->data, t->spec->lr.n * sizeof(double)) != 0;
    bool capped = policy_clamp_to_cap(t->s->data, t->spec->lr.n, t->report->lr_cap);

    t->out->action = net_action(t);
    if (t->reset)
        policy_say(t->out, ": cuts at min_lr used up, starting over from the initial rates");
    else if ((t->raised || t->cut) && moved)
        policy_say(t->out, ": rate %s", t->raised ? "raised" : "cut");
    else if (t->raised || t->cut)
        say_held(t);
    if (capped) policy_say(t->out, "; limited to lr_cap %.6g", t->report->lr_cap);
}

/* A non-finite value in the greedylr dialect; true where it went through no comparison. */
static bool step_nonfinite(struct stepping *t)
{
    char value[DOUBLE_TEXT_MAX];

    double_text(value, t->report->value);
    switch (t->spec->on_nonfinite) {
    case NONFINITE_SKIP:
        t->out->action = ACTION_SKIP;
        policy_say(t->out, "value is %s and on_nonfinite is skip: nothing changes", value);
        return true;
    case NONFINITE_CUT:
        step_nonfinite_cut(t, value);
        conclude(t);
        return true;
    case NONFINITE_BAD:
    case NONFINITE_REJECT: break;
    }
    t->comparable = false;
    return false;
}

int greedy_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                struct policy_outcome *out, struct error *err)
{
    struct stepping t = {.spec = spec, .p = spec->params, .report = report, .s = state, .out = out};
    bool strange = t.p->dialect == GREEDY_GREEDYLR && !isfinite(report->value);

    if (strange && spec->on_nonfinite == NONFINITE_REJECT) {
        char value[DOUBLE_TEXT_MAX];

        double_text(value, report->value);
        return error_set(err, ST_NONFINITE_REJECTED,
                         "value: is %s and the job's on_nonfinite is reject; report a finite value, or set "
                         "on_nonfinite to bad, skip "
                         "or cut",
                         value);
    }
    *out = (struct policy_outcome){.action = ACTION_HOLD};
    memcpy(t.before, t.s->data, spec->lr.n * sizeof(double));
    if (strange) {
        if (step_nonfinite(&t)) return ST_OK;
    } else {
        t.current = smooth_add(greedy_smooth_config(spec), greedy_smooth(spec, t.s), report->value);
        /* Finite values may still overflow their sum; what comes of it must not become best. */
        t.comparable = t.p->dialect == GREEDY_TRANSFORMERS || isfinite(t.current);
        out->smoothed = t.current;
        out->has_smoothed = true;
    }
    if (diverges(&t))
        step_guard(&t);
    else
        step_compared(&t);
    conclude(&t);
    return ST_OK;
}

const struct policy policy_greedy = {
    .name = "greedy",
    .params = greedy_param_defs,
    .n_params = GREEDY_PARAMS,
    .params_size = sizeof(struct greedy_params),
    .resolve = greedy_resolve,
    .state_size = greedy_state_size,
    .init = greedy_init,
    .step = greedy_step,
    .rates = greedy_rates,
    .set_rates = greedy_set_rates,
    .view = greedy_view,
    .update = greedy_update,
    .io = greedy_io,
    .own_nonfinite = true,
    .form = &greedy_form,
};
