/* What operators and launchers do to a job: begin, rewind, fork, setLr, pause, resume, finish.
 *
 * Each is an event that job_step takes, kept in the history with who did it.  What builds on stored settings
 * or states waits until those are durable.  Bad input changes nothing. */
#include "server/service_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Finds the job of a call that needs the store's view of it to be complete; false: the call was answered, or
 * will be handled again. */
static bool find_settled(struct service *service, struct call *call, const char *name, struct job **job)
{
    struct change *unsettled;
    struct error err;

    if (service_find(service, call->token, name, job, &err)) {
        call_fail(call, &err);
        return false;
    }
    unsettled = job_find_unsettled(*job);
    if (unsettled) service_again_after(service, call, unsettled);
    return !unsettled;
}

/* ---- begin and rewind ---- */

static int begin_here(struct service *service, struct job *job, const char *actor, struct change **out,
                      struct error *err)
{
    const struct change make = {.drops_contributions = true};
    struct job_event event = {.kind = EVENT_BEGIN, .time_us = service_now_us(), .actor = actor};
    struct error verdict;

    if (service_event(service, job, &event, &make, out, err)) return (int)err->status;
    (void)error_set(&verdict, ST_REWOUND, "attempt %u of job %s began; this report belongs to the one before",
                    (*out)->decision.attempt, job->name);
    rounds_end(job, *out, &verdict);
    return 0;
}

static int begin_at(struct service *service, struct job *job, uint32_t step, const char *actor,
                    struct change **out, struct error *err)
{
    uint32_t attempt = job->newest->attempt + 1;
    struct past past;
    int rc;

    if (!attempt) return error_set(err, ST_FIELD_INVALID, "attempt: there is none after %u", UINT32_MAX);
    rc = past_find(service, job, STORE_STATE_AT, step, &past, err);
    if (rc) return rc;
    rc = past_return(service, job, &past, actor, &attempt, out, err);
    free(past.state);
    return rc;
}

void handle_begin_attempt(struct service *service, struct call *call)
{
    const Greedylr__V1__BeginAttemptRequest *request = (const void *)call->request;
    struct change *change;
    struct error err;
    struct job *job;
    int rc;

    if (!find_settled(service, call, request->job, &job)) return;
    rc = request->has_step ? begin_at(service, job, request->step, call->peer, &change, &err)
                           : begin_here(service, job, call->peer, &change, &err);
    if (rc)
        call_fail(call, &err);
    else
        answer_job_after(service, call, change);
}

static int check_rewind(const Greedylr__V1__RewindJobRequest *request, const struct job *job,
                        struct error *err)
{
    if (request->target_case == GREEDYLR__V1__REWIND_JOB_REQUEST__TARGET__NOT_SET)
        return error_set(err, ST_FIELD_REQUIRED, "step: is required, or initial: true");
    if (request->target_case == GREEDYLR__V1__REWIND_JOB_REQUEST__TARGET_INITIAL && !request->initial)
        return error_set(err, ST_FIELD_INVALID, "initial: must be true, or leave it out and give a step");
    if (request->has_attempt && request->attempt < job->newest->attempt)
        return error_set(
            err, ST_STALE_ATTEMPT,
            "attempt: %u is older than the job's attempt %u, which replaced it; stop this process",
            request->attempt, job->newest->attempt);
    return 0;
}

/* This attempt has begun with a rewind already: other ranks send it, too. */
static bool rewind_is_done(const Greedylr__V1__RewindJobRequest *request, const struct job_state *state)
{
    return request->has_attempt && request->attempt == state->attempt && state->has_rewound &&
           state->rewound == request->attempt;
}

void handle_rewind_job(struct service *service, struct call *call)
{
    const Greedylr__V1__RewindJobRequest *request = (const void *)call->request;
    struct past past = {0};
    struct change *change;
    struct error err;
    struct job *job;

    if (!find_settled(service, call, request->job, &job)) return;
    if (check_rewind(request, job, &err)) goto fail;
    if (rewind_is_done(request, job->newest)) {
        answer_job_settled(service, call, job);
        return;
    }
    if (request->target_case == GREEDYLR__V1__REWIND_JOB_REQUEST__TARGET_STEP
            ? past_find(service, job, STORE_STATE_AT, request->step, &past, &err)
            : past_initial(service, job, &past, &err))
        goto fail;
    int rc = past_return(service, job, &past, call->peer, request->has_attempt ? &request->attempt : NULL,
                         &change, &err);
    free(past.state);
    if (rc) goto fail;
    answer_job_after(service, call, change);
    return;

fail:
    call_fail(call, &err);
}

/* ---- fork ---- */

/* The state to fork from, under the parent's settings of now. */
static int fork_state(struct service *service, struct job *job, const Greedylr__V1__ForkJobRequest *request,
                      struct past *out, struct error *err)
{
    if (request->has_step) return past_find(service, job, STORE_STATE_AT, request->step, out, err);
    size_t size = job_state_size(job->spec);
    *out = (struct past){.state = malloc(size),
                         .revision = job->newest->revision,
                         .step = job->newest->step,
                         .has_step = job->newest->has_step};
    if (!out->state) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    memcpy(out->state, job->newest, size);
    return 0;
}

/* Steps the new job from its start into the parent's state, under its own settings. */
static int fork_step(const struct job *parent, const struct past *from, struct change *change,
                     const char *actor, struct error *err)
{
    struct job *job = change->job;
    struct job_state *carried = calloc(1, job_state_size(job->spec));
    struct job_event event = {.kind = EVENT_RESTORE, .time_us = service_now_us(), .actor = actor};
    char why[DECISION_REASON_MAX];
    int rc;

    if (!carried) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    job_state_carry(parent->spec, from->state, job->spec, carried);
    if (from->has_step)
        snprintf(why, sizeof(why), "forked from %.100s at step %u (revision %u)", parent->name, from->step,
                 from->revision);
    else
        snprintf(why, sizeof(why), "forked from %.100s before its first step", parent->name);
    event.restore.action = ACTION_FORK;
    event.restore.to = carried;
    event.restore.why = why;
    rc = job_step(job->spec, job->newest, &event, change->state, &change->decision, err);
    free(carried);
    change->has_decision = !rc;
    return rc;
}

static int fork_job(struct service *service, struct call *call, struct job *parent, struct change **out,
                    struct error *err)
{
    const Greedylr__V1__ForkJobRequest *request = (const void *)call->request;
    struct texts texts = {0};
    struct past from = {0};
    struct job_spec *spec = NULL;
    struct change *change = NULL;

    err->status = ST_OK;
    if (texts_load(service, parent, &texts, err) || texts_patch(&texts, parent, request->spec, &spec, err))
        goto out;
    if (fork_state(service, parent, request, &from, err) ||
        service_new_job(service, call->token, request->spec->job, texts.given, texts.effective, spec, &change,
                        err))
        goto out;
    spec = NULL;
    if (fork_step(parent, &from, change, call->peer, err) || service_queue(service, change, err)) {
        service_unmake_job(service, change);
        goto out;
    }
    service_created(service, change->job);
    *out = change;
out:
    texts_clear(&texts);
    spec_free(spec);
    free(from.state);
    return (int)err->status;
}

void handle_fork_job(struct service *service, struct call *call)
{
    const Greedylr__V1__ForkJobRequest *request = (const void *)call->request;
    const char *name = request->spec ? request->spec->job : NULL;
    struct change *change = NULL;
    struct error err;
    struct job *parent, *other;

    if (service_check_id(name, "spec.job", &err)) goto fail;
    if (!find_settled(service, call, request->job, &parent)) return;
    int rc = service_find(service, call->token, name, &other, &err);
    if (!rc) {
        (void)error_set(&err, ST_JOB_EXISTS,
                        "spec.job: %s exists already; fork to another id, or :rewind that job", name);
        goto fail;
    }
    if (rc != ST_JOB_NOT_FOUND || fork_job(service, call, parent, &change, &err)) goto fail;
    answer_job_after(service, call, change);
    return;

fail:
    call_fail(call, &err);
}

/* ---- setLr ---- */

struct decision_waiter {
    struct change_waiter waiter;
    struct call *call;
};

static void on_decision_durable(void *arg, struct change *change, const struct error *err)
{
    struct decision_waiter *w = arg;
    decision_message message;
    Google__Protobuf__Timestamp time;
    struct error own;

    if (!err && convert_decision(&change->decision, change->job->name, &message, &time, &own)) err = &own;
    if (err) {
        call_fail(w->call, err);
    } else {
        w->call->done(w->call, &message.base, NULL);
        convert_decision_clear(&message);
    }
    free(w);
}

/* One rate for each group; one alone stands for all of them. */
static int spread_rates(const Greedylr__V1__SetLrRequest *request, uint32_t groups, double *out,
                        struct error *err)
{
    if (!request->n_lr) return error_set(err, ST_FIELD_REQUIRED, "lr: is required, one rate per group");
    if (request->n_lr != 1 && request->n_lr != groups)
        return error_set(err, ST_FIELD_INVALID,
                         "lr: must have %u rates, one per group, or one for all, got %zu", groups,
                         request->n_lr);
    for (uint32_t i = 0; i < groups; i++)
        out[i] = request->lr[request->n_lr == 1 ? 0 : i];
    return 0;
}

void handle_set_lr(struct service *service, struct call *call)
{
    const Greedylr__V1__SetLrRequest *request = (const void *)call->request;
    struct job_event event = {.kind = EVENT_SET_LR, .time_us = service_now_us(), .actor = call->peer};
    struct decision_waiter *w;
    double lrs[GROUPS_MAX];
    struct change *change;
    struct error err;
    struct job *job;

    if (service_find(service, call->token, request->job, &job, &err) ||
        spread_rates(request, job->newest->groups, lrs, &err))
        goto fail;
    event.set_lr.lrs = lrs;
    w = calloc(1, sizeof(*w));
    if (!w) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        goto fail;
    }
    if (service_event(service, job, &event, NULL, &change, &err)) {
        free(w);
        goto fail;
    }
    *w = (struct decision_waiter){{NULL, on_decision_durable, w}, call};
    change_wait(change, &w->waiter);
    return;

fail:
    call_fail(call, &err);
}

/* ---- pause, resume, finish ---- */

static void change_status(struct service *service, struct call *call, const char *name, enum action action)
{
    const struct change make = {.op = STORE_JOB_STATUS, .drops_contributions = action == ACTION_FINISH};
    struct job_event event = {.kind = EVENT_STATUS, .time_us = service_now_us(), .actor = call->peer};
    enum job_status status;
    struct change *change;
    struct error err;
    struct job *job;

    if (service_find(service, call->token, name, &job, &err) ||
        job_status_after(job->newest, action, &status, &err))
        goto fail;
    if (status == (enum job_status)job->newest->status) {
        answer_job_settled(service, call, job);
        return;
    }
    event.status.action = action;
    if (service_event(service, job, &event, &make, &change, &err)) goto fail;
    if (action == ACTION_FINISH) {
        (void)error_set(&err, ST_JOB_FINISHED, "job %s was finished while the round waited; resume it first",
                        job->name);
        rounds_end(job, change, &err);
    }
    answer_job_after(service, call, change);
    return;

fail:
    call_fail(call, &err);
}

void handle_pause_job(struct service *service, struct call *call)
{
    change_status(service, call, ((const Greedylr__V1__PauseJobRequest *)(const void *)call->request)->job,
                  ACTION_PAUSE);
}

void handle_resume_job(struct service *service, struct call *call)
{
    change_status(service, call, ((const Greedylr__V1__ResumeJobRequest *)(const void *)call->request)->job,
                  ACTION_RESUME);
}

void handle_finish_job(struct service *service, struct call *call)
{
    change_status(service, call, ((const Greedylr__V1__FinishJobRequest *)(const void *)call->request)->job,
                  ACTION_FINISH);
}
