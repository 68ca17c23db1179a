/* What the files of the SQLite store share.  The rest of the daemon sees store.h only. */
#ifndef GREEDYLRD_STORE_SQLITE_H
#define GREEDYLRD_STORE_SQLITE_H

#include "store/store.h"

#include <sqlite3.h>
#include <stdatomic.h>

/* The columns of a decision, in the order they are bound; log and decision share them. */
#define DECISION_LIST                                                                                        \
    "job, revision, attempt, step, action, time_us, value, smoothed, best, num_good, num_bad, stage, "       \
    "at_min, "                                                                                               \
    "at_max, plateaued, applied_mismatch, superseded, lrs, reason, request_id, state, actor, ranks, round, " \
    "shadow"

/* The same of a row of the log that is called l. */
#define LOG_LIST                                                                                             \
    "l.job, l.revision, l.attempt, l.step, l.action, l.time_us, l.value, l.smoothed, l.best, l.num_good, "   \
    "l.num_bad, l.stage, l.at_min, l.at_max, l.plateaued, l.applied_mismatch, l.superseded, l.lrs, "         \
    "l.reason, "                                                                                             \
    "l.request_id, l.state, l.actor, l.ranks, l.round, l.shadow"

/* "'raise','cut',...": the words of the actions of a kind, for IN (...). */
#define SQL_WORD_1(word)                              "'" word "',"
#define SQL_WORD_0(word)                              ""
#define SQL_REPORT(name, word, report, state, undone) SQL_WORD_##report(word)
#define SQL_STATE(name, word, report, state, undone)  SQL_WORD_##state(word)
#define SQL_UNDONE(name, word, report, state, undone) SQL_WORD_##undone(word)
#define SQL_ACTIONS(kind)                             "(" ACTIONS(kind) "'')"

/* A number as text, in statements. */
#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

enum writer_statement {
    W_BEGIN,
    W_COMMIT,
    W_APPEND,
    W_CREATE,
    W_UPDATE,
    W_STATUS,
    W_DELETE,
    W_DOOM,
    W_SETTINGS,
    W_CONTRIBUTE,
    W_DROP_CONTRIBUTIONS,
    W_DROP_SETTINGS,
    W_SUPERSEDE,
    W_SUPERSEDE_LOG,
    W_PROBE,
    W_PASS_RECOVER,
    W_FOLD,
    W_HAS_JOB,
    W_FOLD_JOB,
    W_FOLD_LIMIT,
    W_FOLD_SETTINGS,
    W_FOLD_CONTRIBUTIONS,
    W_TRIM,
    W_TRIM_ALL,
    W_REAP,
    W_REAPED,
    W_COUNT
};
extern const char *const writer_sql[W_COUNT];

struct unfolded; /* a job with rows in the log */

/* A row of the log. */
struct pass_row {
    int64_t job, seq;
    uint32_t revision;
};

/* Rows in the order they were appended. */
struct pass_rows {
    struct pass_row *rows; /* owned */
    size_t n, cap;
};

/* A pass folds the rows of the log up to `last`, job by job, in chunks, and then deletes them there, up to
 * `trimmed` so far. */
struct pass {
    bool active;
    int64_t last, trimmed;
    struct pass_row *rows; /* sorted; owned */
    size_t n, at;          /* of those */
};

struct store {
    sqlite3 *db;
    int lock;
    uint32_t history_limit;
    char path[4096];
    sqlite3_stmt *statements[W_COUNT];

    bool synced;               /* what the connection is set to: writer_begin */
    int shm;                   /* to tell who else has the database open; -1: nobody asked */
    struct error failed;       /* .status: the store is done for */
    struct error unrecovered;  /* why recovering is, at the start */
    struct unfolded *unfolded; /* hash by uid */
    struct undo *undo;         /* what the open transaction did to it */
    size_t n_undo, cap_undo;
    int64_t last_seq; /* newest row of the log, 0: it is empty */
    int64_t appended; /* newest row of the open transaction */
    struct pass pass;
    struct pass_rows next;   /* of the pass after it: what was appended since it began */
    size_t next_before;      /* the open transaction */
    _Atomic bool recovering; /* the log may hold rows that were folded already, and of jobs not in memory */
    int64_t doomed;          /* deleted jobs whose history is still there */
    int wal_pages, wal_done; /* pages in the WAL, and those that are in the database as well */

    _Atomic uint64_t committed, folded, jobs;
    uint64_t at_open[JOB_STATUS_COUNT]; /* jobs, by status */
};

/* Fold, reap, checkpoint (sqlite_fold.c). */
int fold_step(struct store *store, struct error *err) WARN_UNUSED;
void pass_free(struct store *store);
int reap_step(struct store *store, struct error *err) WARN_UNUSED;
int checkpoint(struct store *store, int mode, struct error *err) WARN_UNUSED;

/* Runs one of the writer's statements. */
int writer_run(struct store *store, enum writer_statement which, const char *doing,
               struct error *err) WARN_UNUSED;
/* Begins a transaction.  synced: its commit is on disk before it returns; otherwise it is there with the next
 * that is. */
int writer_begin(struct store *store, bool synced, const char *doing, struct error *err) WARN_UNUSED;
/* Ends the open transaction: commits if rc is 0, else rolls back and returns rc.  A failed commit is rolled
 * back; one of which something may have stayed behind is ST_STORE_FAILED. */
int writer_end(struct store *store, int rc, struct error *err) WARN_UNUSED;

/* The jobs of the log (sqlite_unfolded.c). */
/* Whether the change builds on the job's newest revision, as far as it is in the log; then notes what it
 * makes of it. seq: the row appended for it, 0 if none.  ST_STORE_STALE. */
int unfolded_check(const struct store *store, const struct store_change *change,
                   struct error *err) WARN_UNUSED;
void unfolded_note(struct store *store, const struct store_change *change, int64_t seq);
int unfolded_reserve(struct store *store, size_t changes, struct error *err) WARN_UNUSED;
void unfolded_undo(struct store *store);
/* Forgets jobs whose rows up to `last` were their newest. */
void unfolded_forget(struct store *store, int64_t last);
void unfolded_free(struct store *store);

#endif
