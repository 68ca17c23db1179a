/* BatchReport: many reports, one answer.
 *
 * Each report begins as a lone one does.  A batch of up to SLICE of them is one turn of the loop, hence one
 * unit for the writer; a larger one goes on slice by slice, with the loop's other work and other batches in
 * between.  The answer comes when the last of what the items wait for is durable.  A report whose round is
 * not decided by then is `pending`.  Failure: what the answer has no room for is refused, item by item. */
#include "server/service_impl.h"

#include <stdlib.h>

#define SLICE 100

struct batch_item {
    struct change_waiter waiter;
    struct batch_call *batch;
    struct report report;
};

struct batch_answer {
    Greedylr__V1__BatchResult result;
    Greedylr__V1__Status status;
    decision_message decision;
    Google__Protobuf__Timestamp time;
};

struct batch_call {
    struct batch_call *next; /* in the service's line */
    struct service *service;
    struct call *call;
    size_t n, begun, settled; /* of the items, in order */
    size_t waiting;           /* for a commit; the stepping is one more */
    uint64_t rates;           /* in the answer, of the items begun */
    struct batch_answer *answers;
    Greedylr__V1__BatchResult **results;
    Greedylr__V1__BatchReportResponse response;
    struct batch_item items[];
};

/* ---- the answer ---- */

static int batch_result(const struct batch_item *item, struct batch_answer *answer, struct error *err)
{
    Greedylr__V1__BatchResult *result = &answer->result;
    Greedylr__V1__Status *status = &answer->status;
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
        return 0;
    }
    if (!d) {
        result->outcome_case = GREEDYLR__V1__BATCH_RESULT__OUTCOME_PENDING;
        result->pending = 1;
        return 0;
    }
    result->outcome_case = GREEDYLR__V1__BATCH_RESULT__OUTCOME_DECISION;
    result->decision = &answer->decision;
    return report_message(d, r->job, r->duplicate, r->conflict, &answer->decision, &answer->time, err);
}

static void batch_free(struct batch_call *batch)
{
    for (size_t i = 0; i < batch->n; i++) {
        if (batch->answers) convert_decision_clear(&batch->answers[i].decision);
        report_clear(&batch->items[i].report);
    }
    free(batch->results);
    free(batch->answers);
    free(batch);
}

static int batch_make_answer(struct batch_call *batch, struct error *err)
{
    size_t n = batch->n;

    batch->answers = calloc(n + 1, sizeof(*batch->answers));
    batch->results = calloc(n + 1, sizeof(*batch->results));
    if (!batch->answers || !batch->results) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct batch_answer *a = &batch->answers[i];

        if (batch_result(&batch->items[i], a, err)) return (int)err->status;
        batch->results[i] = &a->result;
    }
    greedylr__v1__batch_report_response__init(&batch->response);
    batch->response.results = batch->results;
    batch->response.n_results = n;
    return 0;
}

struct batch_encoding {
    struct offload base;
    struct batch_call *batch;
};

static void encode(struct offload *o)
{
    struct batch_call *batch = ((struct batch_encoding *)(void *)o)->batch;

    if (!batch_make_answer(batch, &o->err)) offload_answer(o, &batch->response.base);
}

/* The answer of a large batch is made and encoded by the pool; its messages borrow from changes, which are
 * the loop's to let go. */
static void encoded(struct offload *o)
{
    batch_free(((struct batch_encoding *)(void *)o)->batch);
}

static void batch_finish(struct batch_call *batch)
{
    static const struct offload_kind kind = {.answer = encode, .clear = encoded};
    struct call *call = batch->call;
    struct batch_encoding *large;
    struct error err;

    for (size_t i = 0; i < batch->n; i++)
        report_count(&batch->items[i].report,
                     batch->items[i].report.failed ? &batch->items[i].report.err : NULL);
    if (batch->n <= SLICE) {
        if (batch_make_answer(batch, &err))
            call_fail(call, &err);
        else
            call->done(call, &batch->response.base, NULL);
        batch_free(batch);
    } else {
        large = calloc(1, sizeof(*large));
        if (large) large->batch = batch;
        offload_start(batch->service, call, &kind, (struct offload *)(void *)large);
        if (!large) batch_free(batch);
    }
}

/* ---- the items ---- */

static void batch_drop(struct batch_call *batch)
{
    if (!--batch->waiting) batch_finish(batch);
}

static void on_item_durable(void *arg, struct change *change, const struct error *err)
{
    struct batch_item *item = arg;

    (void)change;
    if (err) {
        item->report.failed = true;
        item->report.err = *err;
    }
    batch_drop(item->batch);
}

static void item_wait(struct batch_item *item, struct change *otherwise)
{
    const struct report *r = &item->report;
    struct change *change = r->change ? r->change : r->own ? r->own : otherwise;

    if (r->failed || !change || change->committed) return;
    item->waiter = (struct change_waiter){NULL, on_item_durable, item};
    item->batch->waiting++;
    change_wait(change, &item->waiter);
}

/* Shadows multiply what a decision says: an answer has room for what as many jobs without any could fill it
 * with.  Of a job, what is refused is all that follows in the batch. */
static bool item_has_room(const struct batch_call *batch, struct report *r)
{
    uint64_t most = (uint64_t)batch->service->options.batch_entries * GROUPS_MAX;

    if (batch->rates < most) return true;
    r->failed = true;
    (void)error_set(&r->err, ST_TOO_MANY_WAITING,
                    "the answer of this batch has %llu rates, those of shadows included, and takes at most "
                    "%llu; repeat this report in another batch",
                    (unsigned long long)batch->rates, (unsigned long long)most);
    return false;
}

static uint64_t item_rates(const struct batch_call *batch, const struct report *r)
{
    const struct job *job = r->failed ? NULL : jobs_peek(batch->service->jobs, r->job);

    return job ? (uint64_t)job->spec->lr.n * (1 + job->spec->n_shadows) : 0;
}

static void item_begin(struct batch_call *batch, size_t i)
{
    const Greedylr__V1__BatchReportRequest *request = (const void *)batch->call->request;
    struct batch_item *item = &batch->items[i];

    item->batch = batch;
    item->report.job = request->reports[i]->job;
    if (!item_has_room(batch, &item->report)) return;
    report_begin(batch->service, batch->call->token, request->reports[i], &item->report);
    batch->rates += item_rates(batch, &item->report);
    if (!item->report.waits) item_wait(item, NULL);
}

/* A later item of the batch may have decided the round that this one waits for. */
static void item_settle(struct service *service, struct batch_item *item)
{
    struct report *r = &item->report;
    struct job *job;

    if (r->failed || !r->waits) return;
    job = jobs_peek(service->jobs, r->job);
    if (job) r->change = job_find_step(job, r->step);
    if (r->change) {
        change_ref(r->change);
    } else if (job && job->durable && job->durable->has_step && r->step <= job->durable->step) {
        r->entry = calloc(1, sizeof(*r->entry)); /* it is folded already */
        if (!r->entry) {
            r->failed = true;
            (void)error_set(&r->err, ST_OUT_OF_MEMORY, "out of memory");
        } else if (store_find_step(service->reader, job->uid, r->step, r->entry, &r->err)) {
            r->failed = r->err.status != ST_STEP_IN_PAST;
            report_drop_entry(r);
        }
    }
    /* A repeated value may be on its way for another request: with the last that is queued it is durable. */
    item_wait(item, job && job->pending && !r->entry ? job->last : NULL);
}

/* One turn; true: it was the last. */
static bool batch_step(struct batch_call *batch)
{
    for (size_t k = 0; k < SLICE && batch->begun < batch->n; k++)
        item_begin(batch, batch->begun++);
    if (batch->begun < batch->n) return false;
    for (size_t k = 0; k < SLICE && batch->settled < batch->n; k++)
        item_settle(batch->service, &batch->items[batch->settled++]);
    return batch->settled == batch->n;
}

/* ---- the line of large batches ---- */

static void line_up(struct service *service, struct batch_call *batch)
{
    struct batch_call **at = &service->batches;

    while (*at)
        at = &(*at)->next;
    batch->next = NULL;
    *at = batch;
}

static void on_turn(uv_idle_t *idle)
{
    struct service *service = idle->data;
    struct batch_call *batch = service->batches;

    service->batches = batch->next;
    service->origin = batch->call->origin;
    if (batch_step(batch))
        batch_drop(batch);
    else
        line_up(service, batch);
    service->origin = NULL;
    service_flush(service);
    if (!service->batches) uv_idle_stop(idle);
}

void batches_start(struct service *service)
{
    uv_idle_init(service->loop, &service->turns);
    service->turns.data = service;
}

void batches_end(struct service *service)
{
    struct error err;

    (void)error_set(&err, ST_DRAINING, "the daemon is stopping; repeat the request soon");
    while (service->batches) {
        struct batch_call *batch = service->batches;

        service->batches = batch->next;
        for (; batch->begun < batch->n; batch->begun++) {
            batch->items[batch->begun].report.failed = true;
            batch->items[batch->begun].report.err = err;
        }
        batch_drop(batch);
    }
    uv_idle_stop(&service->turns);
}

void handle_batch_report(struct service *service, struct call *call)
{
    const Greedylr__V1__BatchReportRequest *request = (const void *)call->request;
    struct batch_call *batch;
    struct error err;

    if (request->n_reports > service->options.batch_entries) {
        (void)error_limit(&err, LIMIT_BATCH_ENTRIES, ST_FIELD_INVALID,
                          "reports: must be at most %u, got %zu; split the batch",
                          service->options.batch_entries, request->n_reports);
        call_fail(call, &err);
        return;
    }
    if (service_check_load(service, &err)) {
        call_fail(call, &err);
        return;
    }
    batch = calloc(1, sizeof(*batch) + request->n_reports * sizeof(struct batch_item));
    if (!batch) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    batch->service = service;
    batch->call = call;
    batch->n = request->n_reports;
    batch->waiting = 1;
    if (batch->n <= SLICE) {
        (void)batch_step(batch);
        batch_drop(batch);
        return;
    }
    line_up(service, batch);
    (void)uv_idle_start(&service->turns, on_turn);
}
