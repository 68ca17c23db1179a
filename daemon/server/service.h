/* The service: what each RPC does, between messages and the store.  Knows nothing of HTTP.  Loop thread only.
 */
#ifndef GREEDYLRD_SERVER_SERVICE_H
#define GREEDYLRD_SERVER_SERVICE_H

#include "core/status.h"
#include "server/log.h"
#include "store/store.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct auth;
struct origin;
struct auth_token;
struct service;
struct call;

struct service_options {
    struct auth *auth;             /* whose jobs are counted; borrowed; NULL: nobody's */
    bool auto_create;              /* a report with lr creates its job */
    uint32_t max_jobs;             /* 0: any number */
    uint32_t resident_jobs;        /* kept in memory */
    uint32_t batch_entries;        /* of BatchReport and Simulate */
    uint32_t max_watchers;         /* 0: any number */
    uint32_t max_watchers_per_job; /* 0: any number */
    uint32_t max_ranks;            /* the largest world_size */
    uint64_t max_wait_ms;          /* of any call */
    uint64_t max_memory;           /* bytes; 0: any number */
    uint32_t max_simulations;      /* that run or wait */
    uint64_t round_memory;         /* bytes of open rounds */
    uint32_t max_unfolded;         /* changes queued, or not folded yet */
    uint64_t unfolded_memory;      /* bytes of those */
    uint32_t simulated_rates;      /* losses times groups, of shadows as well, of a Simulate */
    uint32_t history_limit;        /* of the store; 0: all is kept */
    uint32_t job_metrics;          /* jobs that have series of their own */
    enum log_decisions log_decisions;
};

/* Exactly once for each service_call, at once or later: answer (borrowed) or err, the other is NULL; both are
 * if the call's encode has had the answer.  Of a streaming method there is no answer, and both are NULL if it
 * ended well.  What such a method refuses it refuses before service_call returns. */
typedef void call_done(struct call *call, const ProtobufCMessage *answer, const struct error *err);

/* STREAM_FULL: there is no room for it; ready is called once there is. */
enum stream_took { STREAM_TOOK, STREAM_FULL, STREAM_NO_MEMORY };

/* One request on its way.  The caller fills the first part and keeps all of it alive until done. */
struct call {
    const char *method; /* name in the contract: "Report" */
    const ProtobufCMessage *request;
    call_done *done;
    /* Makes the bytes of an answer (borrowed), in another thread, and keeps them until done, which follows;
     * an error it sets is done's. */
    int (*encode)(struct call *call, const ProtobufCMessage *answer, struct error *err);
    void *arg;
    const char *peer;         /* who asks, for the history of events */
    struct origin *origin;    /* the request's, for the log; or NULL */
    struct auth_token *token; /* whose jobs it is about; NULL: all */
    int64_t timeout_ms;       /* the longest the caller waits; -1: as long as it takes */
    /* Of a streaming method: takes one message (borrowed).  The same serial is the same message, handed to
     * several calls.  NULL: only check the request. */
    enum stream_took (*message)(struct call *call, const ProtobufCMessage *message, uint64_t serial);

    /* Set by a handler whose answer has to wait for others.  The caller calls it, at most once and only
     * before done, when nobody wants the answer any more; it leads to done at once or later. */
    void (*cancel)(struct call *call);
    /* Set by a streaming handler.  The caller calls it when there is room for messages again. */
    void (*ready)(struct call *call);
    uint32_t after_revision; /* set by WatchJob: the stream follows on this revision */
    bool waits;              /* set by a handler whose answer has to wait for other requests */
    void *waiting;           /* the handler's */
};

/* store is borrowed until service_stop's callback.  fatal is called once when the process has to end. */
int service_start(uv_loop_t *loop, struct store *store, const struct service_options *options,
                  void (*fatal)(void *arg, const struct error *err), void *arg, struct service **out,
                  struct error *err) WARN_UNUSED;

void service_call(struct service *service, struct call *call);
/* The caller is gone: ends what only waits. */
void service_cancel(struct call *call);

/* 0, or why writes are refused now: ST_STORE_FULL, ST_STORE_HELD, ST_DRAINING. */
int service_writable(const struct service *service, struct error *err);
/* Whether new load is refused for want of memory. */
bool service_is_shedding(const struct service *service);
uint32_t service_resident(const struct service *service);

/* For the metrics, kept as things change: nothing is counted when they are read. */
struct service_numbers {
    uint64_t jobs[JOB_STATUS_COUNT]; /* durable ones */
    uint32_t open_rounds;            /* in memory */
    uint32_t waiting_ranks;          /* reports that wait for their round */
};
const struct service_numbers *service_numbers(const struct service *service);
/* Seconds since the oldest of the open rounds opened, or was read back; 0: there is none. */
double service_oldest_round(const struct service *service);
/* Memory of changes that are queued, or not folded yet. */
uint64_t service_unfolded_bytes(const struct service *service);
/* After auth was read: counts the jobs of tokens that have a quota of them. */
int service_count_jobs(struct service *service, struct error *err) WARN_UNUSED;
/* Reads back what the series of single jobs need, before the first request. */
int service_load_series(struct service *service, struct error *err) WARN_UNUSED;
uint32_t service_watchers(const struct service *service);

/* Ends every watcher, and refuses new ones from now on. */
void service_end_watches(struct service *service);

/* Calls that wait for others, watchers included, are at most this many; 0: any number.  So that those that
 * ask how the daemon is find a connection. */
void service_limit_waiting(struct service *service, uint32_t waiting);
/* Nothing waits for other requests any more: calls that do are answered, now and later ones as well. */
void service_release(struct service *service);
/* Commits what is queued, folds all and calls done; then the handle is gone. */
void service_stop(struct service *service, void (*done)(void *arg), void *arg);

#endif
