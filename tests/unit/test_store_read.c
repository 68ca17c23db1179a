/* Look-ups and listings. */
#include "test_store_help.h"

struct names {
    char text[1024];
    uint32_t n, stop_after;
};

static int names_add(void *arg, const struct store_job *job)
{
    struct names *l = arg;

    strcat(strcat(l->text, l->n++ ? " " : ""), job->name);
    return l->n == l->stop_after;
}

static void check_jobs(struct fix *f, struct store_jobs_query query, const char *expected)
{
    struct names l = {0};

    if (!query.limit) query.limit = 100;
    OK(store_list_jobs(f->reader, &query, names_add, &l, &f->err), f);
    cr_assert_str_eq(l.text, expected);
}

Test(store, lists_jobs_by_name_page_prefix_label_and_status)
{
    struct fix f;
    struct store_job job;
    struct store_change change = {.uid = 3, .op = STORE_JOB_UPDATE, .job = &job};
    struct names stopped = {.stop_after = 2};

    fix_begin(&f);
    create_job(&f, 1, "team-b.x", "team=b\nkind=cnn");
    create_job(&f, 2, "team-a.2", "team=a");
    create_job(&f, 3, "team-a.1", "team=a\nkind=cnn");
    create_job(&f, 4, "Zeta", "");
    create_job(&f, 5, "team-a", "kind=cnn2");
    create_job(&f, 6, "team-az", "team=ab");
    job = make_job(3, "team-a.1", "team=a\nkind=cnn");
    job.status = JOB_FINISHED;
    OK(store_commit(f.store, &change, 1, &f.err), &f);

    check_jobs(&f, (struct store_jobs_query){.status = -1}, "Zeta team-a team-a.1 team-a.2 team-az team-b.x");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .limit = 2}, "Zeta team-a");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .limit = 2, .after = "team-a"},
               "team-a.1 team-a.2");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .after = "team-b.x"}, "");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .prefix = "team-a."}, "team-a.1 team-a.2");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .prefix = "team-a", .after = "team-a.1"},
               "team-a.2 team-az");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .prefix = "nobody"}, "");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .label = "team=a"}, "team-a.1 team-a.2");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .label = "kind=cnn"}, "team-a.1 team-b.x");
    check_jobs(&f, (struct store_jobs_query){.status = -1, .label = "kind"}, "");
    check_jobs(&f, (struct store_jobs_query){.status = JOB_FINISHED}, "team-a.1");
    check_jobs(&f, (struct store_jobs_query){.status = JOB_ACTIVE, .prefix = "team-a", .label = "team=a"},
               "team-a.2");
    const struct store_jobs_query all = {.status = -1, .limit = 100};
    OK(store_list_jobs(f.reader, &all, names_add, &stopped, &f.err), &f);
    cr_assert_str_eq(stopped.text, "Zeta team-a");
    fix_end(&f);
}

static void check_page(struct fix *f, struct store_decisions_query query, uint32_t n, uint32_t first,
                       uint32_t last)
{
    struct listing l = {0};

    OK(store_list_decisions(f->reader, &query, listing_add, &l, &f->err), f);
    cr_assert_eq(l.n, n, "%u decisions instead of %u", l.n, n);
    cr_assert_eq(l.first, first);
    cr_assert_eq(l.last, last);
    free(l.text);
}

Test(store, pages_through_history_and_log_alike)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    create_job(&f, 2, "b", "");
    decide(&f, 1, 1, 10);
    decide(&f, 2, 1, 10);
    fold(&f);
    decide(&f, 1, 11, 20);
    decide(&f, 2, 11, 20);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 100}, 20, 1, 20);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 5}, 5, 1, 5);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 10}, 10, 1, 10);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 5, .after_revision = 8}, 5, 9, 13);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 5, .after_revision = 14}, 5, 15, 19);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 5, .after_revision = 20}, 0, 0, 0);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 0}, 0, 0, 0);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 100, .has_from = true, .from_step = 95},
               11, 10, 20);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 100, .has_to = true, .to_step = 119}, 11,
               1, 11);
    check_page(&f,
               (struct store_decisions_query){
                   .uid = 1, .limit = 100, .has_from = true, .from_step = 50, .has_to = true, .to_step = 50},
               1, 5, 5);
    check_page(&f, (struct store_decisions_query){.uid = 3, .limit = 100}, 0, 0, 0);
    fix_end(&f);
}

Test(store, a_listing_stops_when_told)
{
    struct fix f;
    const struct store_decisions_query query = {.uid = 1, .limit = 100};

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 5);
    fold(&f);
    decide(&f, 1, 6, 10);
    for (uint32_t stop = 3; stop <= 7; stop += 4) {
        struct listing l = {.stop_after = stop};

        OK(store_list_decisions(f.reader, &query, listing_add, &l, &f.err), &f);
        cr_assert_eq(l.n, stop);
        free(l.text);
    }
    fix_end(&f);
}

/* A decision with its own step and action; supersedes: all before it. */
static void decide_as(struct fix *f, uint32_t revision, uint32_t step, enum action action, bool supersedes)
{
    struct made m;
    struct store_change change = change_of(1, make_decision(&m, 1, revision));

    m.decision.step = step;
    m.decision.action = action;
    change.supersedes = supersedes;
    OK(store_commit(f->store, &change, 1, &f->err), f);
}

Test(store, finds_what_was_decided_for_a_step)
{
    struct fix f;
    struct store_entry e;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide_as(&f, 1, 10, ACTION_HOLD, false);
    decide_as(&f, 2, 20, ACTION_HOLD, false);
    decide_as(&f, 3, 10, ACTION_CUT, true);
    decide_as(&f, 4, 10, ACTION_UPDATE, false); /* an event carries the last step */
    decide_as(&f, 5, 30, ACTION_HOLD, false);
    fold(&f);
    OK(store_find_step(f.reader, 1, 10, &e, &f.err), &f);
    cr_assert_eq(e.decision.revision, 3);
    cr_assert_eq(e.decision.action, ACTION_CUT);
    cr_assert_eq(e.decision.lrs, e.lrs);
    cr_assert_eq(store_find_step(f.reader, 1, 20, &e, &f.err), ST_STEP_IN_PAST, "superseded");
    cr_assert_eq(store_find_step(f.reader, 1, 11, &e, &f.err), ST_STEP_IN_PAST);
    cr_assert_eq(store_find_step(f.reader, 2, 10, &e, &f.err), ST_STEP_IN_PAST);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 100}, 3, 3, 5);
    check_page(&f, (struct store_decisions_query){.uid = 1, .limit = 100, .superseded = true}, 5, 1, 5);
    fix_end(&f);
}

Test(store, finds_a_request_among_the_last_thousand)
{
    struct fix f;
    struct store_entry e;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 1100);
    fold(&f);
    OK(store_find_request(f.reader, 1, "request-1000", &e, &f.err), &f);
    cr_assert_eq(e.decision.revision, 1000);
    cr_assert_str_eq(e.request_id, "request-1000");
    cr_assert_null(e.decision.shadow);
    OK(store_find_request(f.reader, 1, "request-104", &e, &f.err), &f);
    cr_assert_eq(e.decision.shadow, e.shadow);
    cr_assert_eq(shadow_record_check(e.shadow, e.decision.shadow_len, e.decision.groups, &f.err), 0);
    store_entry_clear(&e);
    cr_assert_eq(store_find_request(f.reader, 1, "request-100", &e, &f.err), ST_STEP_IN_PAST, "1,001 ago");
    cr_assert_eq(store_find_request(f.reader, 1, "request-1001", &e, &f.err), ST_STEP_IN_PAST);
    cr_assert_eq(store_find_request(f.reader, 1, "", &e, &f.err), ST_STEP_IN_PAST);
    fix_end(&f);
}

Test(store, events_before_the_first_report_have_no_step)
{
    struct fix f;
    struct made m;
    struct store_change change = change_of(1, make_decision(&m, 1, 1));
    struct listing l;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    m.decision.has_step = m.decision.has_value = false;
    m.decision.groups = 0;
    m.decision.action = ACTION_UPDATE;
    OK(store_commit(f.store, &change, 1, &f.err), &f);
    fold(&f);
    l = list_all(&f, 1);
    cr_assert_eq(l.n, 1);
    cr_assert(strstr(l.text, "1 0 00 a"), "%s", l.text);
    free(l.text);
    fix_end(&f);
}
