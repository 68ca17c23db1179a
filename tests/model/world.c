/* The daemon's service, step by step: the gate of the writer, the clock, starts and crashes.  See world.h. */
#include "world.h"

#include "server/log.h"
#include "server/service_impl.h"
#include "store/sqlite.h"
#include "world_calls.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* ---- the writer's gate: either the writer runs or this thread does ---- */

static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;
static enum writer_at at;
static bool go, stored, timed_out, is_timed, is_open, crashed;
static uint32_t submitted, taken, batch;

static void gate(enum writer_at where)
{
    pthread_mutex_lock(&gate_mutex);
    at = where;
    pthread_cond_broadcast(&gate_cond);
    while (!go && !is_open)
        pthread_cond_wait(&gate_cond, &gate_mutex);
    go = false;
    at = WRITER_RUNS;
    pthread_mutex_unlock(&gate_mutex);
}

static void gate_wait(void)
{
    pthread_mutex_lock(&gate_mutex);
    while (at == WRITER_RUNS)
        pthread_cond_wait(&gate_cond, &gate_mutex);
    pthread_mutex_unlock(&gate_mutex);
}

static void gate_pass(void)
{
    pthread_mutex_lock(&gate_mutex);
    go = true;
    at = WRITER_RUNS;
    pthread_cond_broadcast(&gate_cond);
    pthread_mutex_unlock(&gate_mutex);
    gate_wait();
}

/* From now on the writer runs as it likes. */
static void gate_open(void)
{
    pthread_mutex_lock(&gate_mutex);
    is_open = true;
    pthread_cond_broadcast(&gate_cond);
    pthread_mutex_unlock(&gate_mutex);
}

void __real_uv_cond_wait(uv_cond_t *cond, uv_mutex_t *mutex);
void __wrap_uv_cond_wait(uv_cond_t *cond, uv_mutex_t *mutex);
int __real_uv_cond_timedwait(uv_cond_t *cond, uv_mutex_t *mutex, uint64_t timeout);
int __wrap_uv_cond_timedwait(uv_cond_t *cond, uv_mutex_t *mutex, uint64_t timeout);
int __real_store_commit(struct store *store, const struct store_change *changes, size_t n, struct error *err);
int __wrap_store_commit(struct store *store, const struct store_change *changes, size_t n, struct error *err);
int __real_store_maintain(struct store *store, bool all, struct error *err);
int __wrap_store_maintain(struct store *store, bool all, struct error *err);
int __real_store_probe(struct store *store, struct error *err);
int __wrap_store_probe(struct store *store, struct error *err);
void __real_commit_submit(struct commit *commit, struct change *first, struct change *last);
void __wrap_commit_submit(struct commit *commit, struct change *first, struct change *last);
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);
void __real_uv_close(uv_handle_t *handle, uv_close_cb cb);
void __wrap_uv_close(uv_handle_t *handle, uv_close_cb cb);
ssize_t __wrap_getrandom(void *out, size_t n, unsigned flags);

static void idle(uv_mutex_t *mutex, bool timed)
{
    uv_mutex_unlock(mutex);
    is_timed = timed;
    gate(WRITER_IDLE);
    uv_mutex_lock(mutex);
}

void __wrap_uv_cond_wait(uv_cond_t *cond, uv_mutex_t *mutex)
{
    if (is_open)
        __real_uv_cond_wait(cond, mutex);
    else
        idle(mutex, false);
}

int __wrap_uv_cond_timedwait(uv_cond_t *cond, uv_mutex_t *mutex, uint64_t timeout)
{
    if (is_open) return __real_uv_cond_timedwait(cond, mutex, timeout);
    idle(mutex, true);
    bool late = timed_out;
    timed_out = false;
    return late ? UV_ETIMEDOUT : 0;
}

int __wrap_store_commit(struct store *store, const struct store_change *changes, size_t n, struct error *err)
{
    batch = (uint32_t)n;
    if (!is_open) gate(WRITER_COMMIT);
    if (crashed) return error_set(err, ST_STORE_FAILED, "crashed");
    if (!is_open && !stored) return error_set(err, ST_STORE_FULL, "the disk is full");
    return __real_store_commit(store, changes, n, err);
}

int __wrap_store_maintain(struct store *store, bool all, struct error *err)
{
    if (!is_open) gate(WRITER_MAINTAIN);
    return __real_store_maintain(store, all, err);
}

int __wrap_store_probe(struct store *store, struct error *err)
{
    if (!is_open) gate(WRITER_PROBE);
    return __real_store_probe(store, err);
}

void __wrap_commit_submit(struct commit *commit, struct change *first, struct change *last)
{
    submitted += calls_count_changes(first, last);
    __real_commit_submit(commit, first, last);
}

uint32_t world_submitted(void)
{
    return submitted;
}

enum writer_at world_writer(void)
{
    return at;
}

uint32_t world_batch(void)
{
    return batch;
}

static bool has_batch(void)
{
    if (at != WRITER_COMMIT) return false;
    taken += batch;
    return true;
}

bool world_wake(void)
{
    if (at != WRITER_IDLE || taken == submitted) return false;
    gate_pass();
    return has_batch();
}

bool world_go(bool is_stored)
{
    stored = is_stored;
    gate_pass();
    return has_batch();
}

bool world_idle(void)
{
    if (at != WRITER_IDLE || !is_timed || taken != submitted) return false;
    timed_out = true;
    gate_pass();
    timed_out = false;
    return at == WRITER_MAINTAIN;
}

/* ---- the clock ---- */

enum { TIMERS = 1024 };

static struct timer {
    uv_timer_t *timer;
    uv_timer_cb cb;
    uint64_t at, order, repeat;
} timers[TIMERS];
static uint32_t n_timers;
static uint64_t now, timer_order;

static void timer_drop(const uv_handle_t *handle)
{
    for (uint32_t i = 0; i < n_timers; i++) {
        if ((const uv_handle_t *)timers[i].timer != handle) continue;
        timers[i] = timers[--n_timers];
        return;
    }
}

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    timer_drop((uv_handle_t *)timer);
    if (n_timers == TIMERS) abort();
    timers[n_timers++] = (struct timer){timer, cb, now + timeout, ++timer_order, repeat};
    return 0;
}

void __wrap_uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    timer_drop(handle);
    __real_uv_close(handle, cb);
}

uint64_t world_pass_deadline(uint64_t until)
{
    struct timer *first = NULL, due;

    for (uint32_t i = 0; i < n_timers; i++) {
        struct timer *t = &timers[i];

        if (t->repeat || t->at > until) continue; /* one that repeats is the probe's */
        if (!first || t->at < first->at || (t->at == first->at && t->order < first->order)) first = t;
    }
    if (!first) return 0;
    due = *first;
    *first = timers[--n_timers];
    now = due.at;
    due.cb(due.timer);
    return now;
}

void world_set_time(uint64_t to)
{
    now = to;
}

static uint64_t random_state;

ssize_t __wrap_getrandom(void *out, size_t n, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < n; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(random_state >> 56);
    }
    return (ssize_t)n;
}

/* ---- starts and ends ---- */

static const char *const files[] = {"greedylr.db", "greedylr.db-wal", "greedylr.db-shm", "lock"};
enum { FILES = sizeof(files) / sizeof(files[0]) };

static char data[300];
static uint8_t *empty;
static size_t empty_len;
static uv_loop_t loop;
static struct store *store;
static struct service *service;
static bool stopped;

static void die(const char *what, const struct error *err)
{
    fprintf(stderr, "%s: %s\n", what, err ? err->message : "failed");
    abort();
}

static void path_of(char out[400], const char *file)
{
    snprintf(out, 400, "%s/%s", data, file);
}

static void remove_files(void)
{
    char path[400];

    for (size_t i = 0; i < FILES; i++) {
        path_of(path, files[i]);
        unlink(path);
    }
}

void world_prepare(const char *dir)
{
    char path[400];
    struct error err;
    struct stat st;

    log_open(LOG_ERROR + 1, LOG_LOGFMT);
    snprintf(data, sizeof(data), "%s/data", dir);
    if (store_open(data, NULL, &store, &err)) die("a database", &err);
    if (store_close(store, &err)) die("a database", &err);
    path_of(path, files[0]);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st)) die(path, NULL);
    empty_len = (size_t)st.st_size;
    empty = malloc(empty_len);
    if (!empty || read(fd, empty, empty_len) != st.st_size) die(path, NULL);
    close(fd);
    uv_loop_init(&loop);
}

void world_begin(uint64_t seed)
{
    char path[400];

    remove_files();
    path_of(path, files[0]);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, empty, empty_len) != (ssize_t)empty_len) die(path, NULL);
    close(fd);
    random_state = seed;
    now = timer_order = 0;
    world_start();
}

static void on_fatal(void *arg, const struct error *err)
{
    (void)arg;
    if (!crashed) die("the service gave up", err);
}

void world_start(void)
{
    const struct service_options options = {.resident_jobs = 64,
                                            .batch_entries = 100,
                                            .max_simulations = 1,
                                            .max_ranks = 65536,
                                            .max_wait_ms = 300000,
                                            .round_memory = 1 << 20,
                                            .max_unfolded = 1 << 20,
                                            .unfolded_memory = 1 << 30};
    const struct store_options store_options = {0};
    struct error err;

    go = is_open = crashed = timed_out = stopped = false;
    at = WRITER_RUNS;
    submitted = taken = 0;
    calls_forget();
    if (store_open(data, &store_options, &store, &err)) die("opening the store", &err);
    if (service_start(&loop, store, &options, on_fatal, NULL, &service, &err)) die("the service", &err);
    gate_wait();
}

static void on_stopped(void *arg)
{
    (void)arg;
    stopped = true;
}

static void end_service(void)
{
    gate_open();
    service_stop(service, on_stopped, NULL);
    while (!stopped)
        uv_run(&loop, UV_RUN_ONCE);
}

/* The store touches nothing any more: what is in the files is what a kill would leave.  Then the rest is
 * only memory. */
void world_crash(void)
{
    struct error err;

    store->failed.status = ST_STORE_FAILED;
    crashed = true;
    calls_ignore();
    gate_open();
    service_release(service);
    while (calls_open()) {
        uv_run(&loop, UV_RUN_NOWAIT);
        while (world_pass_deadline(now))
            ;
        now += 5;
        sched_yield();
    }
    end_service();
    (void)store_close(store, &err);
}

void world_release(void)
{
    service_release(service);
}

void world_stop(void)
{
    struct error err;

    end_service();
    if (store_close(store, &err)) die("closing the store", &err);
}

/* ---- the loop ---- */

void world_deliver(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    struct error err;
    if (service_writable(service, &err) == ST_STORE_FULL) taken = submitted; /* the rest has failed with it */
}

void world_find_room(void)
{
    while (at == WRITER_MAINTAIN)
        gate_pass();
    for (uint32_t i = 0; i < n_timers; i++) {
        if (timers[i].repeat) timers[i].cb(timers[i].timer);
    }
    gate_pass();
    while (at == WRITER_PROBE || at == WRITER_MAINTAIN)
        gate_pass();
    uv_run(&loop, UV_RUN_NOWAIT);
}

void world_call(uint32_t call, const struct ref_request *request)
{
    calls_issue(service, call, request);
}

uint32_t world_history(struct ref_answer *out, uint32_t max)
{
    return calls_history(service->reader, out, max);
}
