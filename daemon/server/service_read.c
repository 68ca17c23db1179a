/* Reads: histories, lists, and simulations.  Histories and lists are read by
 * the pool's threads with readers of their own, so that a long one does not hold up the loop.  All show
 * durable state only. */
#include "server/service_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- work on the pool ---- */

struct offload {
    uv_work_t work;
    struct service *service;
    struct call *call;
    void (*run)(struct offload *);    /* pool thread */
    void (*finish)(struct offload *); /* loop thread; frees what run made */
    struct error err;
    uint64_t uid;
    uint32_t limit;
    uint32_t after_revision;
    void *items;
    size_t n;
};

static void offload_run(uv_work_t *work)
{
    struct offload *o = work->data;

    o->run(o);
}

static void offload_done(uv_work_t *work, int status)
{
    struct offload *o = work->data;

    (void)status;
    if (o->err.status) call_fail(o->call, &o->err);
    o->finish(o);
    free(o);
}

static void offload_start(struct service *service, struct call *call, const struct offload *make)
{
    struct offload *o = malloc(sizeof(*o));
    struct error err;

    if (o) {
        *o = *make;
        o->service = service;
        o->call = call;
        o->work.data = o;
        if (!uv_queue_work(service->loop, &o->work, offload_run, offload_done)) return;
        free(o);
    }
    (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
    call_fail(call, &err);
}

/* Room for one more element, as a realloc'd array that doubles. */
static void *grow(void **items, size_t n, size_t size)
{
    if ((n & (n - 1)) == 0) {
        void *more = realloc(*items, (n ? n * 2 : 1) * size);
        if (!more) return NULL;
        *items = more;
    }
    return (char *)*items + n * size;
}

/* ---- ListDecisions ---- */

struct kept_entry {
    struct job_decision decision;
    double *lrs;
};

static int keep_entry(void *arg, const struct store_entry *entry)
{
    struct offload *o = arg;
    struct kept_entry *kept = grow(&o->items, o->n, sizeof(*kept));
    double *lrs = malloc(entry->decision.groups * sizeof(double));

    if (!kept || !lrs) {
        free(lrs);
        return error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
    }
    memcpy(lrs, entry->lrs, entry->decision.groups * sizeof(double));
    *kept = (struct kept_entry){entry->decision, lrs};
    kept->decision.lrs = lrs;
    o->n++;
    return 0;
}

static void run_list_decisions(struct offload *o)
{
    const Greedylr__V1__ListDecisionsRequest *request = (const void *)o->call->request;
    const struct store_decisions_query query = {.uid = o->uid,
                                                .after_revision = o->after_revision,
                                                .has_from = request->has_from_step,
                                                .has_to = request->has_to_step,
                                                .from_step = request->from_step,
                                                .to_step = request->to_step,
                                                .superseded = request->has_superseded && request->superseded,
                                                .limit = o->limit + 1};
    struct store_reader *reader;

    if (store_reader_open(o->service->store, &reader, &o->err)) return;
    struct error err;
    if (store_list_decisions(reader, &query, keep_entry, o, &err) && !o->err.status) o->err = err;
    store_reader_close(reader);
}

static void answer_decisions(struct offload *o)
{
    const Greedylr__V1__ListDecisionsRequest *request = (const void *)o->call->request;
    Greedylr__V1__ListDecisionsResponse answer = GREEDYLR__V1__LIST_DECISIONS_RESPONSE__INIT;
    struct kept_entry *kept = o->items;
    size_t n = o->n > o->limit ? o->limit : o->n;
    decision_message *messages = calloc(n + 1, sizeof(*messages));
    decision_message **list = calloc(n + 1, sizeof(*list));
    Google__Protobuf__Timestamp *times = calloc(n + 1, sizeof(*times));
    char token[16];

    if (messages && list && times) {
        for (size_t i = 0; i < n; i++) {
            convert_decision(&kept[i].decision, request->job, &messages[i], &times[i]);
            list[i] = &messages[i];
        }
        answer.decisions = list;
        answer.n_decisions = n;
        if (o->n > n) {
            snprintf(token, sizeof(token), "r%" PRIu32, kept[n - 1].decision.revision);
            answer.next_page_token = token;
        }
        o->call->done(o->call, &answer.base, NULL);
    } else {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(o->call, &o->err);
    }
    free(times);
    free(list);
    free(messages);
}

static void finish_list_decisions(struct offload *o)
{
    struct kept_entry *kept = o->items;

    if (!o->err.status) answer_decisions(o);
    for (size_t i = 0; i < o->n; i++)
        free(kept[i].lrs);
    free(kept);
}

static int parse_revision_token(const char *token, uint32_t *out, struct error *err)
{
    char *end = NULL;
    unsigned long long value = 0;

    if (!token || !*token) return 0;
    errno = 0;
    if (token[0] == 'r' && token[1] >= '0' && token[1] <= '9') value = strtoull(token + 1, &end, 10);
    if (!end || *end || errno || value > UINT32_MAX)
        return error_set(err, ST_PAGE_TOKEN_INVALID,
                         "page_token: \"%.40s\" is not a next_page_token of this method; start without it",
                         token);
    *out = (uint32_t)value;
    return 0;
}

void handle_list_decisions(struct service *service, struct call *call)
{
    const Greedylr__V1__ListDecisionsRequest *request = (const void *)call->request;
    struct offload o = {.run = run_list_decisions, .finish = finish_list_decisions};
    struct error err;
    struct job *job;

    if (service_find_durable(service, request->job, &job, &err)) goto fail;
    if (parse_revision_token(request->page_token, &o.after_revision, &err)) goto fail;
    if (request->has_max_points) {
        (void)error_set(&err, ST_NOT_SERVED, "max_points: thinning out is not served by this version");
        goto fail;
    }
    o.uid = job->uid;
    o.limit = page_limit(request->has_page_size, request->page_size);
    offload_start(service, call, &o);
    return;

fail:
    call_fail(call, &err);
}

/* ---- ListJobs ---- */

struct kept_job {
    char name[JOB_ID_MAX + 1];
    char uid[17];
    Greedylr__V1__Job message;
    Greedylr__V1__JobState state;
    struct job_spec *spec;
    struct job_state *durable;
    Google__Protobuf__Timestamp created, updated;
};

static int fill_kept_job(struct kept_job *kept, const struct store_job *row, struct error *err)
{
    spec_message *effective = NULL;
    int rc = service_parse_spec(row->effective, &effective, err);

    if (!rc) rc = convert_spec(effective, &kept->spec, err);
    if (effective) greedylr__v1__job_spec__free_unpacked(effective, NULL);
    if (rc) return rc;
    kept->durable = calloc(1, job_state_size(kept->spec));
    if (!kept->durable) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    rc = job_state_decode(kept->spec, row->state, row->state_len, kept->durable, err);
    if (rc) return rc;
    return service_parse_spec(row->spec, &kept->message.spec, err);
}

static void clear_kept_job(struct kept_job *kept)
{
    if (kept->message.spec) greedylr__v1__job_spec__free_unpacked(kept->message.spec, NULL);
    spec_free(kept->spec);
    free(kept->durable);
    free(kept);
}

static int keep_job(void *arg, const struct store_job *row)
{
    struct offload *o = arg;
    struct kept_job **slot = grow(&o->items, o->n, sizeof(*slot));
    struct kept_job *kept = calloc(1, sizeof(*kept));

    if (!slot || !kept) {
        free(kept);
        return error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
    }
    greedylr__v1__job__init(&kept->message);
    memcpy(kept->name, row->name, sizeof(kept->name));
    snprintf(kept->uid, sizeof(kept->uid), "%016" PRIx64, row->uid);
    convert_time(row->create_us, &kept->created);
    convert_time(row->update_us, &kept->updated);
    if (fill_kept_job(kept, row, &o->err)) {
        clear_kept_job(kept);
        return (int)o->err.status;
    }
    *slot = kept;
    o->n++;
    return 0;
}

static int status_word(const char *word)
{
    for (int i = 0; word && job_status_words[i]; i++) {
        if (!strcmp(job_status_words[i], word)) return i;
    }
    return -1;
}

static void run_list_jobs(struct offload *o)
{
    const Greedylr__V1__ListJobsRequest *request = (const void *)o->call->request;
    const struct store_jobs_query query = {.after = request->page_token ? request->page_token : "",
                                           .prefix = request->prefix,
                                           .label = request->label,
                                           .status = status_word(request->state),
                                           .limit = o->limit + 1};
    struct store_reader *reader;

    if (store_reader_open(o->service->store, &reader, &o->err)) return;
    struct error err;
    if (store_list_jobs(reader, &query, keep_job, o, &err) && !o->err.status) o->err = err;
    store_reader_close(reader);
}

/* What memory knows that is newer than the folded row: the durable state of a job that reported since. */
static void fill_list_item(struct service *service, struct kept_job *kept)
{
    struct job *job = jobs_peek(service->jobs, kept->name);
    const struct job_state *state = kept->durable;
    const struct job_spec *spec = kept->spec;
    Greedylr__V1__Job *m = &kept->message;

    if (job && job->durable && job->durable->revision > state->revision) {
        state = job->durable;
        spec = job->durable_spec;
        if (job->update_us) convert_time(job->update_us, &kept->updated);
    }
    m->job = kept->name;
    m->uid = kept->uid;
    m->status = (char *)(uintptr_t)job_status_words[state->status];
    m->has_revision = m->has_attempt = 1;
    m->revision = state->revision;
    m->attempt = state->attempt;
    convert_state(spec, state, &kept->state);
    m->state = &kept->state;
    m->create_time = &kept->created;
    m->update_time = &kept->updated;
}

static void finish_list_jobs(struct offload *o)
{
    struct kept_job **kept = o->items;
    Greedylr__V1__ListJobsResponse answer = GREEDYLR__V1__LIST_JOBS_RESPONSE__INIT;
    size_t n = o->n > o->limit ? o->limit : o->n;
    Greedylr__V1__Job **list = calloc(n + 1, sizeof(*list));

    if (!o->err.status && list) {
        for (size_t i = 0; i < n; i++) {
            fill_list_item(o->service, kept[i]);
            list[i] = &kept[i]->message;
        }
        answer.jobs = list;
        answer.n_jobs = n;
        if (o->n > n) answer.next_page_token = kept[n - 1]->name;
        o->call->done(o->call, &answer.base, NULL);
    } else if (!o->err.status) {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(o->call, &o->err);
    }
    free(list);
    for (size_t i = 0; i < o->n; i++) {
        kept[i]->message.job = kept[i]->message.uid = NULL;
        clear_kept_job(kept[i]);
    }
    free(kept);
}

void handle_list_jobs(struct service *service, struct call *call)
{
    const Greedylr__V1__ListJobsRequest *request = (const void *)call->request;
    struct offload o = {.run = run_list_jobs, .finish = finish_list_jobs};
    struct error err;

    if (request->state && status_word(request->state) < 0) {
        (void)error_set(&err, ST_FIELD_INVALID, "state: must be active, paused or finished, got \"%.40s\"",
                        request->state);
        goto fail;
    }
    if (request->page_token && *request->page_token && !job_id_valid(request->page_token)) {
        (void)error_set(&err, ST_PAGE_TOKEN_INVALID,
                        "page_token: \"%.40s\" is not a next_page_token of this method; start without it",
                        request->page_token);
        goto fail;
    }
    o.limit = page_limit(request->has_page_size, request->page_size);
    offload_start(service, call, &o);
    return;

fail:
    call_fail(call, &err);
}

/* ---- Simulate ---- */

struct simulated {
    struct job_spec *spec;
    double *initial;
    struct kept_entry *entries;
    size_t n;
};

static int simulate_losses(struct simulated *s, const Greedylr__V1__SimulateRequest *request,
                           struct job_state *now, struct job_state *next, struct error *err)
{
    for (size_t i = 0; i < request->n_losses; i++) {
        struct job_event event = {.kind = EVENT_REPORT};
        struct kept_entry *entry = &s->entries[i];
        event.report.value = request->losses[i];
        event.report.lr_cap = INFINITY;
        event.report.applied_lr = NAN;

        if (job_step(s->spec, now, &event, next, &entry->decision, err))
            return error_wrap(err, "losses[%zu]", i);
        entry->lrs = malloc(s->spec->lr.n * sizeof(double));
        if (!entry->lrs) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        memcpy(entry->lrs, entry->decision.lrs, s->spec->lr.n * sizeof(double));
        entry->decision.lrs = entry->lrs;
        s->n = i + 1;
        struct job_state *swap = now;
        now = next;
        next = swap;
    }
    return 0;
}

static void run_simulate(struct offload *o)
{
    const Greedylr__V1__SimulateRequest *request = (const void *)o->call->request;
    struct simulated *s = calloc(1, sizeof(*s));
    struct job_state *now = NULL, *next = NULL;

    o->items = s;
    if (!s) goto err_memory;
    if (convert_spec(request->spec, &s->spec, &o->err)) return;
    now = calloc(1, job_state_size(s->spec));
    next = calloc(1, job_state_size(s->spec));
    s->initial = malloc(s->spec->lr.n * sizeof(double));
    s->entries = calloc(request->n_losses + 1, sizeof(*s->entries));
    if (!now || !next || !s->initial || !s->entries) goto err_memory;
    job_init(s->spec, now);
    memcpy(s->initial, job_lrs(now), s->spec->lr.n * sizeof(double));
    (void)!simulate_losses(s, request, now, next, &o->err);
    free(now);
    free(next);
    return;

err_memory:
    free(now);
    free(next);
    (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
}

static void answer_simulation(struct offload *o, const struct simulated *s)
{
    Greedylr__V1__SimulateResponse answer = GREEDYLR__V1__SIMULATE_RESPONSE__INIT;
    decision_message *messages = calloc(s->n + 1, sizeof(*messages));
    decision_message **list = calloc(s->n + 1, sizeof(*list));
    Google__Protobuf__Timestamp unused;

    if (messages && list) {
        for (size_t i = 0; i < s->n; i++) {
            convert_decision(&s->entries[i].decision, NULL, &messages[i], &unused);
            list[i] = &messages[i];
        }
        answer.initial_lrs = s->initial;
        answer.n_initial_lrs = s->spec->lr.n;
        answer.decisions = list;
        answer.n_decisions = s->n;
        o->call->done(o->call, &answer.base, NULL);
    } else {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(o->call, &o->err);
    }
    free(list);
    free(messages);
}

static void finish_simulate(struct offload *o)
{
    struct simulated *s = o->items;

    if (!s) return;
    if (!o->err.status) answer_simulation(o, s);
    for (size_t i = 0; i < s->n; i++)
        free(s->entries[i].lrs);
    free(s->entries);
    free(s->initial);
    spec_free(s->spec);
    free(s);
}

void handle_simulate(struct service *service, struct call *call)
{
    const Greedylr__V1__SimulateRequest *request = (const void *)call->request;
    struct offload o = {.run = run_simulate, .finish = finish_simulate};
    struct error err;

    if (!request->spec) {
        (void)error_set(&err, ST_FIELD_REQUIRED, "spec: is required, with at least lr");
        goto fail;
    }
    if (request->n_losses > service->options.batch_entries) {
        (void)error_set(&err, ST_FIELD_INVALID, "losses: must be at most %u, got %zu",
                        service->options.batch_entries, request->n_losses);
        goto fail;
    }
    offload_start(service, call, &o);
    return;

fail:
    call_fail(call, &err);
}
