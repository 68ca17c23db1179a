/* BatchReport: many reports, one answer.
 *
 * Each report begins as a lone one does; the whole turn is one unit for the writer.  The answer comes when
 * the last of what the items wait for is durable.  A report whose round is not decided by then is `pending`.
 */
#include "server/service_impl.h"

#include <stdlib.h>

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
    const struct job_decision *d = r->change ? &r->change->decision : r->entry ? &r->entry->decision : NULL;

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
    if (!d) {
        result->outcome_case = GREEDYLR__V1__BATCH_RESULT__OUTCOME_PENDING;
        result->pending = 1;
        return;
    }
    report_message(d, r->job, r->duplicate, r->conflict, decision, time);
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

/* What the item waits for; NULL: nothing. */
static struct change *awaited(struct service *service, struct report *r)
{
    struct job *job = NULL;

    if (r->failed) return NULL;
    if (r->waits) {
        /* A later item of the batch may have decided the round. */
        job = jobs_peek(service->jobs, r->job);
        r->change = job ? job_find_step(job, r->step) : NULL;
        if (r->change) change_ref(r->change);
    }
    struct change *change = r->change ? r->change : r->own;
    /* A repeated value may be on its way for another request: with the last that is queued it is durable. */
    if (r->waits && !change && job && job->pending) change = job->last;
    return change && !change->committed ? change : NULL;
}

static void batch_begin(struct service *service, const Greedylr__V1__BatchReportRequest *request,
                        struct batch_call *batch)
{
    batch->waiting = 1; /* this function */
    for (size_t i = 0; i < batch->n; i++)
        report_begin(service, request->reports[i], &batch->items[i].report);
    for (size_t i = 0; i < batch->n; i++) {
        struct batch_item *item = &batch->items[i];
        struct change *change = awaited(service, &item->report);

        if (!change) continue;
        item->batch = batch;
        item->waiter = (struct change_waiter){NULL, on_item_durable, item};
        batch->waiting++;
        change_wait(change, &item->waiter);
    }
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
