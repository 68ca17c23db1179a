/* The store on SQLite: opening, committing, closing.
 *
 * Happy path: a batch of changes is one transaction; a decision is one row appended to `log`, in rowid order,
 * which is all the hot path writes.  COMMIT syncs the WAL before it returns.  Later, off the hot path,
 * sqlite_fold.c moves the log's rows into the history and the newest states into the jobs' rows. Failure
 * modes: a full disk, want of memory and a lock of another program's roll back, and the store goes on; after
 * a failed sync or any other write error the store refuses everything until the process is started again,
 * because what is on disk is not known any more.
 *
 * Want of memory is no write error, even in COMMIT.  What was written is known: at worst the whole
 * transaction is in the WAL and synced, and only the WAL's index in memory does not have it.  The next
 * transaction begins in the index's place, so it overwrites those frames, or, after a crash, recovery finds
 * them and they were committed.  Both are what ST_OUT_OF_MEMORY says: the outcome is unknown, and the request
 * safe to repeat. */
#include "store/sqlite.h"

#include "store/sqlite_db.h"
#include "store/sqlite_lock.h"
#include "store/sqlite_schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int writer_run(struct store *store, enum writer_statement which, const char *doing, struct error *err)
{
    return db_run(store->statements[which], doing, err);
}

/* Writing the WAL's index fails after the commit is in the WAL and synced: a crash would bring it back. */
static bool commit_unknown(const sqlite3 *db)
{
    int code = sqlite3_extended_errcode((sqlite3 *)(uintptr_t)db);

    return code == SQLITE_IOERR_SHMSIZE || code == SQLITE_IOERR_SHMMAP || code == SQLITE_IOERR_SHMOPEN;
}

int writer_begin(struct store *store, bool synced, const char *doing, struct error *err)
{
    int rc = db_rollback(store->db, err); /* for which there was no memory before */

    if (!rc && store->synced != synced) {
        rc = db_exec(store->db, synced ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", doing, err);
        if (!rc) store->synced = synced;
    }
    return rc ? rc : writer_run(store, W_BEGIN, doing, err);
}

int writer_end(struct store *store, int rc, struct error *err)
{
    if (!rc) {
        int step = sqlite3_step(store->statements[W_COMMIT]);

        if (step != SQLITE_DONE) {
            rc = db_error(store->db, "committing", err);
            if (commit_unknown(store->db)) rc = ST_STORE_FAILED;
        }
        sqlite3_reset(store->statements[W_COMMIT]);
    }
    if (rc && db_rollback(store->db, NULL) == ST_STORE_FAILED) rc = ST_STORE_FAILED;
    if (rc && err) err->status = (enum status)rc;
    return rc;
}

/* Another program's lock, after the wait for it: only a transaction that is to begin, or a checkpoint, meets
 * one, so nothing happened. */
static int held(struct store *store, struct error *err)
{
    char who[64];

    data_dir_holder(store->path, &store->shm, who, sizeof(who));
    return error_set(err, ST_STORE_HELD,
                     "%s has a transaction open on the database; the daemon writes again once that has ended",
                     who);
}

/* What a writing call returns: a full disk, a lock, want of memory and a stale change leave the store whole,
 * everything else is the end. */
static int outcome(struct store *store, int rc, struct error *err)
{
    if (rc == ST_STORE_HELD) return held(store, err);
    if (!rc || rc == ST_STORE_FULL || rc == ST_OUT_OF_MEMORY || rc == ST_STORE_STALE) return rc;
    if (err) err->status = ST_STORE_FAILED;
    store->failed.status = ST_STORE_FAILED;
    memcpy(store->failed.message, err ? err->message : "", err ? sizeof(err->message) : 1);
    return ST_STORE_FAILED;
}

static int refuse(const struct store *store, struct error *err)
{
    return error_set(err, ST_STORE_FAILED, "the store failed before: %.400s", store->failed.message);
}

/* ---- commit ---- */

static int bind_text(sqlite3_stmt *s, int at, const char *text)
{
    return sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

static int bind_bytes(sqlite3_stmt *s, int at, const uint8_t *bytes, size_t len)
{
    return sqlite3_bind_blob64(s, at, bytes ? bytes : (const uint8_t *)"", bytes ? len : 0, SQLITE_STATIC);
}

static int bind_decision(sqlite3_stmt *s, const struct store_change *c)
{
    const struct job_decision *d = c->decision;
    bool own = c->state || !c->job; /* a created job's first decision may leave its state to the row */
    int bad = 0;

    bad |= sqlite3_bind_int64(s, 1, (sqlite3_int64)c->uid);
    bad |= sqlite3_bind_int64(s, 2, d->revision);
    bad |= sqlite3_bind_int64(s, 3, d->attempt);
    bad |= d->has_step ? sqlite3_bind_int64(s, 4, d->step) : sqlite3_bind_null(s, 4);
    bad |= bind_text(s, 5, action_words[d->action]);
    bad |= sqlite3_bind_int64(s, 6, d->time_us);
    bad |= db_bind_double(s, 7, d->has_value, d->value);
    bad |= db_bind_double(s, 8, d->has_smoothed, d->smoothed);
    bad |= db_bind_double(s, 9, d->has_best, d->best);
    bad |= sqlite3_bind_int64(s, 10, d->num_good);
    bad |= sqlite3_bind_int64(s, 11, d->num_bad);
    bad |= bind_text(s, 12, stage_words[d->stage]);
    bad |= sqlite3_bind_int(s, 13, d->at_min);
    bad |= sqlite3_bind_int(s, 14, d->at_max);
    bad |= sqlite3_bind_int(s, 15, d->plateaued);
    bad |= sqlite3_bind_int(s, 16, d->applied_mismatch);
    /* What supersedes it comes later and marks it then: memory may know of that before it is durable. */
    bad |= sqlite3_bind_int(s, 17, 0);
    bad |= db_bind_doubles(s, 18, d->lrs, d->groups);
    bad |= bind_text(s, 19, d->reason);
    bad |= c->request_id && c->request_id[0] ? bind_text(s, 20, c->request_id) : sqlite3_bind_null(s, 20);
    bad |=
        own ? bind_bytes(s, 21, c->state, c->state_len) : bind_bytes(s, 21, c->job->state, c->job->state_len);
    bad |= d->actor[0] ? bind_text(s, 22, d->actor) : sqlite3_bind_null(s, 22);
    bad |= d->ranks ? sqlite3_bind_int64(s, 23, d->ranks) : sqlite3_bind_null(s, 23);
    bad |= c->round ? bind_bytes(s, 24, c->round, c->round_len) : sqlite3_bind_null(s, 24);
    bad |= d->shadow ? bind_bytes(s, 25, d->shadow, d->shadow_len) : sqlite3_bind_null(s, 25);
    return bad;
}

static int append(struct store *store, const struct store_change *c, struct error *err)
{
    if (bind_decision(store->statements[W_APPEND], c))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    int rc = writer_run(store, W_APPEND, "writing a decision", err);

    if (!rc) store->appended = sqlite3_last_insert_rowid(store->db);
    return rc;
}

/* CREATE and UPDATE share their first columns. */
static int write_job(struct store *store, enum writer_statement which, const struct store_change *c,
                     struct error *err)
{
    sqlite3_stmt *s = store->statements[which];
    const struct store_job *job = c->job;
    int bad = 0;

    bad |= sqlite3_bind_int64(s, 1, (sqlite3_int64)c->uid);
    bad |= bind_text(s, 2, job_status_words[job->status]);
    bad |= sqlite3_bind_int64(s, 3, job->revision);
    bad |= sqlite3_bind_int64(s, 4, job->update_us);
    bad |= bind_text(s, 5, job->labels ? job->labels : "");
    bad |= bind_text(s, 6, job->spec);
    bad |= bind_text(s, 7, job->effective);
    bad |= bind_bytes(s, 8, job->state, job->state_len);
    if (which == W_CREATE) {
        bad |= bind_text(s, 9, job->name);
        bad |= sqlite3_bind_int64(s, 10, job->create_us);
        bad |= bind_text(s, 11, job->created);
    } else {
        bad |= sqlite3_bind_int64(s, 9, c->expected_revision);
    }
    if (bad) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return writer_run(store, which, "writing a job", err);
}

static int keep_settings(struct store *store, uint64_t uid, uint32_t revision, const char *effective,
                         struct error *err)
{
    sqlite3_stmt *s = store->statements[W_SETTINGS];

    sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    sqlite3_bind_int64(s, 2, revision);
    if (bind_text(s, 3, effective)) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return writer_run(store, W_SETTINGS, "writing settings", err);
}

static int contribute(struct store *store, const struct store_change *change, struct error *err)
{
    sqlite3_stmt *s = store->statements[W_CONTRIBUTE];
    const struct store_contribution *c = change->contribution;
    const struct round_report *r = &c->report;
    int bad = 0;

    bad |= sqlite3_bind_int64(s, 1, (sqlite3_int64)change->uid);
    bad |= sqlite3_bind_int64(s, 2, c->attempt);
    bad |= sqlite3_bind_int64(s, 3, c->step);
    bad |= sqlite3_bind_int64(s, 4, c->rank);
    bad |= sqlite3_bind_int64(s, 5, r->order);
    bad |= sqlite3_bind_int64(s, 6, change->expected_revision);
    bad |= db_bind_double(s, 7, true, r->value);
    bad |= db_bind_double(s, 8, true, r->weight);
    bad |= db_bind_double(s, 9, r->lr_cap < INFINITY, r->lr_cap);
    bad |= db_bind_double(s, 10, !isnan(r->applied_lr), r->applied_lr);
    bad |= sqlite3_bind_int64(s, 11, c->ranks.world_size);
    bad |= sqlite3_bind_int64(s, 12, c->ranks.quorum);
    bad |= bind_text(s, 13, reduce_words[c->ranks.reduce]);
    if (bad) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return writer_run(store, W_CONTRIBUTE, "writing a rank's report", err);
}

static int drop(struct store *store, enum writer_statement which, uint64_t uid, struct error *err)
{
    sqlite3_bind_int64(store->statements[which], 1, (sqlite3_int64)uid);
    return writer_run(store, which, "dropping what is obsolete", err);
}

static int supersede(struct store *store, const struct store_change *c, struct error *err)
{
    static const enum writer_statement both[] = {W_SUPERSEDE, W_SUPERSEDE_LOG};
    int rc = 0;

    for (size_t i = 0; i < 2 && !rc; i++) {
        sqlite3_bind_int64(store->statements[both[i]], 1, (sqlite3_int64)c->uid);
        sqlite3_bind_int64(store->statements[both[i]], 2, c->superseded_after);
        rc = writer_run(store, both[i], "marking superseded decisions", err);
    }
    return rc;
}

static int must_change(struct store *store, const char *what, struct error *err)
{
    if (sqlite3_changes(store->db) == 1) return 0;
    return error_set(err, ST_STORE_STALE, "%s: the job is gone or has a newer revision", what);
}

static int delete_job(struct store *store, const struct store_change *c, struct error *err)
{
    int rc;

    sqlite3_bind_int64(store->statements[W_DELETE], 1, (sqlite3_int64)c->uid);
    sqlite3_bind_int64(store->statements[W_DELETE], 2, c->expected_revision);
    if ((rc = writer_run(store, W_DELETE, "deleting a job", err)) || (rc = must_change(store, "delete", err)))
        return rc;
    if ((rc = drop(store, W_DROP_CONTRIBUTIONS, c->uid, err)) ||
        (rc = drop(store, W_DROP_SETTINGS, c->uid, err)))
        return rc;
    sqlite3_bind_int64(store->statements[W_DOOM], 1, (sqlite3_int64)c->uid);
    return writer_run(store, W_DOOM, "deleting a job", err);
}

static int write_status(struct store *store, const struct store_change *c, struct error *err)
{
    sqlite3_stmt *s = store->statements[W_STATUS];

    sqlite3_bind_int64(s, 1, (sqlite3_int64)c->uid);
    if (bind_text(s, 2, job_status_words[c->status]))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return writer_run(store, W_STATUS, "writing a job's status", err);
}

static int apply_to_job(struct store *store, const struct store_change *c, struct error *err)
{
    int rc = 0;

    switch (c->op) {
    case STORE_JOB_KEEP: return 0;
    case STORE_JOB_DELETE: return delete_job(store, c, err);
    case STORE_JOB_STATUS:
        rc = write_status(store, c, err);
        return rc ? rc : must_change(store, "status", err);
    case STORE_JOB_CREATE:
        rc = write_job(store, W_CREATE, c, err);
        return rc ? rc : keep_settings(store, c->uid, 0, c->job->effective, err);
    case STORE_JOB_UPDATE:
        rc = write_job(store, W_UPDATE, c, err);
        if (!rc) rc = must_change(store, "update", err);
        return rc ? rc : keep_settings(store, c->uid, c->job->revision, c->job->effective, err);
    }
    return 0;
}

static int apply(struct store *store, const struct store_change *c, struct error *err)
{
    int64_t seq = 0;
    int rc = unfolded_check(store, c, err);

    if (!rc) rc = apply_to_job(store, c, err);
    if (!rc && c->supersedes) rc = supersede(store, c, err);
    if (!rc && c->drops_contributions) rc = drop(store, W_DROP_CONTRIBUTIONS, c->uid, err);
    if (!rc && c->contribution) rc = contribute(store, c, err);
    if (rc) return rc;
    if (c->decision && c->op != STORE_JOB_DELETE) {
        rc = append(store, c, err);
        if (rc) return rc;
        seq = store->appended;
    }
    unfolded_note(store, c, seq);
    return 0;
}

/* The numbers others see, once the batch is durable. */
static void count(struct store *store, const struct store_change *changes, size_t n)
{
    uint64_t decisions = 0, created = 0, deleted = 0;

    for (size_t i = 0; i < n; i++) {
        created += changes[i].op == STORE_JOB_CREATE;
        deleted += changes[i].op == STORE_JOB_DELETE;
        decisions += changes[i].decision && changes[i].op != STORE_JOB_DELETE;
    }
    store->doomed += (int64_t)deleted;
    store->jobs += created - deleted;
    if (decisions) store->last_seq = store->appended;
    store->committed += decisions;
}

int store_commit(struct store *store, const struct store_change *changes, size_t n, struct error *err)
{
    struct error local;
    int rc;

    if (!err) err = &local;
    if (store->failed.status) return refuse(store, err);
    if (n == 0) return 0;
    if (store->recovering) {
        *err = store->unrecovered;
        return (int)err->status;
    }
    if ((rc = unfolded_reserve(store, n, err)) || (rc = writer_begin(store, true, "beginning", err)))
        return outcome(store, rc, err);
    for (size_t i = 0; i < n && !rc; i++)
        rc = apply(store, &changes[i], err);
    rc = writer_end(store, rc, err);
    if (rc) {
        unfolded_undo(store);
        return outcome(store, rc, err);
    }
    count(store, changes, n);
    return 0;
}

/* ---- background ---- */

static bool folds(const struct store *store)
{
    return store->pass.active || store->last_seq;
}

/* The end of the work is a checkpoint of all there is; before it the WAL is emptied when it has grown. */
#define WAL_PAGES_MAX 1024

/* Where a sync failed, what it was to keep may be in the system's memory and nowhere else: a process that
 * starts reads it, no later sync writes it, and a power loss takes it away with all that was appended behind
 * it.  So all of the WAL goes into the database file, and the WAL starts over, before anything is added. */
static int start_wal_over(struct store *store, struct error *err)
{
    store->wal_pages = WAL_PAGES_MAX; /* until it is known to be empty */
    int rc = checkpoint(store, SQLITE_CHECKPOINT_TRUNCATE, err);

    if (rc || !store->wal_pages) return rc;
    return held(store, err);
}

/* What a crash left in the log becomes history, so that the jobs' rows are current before anything is built
 * on them. */
static int recover(struct store *store, struct error *err)
{
    int rc = start_wal_over(store, err);

    if (rc) return rc;
    while (folds(store)) {
        if ((rc = fold_step(store, err))) return rc;
    }
    store->committed = store->folded = 0;
    store->recovering = false;
    return 0;
}

bool store_recovering(const struct store *store)
{
    return store->recovering;
}

const struct error *store_unrecovered(const struct store *store)
{
    return &store->unrecovered;
}

bool store_has_work(const struct store *store)
{
    return !store->failed.status && (folds(store) || store->doomed > 0);
}

static int maintain(struct store *store, bool all, struct error *err)
{
    bool more;
    int rc = db_rollback(store->db, err);

    if (!rc && store->recovering) rc = recover(store, err);
    if (rc) return rc;
    do {
        if (folds(store))
            rc = fold_step(store, err);
        else if (store->doomed > 0)
            rc = reap_step(store, err);
        if (rc) return rc;
        more = store_has_work(store);
        if (store->wal_pages - store->wal_done >= (more ? WAL_PAGES_MAX : 1))
            rc = checkpoint(store, SQLITE_CHECKPOINT_PASSIVE, err);
    } while (!rc && all && more);
    return rc;
}

int store_maintain(struct store *store, bool all, struct error *err)
{
    struct error local;

    if (!err) err = &local;
    if (store->failed.status) return refuse(store, err);
    return outcome(store, maintain(store, all, err), err);
}

static int probe(struct store *store, struct error *err)
{
    int rc = db_rollback(store->db, err);

    if (!rc && store->recovering) rc = recover(store, err);
    if (!rc) rc = writer_begin(store, true, "probing", err);
    return rc ? rc : writer_end(store, writer_run(store, W_PROBE, "probing", err), err);
}

int store_probe(struct store *store, struct error *err)
{
    struct error local;
    int rc;

    if (!err) err = &local;
    if (store->failed.status) return refuse(store, err);
    rc = probe(store, err);
    /* The room may be what the WAL takes: once all of it is in the database, it starts over. */
    if (rc == ST_STORE_FULL) {
        rc = checkpoint(store, SQLITE_CHECKPOINT_PASSIVE, err);
        if (!rc) rc = probe(store, err);
    }
    if (!rc)
        rc = checkpoint(store, SQLITE_CHECKPOINT_PASSIVE, err); /* the database file may have to grow, too */
    return outcome(store, rc, err);
}

/* ---- open, close, numbers ---- */

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct store *store = arg;

    if (pages < store->wal_pages) store->wal_done = 0; /* it was started over */
    store->wal_pages = pages;
    return SQLITE_OK;
}

static int look(struct store *store, struct error *err)
{
    int64_t jobs, paused, finished;
    int rc;

    if ((rc = db_integer(store->db, "SELECT max(seq) FROM log", 0, &store->last_seq, err)) ||
        (rc = db_integer(store->db, "SELECT count(*) FROM doomed", 0, &store->doomed, err)) ||
        (rc = db_integer(store->db, "SELECT count(*) FROM job", 0, &jobs, err)) ||
        (rc = db_integer(store->db, "SELECT count(*) FROM job WHERE status='paused' AND status<>'active'", 0,
                         &paused, err)) ||
        (rc = db_integer(store->db, "SELECT count(*) FROM job WHERE status='finished' AND status<>'active'",
                         0, &finished, err)))
        return rc;
    store->jobs = (uint64_t)jobs;
    store->at_open[JOB_ACTIVE] = (uint64_t)(jobs - paused - finished);
    store->at_open[JOB_PAUSED] = (uint64_t)paused;
    store->at_open[JOB_FINISHED] = (uint64_t)finished;
    store->recovering = true;
    return 0;
}

int store_open(const char *dir, const struct store_options *options, struct store **out, struct error *err)
{
    struct store *store = calloc(1, sizeof(*store));
    int rc;

    if (!store) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    store->shm = -1;
    store->history_limit = options ? options->history_limit : 0;
    if ((rc = data_dir_lock(dir, &store->lock, err))) goto err_lock;
    if ((rc = schema_open(dir, &store->db, err))) goto err_schema;
    store->synced = true;
    snprintf(store->path, sizeof(store->path), "%s/greedylr.db", dir);
    sqlite3_wal_hook(store->db, on_commit, store);
    rc = db_prepare(store->db, writer_sql, store->statements, W_COUNT, err);
    if (rc) goto err_prepare;
    if ((rc = look(store, err))) goto err_recover;
    rc = recover(store, err);
    if (rc == ST_STORE_HELD) rc = held(store, err);
    if (rc && rc != ST_STORE_FULL && rc != ST_STORE_HELD) goto err_recover;
    if (rc) store->unrecovered = *err;
    *out = store;
    return 0;

err_recover:
    db_finalize(store->statements, W_COUNT);
err_prepare:
    db_close(store->db);
    if (store->shm >= 0) close(store->shm);
err_schema:
    data_dir_unlock(store->lock);
err_lock:
    pass_free(store);
    unfolded_free(store);
    free(store);
    return rc;
}

int store_close(struct store *store, struct error *err)
{
    struct error local;
    int rc;

    if (!err) err = &local;
    rc = store_maintain(store, true, err);
    if (!rc) rc = checkpoint(store, SQLITE_CHECKPOINT_TRUNCATE, err);
    /* With nothing left in the log, closing may as well remove the file. */
    if (!rc && !store->wal_pages) sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    db_finalize(store->statements, W_COUNT);
    db_close(store->db);
    if (store->shm >= 0) close(store->shm);
    data_dir_unlock(store->lock);
    pass_free(store);
    unfolded_free(store);
    free(store);
    return rc;
}

uint64_t store_backlog(const struct store *store)
{
    uint64_t folded = store->folded; /* first: it never overtakes the other */

    return store->committed - folded;
}

uint64_t store_committed(const struct store *store)
{
    return store->committed;
}

uint64_t store_folded(const struct store *store)
{
    return store->folded;
}

uint64_t store_job_count(const struct store *store)
{
    return store->jobs;
}

uint64_t store_job_count_at_open(const struct store *store, enum job_status status)
{
    return store->at_open[status];
}

uint64_t store_bytes(const struct store *store)
{
    char wal[sizeof(store->path) + 8];
    struct stat st;
    uint64_t bytes = 0;

    if (stat(store->path, &st) == 0) bytes += (uint64_t)st.st_size;
    snprintf(wal, sizeof(wal), "%s-wal", store->path);
    if (stat(wal, &st) == 0) bytes += (uint64_t)st.st_size;
    return bytes;
}
