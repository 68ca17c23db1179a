/* What the files of the service share. */
#ifndef GREEDYLRD_SERVER_SERVICE_IMPL_H
#define GREEDYLRD_SERVER_SERVICE_IMPL_H

#include "server/auth.h"
#include "server/commit.h"
#include "server/convert.h"
#include "server/job_series.h"
#include "server/jobs.h"
#include "server/rounds.h"
#include "server/service.h"

#include <stdatomic.h>

#define PAGE_DEFAULT 100
#define PAGE_MAX     1000
#define POINTS_MAX   2000

/* Threads of libuv's pool. */
#define POOL_THREADS 4

/* Short reads; those of whole histories; what computes long.  Of the latter two few at a time. */
enum lane { LANE_READS, LANE_SCANS, LANE_SIMULATIONS, LANES };

struct offload;
struct pool {
    struct offload *waiting[LANES]; /* in order */
    struct offload *running;
    uint32_t n_waiting[LANES], n_running[LANES];
    struct store_reader *spare[POOL_THREADS]; /* open, for the next reads */
    uint32_t n_spare;
    void (*ended)(struct service *service); /* NULL: it goes on */
};

struct service {
    uv_loop_t *loop;
    struct store *store;
    struct store_reader *reader; /* of the loop thread */
    struct service_options options;
    struct jobs *jobs;
    struct job_series_set *series;
    struct commit *commit;
    uv_timer_t probe_timer;
    struct change *unfolded, *unfolded_last; /* committed decisions, oldest first, linked by next */
    uint64_t committed;                      /* decisions */
    uint64_t creating;                       /* jobs whose creation is queued */
    uint32_t waiting, max_waiting;           /* calls that wait for others; 0: any number of them */
    uint64_t round_memory;                   /* bytes of open rounds */
    struct service_numbers numbers;
    struct open_round *oldest, *youngest; /* all open rounds, by when they opened */
    uint64_t lag_ms;                      /* loop time at which the probe timer is due; 0: not yet */
    uint64_t queued;                      /* changes that are neither durable nor failed */
    uint64_t unfolded_bytes;              /* of those, and of durable ones that are not folded */
    struct change *outbox, *outbox_last;  /* queued in this turn, submitted at its end; linked by next */
    struct watched *watched;              /* jobs that are watched, by uid */
    uint32_t watchers;
    struct watcher *watch_line; /* those whose next page is to be read */
    uint32_t watch_reads;       /* pages that are being read */
    uint64_t watch_serial;      /* of the last message to watchers */
    bool unwatchable;           /* watchers were ended */
    bool full, draining, failed;
    bool starved;   /* the writer had too little memory for its idle work */
    bool releasing; /* nothing waits any more */
    struct {
        int fd;          /* /proc/self/statm, -1: not open */
        bool shedding;   /* new load is refused */
        unsigned looked; /* since it is high */
        unsigned calm;   /* looks since it was */
    } memory;
    struct pool pool;
    struct origin *origin;      /* of the request at hand; borrowed; NULL: none is */
    struct batch_call *batches; /* large ones that are not begun in full */
    uv_idle_t turns;            /* of those */
    uint32_t stopping;          /* parts that have not ended yet */
    struct error full_reason;
    void (*fatal)(void *, const struct error *);
    void *fatal_arg;
    void (*stopped)(void *);
    void *stopped_arg;
};

typedef void service_handler(struct service *service, struct call *call);

service_handler handle_create_job, handle_get_job, handle_list_jobs, handle_update_job, handle_delete_job;
service_handler handle_report, handle_batch_report, handle_get_lr, handle_list_decisions, handle_simulate;
service_handler handle_begin_attempt, handle_rewind_job, handle_fork_job, handle_set_lr;
service_handler handle_pause_job, handle_resume_job, handle_finish_job;
service_handler handle_import_state, handle_export_state, handle_watch_job;

/* ---- changes on their way ---- */

/* 0, or why no change is taken now: service_writable's reasons, ST_OVERLOADED. */
int service_check_write(const struct service *service, struct error *err) WARN_UNUSED;
/* Queues a change that was stepped; it is submitted at the end of the turn.  What needs no change is served
 * while writes are refused.  Errors of service_writable, ST_OUT_OF_MEMORY; nothing is changed then. */
int service_queue(struct service *service, struct change *change, struct error *err) WARN_UNUSED;
/* The end of a turn that began elsewhere than in service_call: a timer's. */
void service_flush(struct service *service);
/* Handles the call again once change is durable; if that fails, so does the call. */
void service_again_after(struct service *service, struct call *call, struct change *change);
/* Steps the job on an event of an operator and queues it.  make: what else the change does (op, status, row,
 * request_id are taken from it), or NULL. */
int service_event(struct service *service, struct job *job, const struct job_event *event,
                  const struct change *make, struct change **out, struct error *err) WARN_UNUSED;

/* ---- reports ---- */

/* One report on its way: a change to wait for, an entry, a round to wait for, or an error. */
struct report {
    struct change *change;     /* referenced: the decision */
    struct change *own;        /* referenced: the contribution, or NULL if it was durable before */
    struct store_entry *entry; /* owned: read back, or a dry run */
    struct change *unsettled;  /* not referenced: try again after it */
    bool waits;                /* in the job's round of `step` */
    bool fresh;                /* decided or contributed by this report */
    bool duplicate, conflict;
    bool dry;
    bool failed;
    struct error err;
    struct auth_token *token; /* who reports; NULL: tokens are off */
    const char *job;          /* borrowed from the request */
    uint32_t step, rank;
};

/* Everything up to the queue; sets r->failed on error. */
void report_begin(struct service *service, struct auth_token *token, const Greedylr__V1__ReportRequest *m,
                  struct report *r);
void report_clear(struct report *r);
void report_drop_entry(struct report *r);
/* For the metrics, once it is known how the report is answered: with a decision, or with err. */
void report_count(const struct report *r, const struct error *err);
/* The recorded value and the reported one: sets r's flags; ST_STEP_CONFLICT in r->err if the job is strict.
 */
int report_compare(const struct job *job, uint32_t step, double recorded, double reported, struct report *r);
/* The decision as the answer of a report, as convert_decision. */
int report_message(const struct job_decision *decision, const char *job, bool duplicate, bool conflict,
                   decision_message *out, Google__Protobuf__Timestamp *time, struct error *err) WARN_UNUSED;
/* Answers the call of a report with it. */
void report_answer(struct call *call, const struct job_decision *decision, const char *job, bool duplicate,
                   bool conflict);

/* Large batches are stepped from now on. */
void batches_start(struct service *service);
/* Reports of them that have not begun are refused. */
void batches_end(struct service *service);

/* ---- rounds ---- */

/* One rank's report that belongs to no decided step: joins its round, and decides what can be. */
int round_report(struct service *service, struct job *job, const Greedylr__V1__ReportRequest *m,
                 const struct job_event *event, struct report *r) WARN_UNUSED;
/* Makes the call wait for the round that r is in. */
void round_wait(struct service *service, struct call *call, const struct report *r);
/* The contribution is durable. */
void round_recorded(struct job *job, const struct change *change);
/* Ends every open round with the change; who waits is told when it is durable. */
void rounds_end(struct job *job, struct change *change, const struct error *verdict);
/* A commit failed: who waits is told now, and the rounds are read again from the store. */
void rounds_fail(struct job *job, const struct error *err);
/* What the store holds of the job's rounds is in memory then. */
int rounds_load(struct service *service, struct job *job, struct error *err) WARN_UNUSED;

/* ---- the log ---- */

/* What a change that has just become durable did; before it is the job's durable state. */
void log_change(const struct service *service, const struct change *change);

/* ---- waiting ---- */

/* The longest this call waits: its own timeout, its request's, at most the options' max_wait_ms. */
uint64_t service_wait_ms(const struct service *service, const struct call *call,
                         const Google__Protobuf__Duration *wait);
/* Whether one more call, or watcher, may wait. */
bool service_may_wait(const struct service *service);
/* A decision is durable: readers that wait for its step are answered. */
void lr_waiters_wake(struct job *job, const struct change *change);
/* The job's deletion is durable: readers that wait are told, those that came meanwhile as well. */
void lr_waiters_end(struct job *job);

/* ---- the past ---- */

struct past {
    struct job_state *state; /* owned, under the job's settings of now */
    uint32_t revision, step;
    bool has_step;
};
/* The state after a step (or the largest step below, or at the job's creation).  Waits for nothing: the
 * caller makes sure that job_find_unsettled is NULL.  ST_STEP_NOT_FOUND, naming the nearest step below. */
int past_find(struct service *service, struct job *job, enum store_state_match match, uint32_t step,
              struct past *out, struct error *err) WARN_UNUSED;
/* The state at creation: before the first report, or what a fork or an import began with. */
int past_initial(struct service *service, struct job *job, struct past *out, struct error *err) WARN_UNUSED;
/* Goes back to it, as an event of the history: later decisions are superseded, open rounds end. */
int past_return(struct service *service, struct job *job, const struct past *to, const char *actor,
                const uint32_t *attempt, struct change **out, struct error *err) WARN_UNUSED;

/* Tells the watchers of a durable decision, or of the job's end. */
void watch_decided(struct service *service, const struct change *change);
void watch_deleted(struct service *service, const struct job *job);

/* ---- work on the pool ---- */

/* Work of one kind, in this order; what the caller needs lies behind the struct offload.  A step that sets
 * o->err is the last, but for clear. */
struct offload_kind {
    enum lane lane;                    /* simulations: few may wait */
    void (*run)(struct offload *o);    /* pool: makes what is asked for; NULL: it is there */
    void (*merge)(struct offload *o);  /* loop: adds what memory knows; NULL: nothing */
    void (*answer)(struct offload *o); /* pool: offload_answer */
    void (*clear)(struct offload *o);  /* loop, the call is done: frees what the others made; or NULL */
};

struct offload {
    uv_work_t work;
    struct offload *next;
    struct service *service;
    struct call *call;
    const struct offload_kind *kind;
    bool waits, merged;
    struct store_reader *reader; /* offload_reader; NULL: none yet */
    bool keeps_reader;           /* it is good for another read */
    uint64_t snapshot;           /* of those that merge; 0 once it has */
    atomic_bool unwanted;
    struct error err;
};

/* Takes o, which is all zero but for what is the caller's; NULL: out of memory.  The call is done then or
 * later.  ST_TOO_MANY_WAITING; ST_DRAINING. */
void offload_start(struct service *service, struct call *call, const struct offload_kind *kind,
                   struct offload *o);
/* A reader for run, which is the pool's; NULL: o->err says why. */
struct store_reader *offload_reader(struct offload *o);
/* Encodes the answer, which is borrowed. */
void offload_answer(struct offload *o, const ProtobufCMessage *answer);
/* Whether a long run may end early: nobody wants its answer any more. */
bool offload_unwanted(const struct offload *o);

/* Starts the threads, before anything else is promised. */
int pool_start(uv_loop_t *loop, struct error *err) WARN_UNUSED;
/* Simulations that wait are told that the daemon stops. */
void pool_drop_simulations(struct service *service);
/* Ends all work; calls ended once nothing runs any more. */
void pool_end(struct service *service, void (*ended)(struct service *service));
/* Behind it, before the store is closed. */
void pool_close_readers(struct service *service);
/* What there is to say of a step that is neither ahead nor found. */
const char *service_unrecorded(const struct service *service);

void call_fail(struct call *call, const struct error *err);

int64_t service_now_us(void);

/* The job that requests build on: not one that is being deleted.  A job that the token does not see does not
 * exist.  Errors as jobs_find, ST_JOB_BEING_DELETED, ST_FIELD_REQUIRED and ST_FIELD_INVALID for the id. */
int service_find(struct service *service, const struct auth_token *token, const char *name, struct job **out,
                 struct error *err) WARN_UNUSED;
/* The same, but as reads see it: durable.  ST_JOB_NOT_FOUND before the creation is. */
int service_find_durable(struct service *service, const struct auth_token *token, const char *name,
                         struct job **out, struct error *err) WARN_UNUSED;

/* ST_FIELD_INVALID if it has more ranks than a round may. */
int service_check_ranks(const struct service *service, const struct job_spec *spec,
                        struct error *err) WARN_UNUSED;

/* ---- memory ---- */

/* ST_OVERLOADED while there is no memory for new load: jobs, rounds, watchers, batches, simulations. */
int service_check_load(const struct service *service, struct error *err) WARN_UNUSED;
void memory_start(struct service *service);
void memory_end(struct service *service);
/* Looks at the memory in use; several times a second. */
void memory_look(struct service *service);

int service_check_id(const char *name, const char *field, struct error *err) WARN_UNUSED;

/* The change that creates a job with these settings: the job is in memory, the change not queued yet.  Takes
 * spec on success.  ST_JOB_OUTSIDE_PREFIX, ST_QUOTA_EXCEEDED, ST_TOO_MANY_JOBS. */
int service_new_job(struct service *service, const struct auth_token *token, const char *name,
                    const spec_message *given, const spec_message *effective, struct job_spec *spec,
                    struct change **out, struct error *err) WARN_UNUSED;
/* The change that creates a job from its spec message: the job is in memory, the change not queued yet.
 * Errors of convert_spec and service_new_job. */
int service_make_job(struct service *service, const struct auth_token *token, const char *name,
                     const spec_message *message, struct change **out, struct error *err) WARN_UNUSED;
/* It is queued: it counts from now on, until it is known to have failed or its deletion is durable. */
void service_created(struct service *service, const struct job *job);
/* Undoes it before it was queued. */
void service_unmake_job(struct service *service, struct change *change);

/* A row for a change of a job with the texts of its specs. */
int service_make_row(const char *name, uint64_t uid, const spec_message *given, const spec_message *effective,
                     struct store_job **out, struct error *err) WARN_UNUSED;
/* Reads back a spec message from a row's text. */
int service_parse_spec(const char *text, spec_message **out, struct error *err) WARN_UNUSED;

#define MISSING_NAMED 64 /* ranks that a Round names */
struct round_view {
    Greedylr__V1__Round message;
    uint32_t missing[MISSING_NAMED];
};
/* An open round as a message; behind: later ones that wait for it. */
void fill_round(const struct round *round, uint32_t behind, struct round_view *view);

/* Answers call with the Job message of a durable job. */
void answer_job(struct service *service, struct call *call, struct job *job);
/* Answers with the Job once the change is durable, or with its failure. */
void answer_job_after(struct service *service, struct call *call, struct change *change);
/* Answers with the Job once everything queued for it is durable. */
void answer_job_settled(struct service *service, struct call *call, struct job *job);

/* The settings of a job as texts, and a patch of them (service_update.c). */
struct texts {
    spec_message *given, *effective;
    char *created;
};
void texts_clear(struct texts *texts);
/* Those in the store: job_find_unsettled is NULL. */
int texts_load(struct service *service, const struct job *job, struct texts *out,
               struct error *err) WARN_UNUSED;
/* Merges the patch and resolves it: texts become the patched ones, *spec is the caller's.  What may not
 * change on a live job is ST_FIELD_FIXED. */
int texts_patch(struct texts *texts, const struct job *job, const spec_message *patch, struct job_spec **spec,
                struct error *err) WARN_UNUSED;

uint32_t page_limit(bool has, uint32_t size);

#endif
