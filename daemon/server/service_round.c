/* Rounds: reports that wait for those of the other ranks.
 *
 * Happy path: a rank's report joins the round of its step and is stored as a contribution; the report that
 * completes the open round decides it, and everybody who waits is answered once that decision is durable.  At
 * the deadline a quorum decides, or who waits is told which ranks are missing; the values stay.  Failure
 * modes: a commit that fails takes the rounds back to what the store holds. */
#include "server/service_impl.h"

#include "server/log.h"
#include "server/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RECORDING_MS 5 /* to look again whether a contribution is durable */

/* ---- loading ---- */

struct loading {
    struct service *service;
    struct job *job;
    struct error *err;
};

static int load_one(void *arg, const struct store_contribution *c)
{
    struct loading *l = arg;
    const struct job_state *state = l->job->newest;

    if (c->attempt != state->attempt || (state->has_step && c->step <= state->step)) return 0;
    struct open_round *open = rounds_find(l->job, c->step);
    if (!open) {
        struct ranks ranks = c->ranks;
        ranks.deadline_ms = l->job->spec->ranks.deadline_ms;
        open = rounds_open(l->service, l->job, c->attempt, c->step, &ranks);
    }
    if (!open) return error_set(l->err, ST_OUT_OF_MEMORY, "out of memory");
    if (c->rank >= open->round->ranks.world_size || open->round->reports[c->rank].order) return 0;
    open->round->reports[c->rank] = c->report;
    open->round->n++;
    return 0;
}

int rounds_load(struct service *service, struct job *job, struct error *err)
{
    struct loading l = {service, job, err};

    if (job->rounds_loaded) return 0;
    err->status = ST_OK;
    int rc = store_list_contributions(service->reader, job->uid, load_one, &l, err);
    if (!rc) rc = (int)err->status;
    job->rounds_loaded = !rc;
    if (rc) rounds_drop(job);
    return rc;
}

/* ---- answering ---- */

/* Whose value is durable is told so: it outlives a commit that failed. */
static const struct error *say_recorded(const struct waiter *w, const struct error *err,
                                        struct error *interrupted)
{
    bool store =
        err->status == ST_STORE_FULL || err->status == ST_STORE_HELD || err->status == ST_STORE_FAILED;

    if (!w->recorded || !store) return err;
    (void)error_set(interrupted, ST_WAIT_INTERRUPTED, "%s; the value is kept, the same report again waits on",
                    err->message);
    return interrupted;
}

static void answer_report(struct waiter *w, const struct change *change, const struct error *err)
{
    struct error interrupted;
    struct call *call = w->call;
    struct report r = {.change = w->change, .duplicate = w->duplicate};

    call->cancel = NULL;
    if (err) err = say_recorded(w, err, &interrupted);
    report_count(&r, err);
    if (err) {
        call_fail(call, err);
    } else {
        const Greedylr__V1__ReportRequest *request = (const void *)call->request;
        report_answer(call, &change->decision, request->job, w->duplicate, w->conflict);
    }
    free(w);
}

static void missing_of(const struct round *round, struct error *err, enum status status, const char *what)
{
    char missing[160];

    round_missing_text(round, missing, sizeof(missing));
    (void)error_set(err, status, "step: %u has reports of %u of %u ranks %s; missing: %s; %s", round->step,
                    round->n, round->ranks.world_size, what, missing,
                    "the values are kept, the same report again waits on");
}

/* The time of one call is over; its value stays. */
static void on_waited(void *arg)
{
    struct waiter *w = arg;
    struct error err;

    if (!w->round->reports[w->rank].recorded) { /* what is said to be recorded has to be durable */
        deadline_again(w->deadline, RECORDING_MS);
        return;
    }
    enum status status = w->service->releasing ? ST_WAIT_INTERRUPTED : ST_WAIT_EXPIRED;
    if (round_complete(w->round))
        missing_of(w->job->rounds->round, &err, status, "and has to be decided first");
    else
        missing_of(w->round, &err, status,
                   w->service->releasing ? "as the daemon stops" : "at the end of this request's time");
    waiter_fail(w, &err);
}

static void on_peer_gone(struct call *call)
{
    struct waiter *w = call->waiting;
    struct error err;

    if (!w->job) return; /* settled: its answer comes and finds nobody */
    (void)error_set(&err, ST_CALLER_GONE, "the peer is gone");
    waiter_fail(w, &err);
}

uint64_t service_wait_ms(const struct service *service, const struct call *call,
                         const Google__Protobuf__Duration *wait)
{
    uint64_t ms = service->options.max_wait_ms;

    if (wait) {
        uint64_t seconds = wait->seconds < 0 ? 0 : (uint64_t)wait->seconds;
        uint64_t asked = wait->seconds < 0 ? 0 : seconds * 1000 + (uint64_t)wait->nanos / 1000000;
        if (seconds <= ms / 1000 && asked < ms) ms = asked;
    }
    if (call->timeout_ms >= 0 && (uint64_t)call->timeout_ms < ms) ms = (uint64_t)call->timeout_ms;
    return ms;
}

void round_wait(struct service *service, struct call *call, const struct report *r)
{
    const Greedylr__V1__ReportRequest *request = (const void *)call->request;
    struct job *job = jobs_peek(service->jobs, r->job);
    struct open_round *open = rounds_find(job, r->step);
    struct waiter *w = calloc(1, sizeof(*w));
    struct error err;

    if (w) {
        *w = (struct waiter){.service = service,
                             .job = job,
                             .call = call,
                             .answer = answer_report,
                             .round = open->round,
                             .step = r->step,
                             .rank = r->rank,
                             .duplicate = r->duplicate,
                             .conflict = r->conflict};
        bool may_wait = !service->releasing && service_may_wait(service);
        if (!may_wait && !service->releasing) metrics_limit(LIMIT_WAITING);
        uint64_t ms = may_wait ? service_wait_ms(service, call, request->wait) : 0;
        w->deadline = deadline_new(service->loop, ms, on_waited, w);
    }
    if (!w || !w->deadline) {
        free(w);
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    waiter_add(w, &open->waiters);
    call->waiting = w;
    call->cancel = on_peer_gone;
}

void round_recorded(struct job *job, const struct change *change)
{
    const struct store_contribution *c = &change->contribution;
    struct open_round *open = rounds_find(job, c->step);

    if (open && open->serial == change->round_serial) open->round->reports[c->rank].recorded = true;
}

/* ---- ending ---- */

static void settle_all(struct open_round *open, struct change *change, const struct error *verdict)
{
    while (open->waiters)
        waiter_settle(open->waiters, change, verdict);
}

static void fail_all(struct open_round *open, const struct error *err)
{
    while (open->waiters)
        waiter_fail(open->waiters, err);
}

void rounds_end(struct job *job, struct change *change, const struct error *verdict)
{
    while (job->rounds) {
        settle_all(job->rounds, change, verdict);
        rounds_close(job->rounds);
    }
    job->rounds_loaded = true; /* what the store still has ends with the change, too */
}

void rounds_fail(struct job *job, const struct error *err)
{
    while (job->rounds) {
        fail_all(job->rounds, err);
        rounds_close(job->rounds);
    }
    job->rounds_loaded = false;
}

/* ---- deciding ---- */

/* Decides the open round; who waits is answered with it. */
static int decide(struct service *service, struct open_round *open, struct error *err)
{
    struct job *job = open->job;
    struct round *round = open->round;
    struct change *change = change_new(job, job->spec);
    struct job_event event = {.time_us = service_now_us()};

    if (!change) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    change->round_len = round_record_size(round);
    change->round = malloc(change->round_len);
    if (!change->round) {
        (void)error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        goto err_change;
    }
    round_record(round, change->round);
    round_event(round, job->newest, &event);
    if (job_step(job->spec, job->newest, &event, change->state, &change->decision, err)) goto err_change;
    change->has_decision = true;
    if (service_queue(service, change, err)) goto err_change;
    settle_all(open, change, NULL);
    rounds_close(open);
    return 0;

err_change:
    change_unref(change);
    return (int)err->status;
}

/* Whether an overdue round that lacks a quorum is passed over: everybody has gone on to a later step, so that
 * nobody is left to complete it.  Only for a later round that is decided in the same turn: its decision is
 * what makes the end of this one durable. */
static bool passed_over(const struct open_round *open)
{
    while (open && open->round->overdue) {
        open = open->next;
        if (open && round_complete(open->round)) return true;
    }
    return false;
}

static bool can_advance(const struct job *job)
{
    return job->rounds && (round_ready(job->rounds->round) || passed_over(job->rounds));
}

static void pass_over(struct open_round *open)
{
    struct error err;

    log_event(LOG_WARNING, "round_given_up",
              (struct log_field[]){log_str("job", open->job->name), log_u64("step", open->round->step),
                                   log_u64("reported", open->round->n),
                                   log_u64("world_size", open->round->ranks.world_size), log_end()});
    (void)error_set(
        &err, ST_STEP_IN_PAST,
        "step: %u is given up: its deadline passed without a quorum and every rank has reported a "
        "later step",
        open->round->step);
    fail_all(open, &err);
    rounds_close(open);
}

/* Decides what can be decided, in order.  A round that cannot be (its value is refused) ends with the error;
 * while writes are refused it stays for a later report. */
static int advance(struct service *service, struct job *job, struct error *err)
{
    int rc = 0;

    while (can_advance(job)) {
        struct open_round *open = job->rounds;

        if (service_check_write(service, err)) return (int)err->status;
        if (!round_ready(open->round)) {
            pass_over(open);
            continue;
        }
        rc = decide(service, open, err);
        if (!rc) continue;
        fail_all(open, err);
        rounds_close(open);
        return rc;
    }
    return 0;
}

static bool all_recorded(const struct round *round)
{
    return round_missing(round, true, NULL, 0) == round->ranks.world_size - round->n;
}

static void on_round_deadline(void *arg)
{
    struct open_round *open = arg;
    struct service *service = open->service;
    struct job *job = open->job;
    uint32_t step = open->round->step;
    struct error err;

    if (!all_recorded(open->round)) {
        deadline_again(open->deadline, RECORDING_MS);
        return;
    }
    deadline_drop(open->deadline);
    open->deadline = NULL;
    job->holds--;
    open->round->overdue = true;
    (void)!advance(service, job, &err);
    service_flush(service);
    open = rounds_find(job, step);
    if (!open) return;
    if (open == job->rounds && round_ready(open->round)) {
        fail_all(open, &err); /* the same report decides once writes are taken again */
        return;
    }
    missing_of(open->round, &err, ST_ROUND_INCOMPLETE, "at the deadline");
    if (open != job->rounds && round_ready(open->round))
        missing_of(job->rounds->round, &err, ST_ROUND_INCOMPLETE, "and has to be decided first");
    log_event(LOG_WARNING, "round_incomplete",
              (struct log_field[]){log_str("job", job->name), log_u64("step", step),
                                   log_str("error", err.message), log_end()});
    fail_all(open, &err);
}

static int start_deadline(struct open_round *open, struct error *err)
{
    if (open->deadline) return 0;
    open->deadline =
        deadline_new(open->service->loop, (uint64_t)open->round->ranks.deadline_ms, on_round_deadline, open);
    if (!open->deadline) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    open->job->holds++;
    return 0;
}

/* ---- joining ---- */

static int check_rank(uint32_t rank, uint32_t world_size, struct error *err)
{
    if (rank < world_size) return 0;
    return error_set(err, ST_FIELD_INVALID, "rank: must be below world_size %u, got %u", world_size, rank);
}

/* A report of a later attempt begins it. */
static int begin_attempt(struct service *service, struct job *job, uint32_t attempt, uint32_t rank,
                         struct error *err)
{
    const struct change make = {.drops_contributions = true};
    struct job_event event = {.kind = EVENT_BEGIN, .time_us = service_now_us()};
    struct error verdict;
    struct change *change;

    if (attempt == job->newest->attempt) return 0;
    if (check_rank(rank, job->spec->ranks.world_size, err)) return (int)err->status;
    event.begin.has_attempt = true;
    event.begin.attempt = attempt;
    if (service_event(service, job, &event, &make, &change, err)) return (int)err->status;
    (void)error_set(&verdict, ST_REWOUND, "attempt %u of job %s began; this report belongs to the one before",
                    attempt, job->name);
    rounds_end(job, change, &verdict);
    return 0;
}

static int find_round(struct service *service, struct job *job, const Greedylr__V1__ReportRequest *m,
                      struct auth_token *token, struct open_round **out, struct error *err)
{
    struct open_round *open = rounds_find(job, m->step);
    const struct ranks *ranks = open ? &open->round->ranks : &job->spec->ranks;

    if (check_rank(m->rank, ranks->world_size, err)) return (int)err->status;
    if (!open && rounds_count(job) > ROUNDS_BEHIND)
        return error_set(err, ST_STEP_TOO_FAR_AHEAD,
                         "step: %u: %u later steps wait behind the open step %u already; report its missing "
                         "ranks, or :rewind the job",
                         m->step, ROUNDS_BEHIND, job->rounds->round->step);
    if (!open && (auth_check_rounds(token, err) || rounds_reserve(service, ranks->world_size, err)))
        return (int)err->status;
    if (!open && (open = rounds_open(service, job, job->newest->attempt, m->step, ranks)))
        rounds_own(open, token);
    if (!open) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    *out = open;
    return 0;
}

/* Stores the rank's report; r->own is on its way then. */
static int contribute(struct service *service, struct open_round *open, uint32_t rank, struct report *r)
{
    struct change *change = change_new_contribution(open->job);

    if (!change) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    change->contribution = (struct store_contribution){.attempt = open->round->attempt,
                                                       .step = open->round->step,
                                                       .rank = rank,
                                                       .ranks = open->round->ranks,
                                                       .report = open->round->reports[rank]};
    change->round_serial = open->serial;
    if (service_queue(service, change, &r->err)) {
        change_unref(change);
        return (int)r->err.status;
    }
    r->own = change;
    change_ref(change);
    return 0;
}

/* A round that its only report left without a trace. */
static int take_back(struct open_round *open, uint32_t rank, int rc)
{
    memset(&open->round->reports[rank], 0, sizeof(open->round->reports[rank]));
    if (!--open->round->n && !open->waiters) rounds_close(open);
    return rc;
}

static int add_report(struct service *service, struct open_round *open, uint32_t rank,
                      const struct round_report *report, struct report *r)
{
    struct job *job = open->job;
    uint32_t step = open->round->step;
    bool writes = !open->round->reports[rank].order || can_advance(job);

    if (writes && service_check_write(service, &r->err)) {
        if (!open->round->n && !open->waiters) rounds_close(open);
        return (int)r->err.status;
    }
    bool added = round_add(open->round, rank, report);
    int rc = added ? 0 : report_compare(job, step, open->round->reports[rank].value, report->value, r);

    if (rc) return rc;
    r->fresh = added;
    if (!added && !can_advance(job)) return start_deadline(open, &r->err);
    if ((rc = advance(service, job, &r->err)) && !rounds_find(job, step)) return rc;
    r->err.status = ST_OK;
    r->change = job_find_step(job, step);
    if (r->change) {
        change_ref(r->change);
        return 0;
    }
    if (added && (rc = contribute(service, open, rank, r))) return take_back(open, rank, rc);
    return start_deadline(open, &r->err);
}

int round_report(struct service *service, struct job *job, const Greedylr__V1__ReportRequest *m,
                 const struct job_event *event, struct report *r)
{
    const struct round_report report = {.value = event->report.value,
                                        .weight = m->has_weight ? m->weight : 1,
                                        .lr_cap = event->report.lr_cap,
                                        .applied_lr = event->report.applied_lr};
    struct open_round *open = NULL;
    int rc;

    if (!m->has_step)
        return error_set(&r->err, ST_REPORT_REQUIRES_STEP,
                         "step: is required in a job of %u ranks, so that their reports find each other",
                         job->spec->ranks.world_size);
    if ((rc = job_admit(job->spec, job->newest, event, &r->err)) ||
        (rc = rounds_load(service, job, &r->err)) ||
        (rc = begin_attempt(service, job,
                            event->report.has_attempt ? event->report.attempt : job->newest->attempt, m->rank,
                            &r->err)) ||
        (rc = find_round(service, job, m, r->token, &open, &r->err)) ||
        (rc = add_report(service, open, m->rank, &report, r)))
        return rc;
    r->waits = !r->change;
    return 0;
}
