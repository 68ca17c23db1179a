/* Background work: folding, reaping, checkpoints.
 *
 * Happy path: a pass takes the log as it is now and sorts references to its rows by job and revision.  Chunk
 * by chunk they are copied into the history, next to each other's pages, and each job's row gets its newest
 * state once.  The last chunk deletes the pass's rows from the log in the same transaction, so a row is in
 * the log, in the history, or (between chunks) in both, never in neither; readers skip rows of the log that
 * the history has. Failure modes: a chunk that fails is rolled back and done again later, from the same
 * place.  After a crash the log may hold rows of a pass that had begun: they are told by being equal to the
 * history's. */
#include "store/sqlite.h"

#include "store/sqlite_db.h"

#define PASS_ROWS  65536
#define REAP_ROWS  "2000"
#define LIMIT_ROWS "20000"

/* Rows ?1 < n <= ?1 + CHUNK of the pass; the last of each job in the pass. */
#define CHUNK   "p.n>?1 AND p.n<=?1+" TEXT(STORE_STEP_ROWS)
#define IS_LAST "NOT EXISTS(SELECT 1 FROM temp.pass q WHERE q.n=p.n+1 AND q.job=p.job)"

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
    [W_PASS_CLEAR] = "DELETE FROM temp.pass",
    [W_PASS_FILL] =
        "INSERT INTO temp.pass(job, revision, seq) SELECT job, revision, seq FROM log WHERE seq<=?1 "
        "ORDER BY job, revision",
    [W_PASS_RECOVER] =
        "INSERT INTO temp.pass(job, revision, seq) SELECT job, revision, seq FROM log l WHERE seq<=?1 "
        "AND NOT EXISTS(SELECT 1 FROM decision d WHERE d.job=l.job AND d.revision=l.revision AND "
        "d.time_us=l.time_us AND d.state IS l.state) ORDER BY job, revision",
    [W_FOLD] =
        "INSERT INTO decision(" DECISION_LIST ") SELECT " LOG_LIST " FROM temp.pass p CROSS JOIN log l "
        "WHERE " CHUNK " AND l.seq=p.seq AND EXISTS(SELECT 1 FROM job WHERE uid=p.job) ORDER BY p.n",
    [W_FOLD_JOBS] = "UPDATE job SET revision=l.revision, state=l.state, update_us=l.time_us FROM temp.pass p "
                    "CROSS JOIN log l WHERE " CHUNK " AND " IS_LAST " AND l.seq=p.seq AND job.uid=p.job AND "
                    "job.revision<l.revision",
    /* Not what promises need: the newest answer to a report, a request_id that may be repeated, the state
     * that a job began with. */
    [W_FOLD_LIMIT] =
        "DELETE FROM decision WHERE (job, revision) IN (SELECT d.job, d.revision FROM temp.pass p "
        "CROSS JOIN decision d WHERE " CHUNK " AND " IS_LAST " AND d.job=p.job AND d.revision<=p.revision-?2 "
        "AND (d.request_id IS NULL OR d.revision<=p.revision-" TEXT(
            STORE_REQUESTS_KEPT) ") "
                                 "AND (d.revision>1 OR d.action IN " SQL_ACTIONS(
                                     SQL_REPORT) ") "
                                                 "AND d.revision IS NOT (SELECT r.revision FROM decision r "
                                                 "WHERE r.job=p.job AND NOT r.superseded AND "
                                                 "r.action IN " SQL_ACTIONS(
                                                     SQL_REPORT) " ORDER BY r.revision DESC LIMIT 1) "
                                                                 "LIMIT " LIMIT_ROWS ")",
    /* Those that were in force at no decision that is kept, and are not the newest there were then. */
    [W_FOLD_SETTINGS] =
        "DELETE FROM settings WHERE (job, revision) IN (SELECT s.job, s.revision FROM temp.pass p "
        "CROSS JOIN settings s WHERE " CHUNK " AND " IS_LAST " AND s.job=p.job AND EXISTS(SELECT 1 FROM "
        "settings n WHERE n.job=s.job AND n.revision>s.revision AND n.revision<=p.revision) AND "
        "NOT EXISTS(SELECT 1 FROM decision d WHERE d.job=s.job AND d.revision>=s.revision AND "
        "d.revision<(SELECT min(n.revision) FROM settings n WHERE n.job=s.job AND n.revision>s.revision)) "
        "LIMIT " LIMIT_ROWS ")",
    /* Of rounds that are decided.  One made after the decision may be of a step that a rewind opened again.
     */
    [W_FOLD_CONTRIBUTIONS] =
        "DELETE FROM contribution WHERE (job, attempt, step, rank) IN (SELECT c.job, c.attempt, c.step, "
        "c.rank "
        "FROM temp.pass p CROSS JOIN log l CROSS JOIN contribution c WHERE " CHUNK " AND " IS_LAST
        " AND l.seq=p.seq AND c.job=p.job AND c.revision<l.revision AND (c.attempt<l.attempt OR "
        "c.step<=l.step))",
    [W_TRIM] = "DELETE FROM log WHERE seq<=?1",
    [W_TRIM_ALL] = "DELETE FROM log",
    [W_REAP] = "DELETE FROM decision WHERE (job, revision) IN (SELECT job, revision FROM decision "
               "WHERE job=(SELECT min(uid) FROM doomed) LIMIT " REAP_ROWS ")",
    [W_REAPED] = "DELETE FROM doomed WHERE uid=(SELECT min(uid) FROM doomed)",
};

static const char folding[] = "folding";

static int pass_begin(struct store *store, struct error *err)
{
    enum writer_statement fill = store->recovering ? W_PASS_RECOVER : W_PASS_FILL;
    struct pass pass = {.active = true};
    int64_t first;
    int rc;

    if ((rc = db_integer(store->db, "SELECT min(seq) FROM log", 0, &first, err))) return rc;
    pass.last = store->last_seq - first < PASS_ROWS ? store->last_seq : first + PASS_ROWS - 1;
    if ((rc = writer_run(store, W_PASS_CLEAR, folding, err))) return rc;
    sqlite3_bind_int64(store->statements[fill], 1, pass.last);
    if ((rc = writer_run(store, fill, folding, err))) return rc;
    pass.rows = sqlite3_changes64(store->db);
    store->pass = pass;
    return 0;
}

static int fold_chunk(struct store *store, bool ends, struct error *err)
{
    static const enum writer_statement steps[] = {W_FOLD, W_FOLD_JOBS, W_FOLD_CONTRIBUTIONS, W_FOLD_LIMIT,
                                                  W_FOLD_SETTINGS};
    enum writer_statement trim = store->pass.last == store->last_seq ? W_TRIM_ALL : W_TRIM;
    size_t n = store->history_limit ? 5 : 3;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        sqlite3_stmt *s = store->statements[steps[i]];

        sqlite3_bind_int64(s, 1, store->pass.at);
        if (steps[i] == W_FOLD_LIMIT) sqlite3_bind_int64(s, 2, store->history_limit);
        rc = writer_run(store, steps[i], folding, err);
        /* Acknowledged decisions contradict each other: nobody may choose between them silently. */
        if (rc == ST_STORE_STALE)
            return error_set(err, ST_DATA_DAMAGED, "two decisions have the same job and revision");
    }
    if (rc || !ends) return rc;
    if (trim == W_TRIM) sqlite3_bind_int64(store->statements[trim], 1, store->pass.last);
    return writer_run(store, trim, folding, err);
}

int fold_step(struct store *store, struct error *err)
{
    int rc;

    if (!store->pass.active && (rc = pass_begin(store, err))) return rc;
    bool ends = store->pass.at + STORE_STEP_ROWS >= store->pass.rows;
    if ((rc = writer_run(store, W_BEGIN, folding, err))) return rc;
    rc = writer_end(store, fold_chunk(store, ends, err), err);
    if (rc) return rc;
    store->pass.at += STORE_STEP_ROWS;
    if (!ends) return 0;
    store->pass.active = false;
    unfolded_forget(store, store->pass.last);
    if (store->pass.last == store->last_seq) store->last_seq = 0;
    store->folded += (uint64_t)store->pass.rows;
    return 0;
}

int reap_step(struct store *store, struct error *err)
{
    int rc = writer_run(store, W_BEGIN, "deleting a job's history", err);

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
