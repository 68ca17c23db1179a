/* Stories: one call after another, chosen by chance. */
#include "story.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t pick(uint32_t n)
{
    return (uint32_t)(disk_random() % n);
}

void story_begin(struct story *story, struct disk *disk, const struct model *model)
{
    story->disk = disk;
    story->store = NULL;
    story->reader = NULL;
    story->model = *model;
    story->n_calls = 0;
    story->err.message[0] = '\0';
    disk_use(disk);
}

static struct call *call_begin(struct story *story)
{
    struct call *call = &story->calls[story->n_calls++];

    if (story->n_calls > STORY_CALLS) abort();
    call->begin = story->disk->n_ops;
    call->end = 0;
    call->n = 0;
    call->outcome = DONE;
    story->err.message[0] = '\0';
    return call;
}

static int call_end(struct story *story, struct call *call, int rc)
{
    call->end = story->disk->n_ops;
    if (rc) call->outcome = rc == ST_STORE_FULL ? NOT_DONE : UNKNOWN;
    return rc;
}

int story_open(struct story *story)
{
    const struct store_options options = {.history_limit = story->model.history_limit};
    struct call *call = call_begin(story);
    int rc = store_open(DISK_DIR, &options, &story->store, &story->err);

    if (rc) {
        story->store = NULL;
    } else {
        rc = store_reader_open(story->store, &story->reader, &story->err);
        if (rc) story->reader = NULL;
    }
    return call_end(story, call, rc);
}

int story_close(struct story *story)
{
    struct call *call = call_begin(story);

    store_reader_close(story->reader);
    int rc = story->store ? store_close(story->store, &story->err) : 0;
    story->store = NULL;
    story->reader = NULL;
    return call_end(story, call, rc);
}

int story_commit(struct story *story)
{
    struct call *call = call_begin(story);
    struct store_change changes[STORY_BATCH];
    struct model next = story->model;
    uint32_t n = 1 + pick(STORY_BATCH);

    for (; call->n < n; call->n++) {
        struct deed *deed = &call->deeds[call->n];

        *deed = deed_draw(&next);
        changes[call->n] = deed_change(deed, &next);
        deed_apply(&next, deed);
    }
    int rc = store_commit(story->store, changes, n, &story->err);
    if (!rc) story->model = next;
    return call_end(story, call, rc);
}

int story_clear(struct story *story)
{
    struct call *call = call_begin(story);
    struct store_change changes[MODEL_JOBS];
    int rc = 0;

    for (uint32_t i = 0; i < MODEL_JOBS; i++) {
        if (!story->model.jobs[i].uid) continue;
        struct deed *deed = &call->deeds[call->n];
        *deed = (struct deed){.kind = DEED_DELETE, .place = i, .uid = story->model.jobs[i].uid};
        changes[call->n++] = deed_change(deed, &story->model);
    }
    if (call->n) rc = store_commit(story->store, changes, call->n, &story->err);
    for (uint32_t i = 0; i < call->n && !rc; i++)
        deed_apply(&story->model, &call->deeds[i]);
    (void)call_end(story, call, rc);
    return rc ? rc : store_maintain(story->store, true, &story->err);
}

int story_step(struct story *story)
{
    uint32_t r = pick(100);
    struct call *call;
    int rc;

    if (!story->store) return story_open(story);
    if (!story->reader) return story_close(story);
    if (r < 64) return story_commit(story);
    if (r >= 96) return story_close(story);
    call = call_begin(story);
    if (r < 92)
        rc = store_maintain(story->store, r >= 86, &story->err);
    else
        rc = store_probe(story->store, &story->err);
    return call_end(story, call, rc);
}

bool story_at(const struct story *story, const struct model *begin, size_t at, struct model *sure,
              struct model *more)
{
    bool two = false;

    *sure = *more = *begin;
    for (uint32_t i = 0; i < story->n_calls; i++) {
        const struct call *call = &story->calls[i];
        bool returned = call->end <= at;

        if (call->begin > at) break;
        for (uint32_t k = 0; k < call->n; k++) {
            if (returned && call->outcome == DONE) deed_apply(sure, &call->deeds[k]);
            if (!returned || call->outcome != NOT_DONE) deed_apply(more, &call->deeds[k]);
        }
        if (call->n && (!returned || call->outcome == UNKNOWN)) two = true;
    }
    return two;
}

/* ---- readers ---- */

static int ignore_job(void *arg, const struct store_job *job)
{
    return 0;
}

static int ignore_entry(void *arg, const struct store_entry *entry)
{
    return 0;
}

static int ignore_contribution(void *arg, const struct store_contribution *contribution)
{
    return 0;
}

/* Keeps the error of the last call that failed. */
static int note_error(struct story *story, int rc, const struct error *err, int worst)
{
    if (!rc) return worst;
    story->err = *err;
    return rc;
}

static int read_job(struct story *story, const struct model_job *job, int worst, const char **problem)
{
    const struct store_decisions_query query = {.uid = job->uid, .superseded = true, .limit = 1000};
    struct store_entry entry;
    struct store_job row;
    struct error err;
    int rc = store_get_job(story->reader, job->name, &row, &err);

    if (!rc) store_job_clear(&row);
    if (rc == ST_JOB_NOT_FOUND) *problem = "a job that is there was not found";
    worst = note_error(story, rc, &err, worst);
    rc = store_list_decisions(story->reader, &query, ignore_entry, NULL, &err);
    worst = note_error(story, rc, &err, worst);
    rc = store_list_contributions(story->reader, job->uid, ignore_contribution, NULL, &err);
    worst = note_error(story, rc, &err, worst);
    rc = store_find_request(story->reader, job->uid, "nobody's", &entry, &err);
    return note_error(story, rc == ST_STEP_IN_PAST ? 0 : rc, &err, worst); /* there is none */
}

int story_read(struct story *story, const char **problem)
{
    const struct store_jobs_query query = {.status = -1, .limit = 100};
    struct error err;
    int rc = store_list_jobs(story->reader, &query, ignore_job, NULL, &err);
    int worst = note_error(story, rc, &err, 0);

    for (uint32_t i = 0; i < MODEL_JOBS; i++)
        if (story->model.jobs[i].uid) worst = read_job(story, &story->model.jobs[i], worst, problem);
    return worst;
}

/* ---- after a crash ---- */

static char told[400];

#define TOLD(...) (snprintf(told, sizeof(told), __VA_ARGS__), told)

/* What SQLite finds, and rows of jobs that are not there. */
static const char *database_problem(void)
{
    static const char *const queries[][2] = {
        {"SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check<>'ok'",
         "the integrity check"},
        {"SELECT job FROM decision WHERE job NOT IN (SELECT uid FROM job) AND job NOT IN (SELECT uid FROM "
         "doomed)",
         "decisions of no job"},
        {"SELECT job FROM contribution WHERE job NOT IN (SELECT uid FROM job)", "rank's reports of no job"},
        {"SELECT job FROM settings WHERE job NOT IN (SELECT uid FROM job)", "settings of no job"},
        {"SELECT seq FROM log", "rows of the log that were not folded"}};
    const char *problem = NULL;
    sqlite3_stmt *s;
    sqlite3 *db;

    if (sqlite3_open_v2(DISK_DIR "/greedylr.db", &db, SQLITE_OPEN_READONLY, NULL))
        problem = "SQLite cannot open it";
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]) && !problem; i++) {
        if (sqlite3_prepare_v2(db, queries[i][0], -1, &s, NULL)) {
            problem = TOLD("%s: %.200s", queries[i][1], sqlite3_errmsg(db));
            break;
        }
        int code = sqlite3_step(s);
        if (code != SQLITE_DONE)
            problem = TOLD("%s: %.200s", queries[i][1],
                           code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : sqlite3_errmsg(db));
        sqlite3_finalize(s);
    }
    sqlite3_close(db);
    return problem;
}

static const char *compare(struct story *story, const struct model *sure, const struct model *more,
                           struct model *found)
{
    const char *problem = model_differs(sure, story->reader);
    char without[180];

    *found = *sure;
    if (!problem || !more) return problem;
    snprintf(without, sizeof(without), "%s", problem);
    problem = model_differs(more, story->reader);
    if (!problem) {
        *found = *more;
        return NULL;
    }
    return TOLD("%s; and with what was in flight: %.180s", without, problem);
}

static const char *works_on(struct story *story)
{
    const char *problem;

    for (int i = 0; i < 3; i++)
        if (story_commit(story)) return TOLD("a commit afterwards: %.300s", story->err.message);
    if (store_maintain(story->store, true, &story->err))
        return TOLD("maintenance afterwards: %.300s", story->err.message);
    problem = model_differs(&story->model, story->reader);
    if (problem) return TOLD("after working on: %.300s", problem);
    return NULL;
}

const char *story_survives(struct story *story, struct disk *disk, const struct model *sure,
                           const struct model *more, struct model *found)
{
    const char *problem = NULL;

    story_begin(story, disk, sure);
    if (story_open(story)) problem = TOLD("opening: %.300s", story->err.message);
    if (!problem) problem = compare(story, sure, more, found);
    if (!problem) problem = database_problem();
    if (!problem) {
        story->model = *found;
        problem = works_on(story);
    }
    if (story_close(story) && !problem) problem = TOLD("closing: %.300s", story->err.message);
    if (problem || pick(8)) return problem;
    if (story_open(story)) return TOLD("opening again: %.300s", story->err.message);
    if ((problem = model_differs(&story->model, story->reader)))
        problem = TOLD("opened again: %.300s", problem);
    (void)story_close(story);
    return problem;
}
