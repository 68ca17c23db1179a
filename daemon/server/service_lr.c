/* Rates: those of now, from memory, or those of a step, now or when it is decided.  Durable ones only. */
#include "server/service_impl.h"

#include <stdlib.h>

static void answer_rates(struct call *call, const double *lrs, uint32_t groups, bool has_step, uint32_t step,
                         uint32_t revision)
{
    Greedylr__V1__GetLrResponse answer = GREEDYLR__V1__GET_LR_RESPONSE__INIT;

    answer.lrs = (double *)(uintptr_t)lrs;
    answer.n_lrs = groups;
    answer.has_lr = answer.has_revision = 1;
    answer.lr = lrs[0];
    answer.has_step = has_step;
    answer.step = step;
    answer.revision = revision;
    call->done(call, &answer.base, NULL);
}

static void answer_decision(struct call *call, const struct job_decision *d)
{
    answer_rates(call, d->lrs, d->groups, d->has_step, d->step, d->revision);
}

static void answer_waiter(struct waiter *w, const struct change *change, const struct error *err)
{
    w->call->cancel = NULL;
    if (err)
        call_fail(w->call, err);
    else
        answer_decision(w->call, &change->decision);
    free(w);
}

static void on_waited(void *arg)
{
    struct waiter *w = arg;
    struct error err;

    if (w->service->releasing)
        (void)error_set(&err, ST_DRAINING, "the daemon is stopping; repeat the request soon");
    else
        (void)error_set(&err, ST_STEP_NOT_DECIDED,
                        "step: %u of job %s was not decided within the wait; ask again", w->step,
                        w->job->name);
    waiter_fail(w, &err);
}

static void on_peer_gone(struct call *call)
{
    struct waiter *w = call->waiting;
    struct error err;

    if (!w->job) return;
    (void)error_set(&err, ST_CALLER_GONE, "the peer is gone");
    waiter_fail(w, &err);
}

static struct waiter *make_waiter(struct service *service, struct job *job, struct call *call, uint32_t step,
                                  uint64_t ms)
{
    struct waiter *w = calloc(1, sizeof(*w));

    if (!w) return NULL;
    *w = (struct waiter){.service = service, .job = job, .call = call, .answer = answer_waiter, .step = step};
    w->deadline = deadline_new(service->loop, service->releasing ? 0 : ms, on_waited, w);
    if (w->deadline) {
        waiter_add(w, &job->lr_waiters);
        call->waiting = w;
        call->cancel = on_peer_gone;
        return w;
    }
    free(w);
    return NULL;
}

void lr_waiters_wake(struct job *job, const struct change *change)
{
    const struct job_decision *d = &change->decision;
    struct waiter *next;

    if (!action_is_report(d->action)) return;
    for (struct waiter *w = job->lr_waiters; w; w = next) {
        next = w->next;
        if (w->step != d->step) continue;
        waiter_take(w);
        w->answer(w, change, NULL);
    }
}

void lr_waiters_end(struct job *job)
{
    struct error err;

    (void)error_set(&err, ST_JOB_DELETED, "job %s was deleted while the request waited", job->name);
    while (job->lr_waiters)
        waiter_fail(job->lr_waiters, &err);
}

/* A step at or below the last one: recorded, or never to be decided. */
static void answer_recorded(struct service *service, struct call *call, struct job *job, uint32_t step)
{
    struct change *change = job_find_durable_step(job, step);
    struct store_entry *entry;
    struct error err;

    if (change) {
        answer_decision(call, &change->decision);
        return;
    }
    entry = calloc(1, sizeof(*entry));
    if (!entry) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
    } else if (!store_find_step(service->reader, job->uid, step, entry, &err)) {
        answer_decision(call, &entry->decision);
    } else {
        if (err.status == ST_STEP_IN_PAST)
            (void)error_set(&err, ST_STEP_IN_PAST, "step: %u is behind the last decided step %u and %s", step,
                            job->durable->step, service_unrecorded(service));
        call_fail(call, &err);
    }
    free(entry);
}

void handle_get_lr(struct service *service, struct call *call)
{
    const Greedylr__V1__GetLrRequest *request = (const void *)call->request;
    const struct job_state *state;
    struct error err;
    struct job *job;

    if (service_find_durable(service, call->token, request->job, &job, &err)) goto fail;
    state = job->durable;
    if (!request->has_step) {
        if (request->wait) {
            (void)error_set(&err, ST_FIELD_REQUIRED, "step: is required with wait, the step to wait for");
            goto fail;
        }
        answer_rates(call, job_lrs(state), state->groups, state->has_step, state->step, state->revision);
        return;
    }
    if (state->has_step && request->step <= state->step) {
        answer_recorded(service, call, job, request->step);
        return;
    }
    uint64_t ms = request->wait ? service_wait_ms(service, call, request->wait) : 0;
    if (!ms) {
        (void)error_set(&err, ST_STEP_NOT_DECIDED,
                        "step: %u of job %s is not decided; give wait to wait for it", request->step,
                        job->name);
        goto fail;
    }
    if (!service_may_wait(service)) {
        (void)error_limit(&err, LIMIT_WAITING, ST_TOO_MANY_WAITING,
                          "wait: %u requests wait already, as many as --max-connections leaves room for; ask "
                          "again without wait, or raise it",
                          service->max_waiting);
        goto fail;
    }
    if (make_waiter(service, job, call, request->step, ms)) return;
    (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");

fail:
    call_fail(call, &err);
}
