/* Commits, folds, and what is there after opening again. */
#include "test_store_help.h"

Test(store, keeps_a_job_and_its_decisions_across_a_restart)
{
    struct fix f;
    struct store_job job;

    fix_begin(&f);
    create_job(&f, 42, "demo", "team=nlp");
    decide(&f, 42, 1, 20);
    cr_assert_eq(store_committed(f.store), 20);
    cr_assert_eq(store_backlog(f.store), 20);
    cr_assert_eq(store_job_count(f.store), 1);
    fix_close(&f);

    fix_open(&f, 0);
    cr_assert_eq(store_job_count(f.store), 1);
    cr_assert_eq(store_committed(f.store), 0, "counted from the start");
    OK(store_get_job(f.reader, "demo", &job, &f.err), &f);
    cr_assert_eq(job.uid, 42);
    cr_assert_str_eq(job.name, "demo");
    cr_assert_str_eq(job.created, "{\"lr\":0.1}");
    cr_assert_str_eq(job.spec, "{\"lr\":0.1}");
    cr_assert_str_eq(job.effective, "{\"lr\":[0.1]}");
    cr_assert_str_eq(job.labels, "team=nlp");
    cr_assert_eq(job.create_us, 1700000000000001);
    cr_assert_eq(job.update_us, 1700000000020042, "the newest decision's time");
    cr_assert_eq(job.revision, 20);
    cr_assert_eq(job.status, JOB_ACTIVE);
    cr_assert_eq(job.state_len, 24);
    cr_assert_str_eq((char *)job.state, "state 20");
    store_job_clear(&job);
    check_history(&f, 42, 1, 20);
    cr_assert_eq(store_get_job(f.reader, "other", &job, &f.err), ST_JOB_NOT_FOUND);
    fix_end(&f);
}

Test(store, history_reads_the_same_before_during_and_after_a_fold)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    create_job(&f, 2, "b", "");
    decide(&f, 1, 1, 700);
    decide(&f, 2, 1, 900);
    check_history(&f, 1, 1, 700);
    fold_some(&f, 1024); /* that ends inside the second job */
    cr_assert_eq(store_folded(f.store), 0);
    check_history(&f, 1, 1, 700);
    check_history(&f, 2, 1, 900);
    decide(&f, 2, 901, 910); /* behind the pass */
    check_history(&f, 2, 1, 910);
    fold_some(&f, 576);
    cr_assert_eq(store_folded(f.store), 1600);
    cr_assert_eq(store_backlog(f.store), 10);
    check_history(&f, 2, 1, 910);
    fold(&f);
    check_history(&f, 1, 1, 700);
    check_history(&f, 2, 1, 910);
    fix_end(&f);
}

/* The crash: files copied while the store is open, at each stage of a fold. */
Test(store, recovers_from_a_crash_at_every_stage_of_a_fold)
{
    struct fix f, g = {0};

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    create_job(&f, 2, "b", "");
    decide(&f, 1, 1, 700);
    decide(&f, 2, 1, 1500);
    for (int stage = 0; stage < 5; stage++) {
        struct store_job job;

        snprintf(g.dir, sizeof(g.dir), "%.80s-%d", f.dir, stage);
        help_copy(f.dir, g.dir);
        fix_open(&g, 0);
        cr_assert_eq(store_backlog(g.store), 0);
        check_history(&g, 1, 1, 700);
        check_history(&g, 2, 1, 1500);
        OK(store_get_job(g.reader, "b", &job, &g.err), &g);
        cr_assert_eq(job.revision, 1500);
        cr_assert_str_eq((char *)job.state, "state 1500");
        store_job_clear(&job);
        fix_close(&g);
        help_remove(g.dir);
        fold_some(&f, 700);
    }
    fix_end(&f);
}

Test(store, keeps_every_bit_of_a_double)
{
    static const double odd[] = {0.0,
                                 -0.0,
                                 5e-324,
                                 -5e-324,
                                 2.2250738585072009e-308,
                                 INFINITY,
                                 -INFINITY,
                                 NAN,
                                 1.0,
                                 -1.0,
                                 0.1,
                                 1e308,
                                 9007199254740993.0,
                                 1e15,
                                 1e18,
                                 -123456789.0,
                                 3.0,
                                 1.7976931348623157e308};
    enum { N = sizeof(odd) / sizeof(*odd) };
    struct fix f;
    struct store_entry e;

    fix_begin(&f);
    create_job(&f, 7, "odd", "");
    for (uint32_t i = 0; i < N; i++) {
        struct made m;

        make_decision(&m, 7, i + 1);
        m.decision.value = m.decision.smoothed = m.decision.best = odd[i];
        m.decision.has_smoothed = m.decision.has_best = true;
        m.decision.groups = i % 2 ? 1 : GROUPS_MAX;
        m.decision.shadow = NULL;
        for (uint32_t g = 0; g < m.decision.groups; g++)
            m.lrs[g] = odd[(i + g) % N];
        struct store_change change = change_of(7, &m);
        OK(store_commit(f.store, &change, 1, &f.err), &f);
    }
    fold(&f);
    for (uint32_t i = 0; i < N; i++) {
        OK(store_find_step(f.reader, 7, (i + 1) * 10, &e, &f.err), &f);
        cr_assert(same_bits(e.decision.value, odd[i]), "value %a became %a", odd[i], e.decision.value);
        cr_assert(same_bits(e.decision.smoothed, odd[i]));
        cr_assert(same_bits(e.decision.best, odd[i]));
        cr_assert_eq(e.decision.groups, i % 2 ? 1 : GROUPS_MAX);
        for (uint32_t g = 0; g < e.decision.groups; g++)
            cr_assert(same_bits(e.decision.lrs[g], odd[(i + g) % N]), "rate %u of %u", g, i);
    }
    fix_end(&f);
}

Test(store, refuses_a_stale_revision_and_nothing_of_the_batch_remains)
{
    struct fix f;
    struct made a, b;
    struct store_change batch[2];

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    create_job(&f, 2, "b", "");
    decide(&f, 1, 1, 3);
    decide(&f, 2, 1, 3);
    batch[0] = change_of(1, make_decision(&a, 1, 4));
    batch[1] = change_of(2, make_decision(&b, 2, 3));
    cr_assert_eq(store_commit(f.store, batch, 2, &f.err), ST_STORE_STALE);
    cr_assert_eq(f.err.status, ST_STORE_STALE);
    check_history(&f, 1, 1, 3);
    cr_assert_eq(store_committed(f.store), 6);
    decide(&f, 1, 4, 5); /* the check was undone with the batch */
    decide(&f, 2, 4, 5);
    fold(&f);
    check_history(&f, 1, 1, 5);
    check_history(&f, 2, 1, 5);
    fix_end(&f);
}

Test(store, an_update_is_not_undone_by_older_rows_of_the_log)
{
    struct fix f;
    struct store_job job = make_job(1, "a", "x=y"), row;
    struct made m;
    static char spec[] = "{\"lr\":0.2}";
    static uint8_t state[] = "updated";

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 3);
    job.spec = spec;
    job.state = state;
    job.state_len = sizeof(state);
    job.revision = 4;
    job.status = JOB_PAUSED;
    struct store_change change = change_of(1, make_decision(&m, 1, 4));
    change.op = STORE_JOB_UPDATE;
    change.job = &job;
    OK(store_commit(f.store, &change, 1, &f.err), &f);
    fold(&f);
    OK(store_get_job(f.reader, "a", &row, &f.err), &f);
    cr_assert_eq(row.revision, 4);
    cr_assert_eq(row.status, JOB_PAUSED);
    cr_assert_str_eq(row.spec, spec);
    cr_assert_str_eq(row.created, "{\"lr\":0.1}");
    cr_assert_str_eq((char *)row.state, "updated");
    cr_assert_str_eq(row.labels, "x=y");
    store_job_clear(&row);
    check_history(&f, 1, 1, 4);
    decide(&f, 1, 5, 5);
    fold(&f);
    OK(store_get_job(f.reader, "a", &row, &f.err), &f);
    cr_assert_eq(row.revision, 5);
    cr_assert_eq(row.status, JOB_PAUSED);
    cr_assert_str_eq((char *)row.state, "state 5");
    store_job_clear(&row);
    change.expected_revision = 2; /* folded: the row tells */
    change.decision = NULL;
    cr_assert_eq(store_commit(f.store, &change, 1, &f.err), ST_STORE_STALE);
    fix_end(&f);
}

Test(store, deleted_jobs_stay_deleted_and_their_names_are_free)
{
    struct fix f;
    struct store_job job;
    struct store_change gone = {.uid = 1, .expected_revision = 2510, .op = STORE_JOB_DELETE};

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 2500);
    fold(&f);
    decide(&f, 1, 2501, 2510); /* still in the log when the job goes */
    OK(store_commit(f.store, &gone, 1, &f.err), &f);
    cr_assert_eq(store_job_count(f.store), 0);
    cr_assert_eq(store_get_job(f.reader, "a", &job, &f.err), ST_JOB_NOT_FOUND);
    check_history(&f, 1, 1, 0);
    cr_assert_eq(try_decide(&f, 1, 2511), ST_STORE_STALE);
    cr_assert_eq(store_commit(f.store, &gone, 1, &f.err), ST_STORE_STALE);
    create_job(&f, 2, "a", "");
    decide(&f, 2, 1, 3);
    fix_close(&f);
    fix_open(&f, 0);
    fold(&f);
    OK(store_get_job(f.reader, "a", &job, &f.err), &f);
    cr_assert_eq(job.uid, 2);
    cr_assert_eq(job.revision, 3);
    store_job_clear(&job);
    check_history(&f, 1, 1, 0);
    check_history(&f, 2, 1, 3);
    cr_assert_eq(store_job_count(f.store), 1);
    fix_end(&f);
}

Test(store, a_name_is_taken_once)
{
    struct fix f;
    struct store_job job = make_job(2, "a", "");
    struct store_change change = {.uid = 2, .op = STORE_JOB_CREATE, .job = &job};

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    cr_assert_eq(store_commit(f.store, &change, 1, &f.err), ST_STORE_STALE);
    cr_assert_eq(store_job_count(f.store), 1);
    create_job(&f, 3, "b", "");
    fix_end(&f);
}

Test(store, a_change_may_create_a_job_and_decide)
{
    struct fix f;
    struct made m;
    struct store_job job = make_job(9, "now", ""), row;
    struct store_change change = change_of(9, make_decision(&m, 9, 1));

    fix_begin(&f);
    job.revision = 1;
    job.state = m.state;
    job.state_len = sizeof(m.state);
    change.op = STORE_JOB_CREATE;
    change.job = &job;
    OK(store_commit(f.store, &change, 1, &f.err), &f);
    check_history(&f, 9, 1, 1);
    fold(&f);
    check_history(&f, 9, 1, 1);
    OK(store_get_job(f.reader, "now", &row, &f.err), &f);
    cr_assert_eq(row.revision, 1);
    store_job_clear(&row);
    fix_end(&f);
}

static int count_entry(void *arg, const struct store_entry *e)
{
    uint32_t *counts = arg; /* all; those above the limit without a request_id */

    counts[0]++;
    counts[1] += e->decision.revision <= counts[2] && !e->request_id[0];
    return 0;
}

/* Of revisions up to newest: 10, and before them every fourth of the last 1,000, which has a request_id. */
static void check_limited(struct fix *f, uint32_t newest)
{
    struct store_decisions_query query = {.uid = 1, .superseded = true, .limit = UINT32_MAX};
    uint32_t counts[3] = {0, 0, newest - 10}, kept_from = newest > 1000 ? newest - 1000 : 0;

    OK(store_list_decisions(f->reader, &query, count_entry, counts, &f->err), f);
    cr_assert_eq(counts[0], 10 + (newest - 10) / 4 - kept_from / 4, "%" PRIu32, counts[0]);
    cr_assert_eq(counts[1], 0);
}

Test(store, keeps_no_more_history_than_the_limit)
{
    struct fix f;

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    decide(&f, 1, 1, 30);
    fix_close(&f);
    fix_open(&f, 10);
    check_history(&f, 1, 1, 30); /* trimmed when touched */
    decide(&f, 1, 31, 35);
    fold(&f);
    check_limited(&f, 35);
    decide(&f, 1, 36, 1301);
    fold(&f);
    check_limited(&f, 1301);
    fix_end(&f);
}

Test(store, counts_bytes_and_probes)
{
    struct fix f;

    fix_begin(&f);
    cr_assert_gt(store_bytes(f.store), 4096);
    OK(store_probe(f.store, &f.err), &f);
    OK(store_probe(f.store, &f.err), &f);
    fix_end(&f);
}
