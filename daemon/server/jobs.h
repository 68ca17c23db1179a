/* Jobs in memory: the newest queued state, on which the next report builds, and the last durable one, which
 * is all that reads may show.  Loop thread only. */
#ifndef GREEDYLRD_SERVER_JOBS_H
#define GREEDYLRD_SERVER_JOBS_H

#include "core/job.h"
#include "server/change_index.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>
#define HASH_NONFATAL_OOM 1 /* without memory an element is not added, and its hh.tbl is NULL */
#include <uthash.h>

struct change;
struct job;
struct jobs;

/* Called once a change is durable (status 0) or known to have failed.  err is NULL on success. */
typedef void change_done(void *arg, struct change *change, const struct error *err);

struct change_waiter {
    struct change_waiter *next;
    change_done *done;
    void *arg;
};

struct open_round; /* server/rounds.h */
struct origin;     /* server/origin.h */
struct waiter;

/* One change of one job: queued, then committed, then kept for look-ups until it is folded into the history.
 */
struct change {
    struct change *next;                  /* in the commit queue, later in the line to be folded */
    struct change *job_next, *job_before; /* of the same job, newer and older */
    struct index_entry by_step, by_request;
    struct job *job;
    enum store_job_op op;
    enum job_status status;  /* STATUS */
    struct store_job *row;   /* CREATE, UPDATE: owned until who waits is told */
    struct job_state *state; /* after the change; owned until committed, then the job's; NULL if it stays */
    struct job_spec *spec;   /* in force after the change; the job's */
    struct job_decision decision; /* if has_decision; what it borrows is in lrs */
    double *lrs;                  /* decision_hold's, owned */
    bool has_decision, committed;
    bool new_spec;         /* the change brings spec into force */
    char *request_id;      /* owned, or NULL */
    struct origin *origin; /* of the request that made it, referenced until it is committed; or NULL */
    uint8_t *encoded;      /* state as bytes, owned; rewinds look for it until it is folded */
    size_t encoded_len;
    uint8_t *round; /* round_record of the decision, owned, or NULL */
    size_t round_len;
    bool has_contribution;
    struct store_contribution contribution;
    uint64_t round_serial; /* of the open round that it is of */
    bool drops_contributions;
    bool supersedes; /* what lies above superseded_after */
    uint32_t superseded_after;
    uint32_t superseded_by; /* revision of the change that superseded this one; 0: none */
    uint32_t expected_revision;
    size_t bytes;     /* memory it takes at most until it is folded, from change_queue on */
    uint64_t ordinal; /* of its decision among all committed, from 1 */
    uint32_t refs;
    struct change_waiter *waiters, **waiters_end; /* in the order they came */
};

struct job {
    UT_hash_handle hh;
    struct job *used_before, *used_after; /* least recently used first */
    uint64_t uid;
    struct job_spec *spec, *durable_spec; /* the same object unless an update is queued; the durable one may
                                           * be other jobs', too */
    struct job_state *newest, *durable;   /* durable: NULL until the creation is */
    struct change *oldest, *last;         /* not folded yet */
    uint32_t unfolded;                    /* so many */
    struct change_index *index;           /* of those; NULL while they are few */
    struct change *unsettled;             /* the newest of job_find_unsettled */
    uint32_t pending;                     /* queued and not committed */
    uint64_t settled;                     /* snapshots begun before the last of its changes was folded */
    struct open_round *rounds;            /* ascending by step; the first is the open one */
    struct waiter *lr_waiters;            /* for the decision of a step */
    uint32_t holds;                       /* waiters and running deadlines: the job stays in memory */
    bool rounds_loaded;                   /* contributions in the store are in rounds, too */
    bool deleting;
    int64_t create_us, update_us;
    char name[]; /* as long as it is */
};

struct jobs *jobs_new(uint32_t resident_max);
void jobs_free(struct jobs *jobs);
uint32_t jobs_count(const struct jobs *jobs);

/* The job in memory, or read from the store; moves it to the recently used end.
 * ST_JOB_NOT_FOUND; ST_DATA_DAMAGED; ST_OUT_OF_MEMORY. */
int jobs_find(struct jobs *jobs, struct store_reader *reader, const char *name, struct job **out,
              struct error *err) WARN_UNUSED;
/* Only what is in memory; NULL if it is not. */
struct job *jobs_peek(struct jobs *jobs, const char *name);

/* A job that is not durable yet; takes spec.  NULL when out of memory. */
struct job *jobs_add(struct jobs *jobs, const char *name, uint64_t uid, struct job_spec *spec);

/* Forgets a job that nothing is queued for. */
void jobs_remove(struct jobs *jobs, struct job *job);

/* A view of the store that memory is to complete: jobs whose changes are folded while it is in use, so that
 * it does not show them, stay in memory.  oldest: of those in use, 0 if none is. */
uint64_t jobs_begin_snapshot(struct jobs *jobs);
void jobs_keep_for(struct jobs *jobs, uint64_t oldest);

/* Drops least recently used jobs that are wholly in the store until the limit holds. */
void jobs_evict(struct jobs *jobs);

/* Forgets up to n of them whatever the limit, the least recently used first; returns how many. */
uint32_t jobs_forget(struct jobs *jobs, uint32_t n);

void jobs_each(struct jobs *jobs, void (*each)(void *arg, struct job *job), void *arg);

/* Makes a change of job with room for its next state under spec; NULL when out of memory. */
struct change *change_new(struct job *job, struct job_spec *spec);
/* Makes a change that leaves the state as it is: a contribution. */
struct change *change_new_contribution(struct job *job);
/* Takes note that change is queued: its state and spec are the job's newest from now on. */
int change_queue(struct change *change, struct error *err) WARN_UNUSED;
/* The change is durable: its state is shown from now on.  Waiters are told by the caller. */
void change_committed(struct jobs *jobs, struct change *change);
/* The change failed and so did everything queued after it: the job goes back to its durable state. */
void change_failed(struct change *change);
void change_wait(struct change *change, struct change_waiter *waiter);
void change_tell(struct change *change, const struct error *err);
void change_ref(struct change *change);
void change_unref(struct change *change);
/* Takes a folded change out of its job's line and drops the line's reference. */
void change_folded(struct jobs *jobs, struct change *change);

/* The newest report of the job with this step, or this request_id, that is neither folded yet nor superseded;
 * NULL if none. */
struct change *job_find_step(const struct job *job, uint32_t step);
struct change *job_find_request(const struct job *job, const char *request_id);
/* Whether a rewind that is not durable yet goes back behind this decision of the store. */
bool job_is_undone(const struct job *job, const struct job_decision *stored);
/* The newest durable report with this step that nothing durable has superseded. */
struct change *job_find_durable_step(const struct job *job, uint32_t step);
/* The same of states, as store_find_state. */
struct change *job_find_state(const struct job *job, enum store_state_match match, uint32_t step);
/* The newest change that is queued and not durable, and that reads of the store have to wait for: of
 * settings, of a creation, of what is superseded; NULL if none. */
struct change *job_find_unsettled(const struct job *job);

#endif
