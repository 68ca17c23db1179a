/* Rows that SQLite finds whole and that hold what the store never writes: each is refused by the name of its
 * column, none is handed out. */
#include "test_store_help.h"

#include <sqlite3.h>

/* A job with history, some of it not folded yet, and an open round. */
static void make(struct fix *f)
{
    struct store_contribution c = {
        .step = 20,
        .rank = 1,
        .ranks = {4, 2, REDUCE_MEDIAN, 0},
        .report = {.value = 0.5, .weight = 2, .lr_cap = INFINITY, .applied_lr = NAN, .order = 1}};
    struct store_change change = {.uid = 1, .expected_revision = 12, .contribution = &c};

    fix_begin(f);
    create_job(f, 1, "a", "k=v");
    decide(f, 1, 1, 12);
    OK(store_commit(f->store, &change, 1, &f->err), f);
    fold(f);
}

/* Without the constraints that would keep such a value out. */
static void replace(const struct fix *f, const char *table, const char *column, const char *value)
{
    char path[160], sql[256], *why = NULL;
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/greedylr.db", f->dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    snprintf(sql, sizeof(sql), "UPDATE %s SET %s=%s", table, column, value);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &why), SQLITE_OK, "%s: %s", sql, why);
    sqlite3_close(db);
}

static int contribution_seen(void *arg, const struct store_contribution *c)
{
    ++*(int *)arg;
    return 0;
}

Test(store, a_contribution_that_no_round_could_have_is_damage)
{
    static const char *const cells[][2] = {
        {"rank", "4"},        {"rank", "-1"},       {"rank", "'x'"},         {"world_size", "0"},
        {"quorum", "0"},      {"quorum", "5"},      {"world_size", "65537"}, {"place", "0"},
        {"weight", "0.0"},    {"weight", "-1"},     {"weight", "9e999"},     {"weight", "x'00'"},
        {"reduce", "'no'"},   {"lr_cap", "'none'"}, {"step", "99999999999"}, {"place", "-1"},
        {"place", "5"},       {"value", "'x'"},     {"weight", "'x'"},       {"applied_lr", "'x'"},
        {"world_size", "-1"}, {"quorum", "-1"},     {"attempt", "-1"},
    };

    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
        struct fix f;
        int seen = 0;

        make(&f);
        OK(store_list_contributions(f.reader, 1, contribution_seen, &seen, &f.err), &f);
        cr_assert_eq(seen, 1);
        replace(&f, "contribution", cells[i][0], cells[i][1]);
        int rc = store_list_contributions(f.reader, 1, contribution_seen, &seen, &f.err);
        cr_expect_eq(rc, ST_DATA_DAMAGED, "%s=%s: %d", cells[i][0], cells[i][1], rc);
        cr_expect_eq(seen, 1, "%s=%s was handed out", cells[i][0], cells[i][1]);
        if (rc) cr_expect(strstr(f.err.message, " holds something "), "%s", f.err.message);
        fix_end(&f);
    }
}

/* ---- decisions and jobs ---- */

struct cell {
    const char *table, *column, *value;
};

static int job_seen(void *arg, const struct store_job *job)
{
    return 0;
}

static int entry_seen(void *arg, const struct store_entry *entry)
{
    return 0;
}

/* The first refusal of whoever reads all of it; 0: nobody refused. */
static int read_all(struct fix *f)
{
    const struct store_decisions_query history = {.uid = 1, .superseded = true, .limit = 100};
    const struct store_jobs_query jobs = {.after = "", .status = -1, .limit = 100};
    struct store_job job;
    struct store_state state;
    uint8_t *round = NULL;
    size_t len;
    int rc = store_list_decisions(f->reader, &history, entry_seen, NULL, &f->err);

    if (rc || (rc = store_list_jobs(f->reader, &jobs, job_seen, NULL, &f->err))) return rc;
    if ((rc = store_get_job(f->reader, "a", &job, &f->err))) return rc;
    store_job_clear(&job);
    if ((rc = store_find_state(f->reader, 1, STORE_STATE_AT, 50, &state, &f->err))) return rc;
    free(state.bytes);
    if ((rc = store_get_round(f->reader, 1, 5, &round, &len, &f->err))) return rc;
    free(round);
    return 0;
}

Test(store, a_cell_that_the_store_never_writes_is_damage)
{
    static const struct cell cells[] = {
        {"decision", "revision", "99999999999+revision"},
        {"decision", "attempt", "-1"},
        {"decision", "attempt", "'one'"},
        {"decision", "step", "'x'"},
        {"decision", "step", "4294967296"},
        {"decision", "action", "'guess'"},
        {"decision", "action", "x'00'"},
        {"decision", "value", "'none'"},
        {"decision", "value", "x'0102'"},
        {"decision", "smoothed", "'none'"},
        {"decision", "best", "x'01020304050607080102030405060708'"},
        {"decision", "num_good", "-1"},
        {"decision", "num_bad", "1.5"},
        {"decision", "stage", "'night'"},
        {"decision", "lrs", "'many'"},
        {"decision", "lrs", "zeroblob(8*257)"},
        {"decision", "lrs", "x'010203'"},
        {"decision", "reason", "printf('%.*c', 200, 'r')"},
        {"decision", "reason", "'a'||char(0)||'b'"},
        {"decision", "request_id", "printf('%.*c', 200, 'r')"},
        {"decision", "actor", "printf('%.*c', 200, 'r')"},
        {"decision", "ranks", "-1"},
        {"decision", "shadow", "x'00'"},
        {"decision", "shadow", "''"},
        {"job", "status", "'asleep'"},
        {"job", "revision", "-1"},
        {"job", "name", "printf('%.*c', 200, 'a')"},
    };

    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
        const struct cell *c = &cells[i];
        struct fix f;

        make(&f);
        OK(read_all(&f), &f);
        replace(&f, c->table, c->column, c->value);
        int rc = read_all(&f);
        cr_expect_eq(rc, ST_DATA_DAMAGED, "%s.%s=%s: %d", c->table, c->column, c->value, rc);
        fix_end(&f);
    }
}

Test(store, a_state_that_the_store_never_writes_is_damage)
{
    static const struct cell cells[] = {
        {"decision", "revision", "revision+99999999999"},
        {"decision", "step", "CASE step WHEN 50 THEN 50.5 ELSE step END"},
    };
    struct store_state state;

    for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
        struct fix f;

        make(&f);
        replace(&f, cells[i].table, cells[i].column, cells[i].value);
        int rc = store_find_state(f.reader, 1, STORE_STATE_BELOW, 60, &state, &f.err);
        cr_expect_eq(rc, ST_DATA_DAMAGED, "%s: %d", cells[i].value, rc);
        fix_end(&f);
    }
}

Test(store, a_job_without_settings_is_damage)
{
    struct fix f;
    char *effective;
    bool newest;

    make(&f);
    replace(&f, "settings", "revision", "revision+50");
    cr_expect_eq(store_get_settings(f.reader, 1, 3, &effective, &newest, &f.err), ST_DATA_DAMAGED);
    fix_end(&f);
}

Test(store, a_lock_without_a_process_in_it_says_so)
{
    struct fix f;
    struct store *second;
    char path[128];

    fix_begin(&f);
    snprintf(path, sizeof(path), "%.90s/lock", f.dir);
    cr_assert_eq(truncate(path, 0), 0);
    cr_expect_eq(store_open(f.dir, NULL, &second, &f.err), ST_DATA_DIR_IN_USE);
    cr_expect(strstr(f.err.message, "(unknown)"), "%s", f.err.message);
    fix_end(&f);
}

Test(store, what_cannot_be_opened_says_why)
{
    char dir[300], path[400];
    struct store *store;
    struct error err;

    memset(dir, 'd', sizeof(dir) - 1);
    memcpy(dir, "/tmp/", 5);
    dir[sizeof(dir) - 1] = '\0';
    cr_expect_eq(store_open(dir, NULL, &store, &err), ST_DATA_DIR_UNREADABLE);
    cr_expect(strstr(err.message, "name too long") || strstr(err.message, "too long"), "%s", err.message);
    static char longest[5000];
    memset(longest, 'd', sizeof(longest) - 1);
    memcpy(longest, "/tmp/", 5);
    cr_expect_eq(store_open(longest, NULL, &store, &err), ST_DATA_DIR_UNREADABLE);
    snprintf(dir, sizeof(dir), "/tmp/greedylrd-rows-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/greedylr.db", dir);
    cr_assert_eq(mkdir(path, 0700), 0); /* a directory in the database's place */
    cr_expect_eq(store_open(dir, NULL, &store, &err), ST_DATA_DAMAGED);
    cr_expect(strstr(err.message, "is not a file"), "%s", err.message);
    rmdir(path);
    help_remove(dir);
    snprintf(dir, sizeof(dir), "/tmp/greedylrd-rows-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/lock", dir);
    cr_assert_eq(symlink("/tmp/elsewhere", path), 0); /* a link is not followed to somebody else's file */
    cr_expect_eq(store_open(dir, NULL, &store, &err), ST_DATA_DIR_UNREADABLE);
    help_remove(dir);
}
