/* What shadows decided, in the store: kept by folding and by the history limit, refused when damaged, and not
 * there in a database of before. */
#include "test_store_help.h"

#include <sqlite3.h>

static void run_sql(const char *dir, const char *sql)
{
    char path[160];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/greedylr.db", dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static int rows_with_shadow(const char *dir)
{
    char path[160];
    sqlite3 *db;
    sqlite3_stmt *s;

    snprintf(path, sizeof(path), "%s/greedylr.db", dir);
    cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, "SELECT count(shadow) FROM decision", -1, &s, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
    int n = sqlite3_column_int(s, 0);

    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

/* make_decision gives every third a record, which describe shows and check_history compares. */
Test(store_shadow, folding_and_the_history_limit_keep_it)
{
    for (int folded = 0; folded < 2; folded++) {
        struct store_entry e;
        struct fix f;

        fix_begin(&f);
        create_job(&f, 1, "a", "");
        decide(&f, 1, 1, 60);
        if (folded) fold(&f);
        check_history(&f, 1, 1, 60);
        fix_close(&f);
        fix_open(&f, 10);
        decide(&f, 1, 61, 65);
        fold(&f);
        cr_assert_lt(rows_with_shadow(f.dir), 65 / 3, "the limit held");
        OK(store_find_step(f.reader, 1, 620, &e, &f.err), &f);
        cr_assert_eq(e.decision.revision, 62);
        cr_assert_gt(e.decision.shadow_len, 0);
        store_entry_clear(&e);
        fix_end(&f);
    }
}

Test(store_shadow, a_damaged_record_is_refused)
{
    static const char *const damage[] = {
        "UPDATE decision SET shadow=X'0101' WHERE revision=2",
        "UPDATE decision SET shadow=X'' WHERE revision=2",
        "UPDATE decision SET shadow='text' WHERE revision=2",
        "UPDATE decision SET shadow=shadow||X'00' WHERE revision=2",
        "UPDATE decision SET lrs=0.5 WHERE revision=2",
    };
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        const struct store_decisions_query query = {.uid = 1, .limit = 100};
        struct listing l = {0};
        struct store_entry e;
        struct fix f;

        fix_begin(&f);
        create_job(&f, 1, "a", "");
        decide(&f, 1, 1, 8);
        fix_close(&f);
        run_sql(f.dir, damage[i]);
        fix_open(&f, 0);
        cr_assert_eq(store_find_step(f.reader, 1, 20, &e, &f.err), ST_DATA_DAMAGED, "%s", damage[i]);
        cr_assert(strstr(f.err.message, "shadow"), "%s", f.err.message);
        cr_assert_eq(store_list_decisions(f.reader, &query, listing_add, &l, &f.err), ST_DATA_DAMAGED);
        cr_assert_eq(l.n, 1);
        free(l.text);
        OK(store_find_step(f.reader, 1, 30, &e, &f.err), &f);
        store_entry_clear(&e);
        fix_end(&f);
    }
}

/* A database as schema version 2 made it: a folded decision of a round, one in the log, a report that waits,
 * settings that changed. */
static const char version_2[] =
    "CREATE TABLE job(uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL, "
    "revision INTEGER NOT NULL, create_us INTEGER NOT NULL, update_us INTEGER NOT NULL, labels TEXT NOT "
    "NULL, created TEXT NOT NULL, spec TEXT NOT NULL, effective TEXT NOT NULL, state BLOB NOT NULL);"
#define V2_DECISION                                                                                          \
    "job INTEGER NOT NULL, revision INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER, "              \
    "action TEXT NOT NULL, time_us INTEGER NOT NULL, value REAL, smoothed REAL, best REAL, "                 \
    "num_good INTEGER NOT NULL, num_bad INTEGER NOT NULL, stage TEXT NOT NULL, at_min INTEGER NOT NULL, "    \
    "at_max INTEGER NOT NULL, plateaued INTEGER NOT NULL, applied_mismatch INTEGER NOT NULL, "               \
    "superseded INTEGER NOT NULL, lrs REAL, reason TEXT NOT NULL, request_id TEXT, state BLOB, actor TEXT, " \
    "ranks INTEGER, round BLOB"
    "CREATE TABLE log(seq INTEGER PRIMARY KEY, " V2_DECISION ");"
    "CREATE TABLE decision(" V2_DECISION ", PRIMARY KEY(job, revision)) WITHOUT ROWID;"
    "CREATE INDEX decision_step ON decision(job, step) WHERE NOT superseded;"
    "CREATE INDEX decision_request ON decision(job, request_id) WHERE request_id IS NOT NULL;"
    "CREATE TABLE doomed(uid INTEGER PRIMARY KEY);"
    "CREATE TABLE probe(id INTEGER PRIMARY KEY, count INTEGER NOT NULL, filler BLOB);"
    "CREATE TABLE contribution(job INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL, "
    "rank INTEGER NOT NULL, place INTEGER NOT NULL, revision INTEGER NOT NULL, value REAL NOT NULL, "
    "weight REAL NOT NULL, lr_cap REAL, applied_lr REAL, world_size INTEGER NOT NULL, "
    "quorum INTEGER NOT NULL, reduce TEXT NOT NULL, PRIMARY KEY(job, attempt, step, rank)) WITHOUT ROWID;"
    "CREATE TABLE settings(job INTEGER NOT NULL, revision INTEGER NOT NULL, effective TEXT NOT NULL, "
    "PRIMARY KEY(job, revision)) WITHOUT ROWID;"
    "INSERT INTO job VALUES(1,'a','active',1,5,6,'x=y','made','given','now a',X'01');"
    "INSERT INTO settings VALUES(1,0,'then a'),(1,1,'now a');"
    "INSERT INTO decision VALUES(1,1,0,10,'cut',11,1.5,NULL,1.5,0,1,'none',0,0,0,0,0,0.1,'why','r1',X'0a',"
    "NULL,2,X'000000000000000000000000');"
    "INSERT INTO log VALUES(8,1,2,0,10,'override',12,NULL,NULL,1.5,0,0,'none',0,1,0,0,0,0.2,'so',NULL,X'0b',"
    "'127.0.0.1',NULL,NULL);"
    "INSERT INTO contribution VALUES(1,0,20,1,1,2,0.5,1.0,NULL,NULL,2,2,'mean');"
    "PRAGMA application_id=1735160420; PRAGMA user_version=2;";

static int count_one(void *arg, const struct store_contribution *c)
{
    cr_assert(c->step == 20 && c->rank == 1 && c->ranks.world_size == 2);
    ++*(int *)arg;
    return 0;
}

static void check_migrated(struct fix *f, int contributions)
{
    struct store_entry e;
    struct store_job job;
    uint8_t *round;
    size_t len;
    char *text;
    bool newest;
    int waiting = 0;

    OK(store_get_job(f->reader, "a", &job, &f->err), f);
    cr_assert_str_eq(job.effective, "now a");
    store_job_clear(&job);
    OK(store_find_step(f->reader, 1, 10, &e, &f->err), f);
    cr_assert_eq(e.decision.ranks, 2);
    cr_assert_null(e.decision.shadow);
    OK(store_get_round(f->reader, 1, 1, &round, &len, &f->err), f);
    cr_assert_eq(len, 12);
    free(round);
    OK(store_get_settings(f->reader, 1, 0, &text, &newest, &f->err), f);
    cr_assert_str_eq(text, "then a");
    cr_assert(!newest);
    free(text);
    OK(store_list_contributions(f->reader, 1, count_one, &waiting, &f->err), f);
    cr_assert_eq(waiting, contributions);
}

Test(store_shadow, a_database_of_schema_2_is_migrated)
{
    struct fix f = {0};
    struct listing l;

    strcpy(f.dir, "/tmp/greedylrd-store-XXXXXX");
    cr_assert(mkdtemp(f.dir));
    strcat(f.dir, "/data");
    cr_assert_eq(mkdir(f.dir, 0700), 0);
    run_sql(f.dir, version_2);

    fix_open(&f, 0);
    check_migrated(&f, 1);
    decide(&f, 1, 3, 5); /* 5 has shadows */
    fix_close(&f);
    fix_open(&f, 0);
    check_migrated(&f, 0); /* its round is behind the last decision */
    l = list_all(&f, 1);
    cr_assert_eq(l.n, 5);
    cr_assert(strstr(l.text, "'so' '' 0x1.999999999999ap-3\n"), "no shadows: %s", l.text);
    cr_assert(strstr(l.text, " shadow 0102036f6e65"), "%s", l.text);
    free(l.text);
    fix_end(&f);
}
