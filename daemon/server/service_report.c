/* Reports: one value in, one durable decision out.
 *
 * Check, find the job (or make it), see whether the step was decided before, step the job, queue, answer once
 * durable. A duplicate is answered with what is recorded: waiting for the commit it repeats, or read from the
 * history.  A job of several ranks collects their reports first (service_round.c).  A report of a later
 * attempt that repeats a step goes back before it.  Whatever fails before the queue has changed nothing. */
#include "server/service_impl.h"

#include "server/log.h"
#include "server/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Beyond these the sums of a mean lose finite values. */
#define WEIGHT_MIN 1e-9
#define WEIGHT_MAX 1e15

typedef Greedylr__V1__ReportRequest report_request;

void report_drop_entry(struct report *r)
{
    if (r->entry) store_entry_clear(r->entry);
    free(r->entry);
    r->entry = NULL;
}

void report_clear(struct report *r)
{
    if (r->change) change_unref(r->change);
    if (r->own) change_unref(r->own);
    report_drop_entry(r);
}

/* ---- checks ---- */

static int bad_double(const char *field, double value, const char *what, struct error *err)
{
    char text[DOUBLE_TEXT_MAX];

    double_text(text, value);
    return error_set(err, ST_FIELD_INVALID, "%s: must be %s, got %s", field, what, text);
}

static int check_request_id(const report_request *m, struct error *err)
{
    size_t n = m->request_id ? strlen(m->request_id) : 1;

    if (!n || n > REQUEST_ID_MAX)
        return error_set(err, ST_FIELD_INVALID, "request_id: must be 1 to %d characters, got %zu",
                         REQUEST_ID_MAX, n);
    for (const char *c = m->request_id; c && *c; c++) {
        if (*c < ' ' || *c > '~')
            return error_set(err, ST_FIELD_INVALID, "request_id: must be printable ASCII");
    }
    return 0;
}

static int check_report(const report_request *m, struct error *err)
{
    if (service_check_id(m->job, "job", err)) return (int)err->status;
    if (m->reported_case == GREEDYLR__V1__REPORT_REQUEST__REPORTED__NOT_SET)
        return error_set(err, ST_FIELD_REQUIRED, "loss: is required (or metric, the same thing)");
    if (m->has_weight && !(m->weight >= WEIGHT_MIN && m->weight <= WEIGHT_MAX))
        return bad_double("weight", m->weight, "above 0 (from 1e-9 to 1e15)", err);
    if (m->has_lr_cap && !(isfinite(m->lr_cap) && m->lr_cap > 0))
        return bad_double("lr_cap", m->lr_cap, "finite and above 0", err);
    if (m->has_applied_lr && !(isfinite(m->applied_lr) && m->applied_lr >= 0))
        return bad_double("applied_lr", m->applied_lr, "finite and at least 0", err);
    return check_request_id(m, err);
}

static int check_rank(const report_request *m, const struct job *job, struct error *err)
{
    if (m->rank < job->spec->ranks.world_size) return 0;
    return error_set(err, ST_FIELD_INVALID, "rank: must be below world_size %u, got %u; set ranks.world_size",
                     job->spec->ranks.world_size, m->rank);
}

static double reported_value(const report_request *m)
{
    return m->reported_case == GREEDYLR__V1__REPORT_REQUEST__REPORTED_LOSS ? m->loss : m->metric;
}

static void make_event(const report_request *m, struct job_event *event)
{
    *event = (struct job_event){.kind = EVENT_REPORT, .time_us = service_now_us()};
    event->report.value = reported_value(m);
    event->report.has_step = m->has_step;
    event->report.step = m->step;
    event->report.has_attempt = m->has_attempt;
    event->report.attempt = m->attempt;
    event->report.lr_cap = m->has_lr_cap ? m->lr_cap : INFINITY;
    event->report.applied_lr = m->has_applied_lr ? m->applied_lr : NAN;
}

/* ---- recorded answers ---- */

static bool same_value(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

int report_compare(const struct job *job, uint32_t step, double recorded, double reported, struct report *r)
{
    char was[DOUBLE_TEXT_MAX], now[DOUBLE_TEXT_MAX];

    r->duplicate = true;
    r->conflict = !same_value(recorded, reported);
    if (!r->conflict) return 0;
    double_text(was, recorded);
    double_text(now, reported);
    metrics_add(METRIC_STEP_CONFLICTS, 0, 1);
    log_event(LOG_WARNING, "step_conflict",
              (struct log_field[]){log_str("job", job->name), log_u64("step", step), log_u64("rank", r->rank),
                                   log_f64("recorded", recorded), log_f64("reported", reported), log_end()});
    if (!job->spec->strict) return 0;
    return error_set(&r->err, ST_STEP_CONFLICT,
                     "step: %u was reported as %s before, this report says %s; the job is strict", step, was,
                     now);
}

/* A recorded decision answers; says whether this report was in it, and whether the values agree. */
static int answer_recorded(const struct job *job, const struct job_decision *recorded, const uint8_t *round,
                           size_t round_len, double value, struct report *r)
{
    double own = recorded->value;

    if (recorded->ranks && !round_record_find(round, round_len, r->rank, &own))
        return 0; /* a rank that comes after the decision is no duplicate */
    return report_compare(job, recorded->step, own, value, r);
}

static int answer_change(const struct job *job, struct change *change, double value, struct report *r)
{
    r->change = change;
    change_ref(change);
    return answer_recorded(job, &change->decision, change->round, change->round_len, value, r);
}

static int take_entry(struct service *service, const struct job *job, const report_request *m, double value,
                      struct report *r)
{
    uint8_t *round = NULL;
    size_t len = 0;
    int rc;

    r->entry = calloc(1, sizeof(*r->entry));
    if (!r->entry) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    rc = m->has_step ? store_find_step(service->reader, job->uid, m->step, r->entry, &r->err)
                     : store_find_request(service->reader, job->uid, m->request_id, r->entry, &r->err);
    if (!rc && job_is_undone(job, &r->entry->decision))
        rc = error_set(&r->err, ST_STEP_IN_PAST, "a rewind went back behind it");
    if (!rc && r->entry->decision.ranks)
        rc = store_get_round(service->reader, job->uid, r->entry->decision.revision, &round, &len, &r->err);
    if (!rc) rc = answer_recorded(job, &r->entry->decision, round, len, value, r);
    free(round);
    return rc;
}

/* The step was decided, or lies between decided ones. */
static int recorded_step(struct service *service, const struct job *job, const report_request *m,
                         double value, struct report *r)
{
    struct change *change = job_find_step(job, m->step);

    if (change) return answer_change(job, change, value, r);
    if (job->durable && take_entry(service, job, m, value, r) != ST_STEP_IN_PAST) return (int)r->err.status;
    return error_set(&r->err, ST_STEP_IN_PAST,
                     "step: %u is behind the last decided step %u and %s; report a later step, or "
                     ":rewind the job",
                     m->step, job->newest->step, service_unrecorded(service));
}

/* A request_id seen before answers again; 1: it was not. */
static int recorded_request(struct service *service, const struct job *job, const report_request *m,
                            double value, struct report *r)
{
    struct change *change = job_find_request(job, m->request_id);

    if (change) return answer_change(job, change, value, r);
    if (!job->durable) return 1;
    int rc = take_entry(service, job, m, value, r);
    if (rc != ST_STEP_IN_PAST) return rc;
    report_drop_entry(r);
    r->err.status = ST_OK;
    return 1;
}

/* ---- deciding ---- */

static int decide(const struct job *job, const struct job_event *event, struct change *change,
                  struct error *err)
{
    int rc = job_step(job->spec, job->newest, event, change->state, &change->decision, err);

    if (rc) return rc;
    change->has_decision = true;
    return 0;
}

/* What a dry run decided, once the state it decided on is gone. */
static int keep_dry(const struct job_decision *decision, struct report *r)
{
    struct store_entry *entry = r->entry = calloc(1, sizeof(*entry));

    if (!entry) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    entry->decision = *decision;
    memcpy(entry->lrs, decision->lrs, decision->groups * sizeof(double));
    entry->decision.lrs = entry->lrs;
    if (!decision->shadow) return 0;
    entry->shadow = malloc(decision->shadow_len);
    entry->decision.shadow = entry->shadow;
    if (!entry->shadow) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    memcpy(entry->shadow, decision->shadow, decision->shadow_len);
    return 0;
}

static int dry_run(struct job *job, const struct job_event *event, struct report *r)
{
    struct change *change = change_new(job, job->spec);

    if (!change) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    if (!decide(job, event, change, &r->err)) (void)!keep_dry(&change->decision, r);
    change_unref(change);
    return (int)r->err.status;
}

/* Steps the job and queues the change.  `change` comes from a creation, or is NULL. */
static int queue_report(struct service *service, struct job *job, const report_request *m,
                        const struct job_event *event, struct change *change, struct report *r)
{
    if (!change) change = change_new(job, job->spec);
    if (!change) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    if (m->request_id && !(change->request_id = strdup(m->request_id))) {
        (void)error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
        goto err;
    }
    if (decide(job, event, change, &r->err)) goto err;
    if (service_queue(service, change, &r->err)) goto err;
    r->fresh = true;
    r->change = change;
    change_ref(change);
    return 0;

err:
    if (change->op == STORE_JOB_KEEP) change_unref(change);
    return (int)r->err.status;
}

/* A report that is to be decided, alone or with those of the other ranks. */
static int report_new(struct service *service, struct job *job, const report_request *m,
                      const struct job_event *event, struct report *r)
{
    /* A round may be open from when the job had more ranks. */
    if (rounds_load(service, job, &r->err)) return (int)r->err.status;
    if (job->spec->ranks.world_size > 1 || job->rounds) return round_report(service, job, m, event, r);
    if (check_rank(m, job, &r->err)) return (int)r->err.status;
    return queue_report(service, job, m, event, NULL, r);
}

/* A restarted run reports a step that the attempt before decided: the job goes back before it. */
static int report_and_rewind(struct service *service, struct job *job, const report_request *m,
                             const struct job_event *event, struct report *r)
{
    struct change *rewind;
    struct past past;
    int rc = job_admit(job->spec, job->newest, event, &r->err);

    if (!rc) rc = check_rank(m, job, &r->err);
    if (rc) return rc;
    if ((r->unsettled = job_find_unsettled(job)))
        return error_set(&r->err, ST_OVERLOADED,
                         "another change of job %s is being stored; repeat the request", job->name);
    rc = past_find(service, job, STORE_STATE_BELOW, m->step, &past, &r->err);
    /* What was pruned may have been there: the start would be the wrong place, silently. */
    if (rc == ST_STEP_NOT_FOUND && service->options.history_limit &&
        job->newest->revision > service->options.history_limit)
        return error_set(
            &r->err, ST_STEP_NOT_FOUND,
            "step: no state below %u is in the history (any more: --history-limit), so attempt %u "
            "cannot go back to one; use :rewind",
            m->step, m->attempt);
    if (rc == ST_STEP_NOT_FOUND) rc = past_initial(service, job, &past, &r->err);
    if (rc) return rc;
    r->err.status = ST_OK;
    if (past.has_step && past.step >= m->step)
        rc = error_set(&r->err, ST_STEP_IN_PAST,
                       "step: job %s began at step %u, and %u is not beyond it; report a later step",
                       job->name, past.step, m->step);
    else
        rc = past_return(service, job, &past, NULL, &m->attempt, &rewind, &r->err);
    free(past.state);
    return rc ? rc : report_new(service, job, m, event, r);
}

static int report_dry(struct job *job, const report_request *m, const struct job_event *event,
                      struct report *r)
{
    if (check_rank(m, job, &r->err)) return (int)r->err.status;
    if (job_relation(job->newest, event) == REPORT_NEW) return dry_run(job, event, r);
    return error_set(&r->err, ST_STEP_IN_PAST,
                     "step: %u is not beyond the last decided step %u; dry_run needs a new one", m->step,
                     job->newest->step);
}

static int report_to(struct service *service, struct job *job, const report_request *m, struct report *r)
{
    struct job_event event;
    int rc;

    make_event(m, &event);
    if (r->dry) return report_dry(job, m, &event, r);
    if (m->request_id && !m->has_step && (rc = recorded_request(service, job, m, event.report.value, r)) != 1)
        return rc;
    switch (job_relation(job->newest, &event)) {
    case REPORT_NEW: return report_new(service, job, m, &event, r);
    case REPORT_RECORDED: return recorded_step(service, job, m, event.report.value, r);
    case REPORT_NEEDS_REWIND: return report_and_rewind(service, job, m, &event, r);
    case REPORT_STALE: break;
    }
    return error_set(&r->err, ST_STALE_ATTEMPT,
                     "attempt: %u is older than the job's attempt %u, which replaced it; stop this process",
                     m->attempt, job->newest->attempt);
}

/* The first report of a job that does not exist. */
static int report_and_create(struct service *service, const struct auth_token *token, const report_request *m,
                             struct report *r)
{
    spec_message spec = GREEDYLR__V1__JOB_SPEC__INIT;
    struct job_event event;
    struct change *change;

    spec.job = m->job;
    spec.lr = m->lr;
    spec.n_lr = m->n_lr;
    if (service_make_job(service, token, m->job, &spec, &change, &r->err)) {
        /* The report's own field, not a spec's. */
        if (!strncmp(r->err.message, "spec.", 5))
            memmove(r->err.message, r->err.message + 5, strlen(r->err.message) - 4);
        return (int)r->err.status;
    }
    make_event(m, &event);
    if (check_rank(m, change->job, &r->err)) goto err;
    if (r->dry) {
        (void)dry_run(change->job, &event, r);
        goto err;
    }
    if (queue_report(service, change->job, m, &event, change, r)) goto err;
    service_created(service, change->job);
    return 0;

err:
    service_unmake_job(service, change);
    return (int)r->err.status;
}

void report_begin(struct service *service, struct auth_token *token, const report_request *m,
                  struct report *r)
{
    struct job *job;

    r->token = token;
    r->job = m->job;
    r->step = m->step;
    r->rank = m->rank;
    r->dry = m->has_dry_run && m->dry_run;
    r->err.status = ST_OK;
    if (check_report(m, &r->err)) {
        r->failed = true;
        return;
    }
    int rc = service_find(service, token, m->job, &job, &r->err);
    if (!rc) {
        r->err.status = ST_OK;
        rc = report_to(service, job, m, r);
    } else if (rc == ST_JOB_NOT_FOUND && m->n_lr && service->options.auto_create) {
        r->err.status = ST_OK;
        rc = report_and_create(service, token, m, r);
    }
    r->failed = rc != 0;
    /* Once: what is unsettled comes again. */
    if (!r->dry && !r->unsettled && !isfinite(reported_value(m))) metrics_add(METRIC_NONFINITE, 0, 1);
}

void report_count(const struct report *r, const struct error *err)
{
    bool kept =
        err && (status_info(err->status)->outcome == OUTCOME_RECORDED || err->status == ST_CALLER_GONE);

    if (r->dry) return;
    metrics_add(METRIC_REPORTS,
                kept || (!err && !r->change && !r->entry) ? REPORT_RESULT_WAITING
                : err                                     ? REPORT_RESULT_REFUSED
                : r->duplicate                            ? REPORT_RESULT_DUPLICATE
                                                          : REPORT_RESULT_DECIDED,
                1);
}

int report_message(const struct job_decision *decision, const char *job, bool duplicate, bool conflict,
                   decision_message *out, Google__Protobuf__Timestamp *time, struct error *err)
{
    if (convert_decision(decision, job, out, time, err)) return (int)err->status;
    out->has_duplicate = out->has_conflict = 1;
    out->duplicate = duplicate;
    out->conflict = conflict;
    return 0;
}

void report_answer(struct call *call, const struct job_decision *decision, const char *job, bool duplicate,
                   bool conflict)
{
    decision_message message;
    Google__Protobuf__Timestamp time;
    struct error err;

    if (report_message(decision, job, duplicate, conflict, &message, &time, &err)) {
        call_fail(call, &err);
        return;
    }
    call->done(call, &message.base, NULL);
    convert_decision_clear(&message);
}

/* ---- Report ---- */

struct report_call {
    struct change_waiter waiter;
    struct call *call;
    struct report report;
};

static void report_finish(struct report_call *rc, const struct error *err)
{
    struct call *call = rc->call;
    const struct report *r = &rc->report;

    if (!err && r->failed) err = &r->err;
    report_count(r, err);
    if (err)
        call_fail(call, err);
    else
        report_answer(call, r->change ? &r->change->decision : &r->entry->decision, r->job, r->duplicate,
                      r->conflict);
    report_clear(&rc->report);
    free(rc);
}

static void on_report_durable(void *arg, struct change *change, const struct error *err)
{
    (void)change;
    report_finish(arg, err);
}

void handle_report(struct service *service, struct call *call)
{
    struct report_call *rc = calloc(1, sizeof(*rc));
    struct error err;

    if (!rc) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    rc->call = call;
    report_begin(service, call->token, (const report_request *)(const void *)call->request, &rc->report);
    struct report *r = &rc->report;
    if (r->failed && r->unsettled) {
        service_again_after(service, call, r->unsettled);
        report_clear(r);
        free(rc);
    } else if (!r->failed && r->waits) {
        round_wait(service, call, r);
        report_clear(r);
        free(rc);
    } else if (!r->failed && r->change && !r->change->committed) {
        rc->waiter = (struct change_waiter){NULL, on_report_durable, rc};
        change_wait(r->change, &rc->waiter);
    } else {
        report_finish(rc, NULL);
    }
}
