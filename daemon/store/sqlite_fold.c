/* Background work: folding, reaping, checkpoints.
 *
 * Happy path: a pass takes the log as it is now and sorts references to its rows by job and revision.  Chunk
 * by chunk they are copied into the history, next to each other's pages, and each job's row gets its newest
 * state once.  Then the pass's rows leave the log, some thousands in a transaction, so a row is in the log,
 * in the history, or in both, never in neither; readers skip rows of the log that the history has.  None of
 * this is synced for itself: it says nothing that is not on disk already, and the WAL is in order, so the
 * next batch's sync, or the checkpoint's, takes it along, and a power loss before takes all of it back.
 * Failure modes: a chunk that fails is rolled back and done again later, from the same place.  After a crash
 * the log may hold rows of a pass that had begun: they are told by being equal to the history's. */
#include "store/sqlite.h"

#include "store/sqlite_db.h"

#include <stdlib.h>

#define PASS_ROWS  65536                 /* after a crash */
#define COPY_ROWS  16                    /* of the log, copied by one run of a statement */
#define TRIM_ROWS  (4 * STORE_STEP_ROWS) /* of the log, deleted in one transaction */
#define REAP_ROWS  "2000"
#define LIMIT_ROWS "20000"

static const char folding[] = "folding";

const char *const writer_sql[W_COUNT] = {
    [W_BEGIN] = "BEGIN IMMEDIATE",
    [W_COMMIT] = "COMMIT",
    [W_APPEND] =
        "INSERT INTO log(" DECISION_LIST ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [W_CREATE] =
        "INSERT INTO job(uid, status, revision, update_us, labels, spec, effective, state, name, create_us, "
        "created) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
    [W_UPDATE] =
        "UPDATE job SET status=?2, revision=?3, update_us=?4, labels=?5, spec=?6, effective=?7, state=?8 "
        "WHERE uid=?1 AND revision<=?9",
    [W_STATUS] = "UPDATE job SET status=?2 WHERE uid=?1",
    [W_DELETE] = "DELETE FROM job WHERE uid=?1 AND revision<=?2",
    [W_DOOM] = "INSERT INTO doomed(uid) VALUES(?)",
    [W_SETTINGS] = "INSERT OR REPLACE INTO settings(job, revision, effective) VALUES(?,?,?)",
    /* What memory holds is what was promised: a leftover of an ended round gives way. */
    [W_CONTRIBUTE] =
        "INSERT OR REPLACE INTO contribution(job, attempt, step, rank, place, revision, value, weight, "
        "lr_cap, applied_lr, world_size, quorum, reduce) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [W_DROP_CONTRIBUTIONS] = "DELETE FROM contribution WHERE job=?",
    [W_DROP_SETTINGS] = "DELETE FROM settings WHERE job=?",
    [W_SUPERSEDE] = "UPDATE decision SET superseded=1 WHERE job=?1 AND revision>?2 AND NOT superseded AND "
                    "action IN " SQL_ACTIONS(SQL_UNDONE),
    [W_SUPERSEDE_LOG] = "UPDATE log SET superseded=1 WHERE job=?1 AND revision>?2 AND NOT superseded AND "
                        "action IN " SQL_ACTIONS(SQL_UNDONE),
    [W_PROBE] = "INSERT INTO probe(id, count, filler) VALUES(1, 1, zeroblob(32768)) "
                "ON CONFLICT(id) DO UPDATE SET count=count+1, filler=excluded.filler",
    [W_PASS_RECOVER] =
        "SELECT job, revision, seq FROM log l WHERE seq<=?1 AND NOT EXISTS(SELECT 1 FROM decision d "
        "WHERE d.job=l.job AND d.revision=l.revision AND d.time_us=l.time_us AND d.state IS l.state)",
    [W_FOLD] =
        "INSERT OR FAIL INTO decision(" DECISION_LIST ") SELECT " LOG_LIST " FROM (VALUES(?),(?),(?),(?),"
        "(?),(?),(?),(?),(?),(?),(?),(?),(?),(?),(?),(?)) p CROSS JOIN log l ON l.seq=p.column1",
    [W_HAS_JOB] = "SELECT count(*) FROM job WHERE uid=?",
    /* From here on of a job: ?1, with the pass's newest revision ?2 and its row ?3. */
    [W_FOLD_JOB] =
        "UPDATE OR FAIL job SET (revision, state, update_us)=(SELECT revision, state, time_us FROM log "
        "WHERE seq=?3) WHERE uid=?1 AND revision<?2",
    /* Of rounds that are decided.  One made after the decision may be of a step that a rewind opened again.
     */
    [W_FOLD_CONTRIBUTIONS] =
        "DELETE FROM contribution WHERE job=?1 AND revision<?2 AND EXISTS(SELECT 1 FROM log l WHERE l.seq=?3 "
        "AND (contribution.attempt<l.attempt OR contribution.step<=l.step))",
    /* Not what promises need: the newest answer to a report, a request_id that may be repeated, the state
     * that a job began with. */
    [W_FOLD_LIMIT] =
        "DELETE FROM decision WHERE (job, revision) IN (SELECT d.job, d.revision FROM decision d "
        "WHERE d.job=?1 AND d.revision<=?2-?3 "
        "AND (d.request_id IS NULL OR d.revision<=?2-" TEXT(
            STORE_REQUESTS_KEPT) ") "
                                 "AND (d.revision>1 OR d.action IN " SQL_ACTIONS(
                                     SQL_REPORT) ") "
                                                 "AND d.revision IS NOT (SELECT r.revision FROM decision r "
                                                 "WHERE r.job=?1 AND NOT r.superseded AND "
                                                 "r.action IN " SQL_ACTIONS(
                                                     SQL_REPORT) " ORDER BY r.revision DESC LIMIT 1) "
                                                                 "LIMIT " LIMIT_ROWS ")",
    /* Those that were in force at no decision that is kept, and are not the newest there were then. */
    [W_FOLD_SETTINGS] =
        "DELETE FROM settings WHERE (job, revision) IN (SELECT s.job, s.revision FROM settings s "
        "WHERE s.job=?1 AND EXISTS(SELECT 1 FROM "
        "settings n WHERE n.job=s.job AND n.revision>s.revision AND n.revision<=?2) AND "
        "NOT EXISTS(SELECT 1 FROM decision d WHERE d.job=s.job AND d.revision>=s.revision AND "
        "d.revision<(SELECT min(n.revision) FROM settings n WHERE n.job=s.job AND n.revision>s.revision)) "
        "LIMIT " LIMIT_ROWS ")",
    [W_TRIM] = "DELETE FROM log WHERE seq<=?1",
    [W_TRIM_ALL] = "DELETE FROM log",
    [W_REAP] = "DELETE FROM decision WHERE (job, revision) IN (SELECT job, revision FROM decision "
               "WHERE job=(SELECT min(uid) FROM doomed) LIMIT " REAP_ROWS ")",
    [W_REAPED] = "DELETE FROM doomed WHERE uid=(SELECT min(uid) FROM doomed)",
};

static int by_job(const void *a, const void *b)
{
    const struct pass_row *x = a, *y = b;

    if (x->job != y->job) return x->job < y->job ? -1 : 1;
    return (x->revision > y->revision) - (x->revision < y->revision);
}

/* After a crash: the log's rows up to pass->last, as many as may be. */
static int list_rows(struct store *store, struct pass *pass, size_t most, struct error *err)
{
    sqlite3_stmt *s = store->statements[W_PASS_RECOVER];
    int rc = 0, step;

    pass->rows = malloc((most ? most : 1) * sizeof(*pass->rows));
    if (!pass->rows) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    sqlite3_bind_int64(s, 1, pass->last);
    while ((step = sqlite3_step(s)) == SQLITE_ROW && pass->n < most)
        pass->rows[pass->n++] = (struct pass_row){.job = sqlite3_column_int64(s, 0),
                                                  .revision = (uint32_t)sqlite3_column_int64(s, 1),
                                                  .seq = sqlite3_column_int64(s, 2)};
    if (step != SQLITE_DONE) rc = db_error(store->db, folding, err);
    sqlite3_reset(s);
    if (rc) free(pass->rows);
    return rc;
}

static int recovery_begin(struct store *store, struct pass *pass, struct error *err)
{
    int64_t first;
    int rc = db_integer(store->db, "SELECT min(seq) FROM log", 0, &first, err);

    if (rc) return rc;
    pass->last = store->last_seq - first < PASS_ROWS ? store->last_seq : first + PASS_ROWS - 1;
    pass->trimmed = first - 1;
    return list_rows(store, pass, (size_t)(pass->last - pass->trimmed), err);
}

static int pass_begin(struct store *store, struct error *err)
{
    struct pass pass = {.active = true};

    if (store->recovering) {
        int rc = recovery_begin(store, &pass, err);

        if (rc) return rc;
    } else {
        pass.rows = store->next.rows;
        pass.n = store->next.n;
        pass.trimmed = pass.rows[0].seq - 1;
        pass.last = store->last_seq;
        store->next = (struct pass_rows){0};
    }
    qsort(pass.rows, pass.n, sizeof(*pass.rows), by_job);
    store->pass = pass;
    return 0;
}

static int copy_rows(struct store *store, const int64_t *seqs, int n, struct error *err)
{
    sqlite3_stmt *s = store->statements[W_FOLD];

    if (!n) return 0;
    for (int i = 0; i < COPY_ROWS; i++)
        i < n ? sqlite3_bind_int64(s, i + 1, seqs[i]) : sqlite3_bind_null(s, i + 1);
    int rc = writer_run(store, W_FOLD, folding, err);

    /* Acknowledged decisions contradict each other: nobody may choose between them silently. */
    if (rc == ST_STORE_STALE)
        return error_set(err, ST_DATA_DAMAGED, "two decisions have the same job and revision");
    return rc;
}

/* Behind the job's last row of the pass. */
static int fold_job(struct store *store, const struct pass_row *last, struct error *err)
{
    static const enum writer_statement steps[] = {W_FOLD_JOB, W_FOLD_CONTRIBUTIONS, W_FOLD_LIMIT,
                                                  W_FOLD_SETTINGS};
    size_t n = store->history_limit ? 4 : 2;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        sqlite3_stmt *s = store->statements[steps[i]];

        sqlite3_bind_int64(s, 1, last->job);
        sqlite3_bind_int64(s, 2, last->revision);
        if (i < 3) sqlite3_bind_int64(s, 3, i < 2 ? last->seq : store->history_limit);
        rc = writer_run(store, steps[i], folding, err);
    }
    return rc;
}

static int has_job(struct store *store, int64_t uid, bool *has, struct error *err)
{
    sqlite3_stmt *s = store->statements[W_HAS_JOB];
    int rc = 0;

    sqlite3_bind_int64(s, 1, uid);
    if (sqlite3_step(s) == SQLITE_ROW)
        *has = sqlite3_column_int(s, 0) > 0;
    else
        rc = db_error(store->db, folding, err);
    sqlite3_reset(s);
    return rc;
}

static int fold_rows(struct store *store, size_t end, struct error *err)
{
    const struct pass *pass = &store->pass;
    int64_t seqs[COPY_ROWS];
    bool has = false; /* a deleted job has no history to go to */
    int n = 0, rc = 0;

    for (size_t i = pass->at; i < end && !rc; i++) {
        const struct pass_row *row = &pass->rows[i];
        bool first = i == pass->at || row[-1].job != row->job;
        bool last = i + 1 == pass->n || row[1].job != row->job;

        if (first) rc = has_job(store, row->job, &has, err);
        if (rc || !has) continue;
        seqs[n++] = row->seq;
        if (n == COPY_ROWS || (last && store->history_limit)) { /* which looks at what was copied */
            rc = copy_rows(store, seqs, n, err);
            n = 0;
        }
        if (last && !rc) rc = fold_job(store, row, err);
    }
    return rc ? rc : copy_rows(store, seqs, n, err);
}

static int trim(struct store *store, int64_t to, struct error *err)
{
    enum writer_statement which = to == store->last_seq ? W_TRIM_ALL : W_TRIM;

    if (which == W_TRIM) sqlite3_bind_int64(store->statements[which], 1, to);
    return writer_run(store, which, folding, err);
}

static void pass_end(struct store *store)
{
    if (store->pass.last == store->last_seq) store->last_seq = 0;
    pass_free(store);
}

int fold_step(struct store *store, struct error *err)
{
    struct pass *pass = &store->pass;
    int rc;

    if (!pass->active && (rc = pass_begin(store, err))) return rc;
    bool folds = pass->at < pass->n;
    size_t end = pass->n - pass->at < STORE_STEP_ROWS ? pass->n : pass->at + STORE_STEP_ROWS;
    int64_t to = pass->last - pass->trimmed < TRIM_ROWS ? pass->last : pass->trimmed + TRIM_ROWS;
    bool trims = !folds || (end == pass->n && to == pass->last);

    if ((rc = writer_begin(store, false, folding, err))) return rc;
    rc = fold_rows(store, end, err);
    if (!rc && trims) rc = trim(store, to, err);
    if ((rc = writer_end(store, rc, err))) return rc;
    if (folds && end == pass->n) {
        unfolded_forget(store, pass->last);
        store->folded += pass->n;
    }
    pass->at = end;
    if (trims) pass->trimmed = to;
    if (trims && to == pass->last) pass_end(store);
    return 0;
}

void pass_free(struct store *store)
{
    free(store->pass.rows);
    store->pass = (struct pass){0};
}

int reap_step(struct store *store, struct error *err)
{
    int rc = writer_begin(store, false, "deleting a job's history", err);

    if (rc) return rc;
    rc = writer_run(store, W_REAP, "deleting a job's history", err);
    bool done = !rc && sqlite3_changes(store->db) == 0;
    if (done) rc = writer_run(store, W_REAPED, "deleting a job's history", err);
    rc = writer_end(store, rc, err);
    if (!rc && done) store->doomed--;
    return rc;
}

int checkpoint(struct store *store, int mode, struct error *err)
{
    int pages = 0, done = 0;
    int code = sqlite3_wal_checkpoint_v2(store->db, "main", mode, &pages, &done);

    /* Readers hold on to old pages: the next time. */
    if ((code & 0xff) != SQLITE_BUSY && code != SQLITE_OK) return db_error(store->db, "checkpointing", err);
    if (code != SQLITE_OK) return 0;
    store->wal_pages = pages;
    store->wal_done = done;
    return 0;
}
