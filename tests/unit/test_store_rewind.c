/* What rounds and rewinds keep: contributions, settings, states, what is superseded; and an older database.
 */
#include "test_store_help.h"

#include <sqlite3.h>

/* ---- what the tests look at ---- */

static void commit_one(struct fix *f, struct store_change *change)
{
    OK(store_commit(f->store, change, 1, &f->err), f);
}

static struct store_contribution contribution(uint32_t attempt, uint32_t step, uint32_t rank, double value)
{
    return (struct store_contribution){.attempt = attempt,
                                       .step = step,
                                       .rank = rank,
                                       .ranks = {8, 5, REDUCE_MEDIAN, 0},
                                       .report = {.value = value,
                                                  .weight = 1.5 + rank,
                                                  .lr_cap = rank % 2 ? INFINITY : 0.25,
                                                  .applied_lr = rank % 3 ? NAN : 0.1,
                                                  .order = rank + 1}};
}

static void contribute_at(struct fix *f, uint64_t uid, uint32_t revision, uint32_t attempt, uint32_t step,
                          uint32_t rank, double value)
{
    struct store_contribution c = contribution(attempt, step, rank, value);
    struct store_change change = {.uid = uid, .expected_revision = revision, .contribution = &c};

    commit_one(f, &change);
}

struct found {
    uint32_t n;
    struct store_contribution list[32];
};

static int found_add(void *arg, const struct store_contribution *c)
{
    struct found *found = arg;

    cr_assert_lt(found->n, 32);
    found->list[found->n++] = *c;
    return 0;
}

static struct found contributions(struct fix *f, uint64_t uid)
{
    struct found found = {0};

    OK(store_list_contributions(f->reader, uid, found_add, &found, &f->err), f);
    return found;
}

/* "3,4,7": revisions of the history that are (not) superseded. */
static void revisions(struct fix *f, uint64_t uid, bool superseded, char out[256])
{
    struct listing l = list_all(f, uid);
    char *save = NULL;

    *out = '\0';
    for (char *line = l.text ? strtok_r(l.text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        unsigned revision;
        char *flags = strstr(line, " g"); /* "g2 10010": superseded is the last of the five */

        cr_assert_eq(sscanf(line, "%u", &revision), 1);
        if ((flags[8] == '1') != superseded) continue;
        sprintf(out + strlen(out), *out ? ",%u" : "%u", revision);
    }
    free(l.text);
}

static void check_revisions(struct fix *f, uint64_t uid, const char *live, const char *superseded)
{
    char got[256];

    revisions(f, uid, false, got);
    cr_assert_str_eq(got, live);
    revisions(f, uid, true, got);
    cr_assert_str_eq(got, superseded);
}

/* A decision of the kind and step; its state says its revision. */
static void act(struct fix *f, uint64_t uid, uint32_t revision, enum action action, uint32_t step,
                struct store_change *make)
{
    struct made m;
    struct store_change change = change_of(uid, make_decision(&m, uid, revision));

    m.decision.action = action;
    m.decision.step = step;
    m.decision.attempt = 0;
    if (make) {
        change.supersedes = make->supersedes;
        change.superseded_after = make->superseded_after;
        change.drops_contributions = make->drops_contributions;
        change.round = make->round;
        change.round_len = make->round_len;
    }
    commit_one(f, &change);
}

static void rewind_after(struct fix *f, uint64_t uid, uint32_t revision, uint32_t after, uint32_t step)
{
    struct store_change make = {.supersedes = true, .superseded_after = after, .drops_contributions = true};

    act(f, uid, revision, ACTION_REWIND, step, &make);
}

/* Closes and opens the store: what was in the log is in the history then. */
static void reopen(struct fix *f)
{
    fix_close(f);
    fix_open(f, 0);
}

/* Goes on with a copy, as after a crash. */
static void crash(struct fix *f)
{
    struct fix g = {0};

    snprintf(g.dir, sizeof(g.dir), "%.60s-crash", f->dir);
    help_copy(f->dir, g.dir);
    fix_close(f);
    help_remove(f->dir);
    cr_assert_eq(rename(g.dir, f->dir), 0);
    fix_open(f, 0);
}

/* ---- contributions ---- */

static void check_contribution(const struct store_contribution *got, uint32_t attempt, uint32_t step,
                               uint32_t rank, double value)
{
    struct store_contribution want = contribution(attempt, step, rank, value);

    cr_assert(got->attempt == attempt && got->step == step && got->rank == rank, "%u %u %u", got->attempt,
              got->step, got->rank);
    cr_assert(got->ranks.world_size == 8 && got->ranks.quorum == 5 && got->ranks.reduce == REDUCE_MEDIAN);
    cr_assert_eq(got->report.order, want.report.order);
    cr_assert(got->report.recorded, "what is read back is durable");
    cr_assert(same_bits(got->report.value, value), "%a", got->report.value);
    cr_assert(same_bits(got->report.weight, want.report.weight));
    cr_assert(same_bits(got->report.lr_cap, want.report.lr_cap));
    cr_assert(isnan(want.report.applied_lr) ? isnan(got->report.applied_lr)
                                            : same_bits(got->report.applied_lr, want.report.applied_lr));
}

Test(store, contributions_keep_every_bit_across_a_crash)
{
    static const double odd[] = {1.0 / 3, NAN, -0.0, INFINITY, -INFINITY, 5e-324, 3, 1e308};
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    create_job(&f, 2, "b", "");
    for (uint32_t rank = 8; rank-- > 0;)
        contribute_at(&f, 1, 0, rank / 4, 7 + rank % 2, rank, odd[rank]);
    contribute_at(&f, 2, 0, 0, 7, 0, 1);
    for (int restart = 0; restart < 3; restart++) {
        struct found found = contributions(&f, 1);
        uint32_t n = 0;

        cr_assert_eq(found.n, 8);
        for (uint32_t attempt = 0; attempt < 2; attempt++) {
            for (uint32_t step = 7; step < 9; step++) {
                for (uint32_t rank = 4 * attempt; rank < 4 * attempt + 4; rank++) {
                    if (7 + rank % 2 != step) continue;
                    check_contribution(&found.list[n++], attempt, step, rank, odd[rank]);
                }
            }
        }
        cr_assert_eq(contributions(&f, 2).n, 1);
        cr_assert_eq(contributions(&f, 3).n, 0);
        if (restart == 0)
            crash(&f);
        else
            reopen(&f);
    }
    fix_end(&f);
}

Test(store, the_same_contribution_again_replaces_it)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    contribute_at(&f, 1, 0, 0, 7, 2, 1);
    contribute_at(&f, 1, 0, 0, 7, 2, 4);
    cr_assert_eq(contributions(&f, 1).n, 1);
    cr_assert_eq(contributions(&f, 1).list[0].report.value, 4);
    fix_end(&f);
}

/* A decision makes the contributions of its step and of earlier ones obsolete, when it is folded. */
Test(store, contributions_go_with_the_fold_of_their_decision)
{
    for (int crashes = 0; crashes < 2; crashes++) {
        struct fix f;

        fix_begin(&f);
        create_job(&f, 1, "a", "");
        contribute_at(&f, 1, 0, 0, 10, 0, 1);
        contribute_at(&f, 1, 0, 0, 20, 1, 1);
        contribute_at(&f, 1, 0, 0, 30, 0, 1);
        act(&f, 1, 1, ACTION_CUT, 20, NULL);
        cr_assert_eq(contributions(&f, 1).n, 3, "still there");
        if (crashes)
            crash(&f);
        else
            fold(&f);
        struct found found = contributions(&f, 1);
        cr_assert_eq(found.n, 1);
        cr_assert_eq(found.list[0].step, 30);
        fix_end(&f);
    }
}

/* One that is made after the decision is of a step that a rewind opened again. */
Test(store, a_later_contribution_to_a_lower_step_outlives_the_fold)
{
    for (int crashes = 0; crashes < 2; crashes++) {
        struct fix f;

        fix_begin(&f);
        create_job(&f, 1, "a", "");
        act(&f, 1, 1, ACTION_CUT, 10, NULL);
        act(&f, 1, 2, ACTION_CUT, 20, NULL);
        contribute_at(&f, 1, 2, 0, 30, 0, 1);
        rewind_after(&f, 1, 3, 1, 10);
        cr_assert_eq(contributions(&f, 1).n, 0, "the rewind drops what waits");
        contribute_at(&f, 1, 3, 0, 20, 0, 5);
        if (crashes)
            crash(&f);
        else
            fold(&f);
        cr_assert_eq(contributions(&f, 1).n, 1);
        check_contribution(&contributions(&f, 1).list[0], 0, 20, 0, 5);
        fix_end(&f);
    }
}

/* A pass that began before the rewind folds what the rewind went behind. */
Test(store, a_contribution_of_a_step_opened_again_outlives_a_pass_under_way)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    create_job(&f, 2, "b", "");
    decide(&f, 1, 1, 1100);
    act(&f, 2, 1, ACTION_CUT, 10, NULL);
    act(&f, 2, 2, ACTION_CUT, 20, NULL);
    fold_some(&f, 1024); /* without the second job */
    cr_assert_eq(store_folded(f.store), 0);
    rewind_after(&f, 2, 3, 1, 10);
    contribute_at(&f, 2, 3, 0, 20, 0, 5);
    fold_some(&f, 78);
    cr_assert_eq(store_folded(f.store), 1102);
    cr_assert_eq(contributions(&f, 2).n, 1);
    fold(&f);
    cr_assert_eq(contributions(&f, 2).n, 1);
    fix_end(&f);
}

Test(store, a_stale_contribution_is_refused_and_leaves_nothing)
{
    struct fix f;
    struct store_contribution c = contribution(0, 7, 0, 1);
    struct store_change change = {.uid = 1, .expected_revision = 1, .contribution = &c};

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 2);
    cr_assert_eq(store_commit(f.store, &change, 1, &f.err), ST_STORE_STALE);
    cr_assert_eq(contributions(&f, 1).n, 0);
    fix_end(&f);
}

/* ---- superseding ---- */

/* Revisions 1 to 4 are reports of steps 10 to 40, 5 an update, 6 a report, 7 a pause, 8 an override. */
static void live_a_little(struct fix *f, uint64_t uid)
{
    for (uint32_t r = 1; r <= 4; r++)
        act(f, uid, r, ACTION_HOLD, 10 * r, NULL);
    act(f, uid, 5, ACTION_UPDATE, 40, NULL);
    act(f, uid, 6, ACTION_CUT, 50, NULL);
    act(f, uid, 7, ACTION_PAUSE, 50, NULL);
    act(f, uid, 8, ACTION_OVERRIDE, 50, NULL);
}

Test(store, a_rewind_supersedes_reports_and_overrides_wherever_they_lie)
{
    enum { UNFOLDED, FOLDED, HALF, STAGES };

    for (int stage = UNFOLDED; stage < STAGES; stage++) {
        for (int crashes = 0; crashes < 2; crashes++) {
            struct fix f;

            fix_begin(&f);
            create_job(&f, 1, "a", "");
            create_job(&f, 2, "b", "");
            live_a_little(&f, 1);
            live_a_little(&f, 2);
            if (stage == FOLDED) fold(&f);
            act(&f, 1, 9, ACTION_SKIP, 60, NULL); /* the newest is never folded */
            if (stage == HALF) {
                fold(&f);
                act(&f, 1, 10, ACTION_RAMP, 70, NULL);
            } else {
                act(&f, 1, 10, ACTION_RAMP, 70, NULL);
            }
            rewind_after(&f, 1, 11, 3, 30);
            check_revisions(&f, 1, "1,2,3,5,7,11", "4,6,8,9,10");
            check_revisions(&f, 2, "1,2,3,4,5,6,7,8", "");
            if (crashes) crash(&f);
            fold(&f);
            check_revisions(&f, 1, "1,2,3,5,7,11", "4,6,8,9,10");
            act(&f, 1, 12, ACTION_CUT, 40, NULL);
            rewind_after(&f, 1, 13, 1, 10); /* and once more, over what is superseded already */
            check_revisions(&f, 1, "1,5,7,11,13", "2,3,4,6,8,9,10,12");
            reopen(&f);
            check_revisions(&f, 1, "1,5,7,11,13", "2,3,4,6,8,9,10,12");
            check_revisions(&f, 2, "1,2,3,4,5,6,7,8", "");
            fix_end(&f);
        }
    }
}

/* Memory marks a decision that waits for its commit when a rewind is queued behind it. */
Test(store, a_decision_is_not_superseded_before_what_supersedes_it)
{
    struct fix f;
    struct made m;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    act(&f, 1, 1, ACTION_CUT, 10, NULL);
    struct store_change change = change_of(1, make_decision(&m, 1, 2));

    m.decision.action = ACTION_CUT;
    m.decision.superseded = true;
    commit_one(&f, &change);
    crash(&f); /* before the rewind */
    check_revisions(&f, 1, "1,2", "");
    rewind_after(&f, 1, 3, 1, 10);
    check_revisions(&f, 1, "1,3", "2");
    fix_end(&f);
}

/* Between two chunks of a pass rows are in the log and in the history. */
Test(store, a_rewind_in_the_middle_of_a_fold)
{
    for (int crashes = 0; crashes < 2; crashes++) {
        struct fix f;
        struct store_entry entry;
        struct store_state state;

        fix_begin(&f);
        create_job(&f, 1, "a", "");
        decide(&f, 1, 1, 1500);
        fold_some(&f, 1024);
        cr_assert_eq(store_folded(f.store), 0);
        rewind_after(&f, 1, 1501, 1000, 10000);
        if (crashes) crash(&f);
        for (int more = 0; more < 3; more++) {
            const struct store_decisions_query query = {.uid = 1, .limit = UINT32_MAX};
            struct listing live = {0}, all = list_all(&f, 1);

            OK(store_list_decisions(f.reader, &query, listing_add, &live, &f.err), &f);
            cr_assert_eq(all.n, 1501);
            cr_assert_eq(live.n, 1001, "%u", live.n);
            cr_assert_eq(live.last, 1501);
            free(live.text);
            free(all.text);
            fold_some(&f, 400);
        }
        fold(&f);
        cr_assert_eq(store_find_step(f.reader, 1, 10010, &entry, &f.err), ST_STEP_IN_PAST);
        OK(store_find_step(f.reader, 1, 10000, &entry, &f.err), &f);
        OK(store_find_state(f.reader, 1, STORE_STATE_BELOW, 99999, &state, &f.err), &f);
        cr_assert_eq(state.revision, 1000);
        free(state.bytes);
        fix_end(&f);
    }
}

Test(store, superseded_decisions_answer_no_look_up)
{
    struct fix f;
    struct store_entry entry;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 8); /* 4 and 8 have a request_id */
    rewind_after(&f, 1, 9, 6, 60);
    fold(&f);
    OK(store_find_step(f.reader, 1, 60, &entry, &f.err), &f);
    cr_assert_eq(entry.decision.revision, 6);
    cr_assert_eq(store_find_step(f.reader, 1, 70, &entry, &f.err), ST_STEP_IN_PAST);
    OK(store_find_request(f.reader, 1, "request-4", &entry, &f.err), &f);
    cr_assert_eq(store_find_request(f.reader, 1, "request-8", &entry, &f.err), ST_STEP_IN_PAST);
    act(&f, 1, 10, ACTION_CUT, 70, NULL);
    fold(&f);
    OK(store_find_step(f.reader, 1, 70, &entry, &f.err), &f);
    cr_assert_eq(entry.decision.revision, 10);
    fix_end(&f);
}

Test(store, a_failed_rewind_supersedes_nothing)
{
    struct fix f;
    struct made m;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    live_a_little(&f, 1);
    fold(&f);
    act(&f, 1, 9, ACTION_CUT, 60, NULL);
    contribute_at(&f, 1, 9, 0, 70, 0, 1);
    struct store_change change = change_of(1, make_decision(&m, 1, 9)); /* builds on 8: stale */

    change.supersedes = change.drops_contributions = true;
    change.superseded_after = 2;
    cr_assert_eq(store_commit(f.store, &change, 1, &f.err), ST_STORE_STALE);
    check_revisions(&f, 1, "1,2,3,4,5,6,7,8,9", "");
    cr_assert_eq(contributions(&f, 1).n, 1);
    fix_end(&f);
}

/* ---- states ---- */

static void check_state(struct fix *f, enum store_state_match match, uint32_t step, uint32_t revision)
{
    struct store_state state;
    char text[24];
    int rc = store_find_state(f->reader, 1, match, step, &state, &f->err);

    cr_assert_eq(rc, revision ? 0 : ST_STEP_NOT_FOUND, "%d at %u: %s", (int)match, step, f->err.message);
    if (!revision) return;
    cr_assert_eq(state.revision, revision, "%d at %u: %u", (int)match, step, state.revision);
    sprintf(text, "state %u", revision);
    cr_assert_eq(state.len, sizeof(text));
    cr_assert_str_eq((char *)state.bytes, text);
    free(state.bytes);
}

Test(store, states_of_the_history)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    check_state(&f, STORE_STATE_AT, 10, 0);
    check_state(&f, STORE_STATE_BELOW, 10, 0);
    check_state(&f, STORE_STATE_FIRST, 0, 0);
    live_a_little(&f, 1);
    fold(&f);
    for (int restart = 0; restart < 2; restart++) {
        check_state(&f, STORE_STATE_AT, 30, 3);
        check_state(&f, STORE_STATE_AT, 40, 4); /* the update is no state of the step */
        check_state(&f, STORE_STATE_AT, 50, 6); /* neither are the pause and the override */
        check_state(&f, STORE_STATE_AT, 35, 0);
        check_state(&f, STORE_STATE_BELOW, 35, 3);
        check_state(&f, STORE_STATE_BELOW, 30, 2);
        check_state(&f, STORE_STATE_BELOW, 10, 0);
        check_state(&f, STORE_STATE_BELOW, UINT32_MAX, 6);
        check_state(&f, STORE_STATE_FIRST, 0, 1);
        reopen(&f);
    }
    rewind_after(&f, 1, 9, 2, 20);
    act(&f, 1, 10, ACTION_CUT, 30, NULL);
    fold(&f);
    check_state(&f, STORE_STATE_AT, 40, 0);
    check_state(&f, STORE_STATE_AT, 30, 10);
    check_state(&f, STORE_STATE_AT, 20, 2); /* and not the rewind */
    check_state(&f, STORE_STATE_BELOW, 100, 10);
    fix_end(&f);
}

Test(store, the_first_state_is_that_of_a_fork_or_an_import)
{
    static const enum action firsts[] = {ACTION_FORK, ACTION_IMPORT};

    for (size_t i = 0; i < 2; i++) {
        struct fix f;
        struct store_state state;

        fix_begin(&f);
        create_job(&f, 1, "a", "");
        act(&f, 1, 1, firsts[i], 500, NULL);
        act(&f, 1, 2, ACTION_CUT, 510, NULL);
        rewind_after(&f, 1, 3, 1, 500);
        fold(&f);
        OK(store_find_state(f.reader, 1, STORE_STATE_FIRST, 0, &state, &f.err), &f);
        cr_assert_eq(state.action, firsts[i]);
        free(state.bytes);
        check_state(&f, STORE_STATE_AT, 500, 1);
        fix_end(&f);
    }
}

Test(store, rounds_of_decisions_are_kept)
{
    static const uint8_t record[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f};
    struct store_change make = {.round = record, .round_len = sizeof(record)};
    uint8_t *round;
    size_t len;
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    act(&f, 1, 1, ACTION_CUT, 10, &make);
    act(&f, 1, 2, ACTION_CUT, 20, NULL);
    crash(&f);
    OK(store_get_round(f.reader, 1, 1, &round, &len, &f.err), &f);
    cr_assert_eq(len, sizeof(record));
    cr_assert(memcmp(round, record, len) == 0);
    free(round);
    for (uint32_t revision = 2; revision < 4; revision++) {
        OK(store_get_round(f.reader, 1, revision, &round, &len, &f.err), &f);
        cr_assert(round == NULL && len == 0);
    }
    fix_end(&f);
}

/* ---- settings ---- */

static void update_job(struct fix *f, uint32_t revision, const char *effective)
{
    struct store_job job = make_job(1, "a", "");
    struct made m;
    struct store_change change = change_of(1, make_decision(&m, 1, revision));

    m.decision.action = ACTION_UPDATE;
    job.effective = (char *)(uintptr_t)effective;
    job.revision = revision;
    change.op = STORE_JOB_UPDATE;
    change.job = &job;
    commit_one(f, &change);
}

Test(store, settings_that_were_in_force)
{
    static const struct {
        uint32_t revision;
        const char *want;
        bool newest;
    } rows[] = {{0, "{\"lr\":[0.1]}", false},
                {2, "{\"lr\":[0.1]}", false},
                {3, "three", false},
                {5, "three", false},
                {6, "six", true},
                {900, "six", true}};
    struct fix f;
    char *text;
    bool newest;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    OK(store_get_settings(f.reader, 1, 0, &text, &newest, &f.err), &f);
    cr_assert(newest);
    free(text);
    decide(&f, 1, 1, 2);
    update_job(&f, 3, "three");
    decide(&f, 1, 4, 5);
    update_job(&f, 6, "six");
    for (int restart = 0; restart < 3; restart++) {
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            OK(store_get_settings(f.reader, 1, rows[i].revision, &text, &newest, &f.err), &f);
            cr_assert_str_eq(text, rows[i].want);
            cr_assert_eq(newest, rows[i].newest);
            free(text);
        }
        if (restart)
            reopen(&f);
        else
            crash(&f);
    }
    cr_assert_eq(store_get_settings(f.reader, 9, 0, &text, &newest, &f.err), ST_DATA_DAMAGED);
    fix_end(&f);
}

/* ---- deletion ---- */

/* Rows of a table, seen by a connection of its own. */
static int64_t rows_of(struct fix *f, const char *table)
{
    char path[128], sql[96];
    sqlite3_stmt *s;
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/greedylr.db", f->dir);
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
    cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

Test(store, a_deletion_removes_all_of_it)
{
    static const char *const tables[] = {"job", "log", "decision", "contribution", "settings", "doomed"};
    struct store_change deletion = {.uid = 1, .expected_revision = 9, .op = STORE_JOB_DELETE};

    for (int folded = 0; folded < 2; folded++) {
        struct fix f;

        fix_begin(&f);
        create_job(&f, 1, "a", "");
        decide(&f, 1, 1, 7);
        update_job(&f, 8, "eight");
        rewind_after(&f, 1, 9, 3, 30);
        contribute_at(&f, 1, 9, 0, 40, 0, 1);
        if (folded) fold(&f);
        commit_one(&f, &deletion);
        cr_assert_eq(contributions(&f, 1).n, 0, "at once");
        cr_assert_eq(rows_of(&f, "settings"), 0, "at once");
        if (folded) crash(&f);
        fold(&f);
        for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
            cr_assert_eq(rows_of(&f, tables[i]), 0, "%s", tables[i]);
        create_job(&f, 2, "a", ""); /* the name is free */
        cr_assert_eq(contributions(&f, 2).n, 0);
        cr_assert_eq(list_all(&f, 2).n, 0);
        fix_end(&f);
    }
}

/* ---- migration ---- */

/* A database as schema version 1 made it, with a folded decision, two in the log and another job. */
static const char version_1[] =
    "CREATE TABLE job(uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL, "
    "revision INTEGER NOT NULL, create_us INTEGER NOT NULL, update_us INTEGER NOT NULL, labels TEXT NOT "
    "NULL, created TEXT NOT NULL, spec TEXT NOT NULL, effective TEXT NOT NULL, state BLOB NOT NULL);"
#define V1_DECISION                                                                                          \
    "job INTEGER NOT NULL, revision INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER, "              \
    "action TEXT NOT NULL, time_us INTEGER NOT NULL, value REAL, smoothed REAL, best REAL, "                 \
    "num_good INTEGER NOT NULL, num_bad INTEGER NOT NULL, stage TEXT NOT NULL, at_min INTEGER NOT NULL, "    \
    "at_max INTEGER NOT NULL, plateaued INTEGER NOT NULL, applied_mismatch INTEGER NOT NULL, "               \
    "superseded INTEGER NOT NULL, lrs REAL, reason TEXT NOT NULL, request_id TEXT, state BLOB"
    "CREATE TABLE log(seq INTEGER PRIMARY KEY, " V1_DECISION ");"
    "CREATE TABLE decision(" V1_DECISION ", PRIMARY KEY(job, revision)) WITHOUT ROWID;"
    "CREATE INDEX decision_step ON decision(job, step);"
    "CREATE INDEX decision_request ON decision(job, request_id) WHERE request_id IS NOT NULL;"
    "CREATE TABLE doomed(uid INTEGER PRIMARY KEY);"
    "CREATE TABLE probe(id INTEGER PRIMARY KEY, count INTEGER NOT NULL, filler BLOB);"
    "INSERT INTO job VALUES(1,'a','paused',1,5,6,'x=y','made','given','now a',X'01'),"
    "(2,'b','active',0,7,8,'','made b','given b','now b',X'02');"
    "INSERT INTO decision VALUES(1,1,0,10,'cut',11,1.5,NULL,1.5,0,1,'none',0,0,0,0,0,0.1,'why','r1',X'0a');"
    "INSERT INTO log VALUES(8,1,2,0,20,'raise',12,2.5,2.5,2.5,1,0,'warmup',0,1,0,0,0,0.2,'so',NULL,X'0b'),"
    "(9,1,3,1,30,'hold',13,NULL,NULL,NULL,0,0,'none',0,0,0,1,0,0.2,'as','r3',X'0c');"
    "PRAGMA application_id=1735160420; PRAGMA user_version=1;";

static void check_settings(struct fix *f, uint64_t uid, uint32_t revision, const char *want)
{
    char *text;
    bool newest;

    OK(store_get_settings(f->reader, uid, revision, &text, &newest, &f->err), f);
    cr_assert_str_eq(text, want);
    cr_assert(newest);
    free(text);
}

Test(store, a_database_of_schema_1_is_migrated)
{
    struct fix f = {0};
    struct store_entry entry;
    struct store_state state;
    struct store_job job;
    sqlite3 *db;
    char path[128];

    strcpy(f.dir, "/tmp/greedylrd-store-XXXXXX");
    cr_assert(mkdtemp(f.dir));
    strcat(f.dir, "/data");
    cr_assert_eq(mkdir(f.dir, 0700), 0);
    snprintf(path, sizeof(path), "%s/greedylr.db", f.dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, version_1, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);

    fix_open(&f, 0);
    OK(store_get_job(f.reader, "a", &job, &f.err), &f);
    cr_assert_eq(job.revision, 3);
    cr_assert_eq(job.status, JOB_PAUSED);
    cr_assert_str_eq(job.effective, "now a");
    cr_assert_str_eq(job.created, "made");
    store_job_clear(&job);
    OK(store_find_step(f.reader, 1, 20, &entry, &f.err), &f);
    cr_assert_eq(entry.decision.revision, 2);
    cr_assert_eq(entry.decision.value, 2.5);
    cr_assert_eq(entry.decision.ranks, 0, "no round");
    cr_assert_str_eq(entry.decision.actor, "");
    OK(store_find_request(f.reader, 1, "r3", &entry, &f.err), &f);
    cr_assert_eq(entry.decision.revision, 3);
    OK(store_find_state(f.reader, 1, STORE_STATE_AT, 10, &state, &f.err), &f);
    cr_assert(state.len == 1 && state.bytes[0] == 0x0a);
    free(state.bytes);
    check_settings(&f, 1, 3, "now a");
    check_settings(&f, 2, 0, "now b");
    cr_assert_eq(contributions(&f, 1).n, 0);
    check_revisions(&f, 1, "1,2,3", "");

    rewind_after(&f, 1, 4, 1, 10);
    contribute_at(&f, 1, 4, 1, 20, 3, 0.5);
    check_revisions(&f, 1, "1,4", "2,3");
    cr_assert_eq(store_find_step(f.reader, 1, 20, &entry, &f.err), ST_STEP_IN_PAST);
    fix_close(&f);
    fix_open(&f, 0);
    check_revisions(&f, 1, "1,4", "2,3");
    check_contribution(&contributions(&f, 1).list[0], 1, 20, 3, 0.5);
    fix_end(&f);
}
