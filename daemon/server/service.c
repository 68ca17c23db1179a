/* The service's frame: dispatch, and what happens when batches become durable, fail, or are folded.
 *
 * A write is stepped on the job's newest state, queued, and answered when its batch is durable.  A full disk
 * fails the batch and refuses writes until a probe finds room; want of memory fails the batch alone; any
 * other failure of the store ends the process. */
#include "server/service_impl.h"

#include "server/log.h"
#include "server/metrics.h"
#include "server/origin.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define PROBE_MS 250
/* Of what may wait to be folded, and of the memory for it: more than that is folded between batches. */
#define FOLD_ROWS_PART   4
#define FOLD_MEMORY_PART 8

struct handler_row {
    const char *method;
    service_handler *handle;
};

static const struct handler_row handlers[] = {
    {"Report", handle_report},
    {"GetLr", handle_get_lr},
    {"BatchReport", handle_batch_report},
    {"GetJob", handle_get_job},
    {"CreateJob", handle_create_job},
    {"ListJobs", handle_list_jobs},
    {"UpdateJob", handle_update_job},
    {"DeleteJob", handle_delete_job},
    {"ListDecisions", handle_list_decisions},
    {"Simulate", handle_simulate},
    {"BeginAttempt", handle_begin_attempt},
    {"RewindJob", handle_rewind_job},
    {"ForkJob", handle_fork_job},
    {"SetLr", handle_set_lr},
    {"PauseJob", handle_pause_job},
    {"ResumeJob", handle_resume_job},
    {"FinishJob", handle_finish_job},
    {"ImportState", handle_import_state},
    {"ExportState", handle_export_state},
    {"WatchJob", handle_watch_job},
};

void call_fail(struct call *call, const struct error *err)
{
    call->done(call, NULL, err);
}

int64_t service_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int service_writable(const struct service *service, struct error *err)
{
    if (service->full) {
        *err = service->full_reason;
        return (int)err->status;
    }
    if (service->draining)
        return error_set(err, ST_DRAINING, "the daemon is stopping; repeat the request soon");
    return 0;
}

/* Changes queued or not folded yet are all in memory (about 1 KB each, where states are small) and, after a
 * crash, to be folded before the daemon is ready.  Folding keeps up with commits; this bounds what comes in
 * while one is slow. */
int service_check_write(const struct service *service, struct error *err)
{
    if (service_writable(service, err)) return (int)err->status;
    const struct service_options *limits = &service->options;

    if (service->unfolded_bytes >= limits->unfolded_memory)
        return error_set(err, ST_OVERLOADED,
                         "%llu bytes of changes wait for the disk, --max-unfolded-memory allows %llu; repeat "
                         "the request in a moment",
                         (unsigned long long)service->unfolded_bytes,
                         (unsigned long long)limits->unfolded_memory);
    if (service->queued + store_backlog(service->store) < limits->max_unfolded) return 0;
    return error_set(
        err, ST_OVERLOADED,
        "%u changes wait for the disk, as many as --max-unfolded allows; repeat the request in a "
        "moment",
        limits->max_unfolded);
}

const char *service_unrecorded(const struct service *service)
{
    return service->options.history_limit ? "is not in the history (any more: --history-limit)"
                                          : "was never decided";
}

uint64_t service_unfolded_bytes(const struct service *service)
{
    return service->unfolded_bytes;
}

const struct service_numbers *service_numbers(const struct service *service)
{
    return &service->numbers;
}

double service_oldest_round(const struct service *service)
{
    return service->oldest ? round_age(service->oldest) : 0;
}

uint32_t service_resident(const struct service *service)
{
    return jobs_count(service->jobs);
}

void service_call(struct service *service, struct call *call)
{
    struct error err;

    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        if (strcmp(handlers[i].method, call->method) != 0) continue;
        struct origin *outer = service->origin;
        service->origin = call->origin;
        handlers[i].handle(service, call);
        service->origin = outer;
        service_flush(service);
        return;
    }
    (void)error_set(&err, ST_NOT_SERVED, "%s is in the contract but not served by this version",
                    call->method);
    call_fail(call, &err);
}

void service_cancel(struct call *call)
{
    void (*cancel)(struct call *) = call->cancel;

    call->cancel = NULL;
    if (cancel) cancel(call);
}

int service_queue(struct service *service, struct change *change, struct error *err)
{
    if (service_check_write(service, err) || change_queue(change, err)) return (int)err->status;
    change->origin = origin_ref(service->origin);
    service->queued++;
    service->unfolded_bytes += change->bytes;
    change->next = NULL;
    if (service->outbox_last)
        service->outbox_last->next = change;
    else
        service->outbox = change;
    service->outbox_last = change;
    return 0;
}

void service_flush(struct service *service)
{
    struct change *first = service->outbox, *last = service->outbox_last;

    service->outbox = service->outbox_last = NULL;
    if (first) commit_submit(service->commit, first, last);
}

int service_event(struct service *service, struct job *job, const struct job_event *event,
                  const struct change *make, struct change **out, struct error *err)
{
    struct change *change = change_new(job, job->spec);

    if (!change) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (make) {
        change->op = make->op;
        change->drops_contributions = make->drops_contributions;
        change->supersedes = make->supersedes;
        change->superseded_after = make->superseded_after;
    }
    if (job_step(job->spec, job->newest, event, change->state, &change->decision, err)) goto err_change;
    change->has_decision = true;
    change->status = (enum job_status)change->state->status;
    if (service_queue(service, change, err)) goto err_change;
    *out = change;
    return 0;

err_change:
    change_unref(change);
    return (int)err->status;
}

struct again {
    struct change_waiter waiter;
    struct service *service;
    struct call *call;
};

static void on_again(void *arg, struct change *change, const struct error *err)
{
    struct again *again = arg;
    struct service *service = again->service;
    struct call *call = again->call;

    (void)change;
    free(again);
    if (err)
        call_fail(call, err); /* the job is not what it seems before all of the batch has failed */
    else
        service_call(service, call);
}

void service_again_after(struct service *service, struct call *call, struct change *change)
{
    struct again *again = calloc(1, sizeof(*again));
    struct error err;

    if (!again) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    *again = (struct again){.waiter = {NULL, on_again, again}, .service = service, .call = call};
    change_wait(change, &again->waiter);
}

/* Out of what the service keeps; the caller forgets it. */
static void count_out(struct service *service, const struct change *change)
{
    service->unfolded_bytes -= change->bytes;
}

/* A committed change with a decision stays for look-ups until it is folded. */
static void keep_unfolded(struct service *service, struct change *change)
{
    change->next = NULL;
    if (service->unfolded_last)
        service->unfolded_last->next = change;
    else
        service->unfolded = change;
    service->unfolded_last = change;
}

static void count_decision(const struct change *change)
{
    const struct job_decision *d = &change->decision;

    metrics_add(METRIC_DECISIONS, (int)d->action, 1);
    if (d->applied_mismatch) metrics_add(METRIC_APPLIED_MISMATCH, 0, 1);
}

/* before: the job's status, or -1 where it was not there. */
static void count_status(struct service *service, const struct change *change, int before)
{
    const struct job_state *durable = change->job->durable;
    int after = change->op == STORE_JOB_DELETE || !durable ? -1 : durable->status;

    if (before == after) return;
    if (before >= 0) service->numbers.jobs[before]--;
    if (after >= 0) service->numbers.jobs[after]++;
}

static void note_series(struct service *service, const struct change *change)
{
    if (!service->options.job_metrics) return;
    if (change->op == STORE_JOB_DELETE)
        job_series_forget(service->series, change->job->uid);
    else if (change->has_decision || change->op == STORE_JOB_CREATE)
        job_series_note(service->series, change->job, change->has_decision ? &change->decision : NULL);
}

static void on_durable(void *arg, struct change *first, size_t n, double seconds)
{
    struct service *service = arg;

    metrics_observe(METRIC_COMMIT_DURATION, seconds);
    metrics_observe(METRIC_COMMIT_CHANGES, (double)n);
    service->queued -= n;
    log_batch(true);
    while (first) {
        struct change *change = first;
        struct job *job = change->job;
        int before = job->durable ? job->durable->status : -1;
        first = change->next;

        if (change->op == STORE_JOB_CREATE) service->creating--;
        log_change(service, change);
        origin_unref(change->origin);
        change->origin = NULL;
        change_committed(service->jobs, change);
        count_status(service, change, before);
        note_series(service, change);
        if (change->has_decision) {
            change->ordinal = ++service->committed;
            count_decision(change);
            watch_decided(service, change);
        }
        if (change->has_contribution) round_recorded(job, change);
        change_tell(change, NULL);
        if (change->has_decision && job->lr_waiters) lr_waiters_wake(job, change);
        if (change->op == STORE_JOB_DELETE) {
            auth_note_job(service->options.auth, job->name, -1);
            watch_deleted(service, job);
            lr_waiters_end(job);
            count_out(service, change);
            change_folded(service->jobs, change);
            jobs_remove(service->jobs, job);
        } else if (change->has_decision) {
            keep_unfolded(service, change);
        } else {
            count_out(service, change);
            change_folded(service->jobs, change);
        }
    }
    log_batch(false);
}

static void log_full(const struct error *err)
{
    bool held = err->status == ST_STORE_HELD;

    log_event(
        LOG_ERROR, held ? "database_held" : "disk_full",
        (struct log_field[]){log_str("error", err->message),
                             log_str("remedy", held ? "end that transaction; writes resume by themselves"
                                                    : "make room; writes resume by themselves"),
                             log_end()});
}

static void service_failed(struct service *service, const struct error *err)
{
    if (err->status == ST_STORE_FULL || err->status == ST_STORE_HELD) {
        if (!service->full || service->full_reason.status != err->status) log_full(err);
        service->full = true;
        service->full_reason = *err;
        return;
    }
    if (err->status == ST_OUT_OF_MEMORY) {
        log_event(LOG_ERROR, "out_of_memory",
                  (struct log_field[]){log_str("error", err->message), log_end()});
        service->starved = true; /* the writer's idle work goes on with a probe */
        return;
    }
    if (service->failed) return;
    service->failed = true;
    service->draining = true;
    service->fatal(service->fatal_arg, err);
}

static void on_failed(void *arg, struct change *first, size_t n, const struct error *err)
{
    struct service *service = arg;

    service->queued -= n;
    service_failed(service, err);
    while (first) {
        struct change *change = first;
        struct job *job = change->job;
        first = change->next;

        if (change->op == STORE_JOB_CREATE) {
            service->creating--;
            auth_note_job(service->options.auth, job->name, -1);
        }
        count_out(service, change);
        change_failed(change);
        change_tell(change, err);
        rounds_fail(job, err);
        change->job = NULL;
        change_unref(change);
        if (!job->pending && !job->durable) jobs_remove(service->jobs, job);
    }
}

static void on_folded(void *arg, uint64_t ordinal)
{
    struct service *service = arg;

    while (service->unfolded && service->unfolded->ordinal <= ordinal) {
        struct change *change = service->unfolded;
        service->unfolded = change->next;
        if (!service->unfolded) service->unfolded_last = NULL;
        count_out(service, change);
        change_folded(service->jobs, change);
    }
    jobs_evict(service->jobs);
}

static void on_room(void *arg)
{
    struct service *service = arg;

    service->starved = false;
    if (!service->full) return;
    service->full = false;
    log_event(LOG_WARNING, service->full_reason.status == ST_STORE_HELD ? "database_free" : "disk_has_room",
              NULL);
}

static void on_trouble(void *arg, const struct error *err)
{
    service_failed(arg, err);
}

static void on_probe(uv_timer_t *timer)
{
    struct service *service = timer->data;
    uint64_t now_ms = uv_hrtime() / 1000000;

    /* By how much the loop was late to look at its timers: how long everybody waited for one turn of it. */
    if (service->lag_ms)
        metrics_observe(METRIC_LOOP_LAG,
                        now_ms > service->lag_ms ? (double)(now_ms - service->lag_ms) / 1e3 : 0);
    service->lag_ms = uv_now(service->loop) + PROBE_MS;
    if (service->full || service->starved) commit_probe(service->commit);
    memory_look(service);
    log_settle(false);
}

int service_start(uv_loop_t *loop, struct store *store, const struct service_options *options,
                  void (*fatal)(void *, const struct error *), void *arg, struct service **out,
                  struct error *err)
{
    struct service *service = calloc(1, sizeof(*service));

    if (!service) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    *service =
        (struct service){.loop = loop, .store = store, .options = *options, .fatal = fatal, .fatal_arg = arg};
    for (int i = 0; i < JOB_STATUS_COUNT; i++)
        service->numbers.jobs[i] = store_job_count_at_open(store, (enum job_status)i);
    memory_start(service);
    service->jobs = jobs_new(options->resident_jobs);
    service->series = job_series_new(options->job_metrics);
    if (!service->jobs || !service->series) {
        (void)error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        goto err_jobs;
    }
    if (pool_start(loop, err)) goto err_jobs;
    if (store_reader_open(store, &service->reader, err)) goto err_jobs;

    if (store_recovering(store)) service_failed(service, store_unrecovered(store));
    const struct commit_handlers on = {on_durable, on_failed, on_folded, on_room, on_trouble, service};
    if (commit_start(loop, store, options->max_unfolded / FOLD_ROWS_PART,
                     options->unfolded_memory / FOLD_MEMORY_PART, &on, &service->commit, err))
        goto err_reader;
    batches_start(service);
    uv_timer_init(loop, &service->probe_timer);
    service->probe_timer.data = service;
    uv_timer_start(&service->probe_timer, on_probe, PROBE_MS, PROBE_MS);
    *out = service;
    return 0;

err_reader:
    store_reader_close(service->reader);
err_jobs:
    job_series_free(service->series);
    jobs_free(service->jobs);
    memory_end(service);
    free(service);
    return (int)err->status;
}

void service_limit_waiting(struct service *service, uint32_t waiting)
{
    service->max_waiting = waiting;
}

/* Who waits comes to the end of its time. */
static void release(void *arg, struct job *job)
{
    (void)arg;
    for (struct open_round *open = job->rounds; open; open = open->next) {
        for (struct waiter *w = open->waiters; w; w = w->next)
            deadline_again(w->deadline, 0);
    }
    for (struct waiter *w = job->lr_waiters; w; w = w->next)
        deadline_again(w->deadline, 0);
}

void service_release(struct service *service)
{
    service->releasing = true;
    jobs_each(service->jobs, release, NULL);
    pool_drop_simulations(service);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct service *service = handle->data;
    void (*stopped)(void *) = service->stopped;
    void *arg = service->stopped_arg;

    while (service->unfolded) {
        struct change *change = service->unfolded;
        service->unfolded = change->next;
        change_folded(service->jobs, change);
    }
    pool_close_readers(service);
    memory_end(service);
    store_reader_close(service->reader);
    job_series_free(service->series);
    jobs_free(service->jobs);
    free(service);
    stopped(arg);
}

static void on_turns_closed(uv_handle_t *handle)
{
    struct service *service = handle->data;

    uv_close((uv_handle_t *)&service->probe_timer, on_timer_closed);
}

static void part_ended(struct service *service)
{
    if (!--service->stopping) uv_close((uv_handle_t *)&service->turns, on_turns_closed);
}

static void on_commit_stopped(void *arg)
{
    part_ended(arg);
}

void service_stop(struct service *service, void (*done)(void *arg), void *arg)
{
    service->stopped = done;
    service->stopped_arg = arg;
    service->stopping = 2;
    batches_end(service);
    pool_end(service, part_ended);
    commit_stop(service->commit, !service->failed, on_commit_stopped, service);
}
