/* Readers.
 *
 * Happy path: a read-only connection with its own prepared statements; rows are handed out as they lie, or
 * copied. Each call ends its read transaction before it returns, or checkpoints could never finish. Failure
 * modes: damage, and values that the contract of store.h cannot hold, are ST_DATA_DAMAGED; nothing that is in
 * the file can make a reader write outside its own memory. */
#include "store/sqlite_reader.h"

#include "core/shadow.h"

#include "store/sqlite_db.h"
#include "store/sqlite_schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A job's row, and what a crash left of it in the log where that could not be folded yet (find_newest).  Once
 * it is folded the log has nothing newer. */
#define JOB_LIST                                                                                             \
    "job.uid AS uid, name, status, coalesce(l.revision, job.revision) AS revision, create_us, "              \
    "coalesce(l.time_us, update_us) AS update_us, labels, created, spec, effective, "                        \
    "coalesce(l.state, job.state) AS state"
#define JOB_FROM                                                                                             \
    " FROM job LEFT JOIN temp.newest n ON n.uid=job.uid "                                                    \
    "LEFT JOIN log l ON l.seq=n.seq AND l.job=job.uid AND l.revision>job.revision "
#define STATE_LIST "revision, step, action, state"
#define POINT_LIST "revision, action, value, lrs"
/* The filters of a listing; ?2 is what comes before the page. */
#define HISTORY_WHERE                                                                                        \
    "job=?1 AND revision>?2 AND (?3 IS NULL OR step>=?3) AND (?4 IS NULL OR step<=?4) AND (?5 OR NOT "       \
    "superseded) "                                                                                           \
    "AND EXISTS(SELECT 1 FROM job WHERE uid=?1) ORDER BY revision LIMIT ?6"

#define FEW_STEPS 5000

static const char *const reader_sql[R_COUNT] = {
    [R_BEGIN] = "BEGIN",
    [R_END] = "COMMIT",
    [R_JOB] = "SELECT " JOB_LIST JOB_FROM "WHERE name=?",
    [R_JOBS_COUNT] = "SELECT count(*) FROM job WHERE name>=?1 AND name<?2",
    [R_RECENT] = "SELECT name FROM job WHERE status<>'finished' AND length(name)<=" TEXT(
        JOB_ID_MAX) " ORDER BY update_us DESC LIMIT ?1",
    [R_JOBS] =
        "SELECT " JOB_LIST JOB_FROM
        "WHERE name>?1 AND name>=?2 AND name<?3 AND (?4 IS NULL OR status=?4) AND "
        "(?5 IS NULL OR instr(char(10)||labels||char(10), char(10)||?5||char(10))) ORDER BY name LIMIT ?6",
    /* Events carry the last step as well: only reports decide one. */
    [R_STEP] = "SELECT " DECISION_LIST
               " FROM decision WHERE job=?1 AND step=?2 AND NOT superseded AND action IN " SQL_ACTIONS(
                   SQL_REPORT) " ORDER BY revision DESC LIMIT 1",
    [R_STEP_LOG] = "SELECT " DECISION_LIST
                   " FROM log WHERE job=?1 AND step=?2 AND NOT superseded AND action IN " SQL_ACTIONS(
                       SQL_REPORT) " ORDER BY revision DESC LIMIT 1",
    [R_REQUEST] = "SELECT " DECISION_LIST " FROM decision WHERE job=?1 AND request_id=?2 AND "
                  "request_id IS NOT NULL AND NOT superseded AND revision>(SELECT max(revision) FROM "
                  "decision WHERE job=?1)-" TEXT(STORE_REQUESTS_KEPT) " "
                                                                      "ORDER BY revision DESC LIMIT 1",
    [R_STATE_AT] = "SELECT " STATE_LIST
                   " FROM decision WHERE job=?1 AND step=?2 AND NOT superseded AND action IN " SQL_ACTIONS(
                       SQL_STATE) " ORDER BY revision DESC LIMIT 1",
    [R_STATE_BELOW] = "SELECT " STATE_LIST
                      " FROM decision WHERE job=?1 AND step<?2 AND NOT superseded AND action IN " SQL_ACTIONS(
                          SQL_STATE) " ORDER BY step DESC, revision DESC LIMIT 1",
    [R_STATE_FIRST] =
        "SELECT " STATE_LIST
        " FROM decision WHERE job=?1 AND ?2 IS NOT NULL AND revision=1 AND action IN " SQL_ACTIONS(SQL_STATE),
    [R_SETTINGS] =
        "SELECT effective, revision=(SELECT max(revision) FROM settings WHERE job=?1) FROM settings "
        "WHERE job=?1 AND revision<=?2 ORDER BY revision DESC LIMIT 1",
    [R_ROUND] = "SELECT round FROM decision WHERE job=?1 AND revision=?2",
    [R_CONTRIBUTIONS] =
        "SELECT attempt, step, rank, place, value, weight, lr_cap, applied_lr, world_size, quorum, "
        "reduce FROM contribution WHERE job=? ORDER BY attempt, step, rank",
    [R_HISTORY] = "SELECT " DECISION_LIST " FROM decision WHERE " HISTORY_WHERE,
    /* Of few steps: their rows are found, and sorted, sooner than the history is read. */
    [R_HISTORY_STEPS] = "SELECT " DECISION_LIST " FROM decision INDEXED BY decision_step WHERE job=?1 AND "
                        "revision>?2 AND step>=?3 AND step<=?4 AND NOT superseded AND ?5 IS NOT NULL AND "
                        "EXISTS(SELECT 1 FROM job WHERE uid=?1) ORDER BY revision LIMIT ?6",
    [R_HISTORY_END] = "SELECT coalesce(max(revision),0) FROM decision WHERE job=?",
    [R_LOG] = "SELECT " DECISION_LIST " FROM log WHERE " HISTORY_WHERE,
    /* Of steps: where the rows begin and end, from the index alone. */
    [R_STEP_BOUNDS] = "SELECT min(revision), max(revision) FROM decision INDEXED BY decision_step WHERE "
                      "job=?1 AND step>=?2 AND step<=?3 AND NOT superseded",
    [R_POINTS] = "SELECT " POINT_LIST " FROM decision WHERE revision<=?7 AND " HISTORY_WHERE,
    [R_POINTS_LOG] = "SELECT " POINT_LIST " FROM log WHERE revision<=?7 AND " HISTORY_WHERE,
    [R_ENTRY] = "SELECT " DECISION_LIST " FROM decision WHERE job=?1 AND revision=?2",
};

/* The newest row of each job in the log, as long as jobs of the log are not in memory; else none. */
static int find_newest(struct store_reader *reader, struct error *err)
{
    int rc = db_exec(reader->db, "CREATE TEMP TABLE newest(uid INTEGER PRIMARY KEY, seq INTEGER NOT NULL)",
                     "setting up a reader", err);

    if (rc || !reader->store->recovering) return rc;
    return db_exec(reader->db, "INSERT INTO newest SELECT job, max(seq) FROM log GROUP BY job",
                   "reading the log", err);
}

int reader_on(const struct store *store, sqlite3 *db, struct store_reader **out, struct error *err)
{
    struct store_reader *reader = calloc(1, sizeof(*reader));
    int rc;

    if (!reader) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    *reader = (struct store_reader){.store = store, .db = db};
    rc = find_newest(reader, err);
    if (!rc) rc = db_prepare(db, reader_sql, reader->statements, R_COUNT, err);
    if (rc)
        free(reader);
    else
        *out = reader;
    return rc;
}

int store_reader_open(struct store *store, struct store_reader **out, struct error *err)
{
    sqlite3 *db;
    int rc = schema_open_reader(store->path, &db, err);

    if (rc) return rc;
    rc = reader_on(store, db, out, err);
    if (rc) db_close(db);
    return rc;
}

void store_reader_close(struct store_reader *reader)
{
    if (!reader) return;
    db_finalize(reader->statements, R_COUNT);
    db_close(reader->db);
    free(reader);
}

int reader_error(struct store_reader *reader, struct error *err)
{
    return db_error(reader->db, "reading the database", err);
}

sqlite3_stmt *reader_ready(struct store_reader *reader, enum reader_statement which)
{
    sqlite3_stmt *s = reader->statements[which];

    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return s;
}

/* ---- values ---- */

int column_damaged(sqlite3_stmt *s, int at, struct error *err)
{
    /* A text may have to be copied to be handed out. */
    if (sqlite3_errcode(sqlite3_db_handle(s)) == SQLITE_NOMEM)
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return error_set(err, ST_DATA_DAMAGED, "%s holds something impossible", sqlite3_column_name(s, at));
}

int column_word(sqlite3_stmt *s, int at, const char *const *words, int *out, struct error *err)
{
    const char *text = (const char *)sqlite3_column_text(s, at);

    for (*out = 0; text && words[*out]; ++*out) {
        if (strcmp(text, words[*out]) == 0) return 0;
    }
    return column_damaged(s, at, err);
}

int column_u32(sqlite3_stmt *s, int at, uint32_t *out, struct error *err)
{
    int64_t value = sqlite3_column_int64(s, at);

    if (value < 0 || value > UINT32_MAX || sqlite3_column_type(s, at) != SQLITE_INTEGER)
        return column_damaged(s, at, err);
    *out = (uint32_t)value;
    return 0;
}

/* Into size bytes; NULL reads as "". */
static int column_short_text(sqlite3_stmt *s, int at, char *out, size_t size, struct error *err)
{
    const char *text = (const char *)sqlite3_column_text(s, at);
    size_t len = text ? strlen(text) : 0;

    if (len >= size || (int)len != sqlite3_column_bytes(s, at)) return column_damaged(s, at, err);
    memcpy(out, text ? text : "", len + 1);
    return 0;
}

static int column_one_double(sqlite3_stmt *s, int at, bool *has, double *out, struct error *err)
{
    size_t n;
    int rc = db_column_doubles(s, at, out, 1, &n, err);

    *has = n == 1;
    if (!*has) *out = 0.0;
    return rc;
}

/* ---- decisions ---- */

static int read_numbers(sqlite3_stmt *s, struct job_decision *d, struct error *err)
{
    int action, stage, rc;

    if ((rc = column_u32(s, 1, &d->revision, err)) || (rc = column_u32(s, 2, &d->attempt, err)) ||
        (rc = column_word(s, 4, action_words, &action, err)) ||
        (rc = column_one_double(s, 6, &d->has_value, &d->value, err)) ||
        (rc = column_one_double(s, 7, &d->has_smoothed, &d->smoothed, err)) ||
        (rc = column_one_double(s, 8, &d->has_best, &d->best, err)) ||
        (rc = column_u32(s, 9, &d->num_good, err)) || (rc = column_u32(s, 10, &d->num_bad, err)) ||
        (rc = column_word(s, 11, stage_words, &stage, err)))
        return rc;
    d->has_step = sqlite3_column_type(s, 3) != SQLITE_NULL;
    if (d->has_step && (rc = column_u32(s, 3, &d->step, err))) return rc;
    d->action = (enum action)action;
    d->stage = (enum stage)stage;
    d->time_us = sqlite3_column_int64(s, 5);
    d->at_min = sqlite3_column_int(s, 12) != 0;
    d->at_max = sqlite3_column_int(s, 13) != 0;
    d->plateaued = sqlite3_column_int(s, 14) != 0;
    d->applied_mismatch = sqlite3_column_int(s, 15) != 0;
    d->superseded = sqlite3_column_int(s, 16) != 0;
    return 0;
}

static int read_shadow(sqlite3_stmt *s, int at, struct store_entry *out, struct error *err)
{
    const void *record = sqlite3_column_blob(s, at);
    size_t len = (size_t)sqlite3_column_bytes(s, at);

    if (sqlite3_column_type(s, at) == SQLITE_NULL) return 0;
    if (!record || shadow_record_check(record, len, out->decision.groups, err))
        return column_damaged(s, at, err);
    out->shadow = malloc(len);
    if (!out->shadow) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    memcpy(out->shadow, record, len);
    out->decision.shadow = out->shadow;
    out->decision.shadow_len = len;
    return 0;
}

void store_entry_clear(struct store_entry *entry)
{
    free(entry->shadow);
    entry->shadow = NULL;
    entry->decision.shadow = NULL;
    entry->decision.shadow_len = 0;
}

int reader_entry(sqlite3_stmt *s, struct store_entry *out, struct error *err)
{
    struct job_decision *d = &out->decision;
    size_t groups;
    int rc;

    memset(d, 0, sizeof(*d));
    out->shadow = NULL;
    if ((rc = read_numbers(s, d, err)) ||
        (rc = db_column_doubles(s, 17, out->lrs, GROUPS_MAX, &groups, err)) ||
        (rc = column_short_text(s, 18, d->reason, sizeof(d->reason), err)) ||
        (rc = column_short_text(s, 19, out->request_id, sizeof(out->request_id), err)))
        return rc;
    if ((rc = column_short_text(s, 21, d->actor, sizeof(d->actor), err))) return rc;
    if (sqlite3_column_type(s, 22) != SQLITE_NULL && (rc = column_u32(s, 22, &d->ranks, err))) return rc;
    d->groups = (uint32_t)groups;
    d->lrs = out->lrs;
    return read_shadow(s, 24, out, err);
}

static int find_one(struct store_reader *reader, sqlite3_stmt *s, struct store_entry *out, struct error *err)
{
    int step = sqlite3_step(s), rc;

    if (step == SQLITE_ROW)
        rc = reader_entry(s, out, err);
    else if (step == SQLITE_DONE)
        rc = error_set(err, ST_STEP_IN_PAST, "the history has no such decision");
    else
        rc = reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}

int store_find_step(struct store_reader *reader, uint64_t uid, uint32_t step, struct store_entry *out,
                    struct error *err)
{
    int rc = ST_STEP_IN_PAST;

    for (int from = reader->store->recovering ? R_STEP_LOG : R_STEP; rc == ST_STEP_IN_PAST && from >= R_STEP;
         from--) {
        sqlite3_stmt *s = reader_ready(reader, (enum reader_statement)from);

        sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
        sqlite3_bind_int64(s, 2, step);
        rc = find_one(reader, s, out, err);
    }
    return rc;
}

int store_find_request(struct store_reader *reader, uint64_t uid, const char *request_id,
                       struct store_entry *out, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_REQUEST);

    sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    if (sqlite3_bind_text(s, 2, request_id, -1, SQLITE_STATIC))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return find_one(reader, s, out, err);
}

typedef int (*entry_fn)(void *arg, const struct store_entry *entry);

int reader_list(struct store_reader *reader, enum reader_statement which,
                const struct store_decisions_query *query, uint32_t after, uint32_t *left, entry_fn each,
                void *arg, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, which);
    struct store_entry entry;
    int step = SQLITE_DONE, rc = 0;

    sqlite3_bind_int64(s, 1, (sqlite3_int64)query->uid);
    sqlite3_bind_int64(s, 2, after);
    if (query->has_from) sqlite3_bind_int64(s, 3, query->from_step);
    if (query->has_to) sqlite3_bind_int64(s, 4, query->to_step);
    sqlite3_bind_int(s, 5, query->superseded);
    sqlite3_bind_int64(s, 6, *left);
    while (!rc && *left && (step = sqlite3_step(s)) == SQLITE_ROW) {
        rc = reader_entry(s, &entry, err);
        if (rc) break;
        --*left;
        if (each(arg, &entry)) *left = 0;
        store_entry_clear(&entry);
    }
    if (!rc && *left && step != SQLITE_DONE) rc = reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}

int reader_history_end(struct store_reader *reader, uint64_t uid, uint32_t *out, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_HISTORY_END);
    int rc;

    sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    rc = sqlite3_step(s) == SQLITE_ROW ? column_u32(s, 0, out, err) : reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}

static bool of_few_steps(const struct store_decisions_query *query)
{
    return query->has_from && query->has_to && !query->superseded &&
           (query->to_step < query->from_step || query->to_step - query->from_step < FEW_STEPS);
}

int reader_begin(struct store_reader *reader, struct error *err)
{
    int rc = db_rollback(reader->db, err); /* one for which there was no memory */

    return rc ? rc : db_run(reader_ready(reader, R_BEGIN), "reading the database", err);
}

int reader_end(struct store_reader *reader, int rc, struct error *err)
{
    if (rc) return db_rollback(reader->db, NULL) == ST_STORE_FAILED ? ST_STORE_FAILED : rc;
    return db_run(reader_ready(reader, R_END), "reading the database", err);
}

int store_list_decisions(struct store_reader *reader, const struct store_decisions_query *query,
                         entry_fn each, void *arg, struct error *err)
{
    uint32_t left = query->limit, end = 0;
    int rc = reader_begin(reader, err);

    if (rc) return rc;
    rc = reader_list(reader, of_few_steps(query) ? R_HISTORY_STEPS : R_HISTORY, query, query->after_revision,
                     &left, each, arg, err);
    if (!rc && left) rc = reader_history_end(reader, query->uid, &end, err);
    if (!rc && left)
        rc = reader_list(reader, R_LOG, query, end > query->after_revision ? end : query->after_revision,
                         &left, each, arg, err);
    return reader_end(reader, rc, err);
}

/* ---- jobs ---- */

static const char *column_string(sqlite3_stmt *s, int at)
{
    return (const char *)sqlite3_column_text(s, at);
}

/* A row of JOB_LIST; texts and state are the statement's. */
static int read_job(sqlite3_stmt *s, struct store_job *out, struct error *err)
{
    int64_t uid = sqlite3_column_int64(s, 0);
    int status, rc;

    memset(out, 0, sizeof(*out));
    if (uid <= 0) return column_damaged(s, 0, err);
    if ((rc = column_short_text(s, 1, out->name, sizeof(out->name), err)) ||
        (rc = column_word(s, 2, job_status_words, &status, err)) ||
        (rc = column_u32(s, 3, &out->revision, err)))
        return rc;
    out->uid = (uint64_t)uid;
    out->status = (enum job_status)status;
    out->create_us = sqlite3_column_int64(s, 4);
    out->update_us = sqlite3_column_int64(s, 5);
    out->labels = (char *)(uintptr_t)column_string(s, 6);
    out->created = (char *)(uintptr_t)column_string(s, 7);
    out->spec = (char *)(uintptr_t)column_string(s, 8);
    out->effective = (char *)(uintptr_t)column_string(s, 9);
    out->state = (uint8_t *)(uintptr_t)sqlite3_column_blob(s, 10);
    out->state_len = (size_t)sqlite3_column_bytes(s, 10);
    if (!out->labels || !out->created || !out->spec || !out->effective) return column_damaged(s, 6, err);
    return 0;
}

/* Borrowed becomes owned. */
static int own_job(struct store_job *job, struct error *err)
{
    const uint8_t *state = job->state;

    job->created = strdup(job->created);
    job->spec = strdup(job->spec);
    job->effective = strdup(job->effective);
    job->labels = strdup(job->labels);
    job->state = malloc(job->state_len + 1);
    if (job->created && job->spec && job->effective && job->labels && job->state) {
        if (state) memcpy(job->state, state, job->state_len);
        return 0;
    }
    store_job_clear(job);
    return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

void store_job_clear(struct store_job *job)
{
    free(job->created);
    free(job->spec);
    free(job->effective);
    free(job->labels);
    free(job->state);
    job->created = job->spec = job->effective = job->labels = NULL;
    job->state = NULL;
    job->state_len = 0;
}

int store_get_job(struct store_reader *reader, const char *name, struct store_job *out, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_JOB);
    struct store_job job;
    int step, rc;

    if (sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    step = sqlite3_step(s);
    if (step == SQLITE_ROW)
        rc = read_job(s, &job, err);
    else if (step == SQLITE_DONE)
        rc = error_set(err, ST_JOB_NOT_FOUND, "no job %s", name);
    else
        rc = reader_error(reader, err);
    if (!rc) rc = own_job(&job, err);
    if (!rc) *out = job;
    sqlite3_reset(s);
    return rc;
}

static int bind_jobs_query(sqlite3_stmt *s, const struct store_jobs_query *query, const char *prefix,
                           const char *end)
{
    int bad = 0;

    bad |= sqlite3_bind_text(s, 1, query->after ? query->after : "", -1, SQLITE_STATIC);
    bad |= sqlite3_bind_text(s, 2, prefix, -1, SQLITE_STATIC);
    bad |= sqlite3_bind_text(s, 3, end, -1, SQLITE_STATIC);
    if (query->status >= 0)
        bad |= sqlite3_bind_text(s, 4, job_status_words[query->status], -1, SQLITE_STATIC);
    if (query->label && query->label[0]) bad |= sqlite3_bind_text(s, 5, query->label, -1, SQLITE_STATIC);
    bad |= sqlite3_bind_int64(s, 6, query->limit);
    return bad;
}

int store_list_jobs(struct store_reader *reader, const struct store_jobs_query *query,
                    int (*each)(void *arg, const struct store_job *job), void *arg, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_JOBS);
    const char *prefix = query->prefix ? query->prefix : "";
    char end[JOB_ID_MAX + 2]; /* above every name with the prefix: names are ASCII without DEL */
    struct store_job job;
    int step = SQLITE_DONE, rc = 0;

    if (strlen(prefix) > JOB_ID_MAX) return 0; /* no name is that long */
    snprintf(end, sizeof(end), "%s\x7f", prefix);
    if (bind_jobs_query(s, query, prefix, end)) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    while ((step = sqlite3_step(s)) == SQLITE_ROW) {
        if ((rc = read_job(s, &job, err)) || each(arg, &job)) break;
    }
    if (step != SQLITE_ROW && step != SQLITE_DONE) rc = reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}

int store_count_jobs(struct store_reader *reader, const char *prefix, uint64_t *out, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_JOBS_COUNT);
    char end[JOB_ID_MAX + 2];
    int rc = 0;

    *out = 0;
    if (strlen(prefix) > JOB_ID_MAX) return 0;
    snprintf(end, sizeof(end), "%s\x7f", prefix); /* as in store_list_jobs */
    if (sqlite3_bind_text(s, 1, prefix, -1, SQLITE_STATIC) || sqlite3_bind_text(s, 2, end, -1, SQLITE_STATIC))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (sqlite3_step(s) == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(s, 0);
    else
        rc = reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}
