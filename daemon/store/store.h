/* Durable jobs and decisions.  Everything the daemon knows of storage is in this header, so that a second
 * backend is one more file beside sqlite.c.
 *
 * One writer (a thread of the caller's) commits batches; any number of readers, each used by one thread at a
 * time, see only what is committed and synced.  Specs are opaque text and states opaque bytes here. */
#ifndef GREEDYLRD_STORE_STORE_H
#define GREEDYLRD_STORE_STORE_H

#include "core/job.h"
#include "core/round.h"
#include "core/spec.h"
#include "core/status.h"
#include "core/thin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct store_reader;

#define STORE_REQUESTS_KEPT 1000 /* revisions for which a request_id is found again */

/* Version of the storage library at run time, and of the schema that is written. */
const char *store_library(void);
unsigned store_schema(void);

struct store_options {
    uint32_t history_limit; /* decisions kept per job, besides those that promises need; 0: all */
};

/* One job's row.  Texts are JSON of the contract's JobSpec.  Borrowed when handed in; owned (store_job_clear)
 * when handed out. */
struct store_job {
    uint64_t uid; /* random, never 0, below 2^63: identity of this incarnation */
    char name[JOB_ID_MAX + 1];
    char *created; /* spec as given at creation */
    char *spec;    /* spec as given, updates included */
    char *effective;
    char *labels; /* newline-separated "key=value", for the label filter; "" if none */
    int64_t create_us, update_us;
    uint32_t revision;
    enum job_status status;
    uint8_t *state; /* encoded, job_state_encode */
    size_t state_len;
};
void store_job_clear(struct store_job *job);

/* One entry of the history.  Read back, decision.lrs points into lrs and decision.shadow to shadow, a record
 * that was checked. */
struct store_entry {
    struct job_decision decision;
    double lrs[GROUPS_MAX];
    uint8_t *shadow;                     /* owned: store_entry_clear; NULL: none */
    char request_id[REQUEST_ID_MAX + 1]; /* "": none */
};

void store_entry_clear(struct store_entry *entry);

/* One rank's report to a round that is not decided yet. */
struct store_contribution {
    uint32_t attempt, step, rank;
    struct ranks ranks; /* of the round; deadline_ms is not kept */
    struct round_report report;
};

/* What one change does to a job's row. */
enum store_job_op {
    STORE_JOB_KEEP,   /* a decision only: the hot path, one appended row */
    STORE_JOB_CREATE, /* insert job */
    STORE_JOB_UPDATE, /* replace spec, effective, labels, status, state, revision, update_us by job's */
    STORE_JOB_STATUS, /* replace the status */
    STORE_JOB_DELETE, /* the row at once, its history in the background */
};

/* One change of one job; borrowed during store_commit.  A change may create a job and carry its first
 * decision. */
struct store_change {
    uint64_t uid;
    uint32_t expected_revision; /* revision the change builds on */
    enum store_job_op op;
    const struct store_job *job;         /* CREATE, UPDATE */
    enum job_status status;              /* STATUS */
    const struct job_decision *decision; /* NULL: none; not superseded yet, whatever it says */
    const char *request_id;              /* NULL or "": none */
    const uint8_t *state;                /* encoded state after the decision */
    size_t state_len;
    const uint8_t *round; /* round_record of the decision, or NULL */
    size_t round_len;
    const struct store_contribution *contribution; /* kept until a decision makes it obsolete; NULL: none */
    bool drops_contributions;                      /* open rounds end with this change */
    bool supersedes; /* decisions above superseded_after that action_is_undone are marked superseded */
    uint32_t superseded_after;
};

/* Opens DIR/greedylr.db, creating directory and database where missing; takes DIR's lock.
 * Errors: ST_DATA_DIR_IN_USE (names the holder's pid), ST_DATA_DIR_UNREADABLE, ST_DATA_NEWER,
 * ST_DATA_DAMAGED, ST_STORE_FULL, ST_STORE_FAILED.
 * Without room to fold what a crash left, or while another program has a transaction open, an existing
 * database opens nevertheless, for reading: store_recovering.
 */
int store_open(const char *dir, const struct store_options *options, struct store **out,
               struct error *err) WARN_UNUSED;
/* Whether that folding is still to be done: until store_probe or store_maintain has, readers find what was
 * committed, and store_commit refuses. */
bool store_recovering(const struct store *store);
/* Why it was when the store was opened: ST_STORE_FULL, ST_STORE_HELD. */
const struct error *store_unrecovered(const struct store *store);
/* Folds what is left, checkpoints and closes; readers must be closed before.  The store is gone even on
 * failure.  ST_STORE_FULL, ST_STORE_HELD, ST_OUT_OF_MEMORY: nothing is lost, the rest is folded when it is
 * opened again. */
int store_close(struct store *store, struct error *err);

/* Commits all changes in one synced transaction, or none.  Writer thread.
 * Errors: ST_STORE_FULL (no room: nothing happened, the store can go on), ST_STORE_HELD (the same, for
 * another program's lock, which is named), ST_OUT_OF_MEMORY (the same, but after a crash it may turn out to
 * have happened), ST_STORE_STALE (an expected revision did not hold), ST_STORE_FAILED (any failed sync, any
 * other write error: the process must end). */
int store_commit(struct store *store, const struct store_change *changes, size_t n,
                 struct error *err) WARN_UNUSED;

#ifndef STORE_STEP_ROWS
#define STORE_STEP_ROWS 64 /* rows a step of store_maintain folds at most; tests make it small */
#endif
/* Background work: folds the appended rows into history and job rows in bulk, reaps deleted jobs' history,
 * keeps the history limit, checkpoints.  Writer thread, when idle or when store_backlog() is high.  One short
 * step a call, the last one checkpoints whatever is left; all: leave nothing.  Errors as store_commit. */
int store_maintain(struct store *store, bool all, struct error *err) WARN_UNUSED;
/* Whether another step has something to fold or reap.  Writer thread. */
bool store_has_work(const struct store *store);

/* Rows appended and not folded yet. */
uint64_t store_backlog(const struct store *store);
/* Decisions committed so far, counted from store_open; and how many of those, oldest first, are folded: a job
 * whose decisions are all folded may be forgotten in memory, readers find everything. */
uint64_t store_committed(const struct store *store);
uint64_t store_folded(const struct store *store);

/* Tries a small synced write, to see whether a full disk has room again.  Errors as store_commit. */
int store_probe(struct store *store, struct error *err) WARN_UNUSED;

uint64_t
store_job_count(const struct store *store); /* jobs at store_open plus creates minus deletes committed */
/* Those of a status at store_open. */
uint64_t store_job_count_at_open(const struct store *store, enum job_status status);
uint64_t store_bytes(const struct store *store); /* database and log on disk */

int store_reader_open(struct store *store, struct store_reader **out, struct error *err) WARN_UNUSED;
void store_reader_close(struct store_reader *reader);

/* The job's row; its state is the last folded one.  ST_JOB_NOT_FOUND if there is none. */
int store_get_job(struct store_reader *reader, const char *name, struct store_job *out,
                  struct error *err) WARN_UNUSED;

/* The newest decision of (attempt, step) that is not superseded, or of request_id; folded decisions only.
 * The caller clears what was found.  ST_STEP_IN_PAST if there is none. */
int store_find_step(struct store_reader *reader, uint64_t uid, uint32_t step, struct store_entry *out,
                    struct error *err) WARN_UNUSED;
/* Among the job's last STORE_REQUESTS_KEPT decisions. */
int store_find_request(struct store_reader *reader, uint64_t uid, const char *request_id,
                       struct store_entry *out, struct error *err) WARN_UNUSED;

/* The state that the history says a job had, of decisions that action_is_state and are not superseded; folded
 * ones only. */
enum store_state_match {
    STORE_STATE_AT,    /* the newest of this step */
    STORE_STATE_BELOW, /* the newest of the largest step below this one */
    STORE_STATE_FIRST, /* of the job's first revision */
};
struct store_state {
    uint32_t revision, step;
    bool has_step;
    enum action action;
    uint8_t *bytes; /* encoded; owned: free() */
    size_t len;
};
/* ST_STEP_NOT_FOUND if there is none. */
int store_find_state(struct store_reader *reader, uint64_t uid, enum store_state_match match, uint32_t step,
                     struct store_state *out, struct error *err) WARN_UNUSED;

/* The effective settings (JSON) in force after a revision; owned by the caller.  *newest: no later ones are
 * stored.  ST_DATA_DAMAGED if there are none. */
int store_get_settings(struct store_reader *reader, uint64_t uid, uint32_t revision, char **effective,
                       bool *newest, struct error *err) WARN_UNUSED;

/* The round_record of a folded decision, owned by the caller; NULL and 0 if it has none. */
int store_get_round(struct store_reader *reader, uint64_t uid, uint32_t revision, uint8_t **out, size_t *len,
                    struct error *err) WARN_UNUSED;

/* The job's contributions by attempt, step and rank, obsolete ones included; each() returns non-zero to stop.
 */
int store_list_contributions(struct store_reader *reader, uint64_t uid,
                             int (*each)(void *arg, const struct store_contribution *contribution), void *arg,
                             struct error *err) WARN_UNUSED;

/* Jobs by name, ascending, after the name `after` ("": from the start). */
struct store_jobs_query {
    const char *after, *prefix, *label; /* "" or NULL: any */
    int status;                         /* -1: any */
    uint32_t limit;
};
/* Calls each() with at most limit jobs (borrowed); each() returns non-zero to stop. */
int store_list_jobs(struct store_reader *reader, const struct store_jobs_query *query,
                    int (*each)(void *arg, const struct store_job *job), void *arg,
                    struct error *err) WARN_UNUSED;

/* Names of jobs that are not finished, those that changed last first; reads the rows of all jobs. */
int store_recent_jobs(struct store_reader *reader, uint32_t limit, void (*each)(void *arg, const char *name),
                      void *arg, struct error *err) WARN_UNUSED;

/* Jobs whose name begins with the prefix. */
int store_count_jobs(struct store_reader *reader, const char *prefix, uint64_t *out,
                     struct error *err) WARN_UNUSED;

struct store_decisions_query {
    uint64_t uid;
    uint32_t after_revision;
    bool has_from, has_to;
    uint32_t from_step, to_step;
    bool superseded; /* include superseded ones */
    uint32_t limit;
};
/* History ascending by revision, unfolded decisions included; entries are borrowed. */
int store_list_decisions(struct store_reader *reader, const struct store_decisions_query *query,
                         int (*each)(void *arg, const struct store_entry *entry), void *arg,
                         struct error *err) WARN_UNUSED;

/* Two looks at one state of the history: at every entry that the query asks for, however many (its limit is
 * not looked at), as a point, and at those that pick() names (ascending revisions), whole.  point() and
 * each() return non-zero to stop all. */
struct store_thinning {
    int (*point)(void *arg, const struct thin_point *point);
    size_t (*pick)(void *arg, const uint32_t **revisions);
    int (*each)(void *arg, const struct store_entry *entry);
};
int store_thin_decisions(struct store_reader *reader, const struct store_decisions_query *query,
                         const struct store_thinning *how, void *arg, struct error *err) WARN_UNUSED;

#endif
