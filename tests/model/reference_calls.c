/* The reference: what each call does.  Where a call builds on what is stored (rewind, begin, fork, update, a
 * report that goes back) it waits for changes of settings and rewinds that are on their way, and is then
 * handled as if it had come only now. */
#include "reference_impl.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* ---- reports ---- */

/* The job to build on, or NULL and the call has failed. */
static struct job *usable(struct ref_call *c)
{
    struct job *j = &ref.newest.jobs[c->request.job];

    if (j->exists && !j->deleting) return j;
    ref_fail(c, j->exists ? ST_JOB_BEING_DELETED : ST_JOB_NOT_FOUND);
    return NULL;
}

/* Whether the call has to wait for what is on its way to the store. */
static bool must_wait(struct ref_call *c, const struct job *j)
{
    uint32_t change = ref_last_pending(j, true);

    if (change) ref_wait_for(c, WAIT_AGAIN, change);
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
    if (!c->conflict || !j->settings.strict) return true;
    ref_fail(c, ST_STEP_CONFLICT);
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
    ref_answer_decision(c, e);
}

static void start_deadline(const struct job *j, struct round *r)
{
    if (r->deadline) return;
    r->deadline = ref.now + j->settings.deadline_ms;
    r->deadline_order = ++ref.order;
}

static void wait_in_round(struct ref_call *c, const struct job *j, struct round *r)
{
    uint64_t ms =
        c->request.has_wait && c->request.wait_ms < REF_WAIT_MAX ? c->request.wait_ms : REF_WAIT_MAX;

    start_deadline(j, r);
    ref_wait_for(c, WAIT_ROUND, 0);
    c->deadline = ref.now + ms;
    c->deadline_order = ++ref.order;
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
    ref_advance(j);
    if ((e = ref_find_report(j, q->step))) {
        ref_answer_decision(c, e);
        return;
    }
    r = ref_find_round(j, q->step);
    if (!had) {
        ref_push(j);
        r->by[q->rank].change = ref.n_changes;
    }
    c->own = r->by[q->rank].change;
    wait_in_round(c, j, r);
}

static void join_round(struct ref_call *c, struct job *j, uint32_t attempt)
{
    const struct ref_request *q = &c->request;
    struct round *r;

    if (!q->has_step) {
        ref_fail(c, ST_REPORT_REQUIRES_STEP);
        return;
    }
    if (j->status == FINISHED) {
        ref_fail(c, ST_JOB_FINISHED);
        return;
    }
    r = attempt > j->attempt ? NULL : ref_find_round(j, q->step);
    if (q->rank >= (r ? r->world_size : j->settings.world_size)) {
        ref_fail(c, ST_FIELD_INVALID);
        return;
    }
    if (attempt == j->attempt && !r && j->n_rounds > 8) {
        ref_fail(c, ST_STEP_TOO_FAR_AHEAD);
        return;
    }
    if (ref.full && (!r || !r->by[q->rank].there || ref_can_advance(j))) {
        ref_fail(c, ST_STORE_FULL);
        return;
    }
    if (attempt > j->attempt) {
        j->attempt = attempt;
        ref_add_entry(j, "begin");
        ref_end_rounds(j, ST_REWOUND);
    }
    add_to_round(c, j, r ? r : ref_open_round(j, q->step));
}

static void report_new(struct ref_call *c, struct job *j, uint32_t attempt)
{
    const struct ref_request *q = &c->request;

    if (j->settings.world_size > 1 || j->n_rounds) {
        join_round(c, j, attempt);
        return;
    }
    if (q->rank >= j->settings.world_size) {
        ref_fail(c, ST_FIELD_INVALID);
    } else if (j->status == FINISHED) {
        ref_fail(c, ST_JOB_FINISHED);
    } else if (ref.full) {
        ref_fail(c, ST_STORE_FULL);
    } else {
        uint32_t step = q->has_step ? q->step : j->s.has_step ? j->s.step + 1 : 1;

        j->attempt = attempt;
        struct entry *e = ref_decide_value(j, step, q->value, q->lr_cap > 0 ? q->lr_cap : INFINITY);

        e->request_id = q->request_id;
        ref_answer_decision(c, e);
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

    if (q->request_id && !q->has_step && (e = ref_find_request(j, q->request_id))) {
        answer_recorded(c, j, e);
    } else if (attempt < j->attempt) {
        ref_fail(c, ST_STALE_ATTEMPT);
    } else if (beyond) {
        report_new(c, j, attempt);
    } else if (attempt == j->attempt) {
        if ((e = ref_find_report(j, q->step)))
            answer_recorded(c, j, e);
        else
            ref_fail(c, ST_STEP_IN_PAST);
    } else if (j->status == FINISHED) {
        ref_fail(c, ST_JOB_FINISHED);
    } else if (q->rank >= j->settings.world_size) {
        ref_fail(c, ST_FIELD_INVALID);
    } else if (!must_wait(c, j)) {
        e = ref_find_state(j, q->step, true);
        if (!e) e = ref_find_initial(j);
        if (ref.full || (e && e->a.has_step && e->a.step >= q->step)) {
            ref_fail(c, e && e->a.has_step && e->a.step >= q->step ? ST_STEP_IN_PAST : ST_STORE_FULL);
            return;
        }
        ref_go_back(j, e, true, attempt);
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
        ref_fail(c, ST_STALE_ATTEMPT);
        return;
    }
    if (q->has_attempt && q->attempt == j->attempt && j->has_rewound && j->rewound == q->attempt) {
        ref_answer_job_settled(c, j);
        return;
    }
    to = q->initial ? ref_find_initial(j) : ref_find_state(j, q->step, false);
    if (!to && !q->initial) {
        ref_fail(c, ST_STEP_NOT_FOUND);
    } else if (j->status == FINISHED || ref.full) {
        ref_fail(c, j->status == FINISHED ? ST_JOB_FINISHED : ST_STORE_FULL);
    } else {
        ref_go_back(j, to, q->has_attempt, q->attempt);
        ref_answer_job_with(c, ref.n_changes);
    }
}

static void handle_begin(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c);
    struct entry *to = NULL;

    if (!j || must_wait(c, j)) return;
    if (q->has_step && !(to = ref_find_state(j, q->step, false))) {
        ref_fail(c, ST_STEP_NOT_FOUND);
    } else if (j->status == FINISHED || ref.full) {
        ref_fail(c, j->status == FINISHED ? ST_JOB_FINISHED : ST_STORE_FULL);
    } else if (to) {
        ref_go_back(j, to, true, j->attempt + 1);
        ref_answer_job_with(c, ref.n_changes);
    } else {
        j->attempt++;
        ref_add_entry(j, "begin");
        ref_answer_job_with(c, ref.n_changes);
        ref_end_rounds(j, ST_REWOUND);
    }
}

static void handle_fork(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c), *child = &ref.newest.jobs[q->other];
    struct entry *from = NULL;

    if (!j || must_wait(c, j)) return;
    if (child->exists) {
        ref_fail(c, child->deleting ? ST_JOB_BEING_DELETED : ST_JOB_EXISTS);
    } else if (q->has_step && !(from = ref_find_state(j, q->step, false))) {
        ref_fail(c, ST_STEP_NOT_FOUND);
    } else if (ref.full) {
        ref_fail(c, ST_STORE_FULL);
    } else {
        memset(child, 0, offsetof(struct job, entries));
        child->exists = child->forked = true;
        child->created = child->settings = j->settings;
        child->s = from ? ref_state_of(j, from) : j->s;
        ref_settle(&child->settings, &child->s);
        struct entry *e = ref_add_entry(child, "fork");

        e->state = true;
        ref.changes[e->change].unsettled = ref.changes[e->change].whole_row = true;
        ref_answer_job_with(c, ref.n_changes);
    }
}

static void handle_set_lr(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = usable(c);

    if (!j) return;
    struct ref_state after = j->s;

    if (j->status == FINISHED) {
        ref_fail(c, ST_JOB_FINISHED);
    } else if (!ref_override(&j->settings, &after, q->lr)) {
        ref_fail(c, ST_FIELD_INVALID);
    } else if (ref.full) {
        ref_fail(c, ST_STORE_FULL);
    } else {
        j->s = after;
        struct entry *e = ref_add_entry(j, "override");

        e->undone = true;
        e->set = q->lr;
        ref_answer_decision(c, e);
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
        ref_fail(c, ST_JOB_FINISHED);
    } else if (j->status == status) {
        ref_answer_job_settled(c, j);
    } else if (ref.full) {
        ref_fail(c, ST_STORE_FULL);
    } else {
        j->status = status;
        ref_add_entry(j, words[kind]);
        ref_answer_job_with(c, ref.n_changes);
        if (kind == CALL_FINISH) ref_end_rounds(j, ST_JOB_FINISHED);
    }
}

static void handle_update(struct ref_call *c)
{
    const struct ref_settings *s = &c->request.settings;
    struct job *j = usable(c);

    if (!j || must_wait(c, j)) return;
    if (ref.full) {
        ref_fail(c, ST_STORE_FULL);
        return;
    }
    j->settings.patience = s->patience;
    j->settings.max_lr = s->max_lr;
    j->settings.world_size = s->world_size;
    j->settings.quorum = s->quorum;
    j->settings.guard_ratio = s->guard_ratio;
    if (s->total_reports && !j->settings.total_reports) j->settings.fraction = 0.2; /* the default */
    if (s->total_reports) j->settings.total_reports = s->total_reports;
    if (j->settings.window) j->settings.window = s->window;
    j->serial++;
    ref_settle(&j->settings, &j->s);
    ref_add_entry(j, "update");
    ref.changes[ref.n_changes].unsettled = ref.changes[ref.n_changes].whole_row = true;
    ref_answer_job_with(c, ref.n_changes);
}

static void handle_delete(struct ref_call *c)
{
    struct job *j = usable(c);

    if (!j) return;
    if (ref.full) {
        ref_fail(c, ST_STORE_FULL);
        return;
    }
    j->deleting = true;
    struct change *ch = ref_push(j);

    ch->unsettled = ch->deletes = true;
    ref_end_rounds(j, ST_JOB_DELETED);
    ref_answer_with(c, ref.n_changes, &(struct ref_answer){.shape = SHAPE_EMPTY});
}

static void handle_create(struct ref_call *c)
{
    const struct ref_settings *s = &c->request.settings;
    struct job *j = &ref.newest.jobs[c->request.job];

    if (j->exists && j->deleting) {
        ref_fail(c, ST_JOB_BEING_DELETED);
    } else if (j->exists && memcmp(s, &j->created, sizeof(*s)) != 0) {
        ref_fail(c, ST_JOB_EXISTS);
    } else if (j->exists) {
        ref_answer_job_settled(c, j);
    } else if (ref.full) {
        ref_fail(c, ST_STORE_FULL);
    } else {
        memset(j, 0, offsetof(struct job, entries));
        j->exists = true;
        j->created = j->settings = *s;
        ref_start(s, &j->s);
        struct change *ch = ref_push(j);

        ch->unsettled = ch->whole_row = true;
        ref_answer_job_with(c, ref.n_changes);
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

void ref_answer_rates(struct ref_call *c, double lr, bool has_step, uint32_t step, uint32_t revision)
{
    struct ref_answer a = rates_of(lr, has_step, step, revision);

    ref_answer(c, &a);
}

/* Reads see what is durable and known to be. */
static void handle_get_lr(struct ref_call *c)
{
    const struct ref_request *q = &c->request;
    struct job *j = &ref.told.jobs[q->job];
    const struct entry *e;

    if (!j->exists) {
        ref_fail(c, ST_JOB_NOT_FOUND);
    } else if (!q->has_step) {
        ref_answer_rates(c, j->s.answered, j->s.has_step, j->s.step, j->revision);
    } else if (j->s.has_step && q->step <= j->s.step) {
        c->has_newer = true;
        if ((e = ref_find_report(&ref.disk.jobs[q->job], q->step)))
            c->newer = rates_of(e->a.lr, true, e->a.step, e->a.revision);
        else
            c->newer.status = ST_STEP_IN_PAST;
        if ((e = ref_find_report(j, q->step)))
            ref_answer_rates(c, e->a.lr, true, e->a.step, e->a.revision);
        else
            ref_fail(c, ST_STEP_IN_PAST);
    } else if (!q->has_wait) {
        ref_fail(c, ST_STEP_NOT_DECIDED);
    } else {
        ref_wait_for(c, WAIT_DECISION, 0);
        c->deadline = ref.now + q->wait_ms;
        c->deadline_order = ++ref.order;
    }
}

static void handle_get_job(struct ref_call *c)
{
    uint32_t job = c->request.job;
    struct ref_answer a;

    if (!ref.told.jobs[job].exists || !ref.disk.jobs[job].exists) {
        ref_fail(c, ST_JOB_NOT_FOUND);
        return;
    }
    ref_view_of(&ref.told.jobs[job], &a);
    ref_answer(c, &a);
}

void ref_handle(struct ref_call *c)
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
