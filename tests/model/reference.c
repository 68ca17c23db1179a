/* The reference.  Happy path: handle() changes the newest jobs and notes which change the answer waits for;
 * take, commit and deliver move the copy that is durable and answer.  See ALGORITHMS for the rules; where a
 * call builds on what is stored (rewind, begin, fork, update) it waits for changes of settings and rewinds
 * that are on their way, and is then handled as if it had come only now. */
#include "reference.h"

#include "policy.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ACTIVE, PAUSED, FINISHED };
static const char *const status_words[] = {"active", "paused", "finished"};

struct entry {
    struct ref_answer a;
    bool report, state, undone; /* answers a report; may be gone back to; is taken back by a rewind */
    bool paused;
    double cap;
    uint32_t request_id, change, serial; /* serial: of the settings */
    bool in[REF_RANKS];
    double values[REF_RANKS];
    struct ref_state after;
};

struct round {
    uint32_t step, n;
    uint32_t world_size, quorum;
    enum ref_reduce reduce;
    struct ref_value by[REF_RANKS];
    bool overdue; /* this and the deadline are lost in a crash */
    uint64_t deadline, deadline_order;
};

struct job {
    bool exists, deleting, forked;
    struct ref_settings created, now;
    struct ref_state s;
    uint32_t serial, revision, attempt, status, rewound;
    bool has_rewound;
    uint32_t n_rounds;
    struct round rounds[REF_ROUNDS]; /* by step */
    uint32_t n;
    struct entry entries[REF_HISTORY];
};

struct world {
    struct job jobs[REF_JOBS];
};

enum change_state { QUEUED, TAKEN, STORED, TOLD, FAILED };

struct change {
    enum change_state state;
    uint32_t job;
    bool unsettled, whole_row, deletes, decides;
    struct ref_answer view, decision;
};

static struct world newest, taken, disk, told;
static struct change changes[REF_CHANGES]; /* from 1 */
static uint32_t n_changes;
static uint64_t now, order;
static bool full, batch_failed, releasing;

struct ref_call ref_calls[REF_CALLS];
uint32_t ref_n_calls;
static uint64_t wait_order[REF_CALLS];

/* ---- copies ---- */

static void copy_job(struct job *to, const struct job *from)
{
    memcpy(to, from, offsetof(struct job, entries));
    memcpy(to->entries, from->entries, from->n * sizeof(from->entries[0]));
}

static void copy_world(struct world *to, const struct world *from)
{
    for (uint32_t i = 0; i < REF_JOBS; i++)
        copy_job(&to->jobs[i], &from->jobs[i]);
}

/* What a job read back from the store does not have. */
static void forget_volatile(struct job *j)
{
    for (uint32_t i = 0; i < j->n_rounds; i++) {
        struct round *r = &j->rounds[i];

        r->overdue = false;
        r->deadline = 0;
        for (uint32_t rank = 0; rank < REF_RANKS; rank++)
            r->by[rank].change = 0;
    }
}

static uint32_t number_of(const struct job *j)
{
    return (uint32_t)(j - newest.jobs);
}

/* ---- changes ---- */

static void view_of(const struct job *j, struct ref_answer *a)
{
    memset(a, 0, sizeof(*a));
    a->shape = SHAPE_JOB;
    strcpy(a->job_status, status_words[j->status]);
    a->revision = j->revision;
    a->attempt = j->attempt;
    a->has_step = j->s.has_step;
    a->step = j->s.step;
    a->reports = j->s.reports;
    a->lr = j->s.answered;
    a->best = j->s.best;
    a->num_good = j->s.good;
    a->num_bad = j->s.bad;
    a->stage = j->s.stage;
}

static struct change *push(struct job *j)
{
    struct change *c = &changes[++n_changes];

    assert(n_changes < REF_CHANGES);
    memset(c, 0, sizeof(*c));
    c->job = number_of(j);
    view_of(j, &c->view);
    return c;
}

static bool is_durable(uint32_t change)
{
    return !change || changes[change].state == TOLD;
}

static bool is_pending(uint32_t change)
{
    return changes[change].state < TOLD;
}

/* The newest change of the job that is on its way; unsettled: of those that others wait for. 0: none. */
static uint32_t last_pending(const struct job *j, bool unsettled)
{
    for (uint32_t i = n_changes; i > 0; i--) {
        if (changes[i].job == number_of(j) && is_pending(i) && (changes[i].unsettled || !unsettled)) return i;
    }
    return 0;
}

/* ---- answers ---- */

static void answer(struct ref_call *c, const struct ref_answer *a)
{
    assert(!c->answered);
    c->answer = *a;
    c->answered = true;
    c->waits = WAIT_NOTHING;
}

static void fail(struct ref_call *c, enum status status)
{
    answer(c, &(struct ref_answer){.status = status});
}

static void wait_for(struct ref_call *c, enum ref_wait kind, uint32_t change)
{
    c->waits = kind;
    c->change = change;
    wait_order[c - ref_calls] = ++order;
}

/* With the change: *a. */
static void answer_with(struct ref_call *c, uint32_t change, const struct ref_answer *a)
{
    c->answer = *a;
    c->is_job = false;
    c->verdict = ST_OK;
    wait_for(c, WAIT_CHANGE, change);
    if (is_durable(change)) answer(c, a);
}

/* With the change: the job as it is then. */
static void answer_job_with(struct ref_call *c, uint32_t change)
{
    c->is_job = true;
    c->verdict = ST_OK;
    wait_for(c, WAIT_CHANGE, change);
}

static void answer_job_settled(struct ref_call *c, const struct job *j)
{
    uint32_t last = last_pending(j, false);
    struct ref_answer a;

    if (last) {
        answer_job_with(c, last);
        return;
    }
    view_of(j, &a);
    answer(c, &a);
}

static void answer_decision(struct ref_call *c, const struct entry *e)
{
    struct ref_answer a = e->a;

    a.superseded = 0;
    a.duplicate = c->duplicate;
    a.conflict = c->conflict;
    answer_with(c, e->change, &a);
}

static void change_is_told(struct ref_call *c)
{
    const struct change *ch = &changes[c->change];

    if (c->verdict)
        fail(c, c->verdict);
    else if (!c->is_job)
        answer(c, &c->answer);
    else if (ch->whole_row || disk.jobs[ch->job].exists)
        answer(c, &ch->view);
    else
        fail(c, ST_JOB_DELETED);
}

/* ---- history ---- */

static struct entry *add_entry(struct job *j, const char *action)
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
    push(j);
    e->change = n_changes;
    return e;
}

static struct entry *find_report(struct job *j, uint32_t step)
{
    for (uint32_t i = j->n; i > 0; i--) {
        struct entry *e = &j->entries[i - 1];

        if (e->report && !e->a.superseded && e->a.step == step) return e;
    }
    return NULL;
}

static struct entry *find_request(struct job *j, uint32_t id)
{
    for (uint32_t i = j->n; i > 0; i--) {
        struct entry *e = &j->entries[i - 1];

        if (e->request_id == id && !e->a.superseded) return e;
    }
    return NULL;
}

/* A state to go back to: that of the step, or of the largest step below it. */
static struct entry *find_state(struct job *j, uint32_t step, bool below)
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

static struct entry *find_initial(struct job *j)
{
    return j->n && !strcmp(j->entries[0].a.action, "fork") ? &j->entries[0] : NULL;
}

static struct ref_state state_of(const struct job *j, const struct entry *e)
{
    struct ref_state s;

    if (!e) {
        ref_start(&j->now, &s);
        return s;
    }
    s = e->after;
    if (e->serial != j->serial) ref_settle(&j->now, &s);
    return s;
}

/* ---- rounds ---- */

static bool is_complete(const struct round *r)
{
    return r->n == r->world_size || (r->reduce == FIRST && r->n);
}

static bool is_ready(const struct round *r)
{
    return is_complete(r) || (r->overdue && r->n >= r->quorum);
}

static struct round *find_round(struct job *j, uint32_t step)
{
    for (uint32_t i = 0; i < j->n_rounds; i++) {
        if (j->rounds[i].step == step) return &j->rounds[i];
    }
    return NULL;
}

static struct round *open_round(struct job *j, uint32_t step)
{
    uint32_t at = j->n_rounds++;

    assert(j->n_rounds <= REF_ROUNDS);
    for (; at > 0 && j->rounds[at - 1].step > step; at--)
        j->rounds[at] = j->rounds[at - 1];
    j->rounds[at] = (struct round){
        .step = step, .world_size = j->now.world_size, .quorum = j->now.quorum, .reduce = j->now.reduce};
    return &j->rounds[at];
}

static void close_round(struct job *j, uint32_t step)
{
    uint32_t at = (uint32_t)(find_round(j, step) - j->rounds);

    j->n_rounds--;
    memmove(&j->rounds[at], &j->rounds[at + 1], (j->n_rounds - at) * sizeof(j->rounds[0]));
}

/* The next call, from i on, that waits in the round. */
static struct ref_call *waiter_of(const struct job *j, uint32_t step, uint32_t *i)
{
    for (; *i < ref_n_calls; ++*i) {
        struct ref_call *c = &ref_calls[*i];

        if (c->waits == WAIT_ROUND && c->request.job == number_of(j) && c->request.step == step)
            return &ref_calls[(*i)++];
    }
    return NULL;
}

static void fail_waiters(const struct job *j, uint32_t step, enum status status)
{
    struct ref_call *c;
    uint32_t i = 0;

    while ((c = waiter_of(j, step, &i)))
        fail(c, status);
}

/* All rounds end with the newest change. */
static void end_rounds(struct job *j, enum status verdict)
{
    struct ref_call *c;

    while (j->n_rounds) {
        uint32_t step = j->rounds[0].step, i = 0;

        while ((c = waiter_of(j, step, &i))) {
            c->verdict = verdict;
            wait_for(c, WAIT_CHANGE, n_changes);
        }
        close_round(j, step);
    }
}

/* ---- deciding ---- */

static struct entry *decide(struct job *j, uint32_t step, double value, double cap)
{
    bool paused = j->status == PAUSED;

    j->s.step = step;
    j->s.has_step = true;
    const char *action = ref_decide(&j->now, &j->s, paused, value, cap);
    struct entry *e = add_entry(j, action);

    e->report = e->state = e->undone = true;
    e->paused = paused;
    e->cap = cap;
    e->a.value = isnan(value) ? NAN : value;
    changes[e->change].decides = true;
    changes[e->change].decision = e->a;
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
    struct entry *e = decide(j, r.step, ref_reduce(r.reduce, r.by), cap);

    e->a.ranks = r.n;
    for (uint32_t rank = 0; rank < REF_RANKS; rank++) {
        e->in[rank] = r.by[rank].there;
        e->values[rank] = r.by[rank].value;
    }
    while ((c = waiter_of(j, r.step, &i)))
        answer_decision(c, e);
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

static bool can_advance(const struct job *j)
{
    return j->n_rounds && (is_ready(&j->rounds[0]) || is_left(j));
}

/* Decides and passes over what can be, in order. */
static void advance(struct job *j)
{
    while (!full && can_advance(j)) {
        uint32_t step = j->rounds[0].step;

        if (is_ready(&j->rounds[0])) {
            decide_round(j);
            continue;
        }
        fail_waiters(j, step, ST_STEP_IN_PAST);
        close_round(j, step);
    }
}

static void go_back(struct job *j, const struct entry *to, bool has_attempt, uint32_t attempt)
{
    uint32_t revision = to ? to->a.revision : 0;
    struct ref_state s = state_of(j, to);

    for (uint32_t i = 0; i < j->n; i++) {
        if (j->entries[i].undone && j->entries[i].a.revision > revision) j->entries[i].a.superseded = true;
    }
    j->s = s;
    if (has_attempt) {
        j->attempt = j->rewound = attempt;
        j->has_rewound = true;
    }
    changes[add_entry(j, "rewind")->change].unsettled = true;
    end_rounds(j, ST_REWOUND);
}

/* ---- reports ---- */

/* The job to build on, or NULL and the call has failed. */
static struct job *usable(struct ref_call *c)
{
    struct job *j = &newest.jobs[c->request.job];

    if (j->exists && !j->deleting) return j;
    fail(c, j->exists ? ST_JOB_BEING_DELETED : ST_JOB_NOT_FOUND);
    return NULL;
}

/* Whether the call has to wait for what is on its way to the store. */
static bool must_wait(struct ref_call *c, const struct job *j)
{
    uint32_t change = last_pending(j, true);

    if (change) wait_for(c, WAIT_AGAIN, change);
    return change;
}

static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* The value was reported before; false: the call has failed. */
static bool repeat(struct ref_call *c, const struct job *j, double before)
{
    c->duplicate = true;
    c->conflict = !same(before, c->request.value);
    if (!c->conflict || !j->now.strict) return true;
    fail(c, ST_STEP_CONFLICT);
    return false;
}

static void answer_recorded(struct ref_call *c, struct job *j, struct entry *e)
{
    uint32_t rank = c->request.rank;

    if (e->a.ranks) {
        if (rank < REF_RANKS && e->in[rank] && !repeat(c, j, e->values[rank])) return;
    } else if (!repeat(c, j, e->a.value)) {
        return;
    }
    answer_decision(c, e);
}

static void start_deadline(const struct job *j, struct round *r)
{
    if (r->deadline) return;
    r->deadline = now + j->now.deadline_ms;
    r->deadline_order = ++order;
}

static void wait_in_round(struct ref_call *c, const struct job *j, struct round *r)
{
    uint64_t ms =
        c->request.has_wait && c->request.wait_ms < REF_WAIT_MAX ? c->request.wait_ms : REF_WAIT_MAX;

    start_deadline(j, r);
    wait_for(c, WAIT_ROUND, 0);
    c->deadline = now + ms;
    c->deadline_order = ++order;
}

static void add_to_round(struct ref_call *c, struct job *j, struct round *r)
{
    const struct ref_request *q = &c->request;
    struct ref_value *own = &r->by[q->rank];
    bool had = own->there;
    struct entry *e;

    if (had && !repeat(c, j, own->value)) return;
    if (!had)
        *own = (struct ref_value){
            true, q->value, q->weight > 0 ? q->weight : 1, q->lr_cap > 0 ? q->lr_cap : INFINITY, ++r->n, 0};
    advance(j);
    if ((e = find_report(j, q->step))) {
        answer_decision(c, e);
        return;
    }
    r = find_round(j, q->step);
    if (!had) {
        push(j);
        r->by[q->rank].change = n_changes;
    }
    c->own = r->by[q->rank].change;
    wait_in_round(c, j, r);
}

static void join_round(struct ref_call *c, struct job *j, uint32_t attempt)
{
    const struct ref_request *q = &c->request;
    struct round *r;

    if (!q->has_step) {
        fail(c, ST_REPORT_REQUIRES_STEP);
        return;
    }
    if (j->status == FINISHED) {
        fail(c, ST_JOB_FINISHED);
        return;
    }
    r = attempt > j->attempt ? NULL : find_round(j, q->step);
    if (q->rank >= (r ? r->world_size : j->now.world_size)) {
        fail(c, ST_FIELD_INVALID);
        return;
    }
    if (attempt == j->attempt && !r && j->n_rounds > 8) {
        fail(c, ST_STEP_TOO_FAR_AHEAD);
        return;
    }
    if (full && (!r || !r->by[q->rank].there || can_advance(j))) {
        fail(c, ST_STORE_FULL);
        return;
    }
    if (attempt > j->attempt) {
        j->attempt = attempt;
        add_entry(j, "begin");
        end_rounds(j, ST_REWOUND);
    }
    add_to_round(c, j, r ? r : open_round(j, q->step));
}

static void report_new(struct ref_call *c, struct job *j, uint32_t attempt)
{
    const struct ref_request *q = &c->request;

    if (j->now.world_size > 1 || j->n_rounds) {
        join_round(c, j, attempt);
        return;
    }
    if (q->rank >= j->now.world_size) {
        fail(c, ST_FIELD_INVALID);
    } else if (j->status == FINISHED) {
        fail(c, ST_JOB_FINISHED);
    } else if (full) {
        fail(c, ST_STORE_FULL);
    } else {
        uint32_t step = q->has_step ? q->step : j->s.has_step ? j->s.step + 1 : 1;

        j->attempt = attempt;
        struct entry *e = decide(j, step, q->value, q->lr_cap > 0 ? q->lr_cap : INFINITY);

        e->request_id = q->request_id;
        answer_decision(c, e);
    }
}

static void handle_report(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c);
    struct entry *e;

    if (!j) return;
    c->duplicate = c->conflict = false;
    uint32_t attempt = q->has_attempt ? q->attempt : j->attempt;
    bool beyond = !q->has_step || !j->s.has_step || q->step > j->s.step;

    if (q->request_id && !q->has_step && (e = find_request(j, q->request_id))) {
        answer_recorded(c, j, e);
    } else if (attempt < j->attempt) {
        fail(c, ST_STALE_ATTEMPT);
    } else if (beyond) {
        report_new(c, j, attempt);
    } else if (attempt == j->attempt) {
        if ((e = find_report(j, q->step)))
            answer_recorded(c, j, e);
        else
            fail(c, ST_STEP_IN_PAST);
    } else if (j->status == FINISHED) {
        fail(c, ST_JOB_FINISHED);
    } else if (q->rank >= j->now.world_size) {
        fail(c, ST_FIELD_INVALID);
    } else if (!must_wait(c, j)) {
        e = find_state(j, q->step, true);
        if (!e) e = find_initial(j);
        if (full || (e && e->a.has_step && e->a.step >= q->step)) {
            fail(c, e && e->a.has_step && e->a.step >= q->step ? ST_STEP_IN_PAST : ST_STORE_FULL);
            return;
        }
        go_back(j, e, true, attempt);
        report_new(c, j, attempt);
    }
}

/* ---- the other calls ---- */

static void handle_rewind(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c);
    struct entry *to = NULL;

    if (!j || must_wait(c, j)) return;
    if (q->has_attempt && q->attempt < j->attempt) {
        fail(c, ST_STALE_ATTEMPT);
        return;
    }
    if (q->has_attempt && q->attempt == j->attempt && j->has_rewound && j->rewound == q->attempt) {
        answer_job_settled(c, j);
        return;
    }
    to = q->initial ? find_initial(j) : find_state(j, q->step, false);
    if (!to && !q->initial) {
        fail(c, ST_STEP_NOT_FOUND);
    } else if (j->status == FINISHED || full) {
        fail(c, j->status == FINISHED ? ST_JOB_FINISHED : ST_STORE_FULL);
    } else {
        go_back(j, to, q->has_attempt, q->attempt);
        answer_job_with(c, n_changes);
    }
}

static void handle_begin(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c);
    struct entry *to = NULL;

    if (!j || must_wait(c, j)) return;
    if (q->has_step && !(to = find_state(j, q->step, false))) {
        fail(c, ST_STEP_NOT_FOUND);
    } else if (j->status == FINISHED || full) {
        fail(c, j->status == FINISHED ? ST_JOB_FINISHED : ST_STORE_FULL);
    } else if (to) {
        go_back(j, to, true, j->attempt + 1);
        answer_job_with(c, n_changes);
    } else {
        j->attempt++;
        add_entry(j, "begin");
        answer_job_with(c, n_changes);
        end_rounds(j, ST_REWOUND);
    }
}

static void handle_fork(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c), *child = &newest.jobs[q->other];
    struct entry *from = NULL;

    if (!j || must_wait(c, j)) return;
    if (child->exists) {
        fail(c, child->deleting ? ST_JOB_BEING_DELETED : ST_JOB_EXISTS);
    } else if (q->has_step && !(from = find_state(j, q->step, false))) {
        fail(c, ST_STEP_NOT_FOUND);
    } else if (full) {
        fail(c, ST_STORE_FULL);
    } else {
        memset(child, 0, offsetof(struct job, entries));
        child->exists = child->forked = true;
        child->created = child->now = j->now;
        child->s = from ? state_of(j, from) : j->s;
        ref_settle(&child->now, &child->s);
        struct entry *e = add_entry(child, "fork");

        e->state = true;
        changes[e->change].unsettled = changes[e->change].whole_row = true;
        answer_job_with(c, n_changes);
    }
}

static void handle_set_lr(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c);

    if (!j) return;
    if (j->status == FINISHED) {
        fail(c, ST_JOB_FINISHED);
    } else if (!(q->lr >= j->now.min_lr && q->lr <= j->now.max_lr)) {
        fail(c, ST_FIELD_INVALID);
    } else if (full) {
        fail(c, ST_STORE_FULL);
    } else {
        j->s.rate = j->s.answered = q->lr;
        struct entry *e = add_entry(j, "override");

        e->undone = true;
        answer_decision(c, e);
    }
}

static void handle_status(struct ref_call *c)
{
    static const char *const words[] = {
        [CALL_PAUSE] = "pause", [CALL_RESUME] = "resume", [CALL_FINISH] = "finish"};
    enum ref_kind kind = c->request.kind;
    uint32_t status = kind == CALL_PAUSE ? PAUSED : kind == CALL_FINISH ? FINISHED : ACTIVE;
    struct job *j = usable(c);

    if (!j) return;
    if (kind == CALL_PAUSE && j->status == FINISHED) {
        fail(c, ST_JOB_FINISHED);
    } else if (j->status == status) {
        answer_job_settled(c, j);
    } else if (full) {
        fail(c, ST_STORE_FULL);
    } else {
        j->status = status;
        add_entry(j, words[kind]);
        answer_job_with(c, n_changes);
        if (kind == CALL_FINISH) end_rounds(j, ST_JOB_FINISHED);
    }
}

static void handle_update(struct ref_call *c)
{
    const struct ref_settings *s = &c->request.settings;
    struct job *j = usable(c);

    if (!j || must_wait(c, j)) return;
    if (full) {
        fail(c, ST_STORE_FULL);
        return;
    }
    j->now.patience = s->patience;
    j->now.max_lr = s->max_lr;
    j->now.world_size = s->world_size;
    j->now.quorum = s->quorum;
    if (j->now.window) j->now.window = s->window;
    j->serial++;
    ref_settle(&j->now, &j->s);
    add_entry(j, "update");
    changes[n_changes].unsettled = changes[n_changes].whole_row = true;
    answer_job_with(c, n_changes);
}

static void handle_delete(struct ref_call *c)
{
    struct job *j = usable(c);

    if (!j) return;
    if (full) {
        fail(c, ST_STORE_FULL);
        return;
    }
    j->deleting = true;
    struct change *ch = push(j);

    ch->unsettled = ch->deletes = true;
    end_rounds(j, ST_JOB_DELETED);
    answer_with(c, n_changes, &(struct ref_answer){.shape = SHAPE_EMPTY});
}

static void handle_create(struct ref_call *c)
{
    const struct ref_settings *s = &c->request.settings;
    struct job *j = &newest.jobs[c->request.job];

    if (j->exists && j->deleting) {
        fail(c, ST_JOB_BEING_DELETED);
    } else if (j->exists && memcmp(s, &j->created, sizeof(*s)) != 0) {
        fail(c, ST_JOB_EXISTS);
    } else if (j->exists) {
        answer_job_settled(c, j);
    } else if (full) {
        fail(c, ST_STORE_FULL);
    } else {
        memset(j, 0, offsetof(struct job, entries));
        j->exists = true;
        j->created = j->now = *s;
        ref_start(s, &j->s);
        struct change *ch = push(j);

        ch->unsettled = ch->whole_row = true;
        answer_job_with(c, n_changes);
    }
}

static struct ref_answer rates_of(double lr, bool has_step, uint32_t step, uint32_t revision)
{
    struct ref_answer a;

    memset(&a, 0, sizeof(a));
    a.shape = SHAPE_RATES;
    a.lr = lr;
    a.has_step = has_step;
    a.step = step;
    a.revision = revision;
    return a;
}

static void answer_rates(struct ref_call *c, double lr, bool has_step, uint32_t step, uint32_t revision)
{
    struct ref_answer a = rates_of(lr, has_step, step, revision);

    answer(c, &a);
}

/* Reads see what is durable and known to be. */
static void handle_get_lr(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = &told.jobs[q->job];
    const struct entry *e;

    if (!j->exists) {
        fail(c, ST_JOB_NOT_FOUND);
    } else if (!q->has_step) {
        answer_rates(c, j->s.answered, j->s.has_step, j->s.step, j->revision);
    } else if (j->s.has_step && q->step <= j->s.step) {
        c->has_newer = true;
        if ((e = find_report(&disk.jobs[q->job], q->step)))
            c->newer = rates_of(e->a.lr, true, e->a.step, e->a.revision);
        else
            c->newer.status = ST_STEP_IN_PAST;
        if ((e = find_report(j, q->step)))
            answer_rates(c, e->a.lr, true, e->a.step, e->a.revision);
        else
            fail(c, ST_STEP_IN_PAST);
    } else if (!q->has_wait) {
        fail(c, ST_STEP_NOT_DECIDED);
    } else {
        wait_for(c, WAIT_DECISION, 0);
        c->deadline = now + q->wait_ms;
        c->deadline_order = ++order;
    }
}

static void handle_get_job(struct ref_call *c)
{
    uint32_t job = c->request.job;
    struct ref_answer a;

    if (!told.jobs[job].exists || !disk.jobs[job].exists) {
        fail(c, ST_JOB_NOT_FOUND);
        return;
    }
    view_of(&told.jobs[job], &a);
    answer(c, &a);
}

static void handle(struct ref_call *c)
{
    static void (*const handlers[CALL_KINDS])(struct ref_call *) = {
        [CALL_CREATE] = handle_create,   [CALL_REPORT] = handle_report, [CALL_REWIND] = handle_rewind,
        [CALL_BEGIN] = handle_begin,     [CALL_FORK] = handle_fork,     [CALL_SET_LR] = handle_set_lr,
        [CALL_PAUSE] = handle_status,    [CALL_RESUME] = handle_status, [CALL_FINISH] = handle_status,
        [CALL_UPDATE] = handle_update,   [CALL_DELETE] = handle_delete, [CALL_GET_LR] = handle_get_lr,
        [CALL_GET_JOB] = handle_get_job,
    };

    c->waits = WAIT_NOTHING;
    handlers[c->request.kind](c);
    assert(c->answered || c->waits);
}

/* ---- what happens ---- */

void ref_begin(void)
{
    for (uint32_t i = 0; i < REF_JOBS; i++)
        memset(&disk.jobs[i], 0, offsetof(struct job, entries));
    now = order = 0;
    ref_crash();
}

uint32_t ref_call(const struct ref_request *request)
{
    struct ref_call *c = &ref_calls[ref_n_calls++];

    assert(ref_n_calls <= REF_CALLS);
    memset(c, 0, sizeof(*c));
    c->request = *request;
    handle(c);
    return ref_n_calls - 1;
}

void ref_cancel(uint32_t call)
{
    struct ref_call *c = &ref_calls[call];

    if (c->waits == WAIT_ROUND || c->waits == WAIT_DECISION) fail(c, ST_CALLER_GONE);
}

uint32_t ref_queued(void)
{
    return n_changes;
}

uint32_t ref_untaken(void)
{
    uint32_t n = 0;

    for (uint32_t i = 1; i <= n_changes; i++)
        n += changes[i].state == QUEUED;
    return n;
}

void ref_take(void)
{
    for (uint32_t i = 1; i <= n_changes; i++) {
        if (changes[i].state == QUEUED) changes[i].state = TAKEN;
    }
    copy_world(&taken, &newest);
    for (uint32_t i = 0; i < REF_JOBS; i++) {
        if (taken.jobs[i].deleting) taken.jobs[i].exists = taken.jobs[i].deleting = false;
        forget_volatile(&taken.jobs[i]);
    }
}

void ref_commit(bool stored)
{
    if (!stored) {
        batch_failed = true;
        return;
    }
    for (uint32_t i = 1; i <= n_changes; i++) {
        if (changes[i].state == TAKEN) changes[i].state = STORED;
    }
    copy_world(&disk, &taken);
}

/* Of the calls that wait for the change, the one that has waited longest. */
static struct ref_call *first_waiting(uint32_t change)
{
    struct ref_call *first = NULL;

    for (uint32_t i = 0; i < ref_n_calls; i++) {
        struct ref_call *c = &ref_calls[i];

        if ((c->waits != WAIT_CHANGE && c->waits != WAIT_AGAIN) || c->change != change) continue;
        if (!first || wait_order[i] < wait_order[first - ref_calls]) first = c;
    }
    return first;
}

static void tell(uint32_t change)
{
    struct change *ch = &changes[change];
    struct ref_call *c;

    ch->state = TOLD;
    while ((c = first_waiting(change))) {
        if (c->waits == WAIT_AGAIN)
            handle(c);
        else
            change_is_told(c);
    }
    for (uint32_t i = 0; ch->decides && i < ref_n_calls; i++) {
        const struct ref_answer *d = &ch->decision;

        c = &ref_calls[i];
        if (c->waits == WAIT_DECISION && c->request.job == ch->job && c->request.step == d->step)
            answer_rates(c, d->lr, true, d->step, d->revision);
    }
    if (!ch->deletes) return;
    newest.jobs[ch->job].exists = newest.jobs[ch->job].deleting = false;
    for (uint32_t i = 0; i < ref_n_calls; i++) {
        if (ref_calls[i].waits == WAIT_DECISION && ref_calls[i].request.job == ch->job)
            fail(&ref_calls[i], ST_JOB_DELETED);
    }
}

/* Nothing happened; whose value is durable is told so. */
static enum status failure(bool kept)
{
    return kept ? ST_WAIT_INTERRUPTED : ST_STORE_FULL;
}

static void fail_job(uint32_t job)
{
    struct job *j = &newest.jobs[job];

    for (uint32_t i = 0; i < ref_n_calls; i++) {
        struct ref_call *c = &ref_calls[i];
        bool waits = c->waits == WAIT_CHANGE || c->waits == WAIT_AGAIN;

        if (waits && changes[c->change].job == job && is_pending(c->change)) {
            bool in_round = c->waits == WAIT_CHANGE && c->request.kind == CALL_REPORT && c->deadline;
            fail(c, failure(in_round && is_durable(c->own)));
        } else if (c->waits == WAIT_ROUND && c->request.job == job) {
            struct round *r = find_round(j, c->request.step);
            fail(c, failure(is_durable(r->by[c->request.rank].change)));
        }
    }
    copy_job(j, &disk.jobs[job]);
}

void ref_deliver(void)
{
    bool touched[REF_JOBS] = {false};
    uint32_t last = n_changes;

    for (uint32_t i = 1; i <= last; i++) {
        if (changes[i].state == STORED) tell(i);
    }
    copy_world(&told, &disk);
    if (!batch_failed) return;
    batch_failed = false;
    full = true;
    for (uint32_t i = 1; i <= n_changes; i++)
        touched[changes[i].job] |= is_pending(i);
    for (uint32_t job = 0; job < REF_JOBS; job++) {
        if (touched[job]) fail_job(job);
    }
    for (uint32_t i = 1; i <= n_changes; i++) {
        if (is_pending(i)) changes[i].state = FAILED;
    }
}

bool ref_full(void)
{
    return full;
}

void ref_room(void)
{
    full = false;
}

void ref_crash(void)
{
    for (uint32_t i = 0; i < REF_JOBS; i++) {
        for (uint32_t k = 0; k < disk.jobs[i].n; k++)
            disk.jobs[i].entries[k].change = 0; /* durable, whatever the numbers mean from now on */
    }
    copy_world(&newest, &disk);
    copy_world(&told, &disk);
    n_changes = ref_n_calls = 0;
    full = batch_failed = releasing = false;
}

/* ---- time ---- */

#define AGAIN_MS 5 /* what is not durable yet is looked at again */

void ref_set_time(uint64_t to)
{
    now = to;
}

static void round_is_due(struct job *j, struct round *r)
{
    uint32_t step = r->step;

    for (uint32_t rank = 0; rank < REF_RANKS; rank++) {
        if (!r->by[rank].there || is_durable(r->by[rank].change)) continue;
        r->deadline = now + AGAIN_MS;
        r->deadline_order = ++order;
        return;
    }
    r->deadline = 0;
    r->overdue = true;
    advance(j);
    r = find_round(j, step);
    if (r) fail_waiters(j, step, r == j->rounds && is_ready(r) ? failure(true) : ST_ROUND_INCOMPLETE);
}

static void call_is_due(struct ref_call *c)
{
    if (c->waits == WAIT_DECISION) {
        fail(c, releasing ? ST_DRAINING : ST_STEP_NOT_DECIDED);
        return;
    }
    struct round *r = find_round(&newest.jobs[c->request.job], c->request.step);

    if (is_durable(r->by[c->request.rank].change)) {
        fail(c, releasing ? ST_WAIT_INTERRUPTED : ST_WAIT_EXPIRED);
        return;
    }
    c->deadline = now + AGAIN_MS;
    c->deadline_order = ++order;
}

static bool is_earlier(uint64_t at, uint64_t at_order, uint64_t than, uint64_t than_order)
{
    return at < than || (at == than && at_order < than_order);
}

uint64_t ref_pass_deadline(uint64_t until)
{
    uint64_t at = until + 1, at_order = 0;
    struct ref_call *call = NULL;
    struct round *round = NULL;
    struct job *of = NULL;

    for (uint32_t i = 0; i < ref_n_calls; i++) {
        struct ref_call *c = &ref_calls[i];

        if (c->waits != WAIT_ROUND && c->waits != WAIT_DECISION) continue;
        if (!is_earlier(c->deadline, c->deadline_order, at, at_order)) continue;
        call = c;
        at = c->deadline;
        at_order = c->deadline_order;
    }
    for (uint32_t i = 0; i < REF_JOBS; i++) {
        struct job *j = &newest.jobs[i];

        for (uint32_t k = 0; j->exists && k < j->n_rounds; k++) {
            struct round *r = &j->rounds[k];

            if (!r->deadline || !is_earlier(r->deadline, r->deadline_order, at, at_order)) continue;
            round = r;
            of = j;
            at = r->deadline;
            at_order = r->deadline_order;
        }
    }
    if (!round && !call) return 0;
    now = at;
    if (round)
        round_is_due(of, round);
    else
        call_is_due(call);
    return at;
}

void ref_release(void)
{
    releasing = true;
    for (uint32_t i = 0; i < ref_n_calls; i++) {
        struct ref_call *c = &ref_calls[i];

        if (c->waits != WAIT_ROUND && c->waits != WAIT_DECISION) continue;
        c->deadline = now;
        c->deadline_order = ++order;
    }
}

/* ---- looking at it ---- */

bool ref_stored_job(uint32_t job, struct ref_answer *out)
{
    if (disk.jobs[job].exists) view_of(&disk.jobs[job], out);
    return disk.jobs[job].exists;
}

bool ref_stored_entry(uint32_t job, uint32_t i, struct ref_answer *out)
{
    const struct job *j = &disk.jobs[job];

    if (!j->exists || i >= j->n) return false;
    *out = j->entries[i].a;
    return true;
}

static bool same_state(const struct ref_state *a, const struct ref_state *b)
{
    return a->rate == b->rate && a->answered == b->answered && a->best == b->best && a->good == b->good &&
           a->bad == b->bad && a->stage == b->stage && a->left == b->left && a->reports == b->reports &&
           a->values == b->values && !memcmp(a->window, b->window, sizeof(a->window));
}

bool ref_replays(uint32_t job)
{
    const struct job *j = &disk.jobs[job];
    struct ref_state s;

    if (!j->exists || j->forked || j->serial) return true;
    ref_start(&j->created, &s);
    for (uint32_t i = 0; i < j->n; i++) {
        const struct entry *e = &j->entries[i];

        if (e->a.superseded) continue;
        if (!strcmp(e->a.action, "override")) s.rate = s.answered = e->a.lr;
        if (!e->report) continue;
        s.step = e->a.step;
        s.has_step = true;
        const char *action = ref_decide(&j->created, &s, e->paused, e->a.value, e->cap);
        if (strcmp(action, e->a.action) != 0 || s.answered != e->a.lr || s.best != e->a.best) return false;
    }
    return same_state(&s, &j->s);
}

void ref_hint(uint32_t job, struct ref_hint *out)
{
    const struct job *j = &newest.jobs[job];

    memset(out, 0, sizeof(*out));
    out->exists = j->exists;
    if (!j->exists) return;
    out->has_step = j->s.has_step;
    out->forked = j->forked;
    out->step = j->s.step;
    out->attempt = j->attempt;
    out->world_size = j->now.world_size;
    out->created = j->created;
    for (uint32_t i = 0; i < j->n_rounds; i++)
        out->rounds[out->n_rounds++] = j->rounds[i].step;
    out->reported = j->n_rounds ? j->rounds[0].n : 0;
    for (uint32_t i = j->n; i > 0 && out->n_past < 8; i--) {
        if (j->entries[i - 1].report) out->past[out->n_past++] = j->entries[i - 1].a.step;
    }
}
