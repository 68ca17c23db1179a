/* WatchJob: decisions as they become durable.
 *
 * A watcher that asks for history reads it page by page on the pool's threads, at the pace of its peer, until
 * it has everything that is durable; then it is live, and gets each decision when its commit is known.  The
 * end of a page and a commit are both seen by the loop thread, one after the other, and revisions only grow:
 * what falls between reading and being live is in the one or the other, and what is in both is passed over.
 * Few pages are read at a time, in turn, so that others' reads find a thread.
 *
 * A live watcher whose stream is full is cut off.  A watched job may leave memory: what is needed of it is
 * here. Watchers end with their job, at a drain, at their own deadline, or when their peer leaves. */
#include "server/service_impl.h"

#include <stdlib.h>
#include <string.h>

#define PAGE  64
#define READS (POOL_THREADS / 2) /* pages at a time */

struct page_entry {
    struct job_decision decision;
    double *held; /* what the decision borrows */
};

struct watcher {
    struct watcher *next, *prev; /* of the same job */
    struct call *call;           /* NULL once it is over */
    struct service *service;
    struct watched *watched;
    struct auth_token *token; /* whose it is, referenced; NULL: tokens are off */
    int holds;                /* the deadline's handle, and a thread that reads */
    uv_timer_t deadline;
    uint32_t sent; /* the stream has everything up to this revision */

    /* History; the thread's while reading, unless it waits for its turn. */
    bool reading, in_line;
    struct watcher *behind; /* in line */
    uv_work_t work;
    struct store *store;
    uint64_t uid;
    uint32_t known; /* durable before the page was read */
    struct page_entry *page;
    size_t at, n;
    struct error err;
};

/* A job that is watched. */
struct watched {
    UT_hash_handle hh;
    uint64_t uid;
    uint32_t revision; /* of its last durable decision */
    struct watcher *watchers;
    uint32_t n; /* of those */
    char name[JOB_ID_MAX + 1];
};

/* ---- the end ---- */

static void drop_page(struct watcher *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->page[i].held);
    free(w->page);
    w->page = NULL;
    w->at = w->n = 0;
}

static void release(struct watcher *w)
{
    if (--w->holds) return;
    drop_page(w);
    free(w);
}

static void on_deadline_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void leave_line(struct watcher *w)
{
    struct watcher **at = &w->service->watch_line;

    while (*at != w)
        at = &(*at)->behind;
    *at = w->behind;
    w->in_line = w->reading = false;
}

static void end(struct watcher *w, const struct error *err)
{
    struct service *service = w->service;
    struct watched *watched = w->watched;
    struct call *call = w->call;

    if (w->in_line) leave_line(w);
    if (w->prev)
        w->prev->next = w->next;
    else
        watched->watchers = w->next;
    if (w->next) w->next->prev = w->prev;
    watched->n--;
    if (!watched->watchers) {
        HASH_DEL(service->watched, watched);
        free(watched);
    }
    service->watchers--;
    if (w->token) w->token->watchers--;
    auth_unref(w->token);
    w->token = NULL;
    w->watched = NULL;
    w->call = NULL;
    uv_close((uv_handle_t *)&w->deadline, on_deadline_closed);
    call->cancel = call->ready = NULL;
    call->done(call, NULL, err);
}

static void on_cancel(struct call *call)
{
    end(call->waiting, NULL);
}

static void on_deadline(uv_timer_t *timer)
{
    struct error err;

    (void)error_set(&err, ST_WATCH_EXPIRED,
                    "the time given for watching is over; watch again from the last revision received");
    end(timer->data, &err);
}

static void end_all(struct watched *watched, const struct error *err)
{
    struct watcher *next;

    for (struct watcher *w = watched->watchers; w; w = next) { /* the last one takes watched with it */
        next = w->next;
        end(w, err);
    }
}

/* ---- history ---- */

static int keep(void *arg, const struct store_entry *entry)
{
    struct watcher *w = arg;
    struct page_entry *kept = &w->page[w->n];

    kept->decision = entry->decision;
    kept->held = decision_hold(&kept->decision);
    if (!kept->held) return error_set(&w->err, ST_OUT_OF_MEMORY, "out of memory");
    w->n++;
    return 0;
}

static void run_read(uv_work_t *work)
{
    struct watcher *w = work->data;
    const struct store_decisions_query query = {
        .uid = w->uid, .after_revision = w->sent, .superseded = true, .limit = PAGE};
    struct store_reader *reader;
    struct error err;

    w->page = calloc(PAGE, sizeof(*w->page));
    if (!w->page) {
        (void)error_set(&w->err, ST_OUT_OF_MEMORY, "out of memory");
        return;
    }
    if (store_reader_open(w->store, &reader, &w->err)) return;
    if (store_list_decisions(reader, &query, keep, w, &err) && !w->err.status) w->err = err;
    store_reader_close(reader);
}

/* NO_ROOM: the stream takes no more for now.  ST_OUT_OF_MEMORY. */
#define NO_ROOM (-1)
static int hand_over(struct watcher *w, const struct job_decision *decision, struct error *err)
{
    Greedylr__V1__WatchJobResponse message = GREEDYLR__V1__WATCH_JOB_RESPONSE__INIT;
    decision_message inner;
    Google__Protobuf__Timestamp time;

    if (convert_decision(decision, w->watched->name, &inner, &time, err)) return (int)err->status;
    message.decision = &inner;
    enum stream_took took = w->call->message(w->call, &message.base, ++w->service->watch_serial);

    convert_decision_clear(&inner);
    if (took == STREAM_FULL) return NO_ROOM;
    if (took == STREAM_NO_MEMORY) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    w->sent = decision->revision;
    return 0;
}

static void go_on(struct watcher *w);
static void start_read(struct watcher *w);

static void on_read(uv_work_t *work, int status)
{
    struct watcher *w = work->data, *first = w->service->watch_line;

    (void)status;
    w->reading = false;
    w->service->watch_reads--;
    if (first) {
        leave_line(first);
        start_read(first);
    }
    if (w->call && w->err.status)
        end(w, &w->err);
    else if (w->call)
        go_on(w);
    release(w);
}

static void start_read(struct watcher *w)
{
    w->known = w->watched->revision;
    w->work.data = w;
    w->holds++;
    w->reading = true;
    w->service->watch_reads++;
    (void)uv_queue_work(w->service->loop, &w->work, run_read, on_read); /* fails only without run_read */
}

static void read_page(struct watcher *w)
{
    struct watcher **last = &w->service->watch_line;

    if (w->service->watch_reads < READS) {
        start_read(w);
        return;
    }
    while (*last)
        last = &(*last)->behind;
    *last = w;
    w->behind = NULL;
    w->in_line = w->reading = true;
}

/* Hands over what was read, as far as the stream takes it; then reads on. */
static void go_on(struct watcher *w)
{
    bool last = w->n < PAGE;
    struct error err;
    int rc = 0;

    while (w->at < w->n && !(rc = hand_over(w, &w->page[w->at].decision, &err)))
        w->at++;
    if (rc == NO_ROOM) return; /* until it has room */
    if (rc) {
        end(w, &err);
        return;
    }
    drop_page(w);
    if (last && w->sent < w->known) w->sent = w->known; /* no more of the history is kept */
    if (w->sent < w->watched->revision) read_page(w);
}

static void on_ready(struct call *call)
{
    struct watcher *w = call->waiting;

    if (!w->reading && w->page) go_on(w);
}

/* ---- live ---- */

static struct watched *find(const struct service *service, uint64_t uid)
{
    struct watched *watched;

    HASH_FIND(hh, service->watched, &uid, sizeof(uid), watched);
    return watched;
}

void watch_decided(struct service *service, const struct change *change)
{
    struct watched *watched = service->watched ? find(service, change->job->uid) : NULL;
    const struct job_decision *decision = &change->decision;
    Greedylr__V1__WatchJobResponse message = GREEDYLR__V1__WATCH_JOB_RESPONSE__INIT;
    decision_message inner;
    Google__Protobuf__Timestamp time;
    struct watcher *next;
    struct error err;

    if (!watched) return;
    uint32_t before = watched->revision;
    watched->revision = decision->revision;
    if (convert_decision(decision, change->job->name, &inner, &time, &err)) {
        end_all(watched, &err);
        return;
    }
    message.decision = &inner;
    service->watch_serial++;
    for (struct watcher *w = watched->watchers; w; w = next) {
        next = w->next;
        bool live = !w->reading && !w->page && w->sent >= before;
        if (!live || w->sent >= decision->revision) continue;
        enum stream_took took = w->call->message(w->call, &message.base, service->watch_serial);
        if (took == STREAM_TOOK) {
            w->sent = decision->revision;
            continue;
        }
        if (took == STREAM_FULL)
            (void)error_set(
                &err, ST_WATCHER_TOO_SLOW,
                "decisions came faster than they were read; watch again from the last revision received");
        else
            (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        end(w, &err);
    }
    convert_decision_clear(&inner);
}

void watch_deleted(struct service *service, const struct job *job)
{
    struct watched *watched = find(service, job->uid);
    struct error err;

    if (!watched) return;
    (void)error_set(&err, ST_JOB_DELETED, "job %s was deleted", job->name);
    end_all(watched, &err);
}

void service_end_watches(struct service *service)
{
    struct watched *watched, *next;
    struct error err;

    service->unwatchable = true;
    (void)error_set(&err, ST_DRAINING, "the daemon is stopping; watch again from the last revision received");
    HASH_ITER(hh, service->watched, watched, next)
    {
        end_all(watched, &err);
    }
}

uint32_t service_watchers(const struct service *service)
{
    return service->watchers;
}

/* ---- the beginning ---- */

static struct watched *watch_job(struct service *service, const struct job *job)
{
    struct watched *watched = find(service, job->uid);

    if (watched) return watched;
    watched = calloc(1, sizeof(*watched));
    if (!watched) return NULL;
    watched->uid = job->uid;
    watched->revision = job->durable->revision;
    memcpy(watched->name, job->name, strlen(job->name) + 1);
    HASH_ADD(hh, service->watched, uid, sizeof(watched->uid), watched);
    if (watched->hh.tbl) return watched;
    free(watched);
    return NULL;
}

static int begin(struct service *service, struct call *call, const struct job *job, uint32_t after,
                 struct error *err)
{
    struct watcher *w = calloc(1, sizeof(*w));
    struct watched *watched = w ? watch_job(service, job) : NULL;

    if (!watched) {
        free(w);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    w->call = call;
    w->service = service;
    w->watched = watched;
    w->store = service->store;
    w->uid = job->uid;
    w->sent = after;
    w->next = watched->watchers;
    if (w->next) w->next->prev = w;
    watched->watchers = w;
    watched->n++;
    service->watchers++;
    w->token = call->token;
    if (w->token) {
        auth_ref(w->token);
        w->token->watchers++;
    }
    (void)uv_timer_init(service->loop, &w->deadline);
    w->deadline.data = w;
    w->holds = 1;
    if (call->timeout_ms >= 0) (void)uv_timer_start(&w->deadline, on_deadline, (uint64_t)call->timeout_ms, 0);
    call->waiting = w;
    call->cancel = on_cancel;
    call->ready = on_ready;
    call->after_revision = after;
    if (w->sent < watched->revision) read_page(w);
    return 0;
}

static int check(const struct service *service, const struct call *call, const struct job *job,
                 struct error *err)
{
    const Greedylr__V1__WatchJobRequest *request = (const void *)call->request;

    if (auth_check_watchers(call->token, err)) return (int)err->status;
    /* What is queued counts: a page may show a commit before the loop knows of it. */
    if (request->has_after_revision && request->after_revision > job->newest->revision)
        return error_set(
            err, ST_FIELD_INVALID,
            "after_revision: must be at most the job's revision %u, got %u; if the job was deleted "
            "and created again, watch from 0",
            job->newest->revision, request->after_revision);
    const struct service_options *options = &service->options;
    if (service_check_load(service, err)) return (int)err->status;
    if ((options->max_watchers && service->watchers >= options->max_watchers) || !service_may_wait(service))
        return error_limit(
            err, LIMIT_WATCHERS, ST_TOO_MANY_WAITING,
            "there are %u watchers, as many as --max-watchers allows; repeat the request later",
            service->watchers);
    const struct watched *watched = find(service, job->uid);
    if (options->max_watchers_per_job && watched && watched->n >= options->max_watchers_per_job)
        return error_limit(err, LIMIT_WATCHERS_PER_JOB, ST_TOO_MANY_WAITING,
                           "job %s has %u watchers, as many as --max-watchers-per-job allows; repeat the "
                           "request later",
                           job->name, watched->n);
    return 0;
}

void handle_watch_job(struct service *service, struct call *call)
{
    const Greedylr__V1__WatchJobRequest *request = (const void *)call->request;
    struct error err;
    struct job *job;

    if (service->unwatchable) {
        (void)error_set(&err, ST_DRAINING, "the daemon is stopping; repeat the request soon");
        goto fail;
    }
    if (service_find_durable(service, call->token, request->job, &job, &err)) goto fail;
    if (check(service, call, job, &err)) goto fail;
    if (!call->message) {
        call->done(call, NULL, NULL);
        return;
    }
    uint32_t after = request->has_after_revision ? request->after_revision : job->durable->revision;
    if (begin(service, call, job, after, &err)) goto fail;
    return;

fail:
    call_fail(call, &err);
}
