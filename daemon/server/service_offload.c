/* Work on the pool: reads of histories and lists, simulations, and the encoding of their answers.
 *
 * At most POOL_THREADS items are with the pool at a time; the others wait here, in order, but for tokens that
 * have less running than those before them: however much one asks for, another's turn comes next.  So what
 * nobody wants any more is dropped before it begins, what takes long never holds all threads, and a turn of
 * the loop finishes no more than that many.  Work that has begun and that nobody wants is asked to end.  The
 * service outlives the last of it. */
#include "server/service_impl.h"

#include <stdlib.h>

#define TEXT_OF(x) #x
#define NUMBER(x)  TEXT_OF(x)
#define LONG_EACH  (POOL_THREADS / 2) /* scans at a time, and simulations */
#define LONG_ALL   (POOL_THREADS - 1) /* of both; the rest is for short reads */

static void take_out(struct offload **list, struct offload *o)
{
    while (*list != o)
        list = &(*list)->next;
    *list = o->next;
}

static void append(struct offload **list, struct offload *o)
{
    while (*list)
        list = &(*list)->next;
    o->next = NULL;
    *list = o;
}

bool offload_unwanted(const struct offload *o)
{
    return atomic_load(&o->unwanted);
}

void offload_answer(struct offload *o, const ProtobufCMessage *answer)
{
    (void)!o->call->encode(o->call, answer, &o->err);
}

static void offload_end(struct offload *o, const struct error *err)
{
    struct call *call = o->call;

    call->cancel = NULL;
    call->done(call, NULL, err);
    if (o->kind->clear) o->kind->clear(o);
    free(o);
}

/* ---- with the pool ---- */

static void on_work(uv_work_t *work)
{
    struct offload *o = work->data;

    if (offload_unwanted(o)) return;
    if (!o->merged && o->kind->run) o->kind->run(o);
    if (!o->err.status && (o->merged || !o->kind->merge)) o->kind->answer(o);
}

struct store_reader *offload_reader(struct offload *o)
{
    if (o->reader) return o->reader;
    /* One from before what a crash left was folded knows where it was. */
    o->keeps_reader = !store_recovering(o->service->store);
    if (store_reader_open(o->service->store, &o->reader, &o->err)) o->reader = NULL;
    return o->reader;
}

static void take_reader(struct pool *pool, struct offload *o)
{
    if (o->kind->lane == LANE_SIMULATIONS || !pool->n_spare) return;
    o->reader = pool->spare[--pool->n_spare];
    o->keeps_reader = true;
}

/* What failed may be the connection's fault. */
static void give_reader(struct pool *pool, struct offload *o)
{
    if (o->reader && o->keeps_reader && !o->err.status && pool->n_spare < POOL_THREADS)
        pool->spare[pool->n_spare++] = o->reader;
    else
        store_reader_close(o->reader);
    o->reader = NULL;
}

void pool_close_readers(struct service *service)
{
    struct pool *pool = &service->pool;

    while (pool->n_spare)
        store_reader_close(pool->spare[--pool->n_spare]);
}

static void pool_next(struct service *service);

/* What is read of jobs before merge is of then: memory has to have what it lacks. */
static void keep_jobs(struct service *service)
{
    uint64_t oldest = 0;

    for (const struct offload *o = service->pool.running; o; o = o->next) {
        if (o->snapshot && (!oldest || o->snapshot < oldest)) oldest = o->snapshot;
    }
    jobs_keep_for(service->jobs, oldest);
}

static void on_done(uv_work_t *work, int status)
{
    struct offload *o = work->data;
    struct service *service = o->service;
    struct pool *pool = &service->pool;

    (void)status;
    if (offload_unwanted(o) && !o->err.status)
        (void)error_set(&o->err, ST_CALLER_GONE, "nobody waits for the answer");
    if (!o->err.status && !o->merged && o->kind->merge) {
        o->kind->merge(o);
        o->merged = true;
        o->snapshot = 0;
        keep_jobs(service);
        if (!o->err.status) {
            (void)uv_queue_work(service->loop, &o->work, on_work, on_done);
            return;
        }
    }
    take_out(&pool->running, o);
    pool->n_running[o->kind->lane]--;
    keep_jobs(service);
    give_reader(pool, o);
    offload_end(o, o->err.status ? &o->err : NULL);
    pool_next(service);
    if (pool->ended && !pool->running) pool->ended(service);
}

static void pool_run(struct service *service, struct offload *o)
{
    struct pool *pool = &service->pool;

    o->waits = false;
    take_reader(pool, o);
    append(&pool->running, o);
    pool->n_running[o->kind->lane]++;
    if (o->kind->merge) o->snapshot = jobs_begin_snapshot(service->jobs);
    keep_jobs(service);
    (void)uv_queue_work(service->loop, &o->work, on_work, on_done); /* fails only without on_work */
}

static bool may_run(const struct pool *pool, int lane)
{
    uint32_t n_long = pool->n_running[LANE_SCANS] + pool->n_running[LANE_SIMULATIONS];

    if (n_long + pool->n_running[LANE_READS] >= POOL_THREADS) return false;
    return lane == LANE_READS || (pool->n_running[lane] < LONG_EACH && n_long < LONG_ALL);
}

static unsigned running_of(const struct pool *pool, int lane, const struct auth_token *token)
{
    unsigned n = 0;

    for (const struct offload *o = pool->running; o; o = o->next)
        n += (int)o->kind->lane == lane && o->call->token == token;
    return n;
}

/* The first of those whose token has the least running. */
static struct offload *take_fairest(struct pool *pool, int lane)
{
    struct offload *fairest = NULL;
    unsigned least = POOL_THREADS + 1;

    for (struct offload *o = pool->waiting[lane]; o && least; o = o->next) {
        unsigned n = running_of(pool, lane, o->call->token);
        if (n >= least) continue;
        least = n;
        fairest = o;
    }
    take_out(&pool->waiting[lane], fairest);
    pool->n_waiting[lane]--;
    return fairest;
}

static void pool_next(struct service *service)
{
    struct pool *pool = &service->pool;

    for (int lane = 0; lane < LANES; lane++) {
        while (pool->waiting[lane] && may_run(pool, lane))
            pool_run(service, take_fairest(pool, lane));
    }
}

/* ---- waiting ---- */

static void drop_waiting(struct offload *o, const struct error *err)
{
    struct pool *pool = &o->service->pool;

    take_out(&pool->waiting[o->kind->lane], o);
    pool->n_waiting[o->kind->lane]--;
    offload_end(o, err);
}

static void on_peer_gone(struct call *call)
{
    struct offload *o = call->waiting;
    struct error err;

    if (!o->waits) {
        atomic_store(&o->unwanted, true);
        return;
    }
    (void)error_set(&err, ST_CALLER_GONE, "the peer is gone");
    drop_waiting(o, &err);
}

static int refuse_draining(struct error *err)
{
    return error_set(err, ST_DRAINING, "the daemon is stopping; repeat the request soon");
}

static int admit(const struct service *service, const struct offload_kind *kind, struct error *err)
{
    const struct pool *pool = &service->pool;
    uint32_t n = pool->n_running[LANE_SIMULATIONS] + pool->n_waiting[LANE_SIMULATIONS];
    bool simulates = kind->lane == LANE_SIMULATIONS;

    if (pool->ended || (simulates && service->releasing)) return refuse_draining(err);
    if (!simulates) return 0;
    if (service_check_load(service, err)) return (int)err->status;
    if (n < service->options.max_simulations) return 0;
    return error_limit(err, LIMIT_SIMULATIONS, ST_TOO_MANY_WAITING,
                       "%u simulations run or wait, as many as --max-simulations allows; repeat the request "
                       "later",
                       n);
}

void offload_start(struct service *service, struct call *call, const struct offload_kind *kind,
                   struct offload *o)
{
    struct pool *pool = &service->pool;
    struct error err;

    if (!o) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    o->work.data = o;
    o->service = service;
    o->call = call;
    o->kind = kind;
    if (admit(service, kind, &err)) {
        offload_end(o, &err);
        return;
    }
    o->waits = true;
    call->waiting = o;
    call->cancel = on_peer_gone;
    append(&pool->waiting[kind->lane], o);
    pool->n_waiting[kind->lane]++;
    pool_next(service);
}

/* ---- beginning and end ---- */

static void run_nothing(uv_work_t *work)
{
    (void)work;
}

static void free_nothing(uv_work_t *work, int status)
{
    (void)status;
    free(work);
}

int pool_start(uv_loop_t *loop, struct error *err)
{
    /* libuv makes its threads at the first work, and ends the process if it cannot. */
    uv_work_t *work = malloc(sizeof(*work));

    if (!work || setenv("UV_THREADPOOL_SIZE", NUMBER(POOL_THREADS), 1)) {
        free(work);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    (void)uv_queue_work(loop, work, run_nothing, free_nothing);
    return 0;
}

void pool_drop_simulations(struct service *service)
{
    struct error err;

    (void)refuse_draining(&err);
    while (service->pool.waiting[LANE_SIMULATIONS])
        drop_waiting(service->pool.waiting[LANE_SIMULATIONS], &err);
}

void pool_end(struct service *service, void (*ended)(struct service *service))
{
    struct pool *pool = &service->pool;
    struct error err;

    (void)refuse_draining(&err);
    pool->ended = ended;
    for (int lane = 0; lane < LANES; lane++) {
        while (pool->waiting[lane])
            drop_waiting(pool->waiting[lane], &err);
    }
    for (struct offload *o = pool->running; o; o = o->next)
        atomic_store(&o->unwanted, true);
    if (!pool->running) ended(service);
}
