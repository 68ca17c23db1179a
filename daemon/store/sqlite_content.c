/* What is in the database: jobs, and all that belongs to them.
 *
 * Happy path: job by job, the history and behind it the log's rows are walked in the order of revisions, and
 * each state is decoded under the settings that were in force then, as a rewind would do it.  Failure modes:
 * whatever does not fit is a finding; of one job at most one of its history, since the rest may follow from
 * it. */
#include "store/sqlite_inspect.h"

#include "core/round.h"
#include "store/sqlite_db.h"
#include "store/sqlite_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum statement { C_JOBS, C_SETTINGS, C_HISTORY, C_LOG, C_COUNT };

static const char *const content_sql[C_COUNT] = {
    [C_JOBS] = "SELECT uid, name FROM job ORDER BY name",
    [C_SETTINGS] = "SELECT revision, effective FROM settings WHERE job=? ORDER BY revision",
    [C_HISTORY] = "SELECT " DECISION_LIST " FROM decision WHERE job=?1 AND revision>?2 ORDER BY revision",
    [C_LOG] = "SELECT " LOG_LIST " FROM temp.pending p CROSS JOIN log l ON l.seq=p.seq "
              "WHERE p.job=?1 AND p.revision>?2 ORDER BY p.revision",
};

/* Settings from a revision on. */
struct settings {
    uint32_t revision;
    struct job_spec *spec;
};

struct walk {
    sqlite3 *db;
    sqlite3_stmt *statements[C_COUNT];
    struct store_reader *reader;
    const struct inspector *in;
    struct inspected *out;
    uint64_t trimmed; /* jobs whose history has gaps that a limit may have left */
    /* of the job */
    struct store_job job;
    struct settings *settings;
    size_t n_settings, cap_settings, at_settings;
    struct job_state *state; /* room for one under the settings at hand */
    bool untrimmed, gaps;
    uint32_t last, rewound, superseded; /* newest revision: any, a rewind's, one that is superseded */
    bool has_live;                      /* decisions that count and that a rewind would take back, */
    uint32_t live_step;                 /* up to this step */
};

static sqlite3_stmt *ready(struct walk *w, enum statement which, uint64_t uid)
{
    sqlite3_stmt *s = w->statements[which];

    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    if (which != C_JOBS) sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    return s;
}

static int out_of_memory(struct error *err)
{
    return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

/* ---- settings ---- */

static void drop_settings(struct walk *w)
{
    for (size_t i = 0; i < w->n_settings; i++)
        spec_free(w->settings[i].spec);
    w->n_settings = w->at_settings = 0;
}

static int add_settings(struct walk *w, sqlite3_stmt *s, struct error *err)
{
    const char *text = (const char *)sqlite3_column_text(s, 1);
    struct settings *add;
    int rc;

    if (w->n_settings == w->cap_settings) {
        size_t cap = 2 * w->cap_settings + 8;
        struct settings *grown = realloc(w->settings, cap * sizeof(*grown));

        if (!grown) return out_of_memory(err);
        w->settings = grown;
        w->cap_settings = cap;
    }
    add = &w->settings[w->n_settings];
    if ((rc = column_u32(s, 0, &add->revision, err))) return rc;
    if (!text) return column_damaged(s, 1, err);
    rc = w->in->spec(w->in->arg, text, &add->spec, err);
    if (rc) return error_wrap(err, "settings of revision %u", add->revision);
    w->n_settings++;
    return 0;
}

static int load_settings(struct walk *w, struct error *err)
{
    sqlite3_stmt *s = ready(w, C_SETTINGS, w->job.uid);
    int code, rc = 0;
    bool same = false;

    while (!rc && (code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 1);

        same = text && strcmp(text, w->job.effective) == 0;
        rc = add_settings(w, s, err);
    }
    if (!rc && code != SQLITE_DONE) rc = db_error(w->db, "reading settings", err);
    sqlite3_reset(s);
    if (rc) return rc;
    if (!w->n_settings) return error_set(err, ST_DATA_DAMAGED, "its settings are missing");
    if (!same)
        return error_set(err, ST_DATA_DAMAGED, "its newest settings are not those of its row (effective)");
    return 0;
}

/* ---- decisions ---- */

/* The settings that were in force; NULL: there are none.  Revisions come in ascending order. */
static const struct job_spec *spec_at(struct walk *w, uint32_t revision)
{
    while (w->at_settings + 1 < w->n_settings && w->settings[w->at_settings + 1].revision <= revision)
        w->at_settings++;
    return w->settings[w->at_settings].revision <= revision ? w->settings[w->at_settings].spec : NULL;
}

/* Into w->state. */
static int decode(struct walk *w, const struct job_spec *spec, const uint8_t *bytes, size_t len,
                  struct error *err)
{
    free(w->state);
    w->state = calloc(1, job_state_size(spec));
    if (!w->state) return out_of_memory(err);
    return job_state_decode(spec, bytes, len, w->state, err);
}

/* The state that came with a decision, and says the same. */
static int check_state(struct walk *w, sqlite3_stmt *s, const struct job_decision *d, struct error *err)
{
    const struct job_spec *spec = spec_at(w, d->revision);
    const struct job_state *state;

    if (!spec) return error_set(err, ST_DATA_DAMAGED, "the settings that it was decided under are missing");
    int rc = decode(w, spec, sqlite3_column_blob(s, 20), (size_t)sqlite3_column_bytes(s, 20), err);
    if (rc) return rc;
    state = w->state;
    if (state->revision != d->revision || state->attempt != d->attempt || state->has_step != d->has_step ||
        (d->has_step && state->step != d->step))
        return error_set(err, ST_DATA_DAMAGED, "its state is that of another decision");
    if (d->groups != state->groups || memcmp(d->lrs, job_lrs(state), d->groups * sizeof(double)) != 0)
        return error_set(err, ST_DATA_DAMAGED, "its rates are not those of its state");
    return 0;
}

static int check_round(sqlite3_stmt *s, const struct job_decision *d, struct error *err)
{
    const uint8_t *record = sqlite3_column_blob(s, 23);
    size_t len = (size_t)sqlite3_column_bytes(s, 23);

    if (round_record_check(record, len, d->ranks)) return 0;
    return error_set(err, ST_DATA_DAMAGED, "its record of who reported is not one of %u ranks", d->ranks);
}

/* Rows that a history limit leaves: see W_FOLD_LIMIT. */
static int check_gap(struct walk *w, const struct store_entry *e, struct error *err)
{
    const struct job_decision *d = &e->decision;
    uint32_t first = w->last + 1, last = d->revision - 1, limit = w->in->history_limit;

    if (d->revision == 1) w->untrimmed = action_is_report(d->action) && !e->request_id[0];
    if (d->revision <= w->last)
        return error_set(err, ST_DATA_DAMAGED, "revision %u follows %u", d->revision, w->last);
    if (first > last) return 0;
    w->gaps = true;
    if (!w->untrimmed && !(limit && w->job.revision - last < limit)) return 0;
    return error_set(err, ST_DATA_DAMAGED, "revisions %u to %u are missing", first, last);
}

/* What a rewind takes back is marked, and nothing else is. */
static int check_superseded(struct walk *w, const struct job_decision *d, struct error *err)
{
    if (d->superseded) w->superseded = d->revision;
    if (d->superseded && !action_is_undone(d->action))
        return error_set(err, ST_DATA_DAMAGED, "it is superseded, which a %s cannot be",
                         action_words[d->action]);
    if (d->action == ACTION_REWIND) {
        w->rewound = d->revision;
        if (w->has_live && !(d->has_step && w->live_step <= d->step))
            return error_set(err, ST_DATA_DAMAGED,
                             "it went back behind step %u, of which a decision counts still", w->live_step);
    }
    if (d->action == ACTION_IMPORT || d->action == ACTION_FORK) { /* steps may begin anywhere */
        w->has_live = false;
    } else if (!d->superseded && d->has_step && action_is_report(d->action)) {
        w->has_live = true;
        w->live_step = d->step;
    }
    return 0;
}

static int check_entry(struct walk *w, sqlite3_stmt *s, struct error *err)
{
    struct store_entry e;
    int rc = reader_entry(s, &e, err);

    if (rc) return error_wrap(err, "the decision behind revision %u", w->last);
    rc = check_gap(w, &e, err);
    if (!rc && (rc = check_state(w, s, &e.decision, err)) == 0 &&
        (rc = check_round(s, &e.decision, err)) == 0)
        rc = check_superseded(w, &e.decision, err);
    w->last = e.decision.revision;
    w->out->decisions++;
    w->out->superseded += e.decision.superseded;
    store_entry_clear(&e);
    return rc ? error_wrap(err, "the decision of revision %u", w->last) : 0;
}

static int check_history(struct walk *w, struct error *err)
{
    int code = SQLITE_DONE, rc = 0;

    for (enum statement which = C_HISTORY; !rc && which <= C_LOG; which++) {
        sqlite3_stmt *s = ready(w, which, w->job.uid);

        sqlite3_bind_int64(s, 2, w->last);
        while (!rc && (code = sqlite3_step(s)) == SQLITE_ROW) {
            rc = check_entry(w, s, err);
            w->out->unfolded += which == C_LOG;
        }
        if (!rc && code != SQLITE_DONE) rc = db_error(w->db, "reading decisions", err);
        sqlite3_reset(s);
    }
    if (rc) return rc;
    w->trimmed += w->gaps;
    if (w->last != w->job.revision)
        return error_set(err, ST_DATA_DAMAGED, "its newest decision is of revision %u, it is at %u", w->last,
                         w->job.revision);
    if (!w->gaps && w->superseded > w->rewound)
        return error_set(err, ST_DATA_DAMAGED, "revision %u is superseded, and no rewind came after it",
                         w->superseded);
    return 0;
}

/* ---- jobs ---- */

static int count_contribution(void *arg, const struct store_contribution *c)
{
    struct walk *w = arg;

    (void)c;
    w->out->contributions++;
    return 0;
}

static int check_row(struct walk *w, struct error *err)
{
    struct job_spec *spec = NULL;
    int rc = w->in->texts(w->in->arg, &w->job, err);

    if (!rc) rc = w->in->spec(w->in->arg, w->job.effective, &spec, err);
    if (rc) return rc;
    rc = decode(w, spec, w->job.state, w->job.state_len, err);
    if (!rc && w->state->revision != w->job.revision)
        rc = error_set(err, ST_DATA_DAMAGED, "its state is of revision %u, it is at %u", w->state->revision,
                       w->job.revision);
    if (!rc && w->state->status != w->job.status)
        rc = error_set(err, ST_DATA_DAMAGED, "its state is %s, its row %s",
                       job_status_words[w->state->status], job_status_words[w->job.status]);
    spec_free(spec);
    return rc;
}

static int check_job(struct walk *w, const char *name, struct error *err)
{
    int rc = store_get_job(w->reader, name, &w->job, err);

    if (rc) return rc;
    w->untrimmed = w->gaps = w->has_live = false;
    w->last = w->rewound = w->superseded = 0;
    rc = check_row(w, err);
    if (!rc) rc = load_settings(w, err);
    if (!rc) rc = check_history(w, err);
    if (!rc) rc = store_list_contributions(w->reader, w->job.uid, count_contribution, w, err);
    drop_settings(w);
    store_job_clear(&w->job);
    return rc;
}

static int check_jobs(struct walk *w, struct error *err)
{
    sqlite3_stmt *s = ready(w, C_JOBS, 0);
    int code;

    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 1);

        w->out->jobs++;
        if (!check_job(w, name ? name : "", err)) continue;
        if (err->status == ST_OUT_OF_MEMORY) break;
        inspect_damage(w->in, RESTORE ", or delete the job", "job %.128s: %s",
                       name ? name : "(without a name)", err->message);
    }
    int rc = code == SQLITE_DONE  ? 0
             : code == SQLITE_ROW ? ST_OUT_OF_MEMORY
                                  : db_error(w->db, "reading jobs", err);
    sqlite3_reset(s);
    if (w->trimmed)
        inspect_note(w->in,
                     "nothing to do, if a history limit was ever in force; else " RESTORE
                     " (give --history-limit if one always was)",
                     "the history of %" PRIu64 " jobs has gaps, as --history-limit leaves them", w->trimmed);
    return rc;
}

/* ---- what belongs to no job ---- */

#define NO_JOB(column)  column " NOT IN (SELECT uid FROM job)"
#define NOT_DOOMED(col) col " NOT IN (SELECT uid FROM doomed)"

static const struct {
    const char *sql, *what;
} strays[] = {
    {"SELECT count(DISTINCT job) FROM decision WHERE " NO_JOB("job") " AND " NOT_DOOMED("job"),
     "jobs are gone while their history is still there, and nobody deleted them"},
    {"SELECT count(DISTINCT job) FROM log WHERE " NO_JOB("job") " AND " NOT_DOOMED("job"),
     "jobs are gone while their newest decisions are still there, and nobody deleted them"},
    {"SELECT count(*) FROM settings WHERE " NO_JOB("job"), "settings belong to no job"},
    {"SELECT count(*) FROM contribution WHERE " NO_JOB("job"), "reports of ranks belong to no job"},
    {"SELECT count(*) FROM doomed WHERE uid IN (SELECT uid FROM job)",
     "jobs are deleted and there all the same"},
    {"SELECT count(*) FROM (SELECT 1 FROM log GROUP BY job, revision HAVING count(*)>1)",
     "revisions of a job were decided twice"},
    {"SELECT count(*) FROM log l JOIN decision d ON d.job=l.job AND d.revision=l.revision WHERE "
     "d.time_us IS NOT l.time_us OR d.state IS NOT l.state",
     "decisions that are not folded contradict the history"},
};

static int check_strays(struct walk *w, struct error *err)
{
    int64_t n;
    int rc = 0;

    for (size_t i = 0; !rc && i < sizeof(strays) / sizeof(strays[0]); i++) {
        rc = db_integer(w->db, strays[i].sql, 0, &n, err);
        if (!rc && n) inspect_damage(w->in, RESTORE, "%" PRId64 " %s", n, strays[i].what);
    }
    if (!rc) rc = db_integer(w->db, "SELECT count(*) FROM doomed", 0, &n, err);
    if (!rc) w->out->doomed = (uint64_t)n;
    return rc;
}

int inspect_content(sqlite3 *db, const struct inspector *in, struct inspected *out, struct error *err)
{
    const struct store store = {.recovering = true}; /* the log may hold anything */
    struct walk w = {.db = db, .in = in, .out = out};
    int rc = db_exec(db,
                     "CREATE TEMP TABLE pending(job INTEGER, revision INTEGER, seq INTEGER, "
                     "PRIMARY KEY(job, revision, seq)) WITHOUT ROWID; "
                     "INSERT INTO temp.pending SELECT job, revision, seq FROM log",
                     "reading the log", err);

    if (rc || (rc = db_prepare(db, content_sql, w.statements, C_COUNT, err))) return rc;
    rc = reader_on(&store, db, &w.reader, err);
    if (!rc) rc = check_jobs(&w, err);
    if (!rc) rc = check_strays(&w, err);
    if (w.reader) w.reader->db = NULL; /* it is the caller's */
    store_reader_close(w.reader);
    db_finalize(w.statements, C_COUNT);
    free(w.settings);
    free(w.state);
    return rc;
}
