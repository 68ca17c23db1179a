/* Jobs as resources: create, get, list, update, delete.
 *
 * Writes queue a change that carries the job's whole row and answer when it is durable.  Bad input is refused
 * before anything is touched. */
#include "server/service_impl.h"

#include "rpc/buf.h"
#include "rpc/json.h"
#include "server/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int service_check_id(const char *name, const char *field, struct error *err)
{
    if (!name || !*name) return error_set(err, ST_FIELD_REQUIRED, "%s: is required, the id of a job", field);
    if (!job_id_valid(name))
        return error_set(
            err, ST_FIELD_INVALID,
            "%s: must be 1 to 128 of A-Z a-z 0-9 . _ - and not start with a dot or a dash, got \"%.60s\"",
            field, name);
    return 0;
}

static int no_job(const struct service *service, const char *name, struct error *err)
{
    return error_set(err, ST_JOB_NOT_FOUND, "job %s does not exist; create it%s", name,
                     service->options.auto_create ? ", or report with lr" : "");
}

static int find(struct service *service, const struct auth_token *token, const char *name, struct job **out,
                struct error *err)
{
    if (service_check_id(name, "job", err)) return (int)err->status;
    if (!auth_sees(token, name)) return no_job(service, name, err);
    int rc = jobs_find(service->jobs, service->reader, name, out, err);
    return rc == ST_JOB_NOT_FOUND ? no_job(service, name, err) : rc;
}

int service_find(struct service *service, const struct auth_token *token, const char *name, struct job **out,
                 struct error *err)
{
    if (find(service, token, name, out, err)) return (int)err->status;
    if ((*out)->deleting)
        return error_set(err, ST_JOB_BEING_DELETED, "job %s is being deleted; repeat the request", name);
    return 0;
}

int service_find_durable(struct service *service, const struct auth_token *token, const char *name,
                         struct job **out, struct error *err)
{
    if (find(service, token, name, out, err)) return (int)err->status;
    if (!(*out)->durable) return no_job(service, name, err);
    return 0;
}

uint32_t page_limit(bool has, uint32_t size)
{
    if (!has || !size) return PAGE_DEFAULT;
    return size > PAGE_MAX ? PAGE_MAX : size;
}

static char *to_json(const ProtobufCMessage *message)
{
    struct buf buf = {0};
    struct error err;

    if (json_encode(message, &buf, &err)) {
        buf_free(&buf);
        return NULL;
    }
    return buf_take(&buf, NULL);
}

static char *join_labels(const spec_message *message)
{
    struct buf buf = {0};

    buf_puts(&buf, "");
    for (size_t i = 0; i < message->n_labels; i++) {
        if (i) buf_puts(&buf, "\n");
        buf_puts(&buf, message->labels[i]);
    }
    return buf_take(&buf, NULL);
}

int service_make_row(const char *name, uint64_t uid, const spec_message *given, const spec_message *effective,
                     struct store_job **out, struct error *err)
{
    struct store_job *row = calloc(1, sizeof(*row));

    if (!row) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    snprintf(row->name, sizeof(row->name), "%s", name);
    row->uid = uid;
    row->created = to_json(&given->base);
    row->spec = to_json(&given->base);
    row->effective = to_json(&effective->base);
    row->labels = join_labels(given);
    row->create_us = row->update_us = service_now_us();
    if (!row->created || !row->spec || !row->effective || !row->labels) {
        store_job_clear(row);
        free(row);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    *out = row;
    return 0;
}

int service_parse_spec(const char *text, spec_message **out, struct error *err)
{
    ProtobufCMessage *message;
    int rc = json_decode(&greedylr__v1__job_spec__descriptor, text, strlen(text), "spec", &message, err);

    if (rc) return rc;
    *out = (spec_message *)(void *)message;
    return 0;
}

static uint64_t new_uid(void)
{
    uint64_t uid = 0;

    while (!uid) {
        if (getrandom(&uid, sizeof(uid), 0) != sizeof(uid)) abort();
        uid &= INT64_MAX;
    }
    return uid;
}

static int check_prefix(const struct auth_token *token, const char *name, struct error *err)
{
    if (auth_sees(token, name)) return 0;
    return error_set(err, ST_JOB_OUTSIDE_PREFIX,
                     "job %s: token %s may create jobs that begin with %s; choose such an id", name,
                     token->id, token->prefix);
}

int service_new_job(struct service *service, const struct auth_token *token, const char *name,
                    const spec_message *given, const spec_message *effective, struct job_spec *spec,
                    struct change **out, struct error *err)
{
    struct store_job *row = NULL;
    uint64_t uid = new_uid();

    if (check_prefix(token, name, err) || auth_check_jobs(token, err) || service_check_load(service, err) ||
        service_check_ranks(service, spec, err))
        return (int)err->status;
    if (service->options.max_jobs &&
        store_job_count(service->store) + service->creating >= service->options.max_jobs)
        return error_limit(err, LIMIT_JOBS, ST_TOO_MANY_JOBS,
                           "there are %u jobs, as many as --max-jobs allows; delete some",
                           service->options.max_jobs);
    if (service_make_row(name, uid, given, effective, &row, err)) return (int)err->status;

    struct job *job = jobs_add(service->jobs, name, uid, spec);
    struct change *change = job ? change_new(job, spec) : NULL;
    if (!change) goto err_job;
    change->op = STORE_JOB_CREATE;
    change->new_spec = true;
    change->row = row;
    memcpy(change->state, job->newest, job_state_size(spec));
    *out = change;
    return 0;

err_job:
    if (job) {
        job->spec = NULL; /* stays the caller's */
        jobs_remove(service->jobs, job);
    }
    store_job_clear(row);
    free(row);
    return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

int service_make_job(struct service *service, const struct auth_token *token, const char *name,
                     const spec_message *message, struct change **out, struct error *err)
{
    struct job_spec *spec = NULL;
    spec_message *effective = NULL;
    int rc = convert_spec(message, &spec, err);

    if (rc) return rc;
    rc = convert_check_texts(message, spec->lr.n, err);
    if (!rc) rc = convert_effective(message, spec, &effective, err);
    if (!rc) rc = service_new_job(service, token, name, message, effective, spec, out, err);
    if (effective) greedylr__v1__job_spec__free_unpacked(effective, NULL);
    if (rc) spec_free(spec);
    return rc;
}

void service_created(struct service *service, const struct job *job)
{
    service->creating++;
    auth_note_job(service->options.auth, job->name, 1);
}

void service_unmake_job(struct service *service, struct change *change)
{
    jobs_remove(service->jobs, change->job); /* frees the spec */
    change_unref(change);
}

/* ---- answers ---- */

struct job_waiter {
    struct change_waiter waiter;
    struct service *service;
    struct call *call;
};

void fill_round(const struct round *round, uint32_t behind, struct round_view *view)
{
    Greedylr__V1__Round *m = &view->message;
    uint32_t missing = round_missing(round, true, view->missing, MISSING_NAMED);

    greedylr__v1__round__init(m);
    m->has_step = m->has_attempt = m->has_world_size = m->has_quorum = m->has_reported = 1;
    m->step = round->step;
    m->attempt = round->attempt;
    m->world_size = round->ranks.world_size;
    m->quorum = round->ranks.quorum;
    m->reported = round->ranks.world_size - missing;
    m->missing = view->missing;
    m->n_missing = missing < MISSING_NAMED ? missing : MISSING_NAMED;
    m->has_rounds_behind = m->has_overdue = 1;
    m->rounds_behind = behind;
    m->overdue = round->overdue;
}

static int fill_job(const struct job *job, Greedylr__V1__Job *out, Greedylr__V1__JobState *state,
                    char uid[17], struct error *err)
{
    greedylr__v1__job__init(out);
    snprintf(uid, 17, "%016llx", (unsigned long long)job->uid);
    out->job = (char *)(uintptr_t)job->name;
    out->uid = uid;
    out->status = (char *)(uintptr_t)job_status_words[job->durable->status];
    out->has_revision = out->has_attempt = 1;
    out->revision = job->durable->revision;
    out->attempt = job->durable->attempt;
    out->state = state;
    return convert_state(job->durable_spec, job->durable, state, err);
}

/* Answers with the durable state and the texts of row, which is borrowed. */
static void answer_row(struct service *service, struct call *call, struct job *job,
                       const struct store_job *row)
{
    Greedylr__V1__Job message;
    Greedylr__V1__JobState state;
    Google__Protobuf__Timestamp created, updated;
    struct round_view round;
    struct error err = {0};
    char uid[17];

    if (rounds_load(service, job, &err) || fill_job(job, &message, &state, uid, &err)) {
        call_fail(call, &err);
        return;
    }
    if (job->rounds) {
        fill_round(job->rounds->round, rounds_count(job) - 1, &round);
        state.open_round = &round.message;
    }
    convert_time(job->create_us, &created);
    convert_time(job->update_us > row->update_us ? job->update_us : row->update_us, &updated);
    message.create_time = &created;
    message.update_time = &updated;
    if (!service_parse_spec(row->spec, &message.spec, &err) &&
        !service_parse_spec(row->effective, &message.effective, &err))
        call->done(call, &message.base, NULL);
    else
        call_fail(call, &err);
    if (message.spec) greedylr__v1__job_spec__free_unpacked(message.spec, NULL);
    if (message.effective) greedylr__v1__job_spec__free_unpacked(message.effective, NULL);
    convert_state_clear(&state);
}

/* waited: for a change, which its own commit or one behind it may have followed with a deletion. */
static void answer_stored(struct service *service, struct call *call, struct job *job, bool waited)
{
    struct store_job row = {0};
    struct error err;

    if (store_get_job(service->reader, job->name, &row, &err)) {
        if (waited && err.status == ST_JOB_NOT_FOUND)
            (void)error_set(&err, ST_JOB_DELETED, "job %s was deleted while the request waited", job->name);
        call_fail(call, &err);
        return;
    }
    answer_row(service, call, job, &row);
    store_job_clear(&row);
}

void answer_job(struct service *service, struct call *call, struct job *job)
{
    answer_stored(service, call, job, false);
}

static void on_job_durable(void *arg, struct change *change, const struct error *err)
{
    struct job_waiter *w = arg;

    if (err) {
        call_fail(w->call, err);
    } else if (change->op == STORE_JOB_DELETE) {
        Greedylr__V1__DeleteJobResponse answer = GREEDYLR__V1__DELETE_JOB_RESPONSE__INIT;
        w->call->done(w->call, &answer.base, NULL);
    } else if (change->row) {
        answer_row(w->service, w->call, change->job, change->row);
    } else {
        answer_stored(w->service, w->call, change->job, true);
    }
    free(w);
}

void answer_job_after(struct service *service, struct call *call, struct change *change)
{
    struct job_waiter *w = calloc(1, sizeof(*w));
    struct error err;

    if (!w) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    *w = (struct job_waiter){.waiter = {NULL, on_job_durable, w}, .service = service, .call = call};
    change_wait(change, &w->waiter);
}

void answer_job_settled(struct service *service, struct call *call, struct job *job)
{
    if (job->pending)
        answer_job_after(service, call, job->last);
    else
        answer_job(service, call, job);
}

/* ---- create ---- */

static int compare_specs(const spec_message *asked, const spec_message *created, const char *name,
                         struct error *err)
{
    struct job_spec *a = NULL, *b = NULL;
    spec_message *ea = NULL, *eb = NULL;
    char path[256];

    if (convert_spec(asked, &a, err) || convert_spec(created, &b, err) ||
        convert_effective(asked, a, &ea, err) || convert_effective(created, b, &eb, err))
        goto out;
    err->status = ST_OK;
    if (message_difference(&ea->base, &eb->base, "labels", path, sizeof(path)))
        (void)error_set(
            err, ST_JOB_EXISTS,
            "job %s exists and was created with another spec.%s; use the same spec, another id, or PATCH "
            "the job",
            name, path);
out:
    spec_free(a);
    spec_free(b);
    if (ea) greedylr__v1__job_spec__free_unpacked(ea, NULL);
    if (eb) greedylr__v1__job_spec__free_unpacked(eb, NULL);
    return (int)err->status;
}

/* The job is there: the same spec answers with it, once it is durable. */
static void create_again(struct service *service, struct call *call, struct job *job,
                         const spec_message *asked)
{
    struct store_job row = {0};
    spec_message *created = NULL;
    struct error err;
    const char *text = NULL;

    for (struct change *c = job->oldest; c && !text; c = c->job_next) {
        if (c->op == STORE_JOB_CREATE && c->row) text = c->row->created;
    }
    if (!text && store_get_job(service->reader, job->name, &row, &err)) goto err_find;
    if (service_parse_spec(text ? text : row.created, &created, &err)) goto err_parse;
    if (compare_specs(asked, created, job->name, &err))
        call_fail(call, &err);
    else
        answer_job_settled(service, call, job);
    greedylr__v1__job_spec__free_unpacked(created, NULL);
    store_job_clear(&row);
    return;

err_parse:
    store_job_clear(&row);
err_find:
    call_fail(call, &err);
}

void handle_create_job(struct service *service, struct call *call)
{
    const Greedylr__V1__CreateJobRequest *request = (const void *)call->request;
    struct error err;
    struct job *job;
    struct change *change;

    if (!request->spec) {
        (void)error_set(&err, ST_FIELD_REQUIRED, "spec: is required");
        goto fail;
    }
    if (service_check_id(request->spec->job, "spec.job", &err)) goto fail;
    if (!service_find(service, call->token, request->spec->job, &job, &err)) {
        create_again(service, call, job, request->spec);
        return;
    }
    if (err.status != ST_JOB_NOT_FOUND) goto fail;
    if (service_make_job(service, call->token, request->spec->job, request->spec, &change, &err)) goto fail;
    if (service_queue(service, change, &err)) {
        service_unmake_job(service, change);
        goto fail;
    }
    service_created(service, change->job);
    answer_job_after(service, call, change);
    return;

fail:
    call_fail(call, &err);
}

void handle_get_job(struct service *service, struct call *call)
{
    const Greedylr__V1__GetJobRequest *request = (const void *)call->request;
    struct error err;
    struct job *job;

    if (service_find_durable(service, call->token, request->job, &job, &err))
        call_fail(call, &err);
    else
        answer_job(service, call, job);
}

void handle_delete_job(struct service *service, struct call *call)
{
    const Greedylr__V1__DeleteJobRequest *request = (const void *)call->request;
    struct error err;
    struct job *job;

    if (service_find(service, call->token, request->job, &job, &err)) goto fail;
    struct change *change = change_new(job, job->spec);
    if (!change) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        goto fail;
    }
    change->op = STORE_JOB_DELETE;
    memcpy(change->state, job->newest, job_state_size(job->spec));
    if (service_queue(service, change, &err)) {
        change->job = NULL;
        change_unref(change);
        goto fail;
    }
    (void)error_set(&err, ST_JOB_DELETED, "job %s was deleted while the request waited", job->name);
    rounds_end(job, change, &err);
    answer_job_after(service, call, change);
    return;

fail:
    call_fail(call, &err);
}
