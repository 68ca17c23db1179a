/* The reference: what is durable, who is told when, and time.  Happy path: a call is handled on the newest
 * jobs and notes which change its answer waits for; take, commit and deliver move the copy that is durable
 * and answer.  A crash and a failed commit go back to that copy. */
#include "reference_impl.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

struct reference ref;
static struct world taken;
static bool batch_failed;

static const char *const status_words[] = {"active", "paused", "finished"};

struct ref_call ref_calls[REF_CALLS];
uint32_t ref_n_calls;

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

uint32_t ref_number_of(const struct job *j)
{
    return (uint32_t)(j - ref.newest.jobs);
}

/* ---- changes ---- */

void ref_view_of(const struct job *j, struct ref_answer *a)
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

struct change *ref_push(struct job *j)
{
    struct change *c = &ref.changes[++ref.n_changes];

    assert(ref.n_changes < REF_CHANGES);
    memset(c, 0, sizeof(*c));
    c->job = ref_number_of(j);
    ref_view_of(j, &c->view);
    return c;
}

bool ref_is_durable(uint32_t change)
{
    return !change || ref.changes[change].state == TOLD;
}

bool ref_is_pending(uint32_t change)
{
    return ref.changes[change].state < TOLD;
}

/* The newest change of the job that is on its way; unsettled: of those that others wait for. 0: none. */
uint32_t ref_last_pending(const struct job *j, bool unsettled)
{
    for (uint32_t i = ref.n_changes; i > 0; i--) {
        if (ref.changes[i].job == ref_number_of(j) && ref_is_pending(i) &&
            (ref.changes[i].unsettled || !unsettled))
            return i;
    }
    return 0;
}

/* ---- what happens ---- */

void ref_begin(void)
{
    for (uint32_t i = 0; i < REF_JOBS; i++)
        memset(&ref.disk.jobs[i], 0, offsetof(struct job, entries));
    ref.now = ref.order = 0;
    ref_crash();
}

uint32_t ref_call(const struct ref_request *request)
{
    struct ref_call *c = &ref_calls[ref_n_calls++];

    assert(ref_n_calls <= REF_CALLS);
    memset(c, 0, sizeof(*c));
    c->request = *request;
    ref_handle(c);
    return ref_n_calls - 1;
}

void ref_cancel(uint32_t call)
{
    struct ref_call *c = &ref_calls[call];

    if (c->waits == WAIT_ROUND || c->waits == WAIT_DECISION) ref_fail(c, ST_CALLER_GONE);
}

uint32_t ref_queued(void)
{
    return ref.n_changes;
}

uint32_t ref_untaken(void)
{
    uint32_t n = 0;

    for (uint32_t i = 1; i <= ref.n_changes; i++)
        n += ref.changes[i].state == QUEUED;
    return n;
}

void ref_take(void)
{
    for (uint32_t i = 1; i <= ref.n_changes; i++) {
        if (ref.changes[i].state == QUEUED) ref.changes[i].state = TAKEN;
    }
    copy_world(&taken, &ref.newest);
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
    for (uint32_t i = 1; i <= ref.n_changes; i++) {
        if (ref.changes[i].state == TAKEN) ref.changes[i].state = STORED;
    }
    copy_world(&ref.disk, &taken);
}

/* Of the calls that wait for the change, the one that has waited longest. */
static struct ref_call *first_waiting(uint32_t change)
{
    struct ref_call *first = NULL;

    for (uint32_t i = 0; i < ref_n_calls; i++) {
        struct ref_call *c = &ref_calls[i];

        if ((c->waits != WAIT_CHANGE && c->waits != WAIT_AGAIN) || c->change != change) continue;
        if (!first || c->since < first->since) first = c;
    }
    return first;
}

static void tell(uint32_t change)
{
    struct change *ch = &ref.changes[change];
    struct ref_call *c;

    ch->state = TOLD;
    while ((c = first_waiting(change))) {
        if (c->waits == WAIT_AGAIN)
            ref_handle(c);
        else
            ref_change_is_told(c);
    }
    for (uint32_t i = 0; ch->decides && i < ref_n_calls; i++) {
        const struct ref_answer *d = &ch->decision;

        c = &ref_calls[i];
        if (c->waits == WAIT_DECISION && c->request.job == ch->job && c->request.step == d->step)
            ref_answer_rates(c, d->lr, true, d->step, d->revision);
    }
    if (!ch->deletes) return;
    ref.newest.jobs[ch->job].exists = ref.newest.jobs[ch->job].deleting = false;
    for (uint32_t i = 0; i < ref_n_calls; i++) {
        if (ref_calls[i].waits == WAIT_DECISION && ref_calls[i].request.job == ch->job)
            ref_fail(&ref_calls[i], ST_JOB_DELETED);
    }
}

/* Nothing happened; whose value is durable is told so. */
static enum status failure(bool kept)
{
    return kept ? ST_WAIT_INTERRUPTED : ST_STORE_FULL;
}

static void fail_job(uint32_t job)
{
    struct job *j = &ref.newest.jobs[job];

    for (uint32_t i = 0; i < ref_n_calls; i++) {
        struct ref_call *c = &ref_calls[i];
        bool waits = c->waits == WAIT_CHANGE || c->waits == WAIT_AGAIN;

        if (waits && ref.changes[c->change].job == job && ref_is_pending(c->change)) {
            bool in_round = c->waits == WAIT_CHANGE && c->request.kind == CALL_REPORT && c->deadline;
            ref_fail(c, failure(in_round && ref_is_durable(c->own)));
        } else if (c->waits == WAIT_ROUND && c->request.job == job) {
            struct round *r = ref_find_round(j, c->request.step);
            ref_fail(c, failure(ref_is_durable(r->by[c->request.rank].change)));
        }
    }
    copy_job(j, &ref.disk.jobs[job]);
}

void ref_deliver(void)
{
    bool touched[REF_JOBS] = {false};
    uint32_t last = ref.n_changes;

    for (uint32_t i = 1; i <= last; i++) {
        if (ref.changes[i].state == STORED) tell(i);
    }
    copy_world(&ref.told, &ref.disk);
    if (!batch_failed) return;
    batch_failed = false;
    ref.full = true;
    for (uint32_t i = 1; i <= ref.n_changes; i++)
        touched[ref.changes[i].job] |= ref_is_pending(i);
    for (uint32_t job = 0; job < REF_JOBS; job++) {
        if (touched[job]) fail_job(job);
    }
    for (uint32_t i = 1; i <= ref.n_changes; i++) {
        if (ref_is_pending(i)) ref.changes[i].state = FAILED;
    }
}

bool ref_full(void)
{
    return ref.full;
}

void ref_room(void)
{
    ref.full = false;
}

void ref_crash(void)
{
    for (uint32_t i = 0; i < REF_JOBS; i++) {
        for (uint32_t k = 0; k < ref.disk.jobs[i].n; k++)
            ref.disk.jobs[i].entries[k].change = 0; /* durable, whatever the numbers mean from now on */
    }
    copy_world(&ref.newest, &ref.disk);
    copy_world(&ref.told, &ref.disk);
    ref.n_changes = ref_n_calls = 0;
    ref.full = batch_failed = ref.releasing = false;
}

/* ---- time ---- */

#define AGAIN_MS 5 /* what is not durable yet is looked at again */

void ref_set_time(uint64_t to)
{
    ref.now = to;
}

static void round_is_due(struct job *j, struct round *r)
{
    uint32_t step = r->step;

    for (uint32_t rank = 0; rank < REF_RANKS; rank++) {
        if (!r->by[rank].there || ref_is_durable(r->by[rank].change)) continue;
        r->deadline = ref.now + AGAIN_MS;
        r->deadline_order = ++ref.order;
        return;
    }
    r->deadline = 0;
    r->overdue = true;
    ref_advance(j);
    r = ref_find_round(j, step);
    if (r) ref_fail_waiters(j, step, r == j->rounds && ref_is_ready(r) ? failure(true) : ST_ROUND_INCOMPLETE);
}

static void call_is_due(struct ref_call *c)
{
    if (c->waits == WAIT_DECISION) {
        ref_fail(c, ref.releasing ? ST_DRAINING : ST_STEP_NOT_DECIDED);
        return;
    }
    struct round *r = ref_find_round(&ref.newest.jobs[c->request.job], c->request.step);

    if (ref_is_durable(r->by[c->request.rank].change)) {
        ref_fail(c, ref.releasing ? ST_WAIT_INTERRUPTED : ST_WAIT_EXPIRED);
        return;
    }
    c->deadline = ref.now + AGAIN_MS;
    c->deadline_order = ++ref.order;
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
        struct job *j = &ref.newest.jobs[i];

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
    ref.now = at;
    if (round)
        round_is_due(of, round);
    else
        call_is_due(call);
    return at;
}

void ref_release(void)
{
    ref.releasing = true;
    for (uint32_t i = 0; i < ref_n_calls; i++) {
        struct ref_call *c = &ref_calls[i];

        if (c->waits != WAIT_ROUND && c->waits != WAIT_DECISION) continue;
        c->deadline = ref.now;
        c->deadline_order = ++ref.order;
    }
}

/* ---- looking at it ---- */

bool ref_stored_job(uint32_t job, struct ref_answer *out)
{
    if (ref.disk.jobs[job].exists) ref_view_of(&ref.disk.jobs[job], out);
    return ref.disk.jobs[job].exists;
}

bool ref_stored_entry(uint32_t job, uint32_t i, struct ref_answer *out)
{
    const struct job *j = &ref.disk.jobs[job];

    if (!j->exists || i >= j->n) return false;
    *out = j->entries[i].a;
    return true;
}

static bool same_state(const struct ref_state *a, const struct ref_state *b)
{
    return a->rate == b->rate && a->answered == b->answered && a->best == b->best && a->good == b->good &&
           a->bad == b->bad && a->stage == b->stage && a->left == b->left && a->reports == b->reports &&
           a->counted == b->counted && a->values == b->values &&
           !memcmp(a->window, b->window, sizeof(a->window));
}

bool ref_replays(uint32_t job)
{
    const struct job *j = &ref.disk.jobs[job];
    struct ref_state s;

    if (!j->exists || j->forked || j->serial) return true;
    ref_start(&j->created, &s);
    for (uint32_t i = 0; i < j->n; i++) {
        const struct entry *e = &j->entries[i];

        if (e->a.superseded) continue;
        if (!strcmp(e->a.action, "override") && !ref_override(&j->created, &s, e->set)) return false;
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
    const struct job *j = &ref.newest.jobs[job];

    memset(out, 0, sizeof(*out));
    out->exists = j->exists;
    if (!j->exists) return;
    out->has_step = j->s.has_step;
    out->forked = j->forked;
    out->step = j->s.step;
    out->attempt = j->attempt;
    out->world_size = j->settings.world_size;
    out->created = j->created;
    for (uint32_t i = 0; i < j->n_rounds; i++)
        out->rounds[out->n_rounds++] = j->rounds[i].step;
    out->reported = j->n_rounds ? j->rounds[0].n : 0;
    for (uint32_t i = j->n; i > 0 && out->n_past < 8; i--) {
        if (j->entries[i - 1].report) out->past[out->n_past++] = j->entries[i - 1].a.step;
    }
}
