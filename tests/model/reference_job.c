/* The reference: one job, its history and its rounds, as ALGORITHMS tells them. */
#include "reference_impl.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* ---- answers ---- */

void ref_answer(struct ref_call *c, const struct ref_answer *a)
{
    assert(!c->answered);
    c->answer = *a;
    c->answered = true;
    c->waits = WAIT_NOTHING;
}

void ref_fail(struct ref_call *c, enum status status)
{
    ref_answer(c, &(struct ref_answer){.status = status});
}

void ref_wait_for(struct ref_call *c, enum ref_wait kind, uint32_t change)
{
    c->waits = kind;
    c->change = change;
    c->since = ++ref.order;
}

/* With the change: *a. */
void ref_answer_with(struct ref_call *c, uint32_t change, const struct ref_answer *a)
{
    c->answer = *a;
    c->is_job = false;
    c->verdict = ST_OK;
    ref_wait_for(c, WAIT_CHANGE, change);
    if (ref_is_durable(change)) ref_answer(c, a);
}

/* With the change: the job as it is then. */
void ref_answer_job_with(struct ref_call *c, uint32_t change)
{
    c->is_job = true;
    c->verdict = ST_OK;
    ref_wait_for(c, WAIT_CHANGE, change);
}

void ref_answer_job_settled(struct ref_call *c, const struct job *j)
{
    uint32_t last = ref_last_pending(j, false);
    struct ref_answer a;

    if (last) {
        ref_answer_job_with(c, last);
        return;
    }
    ref_view_of(j, &a);
    ref_answer(c, &a);
}

void ref_answer_decision(struct ref_call *c, const struct entry *e)
{
    struct ref_answer a = e->a;

    a.superseded = 0;
    a.duplicate = c->duplicate;
    a.conflict = c->conflict;
    ref_answer_with(c, e->change, &a);
}

void ref_change_is_told(struct ref_call *c)
{
    const struct change *ch = &ref.changes[c->change];

    if (c->verdict)
        ref_fail(c, c->verdict);
    else if (!c->is_job)
        ref_answer(c, &c->answer);
    else if (ch->whole_row || ref.disk.jobs[ch->job].exists)
        ref_answer(c, &ch->view);
    else
        ref_fail(c, ST_JOB_DELETED);
}

/* ---- history ---- */

struct entry *ref_add_entry(struct job *j, const char *action)
{
    struct entry *e = &j->entries[j->n++];

    assert(j->n <= REF_HISTORY);
    j->revision++;
    memset(e, 0, sizeof(*e));
    strcpy(e->a.action, action);
    e->a.shape = SHAPE_DECISION;
    e->a.revision = j->revision;
    e->a.attempt = j->attempt;
    e->a.has_step = j->s.has_step;
    e->a.step = j->s.step;
    e->a.lr = j->s.answered;
    e->a.best = j->s.best;
    e->a.num_good = j->s.good;
    e->a.num_bad = j->s.bad;
    e->a.stage = j->s.stage;
    e->serial = j->serial;
    e->after = j->s;
    ref_push(j);
    e->change = ref.n_changes;
    return e;
}

struct entry *ref_find_report(struct job *j, uint32_t step)
{
    for (uint32_t i = j->n; i > 0; i--) {
        struct entry *e = &j->entries[i - 1];

        if (e->report && !e->a.superseded && e->a.step == step) return e;
    }
    return NULL;
}

struct entry *ref_find_request(struct job *j, uint32_t id)
{
    for (uint32_t i = j->n; i > 0; i--) {
        struct entry *e = &j->entries[i - 1];

        if (e->request_id == id && !e->a.superseded) return e;
    }
    return NULL;
}

/* A state to go back to: that of the step, or of the largest step below it. */
struct entry *ref_find_state(struct job *j, uint32_t step, bool below)
{
    struct entry *found = NULL;

    for (uint32_t i = 0; i < j->n; i++) {
        struct entry *e = &j->entries[i];

        if (!e->state || e->a.superseded || !e->a.has_step) continue;
        if (below ? e->a.step >= step : e->a.step != step) continue;
        if (!found || e->a.step >= found->a.step) found = e;
    }
    return found;
}

struct entry *ref_find_initial(struct job *j)
{
    return j->n && !strcmp(j->entries[0].a.action, "fork") ? &j->entries[0] : NULL;
}

struct ref_state ref_state_of(const struct job *j, const struct entry *e)
{
    struct ref_state s;

    if (!e) {
        ref_start(&j->settings, &s);
        return s;
    }
    s = e->after;
    if (e->serial != j->serial) ref_settle(&j->settings, &s);
    return s;
}

/* ---- rounds ---- */

static bool is_complete(const struct round *r)
{
    return r->n == r->world_size || (r->reduce == FIRST && r->n);
}

bool ref_is_ready(const struct round *r)
{
    return is_complete(r) || (r->overdue && r->n >= r->quorum);
}

struct round *ref_find_round(struct job *j, uint32_t step)
{
    for (uint32_t i = 0; i < j->n_rounds; i++) {
        if (j->rounds[i].step == step) return &j->rounds[i];
    }
    return NULL;
}

struct round *ref_open_round(struct job *j, uint32_t step)
{
    uint32_t at = j->n_rounds++;

    assert(j->n_rounds <= REF_ROUNDS);
    for (; at > 0 && j->rounds[at - 1].step > step; at--)
        j->rounds[at] = j->rounds[at - 1];
    j->rounds[at] = (struct round){.step = step,
                                   .world_size = j->settings.world_size,
                                   .quorum = j->settings.quorum,
                                   .reduce = j->settings.reduce};
    return &j->rounds[at];
}

static void close_round(struct job *j, uint32_t step)
{
    uint32_t at = (uint32_t)(ref_find_round(j, step) - j->rounds);

    j->n_rounds--;
    memmove(&j->rounds[at], &j->rounds[at + 1], (j->n_rounds - at) * sizeof(j->rounds[0]));
}

/* The next call, from i on, that waits in the round. */
static struct ref_call *waiter_of(const struct job *j, uint32_t step, uint32_t *i)
{
    for (; *i < ref_n_calls; ++*i) {
        struct ref_call *c = &ref_calls[*i];

        if (c->waits == WAIT_ROUND && c->request.job == ref_number_of(j) && c->request.step == step)
            return &ref_calls[(*i)++];
    }
    return NULL;
}

void ref_fail_waiters(const struct job *j, uint32_t step, enum status status)
{
    struct ref_call *c;
    uint32_t i = 0;

    while ((c = waiter_of(j, step, &i)))
        ref_fail(c, status);
}

/* All rounds end with the newest change. */
void ref_end_rounds(struct job *j, enum status verdict)
{
    struct ref_call *c;

    while (j->n_rounds) {
        uint32_t step = j->rounds[0].step, i = 0;

        while ((c = waiter_of(j, step, &i))) {
            c->verdict = verdict;
            ref_wait_for(c, WAIT_CHANGE, ref.n_changes);
        }
        close_round(j, step);
    }
}

/* ---- deciding ---- */

struct entry *ref_decide_value(struct job *j, uint32_t step, double value, double cap)
{
    bool paused = j->status == PAUSED;

    j->s.step = step;
    j->s.has_step = true;
    const char *action = ref_decide(&j->settings, &j->s, paused, value, cap);
    struct entry *e = ref_add_entry(j, action);

    e->report = e->state = e->undone = true;
    e->paused = paused;
    e->cap = cap;
    e->a.value = isnan(value) ? NAN : value;
    ref.changes[e->change].decides = true;
    ref.changes[e->change].decision = e->a;
    return e;
}

static void decide_round(struct job *j)
{
    struct round r = j->rounds[0];
    double cap = INFINITY;
    struct ref_call *c;
    uint32_t i = 0;

    for (uint32_t rank = 0; rank < REF_RANKS; rank++) {
        if (r.by[rank].there && r.by[rank].cap < cap) cap = r.by[rank].cap;
    }
    struct entry *e = ref_decide_value(j, r.step, ref_reduce(r.reduce, r.by), cap);

    e->a.ranks = r.n;
    for (uint32_t rank = 0; rank < REF_RANKS; rank++) {
        e->in[rank] = r.by[rank].there;
        e->values[rank] = r.by[rank].value;
    }
    while ((c = waiter_of(j, r.step, &i)))
        ref_answer_decision(c, e);
    close_round(j, r.step);
}

/* Everybody is at a later step, which can be decided: the first round, out of its time, gives way. */
static bool is_left(const struct job *j)
{
    for (uint32_t i = 1; i < j->n_rounds && j->rounds[i - 1].overdue; i++) {
        if (is_complete(&j->rounds[i])) return true;
    }
    return false;
}

bool ref_can_advance(const struct job *j)
{
    return j->n_rounds && (ref_is_ready(&j->rounds[0]) || is_left(j));
}

/* Decides and passes over what can be, in order. */
void ref_advance(struct job *j)
{
    while (!ref.full && ref_can_advance(j)) {
        uint32_t step = j->rounds[0].step;

        if (ref_is_ready(&j->rounds[0])) {
            decide_round(j);
            continue;
        }
        ref_fail_waiters(j, step, ST_STEP_IN_PAST);
        close_round(j, step);
    }
}

void ref_go_back(struct job *j, const struct entry *to, bool has_attempt, uint32_t attempt)
{
    uint32_t revision = to ? to->a.revision : 0;
    struct ref_state s = ref_state_of(j, to);

    for (uint32_t i = 0; i < j->n; i++) {
        if (j->entries[i].undone && j->entries[i].a.revision > revision) j->entries[i].a.superseded = true;
    }
    j->s = s;
    if (has_attempt) {
        j->attempt = j->rewound = attempt;
        j->has_rewound = true;
    }
    ref.changes[ref_add_entry(j, "rewind")->change].unsettled = true;
    ref_end_rounds(j, ST_REWOUND);
}
