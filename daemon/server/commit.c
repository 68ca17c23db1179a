/* The writer thread.
 *
 * Happy path: submit appends to the queue; the writer swaps the whole queue out, commits it, and posts the
 * batch to the loop.  When a batch fails the writer halts: changes queued meanwhile build on states that
 * never became durable, so the loop takes them all out as failed before the writer goes on.  Without memory
 * for a batch there is one to fall back on.
 *
 * Idle, or with a long backlog, the writer folds: behind a batch twice as many rows as it brought, so that
 * the backlog shrinks under any load, and no commit waits longer for that than for the batches themselves. */
#include "server/commit.h"

#include <stdlib.h>
#include <string.h>

#define FOLD_NS 1000000000ull /* the longest that folding keeps a batch waiting */
#define IDLE_NS 500000000ull  /* quiet time before the writer folds the rest */

struct queue {
    struct change *first, *last;
    size_t n;
};

struct batch {
    struct batch *next;
    struct change *first;
    size_t n;
    double seconds;
    struct error err; /* err.status 0: durable */
};

struct commit {
    struct store *store;
    struct commit_handlers handlers;
    uint64_t fold_rows, fold_bytes; /* appended before a fold comes between two commits; and in memory */
    uv_thread_t thread;
    uv_async_t async;
    uv_mutex_t mutex;
    uv_cond_t cond;
    /* under the mutex */
    struct queue queue;
    struct batch *done, **done_end;
    struct batch spare; /* for when there is no memory for another */
    bool spare_used;
    bool halted, stopping, fold_at_stop, probe, ended;
    bool room, has_trouble;
    struct error trouble;
    uint64_t folded;
    /* writer thread */
    uint64_t bytes; /* about so many in memory of what is not folded */
    /* loop thread */
    uint64_t folded_told;
    void (*stopped)(void *);
    void *stopped_arg;
};

static void queue_append(struct queue *queue, struct change *first, struct change *last, size_t n)
{
    if (queue->last)
        queue->last->next = first;
    else
        queue->first = first;
    queue->last = last;
    queue->n += n;
}

void commit_submit(struct commit *commit, struct change *first, struct change *last)
{
    size_t n = 1;

    for (struct change *c = first; c != last; c = c->next)
        n++;
    uv_mutex_lock(&commit->mutex);
    queue_append(&commit->queue, first, last, n);
    uv_cond_signal(&commit->cond);
    uv_mutex_unlock(&commit->mutex);
}

void commit_probe(struct commit *commit)
{
    uv_mutex_lock(&commit->mutex);
    commit->probe = true;
    uv_cond_signal(&commit->cond);
    uv_mutex_unlock(&commit->mutex);
}

static void post_trouble(struct commit *commit, const struct error *err)
{
    uv_mutex_lock(&commit->mutex);
    commit->trouble = *err;
    commit->has_trouble = true;
    uv_mutex_unlock(&commit->mutex);
    uv_async_send(&commit->async);
}

static int write_changes(struct commit *commit, const struct batch *batch, struct error *err)
{
    struct store_change *changes = calloc(batch->n, sizeof(*changes));
    size_t i = 0;
    int rc;

    if (!changes) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    for (const struct change *c = batch->first; c; c = c->next, i++) {
        changes[i] = (struct store_change){.uid = c->job->uid,
                                           .expected_revision = c->expected_revision,
                                           .op = c->op,
                                           .job = c->row,
                                           .decision = c->has_decision ? &c->decision : NULL,
                                           .request_id = c->request_id,
                                           .status = c->status,
                                           .state = c->encoded,
                                           .state_len = c->encoded_len,
                                           .round = c->round,
                                           .round_len = c->round_len,
                                           .contribution = c->has_contribution ? &c->contribution : NULL,
                                           .drops_contributions = c->drops_contributions,
                                           .supersedes = c->supersedes,
                                           .superseded_after = c->superseded_after};
    }
    rc = store_commit(commit->store, changes, batch->n, err);
    free(changes);
    return rc;
}

/* Commits one batch and posts it; called without the mutex. */
static void run_batch(struct commit *commit, struct batch *batch)
{
    uint64_t start = uv_hrtime(), bytes = 0;

    for (const struct change *c = batch->first; c; c = c->next)
        bytes += c->has_decision ? c->bytes : 0;
    batch->err.status = ST_OK;
    if (write_changes(commit, batch, &batch->err) && batch->err.status == ST_OK)
        (void)error_set(&batch->err, ST_STORE_FAILED, "the store failed without saying why");
    batch->seconds = (double)(uv_hrtime() - start) / 1e9;

    uv_mutex_lock(&commit->mutex);
    if (batch->err.status)
        commit->halted = true;
    else
        commit->bytes += bytes;
    *commit->done_end = batch;
    commit->done_end = &batch->next;
    uv_mutex_unlock(&commit->mutex);
    uv_async_send(&commit->async);
}

/* Whether there is more to do; after a failure not before a batch or a probe was tried. */
static bool run_maintenance(struct commit *commit, bool all)
{
    uint64_t before = store_backlog(commit->store);
    struct error err = {0};

    if (store_maintain(commit->store, all, &err)) {
        post_trouble(commit, &err);
        return false;
    }
    uint64_t after = store_backlog(commit->store);

    /* As if all were of one size: what matters is that it is folded before it is too much. */
    if (after < before) commit->bytes = commit->bytes / before * after;
    if (!after) commit->bytes = 0;
    uv_mutex_lock(&commit->mutex);
    commit->folded = store_folded(commit->store);
    uv_mutex_unlock(&commit->mutex);
    uv_async_send(&commit->async);
    return store_has_work(commit->store);
}

static bool is_awaited(struct commit *commit)
{
    uv_mutex_lock(&commit->mutex);
    bool awaited = commit->queue.first || commit->stopping;
    uv_mutex_unlock(&commit->mutex);
    return awaited;
}

static bool has_backlog(const struct commit *commit)
{
    return store_backlog(commit->store) >= commit->fold_rows || commit->bytes >= commit->fold_bytes;
}

/* Behind a batch of n changes; as run_maintenance. */
static bool fold_backlog(struct commit *commit, size_t n)
{
    uint64_t start = uv_hrtime();
    bool more = true;

    for (size_t rows = 0; more && has_backlog(commit); rows += STORE_STEP_ROWS) {
        bool enough = rows >= 2 * n || uv_hrtime() - start >= FOLD_NS;

        if (rows && enough && is_awaited(commit)) break;
        more = run_maintenance(commit, false);
    }
    return more;
}

static void run_probe(struct commit *commit)
{
    struct error err = {0};

    if (store_probe(commit->store, &err)) {
        post_trouble(commit, &err);
        return;
    }
    uv_mutex_lock(&commit->mutex);
    commit->room = true;
    uv_mutex_unlock(&commit->mutex);
    uv_async_send(&commit->async);
}

/* Waits for work, under the mutex; false: it has been quiet for a while, and the store may have some.
 * more: it has. */
static bool wait_for_work(struct commit *commit, bool quiet, bool more)
{
    while (commit->halted || (!commit->queue.first && !commit->probe && !commit->stopping)) {
        if (commit->halted || (quiet && !more))
            uv_cond_wait(&commit->cond, &commit->mutex);
        else if (quiet || uv_cond_timedwait(&commit->cond, &commit->mutex, IDLE_NS) == UV_ETIMEDOUT)
            return false;
    }
    return true;
}

/* The queue as a batch; under the mutex. */
static struct batch *take_queue(struct commit *commit)
{
    struct batch *batch = calloc(1, sizeof(*batch));

    while (!batch && commit->spare_used)
        uv_cond_wait(&commit->cond, &commit->mutex);
    if (!batch) {
        batch = &commit->spare;
        commit->spare_used = true;
    }
    *batch = (struct batch){.first = commit->queue.first, .n = commit->queue.n};
    commit->queue = (struct queue){0};
    return batch;
}

static void batch_free(struct commit *commit, struct batch *batch)
{
    if (batch != &commit->spare) {
        free(batch);
        return;
    }
    uv_mutex_lock(&commit->mutex);
    commit->spare_used = false;
    uv_cond_signal(&commit->cond);
    uv_mutex_unlock(&commit->mutex);
}

static void writer(void *arg)
{
    struct commit *commit = arg;
    bool quiet = true, more = store_has_work(commit->store); /* what was left before the start */

    for (;;) {
        struct batch *batch = NULL;

        uv_mutex_lock(&commit->mutex);
        bool work = wait_for_work(commit, quiet, more);
        bool probe = commit->probe;
        bool end = commit->stopping && !commit->queue.first;
        commit->probe = false;
        if (work && commit->queue.first) batch = take_queue(commit);
        uv_mutex_unlock(&commit->mutex);

        quiet = !batch && !probe;
        size_t n = batch ? batch->n : 0;
        if (batch) run_batch(commit, batch);
        if (probe) run_probe(commit);
        if (end) break;
        more = work ? fold_backlog(commit, n) : run_maintenance(commit, false);
    }
    if (commit->fold_at_stop) (void)run_maintenance(commit, true);
    uv_mutex_lock(&commit->mutex);
    commit->ended = true;
    uv_mutex_unlock(&commit->mutex);
    uv_async_send(&commit->async);
}

/* A failed batch, and everything queued behind it, as one list. */
static void take_failed(struct commit *commit, struct batch *batch)
{
    struct change *last = batch->first;

    while (last->next)
        last = last->next;
    uv_mutex_lock(&commit->mutex);
    last->next = commit->queue.first;
    batch->n += commit->queue.n;
    commit->queue = (struct queue){0};
    uv_mutex_unlock(&commit->mutex);
    commit->handlers.failed(commit->handlers.arg, batch->first, batch->n, &batch->err);
    uv_mutex_lock(&commit->mutex);
    commit->halted = false;
    uv_cond_signal(&commit->cond);
    uv_mutex_unlock(&commit->mutex);
}

static void on_closed(uv_handle_t *handle)
{
    struct commit *commit = handle->data;
    void (*stopped)(void *) = commit->stopped;
    void *arg = commit->stopped_arg;

    uv_cond_destroy(&commit->cond);
    uv_mutex_destroy(&commit->mutex);
    free(commit);
    if (stopped) stopped(arg);
}

static void on_async(uv_async_t *async)
{
    struct commit *commit = async->data;
    const struct commit_handlers *h = &commit->handlers;

    uv_mutex_lock(&commit->mutex);
    struct batch *batch = commit->done;
    commit->done = NULL;
    commit->done_end = &commit->done;
    uint64_t folded = commit->folded;
    bool room = commit->room, has_trouble = commit->has_trouble, ended = commit->ended;
    struct error trouble = commit->trouble;
    commit->room = commit->has_trouble = false;
    uv_mutex_unlock(&commit->mutex);

    while (batch) {
        struct batch *next = batch->next;
        if (batch->err.status)
            take_failed(commit, batch);
        else
            h->durable(h->arg, batch->first, batch->n, batch->seconds);
        batch_free(commit, batch);
        batch = next;
    }
    if (folded > commit->folded_told) {
        commit->folded_told = folded;
        h->folded(h->arg, folded);
    }
    if (has_trouble) h->trouble(h->arg, &trouble);
    if (room) h->room(h->arg);
    if (ended) {
        uv_thread_join(&commit->thread);
        uv_close((uv_handle_t *)&commit->async, on_closed);
    }
}

int commit_start(uv_loop_t *loop, struct store *store, uint64_t fold_rows, uint64_t fold_bytes,
                 const struct commit_handlers *handlers, struct commit **out, struct error *err)
{
    struct commit *commit = calloc(1, sizeof(*commit));

    if (!commit) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    commit->store = store;
    commit->fold_rows = fold_rows;
    commit->fold_bytes = fold_bytes;
    commit->handlers = *handlers;
    commit->done_end = &commit->done;
    if (uv_mutex_init(&commit->mutex)) goto err_mutex;
    if (uv_cond_init(&commit->cond)) goto err_cond;
    if (uv_async_init(loop, &commit->async, on_async)) goto err_async;
    commit->async.data = commit;
    if (uv_thread_create(&commit->thread, writer, commit))
        abort(); /* before the first request: nothing is lost */
    *out = commit;
    return 0;

err_async:
    uv_cond_destroy(&commit->cond);
err_cond:
    uv_mutex_destroy(&commit->mutex);
err_mutex:
    free(commit);
    return error_set(err, ST_INTERNAL, "the writer thread could not be set up");
}

void commit_stop(struct commit *commit, bool fold, void (*done)(void *arg), void *arg)
{
    commit->stopped = done;
    commit->stopped_arg = arg;
    uv_mutex_lock(&commit->mutex);
    commit->stopping = true;
    commit->fold_at_stop = fold;
    uv_cond_signal(&commit->cond);
    uv_mutex_unlock(&commit->mutex);
}
