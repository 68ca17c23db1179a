/* Reports: one value in, one durable decision out.
 *
 * Check, find the job (or make it), see whether the step was decided before, step the job, queue, answer once
 * durable. A duplicate is answered with what is recorded: waiting for the commit it repeats, or read from the
 * history.  Whatever fails before the queue has changed nothing. */
#include "server/service_impl.h"

#include "server/log.h"
#include "server/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef Greedylr__V1__ReportRequest report_message;

/* One report on its way: either a change (to wait for), or an entry, or an error. */
struct report {
    struct change *change;     /* referenced */
    struct store_entry *entry; /* owned: read back, or a dry run */
    bool duplicate, conflict;
    bool failed;
    struct error err;
    const char *job; /* borrowed from the request */
};

static void report_clear(struct report *r)
{
    if (r->change) change_unref(r->change);
    free(r->entry);
}

/* ---- checks ---- */

static int bad_double(const char *field, double value, const char *what, struct error *err)
{
    char text[DOUBLE_TEXT_MAX];

    double_text(text, value);
    return error_set(err, ST_FIELD_INVALID, "%s: must be %s, got %s", field, what, text);
}

static int check_request_id(const report_message *m, struct error *err)
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

static int check_report(const report_message *m, struct error *err)
{
    if (service_check_id(m->job, "job", err)) return (int)err->status;
    if (m->reported_case == GREEDYLR__V1__REPORT_REQUEST__REPORTED__NOT_SET)
        return error_set(err, ST_FIELD_REQUIRED, "loss: is required (or metric, the same thing)");
    if (m->has_weight && !(isfinite(m->weight) && m->weight > 0))
        return bad_double("weight", m->weight, "finite and above 0", err);
    if (m->has_lr_cap && !(isfinite(m->lr_cap) && m->lr_cap > 0))
        return bad_double("lr_cap", m->lr_cap, "finite and above 0", err);
    if (m->has_applied_lr && !(isfinite(m->applied_lr) && m->applied_lr >= 0))
        return bad_double("applied_lr", m->applied_lr, "finite and at least 0", err);
    return check_request_id(m, err);
}

static int check_against_job(const report_message *m, const struct job *job, struct error *err)
{
    if (m->has_rank && m->rank >= job->spec->ranks.world_size)
        return error_set(err, ST_FIELD_INVALID,
                         "rank: must be below world_size %u, got %u; set ranks.world_size",
                         job->spec->ranks.world_size, m->rank);
    return 0;
}

static void make_event(const report_message *m, struct job_event *event)
{
    *event = (struct job_event){.kind = EVENT_REPORT, .time_us = service_now_us()};
    event->report.value =
        m->reported_case == GREEDYLR__V1__REPORT_REQUEST__REPORTED_LOSS ? m->loss : m->metric;
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

/* A recorded decision answers; says whether the values agree. */
static int answer_recorded(const struct job *job, const struct job_decision *recorded, double value,
                           struct report *r)
{
    char was[DOUBLE_TEXT_MAX], now[DOUBLE_TEXT_MAX];

    r->duplicate = true;
    r->conflict = !same_value(recorded->value, value);
    if (!r->conflict) return 0;
    double_text(was, recorded->value);
    double_text(now, value);
    metrics_add(METRIC_STEP_CONFLICTS, 0, 1);
    log_event(LOG_WARNING, "step_conflict",
              (struct log_field[]){log_str("job", job->name), log_u64("step", recorded->step),
                                   log_f64("recorded", recorded->value), log_f64("reported", value),
                                   log_end()});
    if (!job->spec->strict) return 0;
    return error_set(&r->err, ST_STEP_CONFLICT,
                     "step: %u was decided on %s, this report says %s; the job is strict", recorded->step,
                     was, now);
}

static int take_entry(struct service *service, const struct job *job, const report_message *m, double value,
                      struct report *r)
{
    int rc;

    r->entry = calloc(1, sizeof(*r->entry));
    if (!r->entry) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    rc = m->has_step ? store_find_step(service->reader, job->uid, m->step, r->entry, &r->err)
                     : store_find_request(service->reader, job->uid, m->request_id, r->entry, &r->err);
    if (rc) return rc;
    return answer_recorded(job, &r->entry->decision, value, r);
}

/* The step was decided, or lies between decided ones. */
static int recorded_step(struct service *service, const struct job *job, const report_message *m,
                         double value, struct report *r)
{
    struct change *change = job_find_step(job, m->step);

    if (change) {
        r->change = change;
        change_ref(change);
        return answer_recorded(job, &change->decision, value, r);
    }
    if (job->durable && take_entry(service, job, m, value, r) != ST_STEP_IN_PAST) return (int)r->err.status;
    return error_set(
        &r->err, ST_STEP_IN_PAST,
        "step: %u is behind the last decided step %u and was never decided; report a later step, or "
        ":rewind the job",
        m->step, job->newest->step);
}

/* A request_id seen before answers again; 1: it was not. */
static int recorded_request(struct service *service, const struct job *job, const report_message *m,
                            double value, struct report *r)
{
    struct change *change = job_find_request(job, m->request_id);

    if (change) {
        r->change = change;
        change_ref(change);
        return answer_recorded(job, &change->decision, value, r);
    }
    if (!job->durable) return 1;
    int rc = take_entry(service, job, m, value, r);
    if (rc != ST_STEP_IN_PAST) return rc;
    free(r->entry);
    r->entry = NULL;
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

static int dry_run(struct job *job, const struct job_event *event, struct report *r)
{
    struct change *change = change_new(job, job->spec);

    if (!change) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    r->entry = calloc(1, sizeof(*r->entry));
    if (!r->entry) {
        (void)error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    } else if (!decide(job, event, change, &r->err)) {
        r->entry->decision = change->decision;
        memcpy(r->entry->lrs, change->decision.lrs, change->decision.groups * sizeof(double));
        r->entry->decision.lrs = r->entry->lrs;
    }
    change_unref(change);
    return (int)r->err.status;
}

/* Steps the job and makes the change ready to be submitted.  `change` comes from a creation, or is NULL. */
static int queue_report(struct job *job, const report_message *m, const struct job_event *event,
                        struct change *change, struct report *r)
{
    if (!change) change = change_new(job, job->spec);
    if (!change) return error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
    if (m->request_id && !(change->request_id = strdup(m->request_id))) {
        (void)error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
        goto err;
    }
    if (decide(job, event, change, &r->err)) goto err;
    if (change_queue(change, &r->err)) goto err;
    r->change = change;
    change_ref(change);
    return 0;

err:
    if (change->op == STORE_JOB_KEEP) change_unref(change);
    return (int)r->err.status;
}

static int report_to(struct service *service, struct job *job, const report_message *m, struct report *r)
{
    struct job_event event;
    int rc;

    make_event(m, &event);
    if (check_against_job(m, job, &r->err)) return (int)r->err.status;
    if (m->has_dry_run && m->dry_run) {
        if (job_relation(job->newest, &event) == REPORT_NEW) return dry_run(job, &event, r);
        return error_set(&r->err, ST_STEP_IN_PAST,
                         "step: %u is not beyond the last decided step %u; dry_run needs a new one", m->step,
                         job->newest->step);
    }
    if (m->request_id && !m->has_step && (rc = recorded_request(service, job, m, event.report.value, r)) != 1)
        return rc;
    switch (job_relation(job->newest, &event)) {
    case REPORT_NEW: return queue_report(job, m, &event, NULL, r);
    case REPORT_RECORDED: return recorded_step(service, job, m, event.report.value, r);
    case REPORT_STALE:
        return error_set(
            &r->err, ST_STALE_ATTEMPT,
            "attempt: %u is older than the job's attempt %u, which replaced it; stop this process",
            m->attempt, job->newest->attempt);
    case REPORT_NEEDS_REWIND: break;
    }
    return error_set(
        &r->err, ST_NOT_SERVED,
        "attempt: %u with step %u not beyond the last decided step %u means a rewind, which this version "
        "does not serve",
        m->attempt, m->step, job->newest->step);
}

/* The first report of a job that does not exist. */
static int report_and_create(struct service *service, const report_message *m, struct report *r)
{
    spec_message spec = GREEDYLR__V1__JOB_SPEC__INIT;
    struct job_event event;
    struct change *change;

    spec.job = m->job;
    spec.lr = m->lr;
    spec.n_lr = m->n_lr;
    if (service_make_job(service, m->job, &spec, &change, &r->err)) {
        /* The report's own field, not a spec's. */
        if (!strncmp(r->err.message, "spec.", 5))
            memmove(r->err.message, r->err.message + 5, strlen(r->err.message) - 4);
        return (int)r->err.status;
    }
    make_event(m, &event);
    if (check_against_job(m, change->job, &r->err)) goto err;
    if (m->has_dry_run && m->dry_run) {
        (void)dry_run(change->job, &event, r);
        goto err;
    }
    if (queue_report(change->job, m, &event, change, r)) goto err;
    service->creating++;
    return 0;

err:
    service_unmake_job(service, change);
    return (int)r->err.status;
}

/* Everything up to the queue; sets r->failed on error. */
static void report_begin(struct service *service, const report_message *m, struct report *r)
{
    struct job *job;

    r->job = m->job;
    r->err.status = ST_OK;
    if (check_report(m, &r->err)) {
        r->failed = true;
        return;
    }
    int rc = service_find(service, m->job, &job, &r->err);
    if (!rc) {
        r->err.status = ST_OK;
        rc = report_to(service, job, m, r);
    } else if (rc == ST_JOB_NOT_FOUND && m->n_lr && service->options.auto_create) {
        r->err.status = ST_OK;
        rc = report_and_create(service, m, r);
    }
    r->failed = rc != 0;
    metrics_add(METRIC_REPORTS,
                rc             ? REPORT_RESULT_REFUSED
                : r->duplicate ? REPORT_RESULT_DUPLICATE
                               : REPORT_RESULT_DECIDED,
                1);
}

/* True: r->change was made by this report and has to be submitted. */
static bool report_is_new(const struct report *r)
{
    return !r->failed && r->change && !r->duplicate;
}

static bool report_waits(const struct report *r)
{
    return !r->failed && r->change && !r->change->committed;
}

static void report_message_of(const struct report *r, decision_message *out,
                              Google__Protobuf__Timestamp *time)
{
    const struct job_decision *d = r->change ? &r->change->decision : &r->entry->decision;

    convert_decision(d, r->job, out, time);
    out->has_duplicate = out->has_conflict = 1;
    out->duplicate = r->duplicate;
    out->conflict = r->conflict;
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
    decision_message message;
    Google__Protobuf__Timestamp time;

    if (err) {
        call_fail(call, err);
    } else if (rc->report.failed) {
        call_fail(call, &rc->report.err);
    } else {
        report_message_of(&rc->report, &message, &time);
        call->done(call, &message.base, NULL);
    }
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
    report_begin(service, (const report_message *)(const void *)call->request, &rc->report);
    if (!report_waits(&rc->report)) {
        report_finish(rc, NULL);
        return;
    }
    rc->waiter = (struct change_waiter){NULL, on_report_durable, rc};
    change_wait(rc->report.change, &rc->waiter);
    if (report_is_new(&rc->report)) commit_submit(service->commit, rc->report.change, rc->report.change);
}

/* ---- BatchReport ---- */

struct batch_call {
    struct call *call;
    size_t n, waiting;
    struct batch_item {
        struct change_waiter waiter;
        struct batch_call *batch;
        struct report report;
    } items[];
};

static void batch_result(const struct batch_item *item, Greedylr__V1__BatchResult *result,
                         Greedylr__V1__Status *status, decision_message *decision,
                         Google__Protobuf__Timestamp *time)
{
    const struct report *r = &item->report;

    greedylr__v1__batch_result__init(result);
    if (r->failed) {
        const struct status_info *info = status_info(r->err.status);
        greedylr__v1__status__init(status);
        status->code = (char *)(uintptr_t)code_info(info->code)->name;
        status->reason = (char *)(uintptr_t)info->reason;
        status->message = (char *)(uintptr_t)r->err.message;
        result->outcome_case = GREEDYLR__V1__BATCH_RESULT__OUTCOME_ERROR;
        result->error = status;
        return;
    }
    report_message_of(r, decision, time);
    result->outcome_case = GREEDYLR__V1__BATCH_RESULT__OUTCOME_DECISION;
    result->decision = decision;
}

struct batch_answer {
    Greedylr__V1__BatchResult result;
    Greedylr__V1__Status status;
    decision_message decision;
    Google__Protobuf__Timestamp time;
};

static void batch_finish(struct batch_call *batch)
{
    struct batch_answer *answers = calloc(batch->n ? batch->n : 1, sizeof(*answers));
    Greedylr__V1__BatchResult **results = calloc(batch->n ? batch->n : 1, sizeof(*results));
    Greedylr__V1__BatchReportResponse response = GREEDYLR__V1__BATCH_REPORT_RESPONSE__INIT;
    struct error err;

    if (!answers || !results) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(batch->call, &err);
    } else {
        for (size_t i = 0; i < batch->n; i++) {
            struct batch_answer *a = &answers[i];
            batch_result(&batch->items[i], &a->result, &a->status, &a->decision, &a->time);
            results[i] = &a->result;
        }
        response.results = results;
        response.n_results = batch->n;
        batch->call->done(batch->call, &response.base, NULL);
    }
    free(results);
    free(answers);
    for (size_t i = 0; i < batch->n; i++)
        report_clear(&batch->items[i].report);
    free(batch);
}

static void on_item_durable(void *arg, struct change *change, const struct error *err)
{
    struct batch_item *item = arg;

    (void)change;
    if (err) {
        item->report.failed = true;
        item->report.err = *err;
    }
    if (!--item->batch->waiting) batch_finish(item->batch);
}

static void batch_begin(struct service *service, const Greedylr__V1__BatchReportRequest *request,
                        struct batch_call *batch)
{
    struct change *first = NULL, *last = NULL;

    batch->waiting = 1; /* this function */
    for (size_t i = 0; i < batch->n; i++) {
        struct batch_item *item = &batch->items[i];

        report_begin(service, request->reports[i], &item->report);
        if (!report_waits(&item->report)) continue;
        item->batch = batch;
        item->waiter = (struct change_waiter){NULL, on_item_durable, item};
        batch->waiting++;
        change_wait(item->report.change, &item->waiter);
        if (!report_is_new(&item->report)) continue;
        item->report.change->next = NULL;
        if (last)
            last->next = item->report.change;
        else
            first = item->report.change;
        last = item->report.change;
    }
    if (first) commit_submit(service->commit, first, last);
    if (!--batch->waiting) batch_finish(batch);
}

void handle_batch_report(struct service *service, struct call *call)
{
    const Greedylr__V1__BatchReportRequest *request = (const void *)call->request;
    struct batch_call *batch;
    struct error err;

    if (request->n_reports > service->options.batch_entries) {
        (void)error_set(&err, ST_FIELD_INVALID, "reports: must be at most %u, got %zu; split the batch",
                        service->options.batch_entries, request->n_reports);
        call_fail(call, &err);
        return;
    }
    batch = calloc(1, sizeof(*batch) + request->n_reports * sizeof(struct batch_item));
    if (!batch) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    batch->call = call;
    batch->n = request->n_reports;
    batch_begin(service, request, batch);
}
