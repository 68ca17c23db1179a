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
        {"rank", "4"},      {"rank", "-1"},       {"rank", "'x'"},         {"world_size", "0"},
        {"quorum", "0"},    {"quorum", "5"},      {"world_size", "65537"}, {"place", "0"},
        {"weight", "0.0"},  {"weight", "-1"},     {"weight", "9e999"},     {"weight", "x'00'"},
        {"reduce", "'no'"}, {"lr_cap", "'none'"}, {"step", "99999999999"}, {"attempt", "-1"},
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
