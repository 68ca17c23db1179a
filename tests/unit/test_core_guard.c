/* GreedyLR's guard: a smoothed value above guard_ratio * best cuts at once, whatever the state. */
#include "test_core_help.h"

/* The value against a best of 1 and a ratio of 3, smoothing off. */
struct row {
    const char *what;
    double best, value, lr, cap;
    double rate; /* after it, from lr; bounds 0.25 to 16, guard_factor 0.5 */
    bool fires;
    enum action action;
};

static const struct row table[] = {
    {"above", 1, 3.1, 1, INFINITY, 0.5, true, ACTION_CUT},
    {"exactly at it", 1, 3, 1, INFINITY, 1, false, ACTION_HOLD},
    {"below", 1, 2.9, 1, INFINITY, 1, false, ACTION_HOLD},
    {"better", 1, 0.5, 1, INFINITY, 1, false, ACTION_HOLD},
    {"no best value yet", INFINITY, 1e300, 1, INFINITY, 1, false, ACTION_HOLD},
    {"best at zero", 0, 1e300, 1, INFINITY, 1, false, ACTION_HOLD},
    {"best below zero", -1, 1e300, 1, INFINITY, 1, false, ACTION_HOLD},
    {"a ratio beyond doubles", 1e308, 1.7e308, 1, INFINITY, 1, false, ACTION_HOLD},
    {"the least best", 5e-324, 2e-323, 1, INFINITY, 0.5, true, ACTION_CUT},
    {"NaN", 1, NAN, 1, INFINITY, 1, false, ACTION_HOLD},
    {"infinity", 1, INFINITY, 1, INFINITY, 1, false, ACTION_HOLD},
    {"the floor is near", 1, 4, 0.4, INFINITY, 0.25, true, ACTION_CUT},
    {"at the floor", 1, 4, 0.25, INFINITY, 0.25, true, ACTION_HOLD},
    {"below the floor, where a cap left it", 1, 4, 0.2, INFINITY, 0.2, true, ACTION_HOLD},
    {"at the ceiling", 1, 4, 16, INFINITY, 8, true, ACTION_CUT},
    {"a cap above the cut", 1, 4, 1, 0.7, 0.5, true, ACTION_CUT},
    {"a cap below the cut", 1, 4, 1, 0.3, 0.3, true, ACTION_CUT},
    {"a cap below the floor", 1, 4, 0.25, 0.1, 0.1, true, ACTION_CUT},
};

/* A state in front of a row: stage (of 4 more reports), counters, and how stages go. */
struct before {
    const char *stage_mode;
    enum stage stage;
    uint32_t good, bad;
    bool plateaued;
};

static const struct before states[] = {
    {"continue", STAGE_NONE, 0, 0, false},   {"continue", STAGE_NONE, 3, 0, false},
    {"continue", STAGE_NONE, 0, 5, false},   {"continue", STAGE_NONE, 0, 5, true},
    {"continue", STAGE_WARMUP, 0, 0, false}, {"continue", STAGE_COOLDOWN, 0, 0, false},
    {"hold", STAGE_WARMUP, 0, 0, false},     {"hold", STAGE_COOLDOWN, 0, 0, true},
    {"ignore", STAGE_WARMUP, 0, 2, false},   {"ignore", STAGE_COOLDOWN, 2, 0, false},
};

static struct help_job guarded(const char *lr, const char *more)
{
    char settings[256];

    snprintf(settings, sizeof(settings),
             "smooth=false threshold=0 patience=5 factor=0.8 cooldown=6 warmup=6 guard_ratio=3 %s", more);
    return help_job(lr, settings);
}

static void check(const struct row *row, const struct before *b)
{
    struct help_job job = guarded("1", "min_lr=0.25 max_lr=16 reset_start=9");
    struct greedy_params *p = job.spec->params;
    struct greedy_state *s = help_greedy(&job);
    struct job_event event = help_event(row->value);

    p->stage_mode = (uint8_t)(b->stage_mode[0] == 'c'   ? GREEDY_CONTINUE
                              : b->stage_mode[0] == 'h' ? GREEDY_HOLD
                                                        : GREEDY_IGNORE);
    s->best = row->best;
    s->has_best_step = isfinite(row->best);
    s->best_step = 7;
    s->data[0] = row->lr;
    s->stage = (uint8_t)b->stage;
    s->stage_left = b->stage == STAGE_NONE ? 0 : 4;
    s->num_good = b->good;
    s->num_bad = b->bad;
    s->plateaued = b->plateaued;
    event.report.lr_cap = row->cap;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    s = help_greedy(&job);

    bool said = strstr(job.d.reason, "guard_ratio 3") != NULL;

    cr_expect_eq(said, row->fires, "%s, %s %d: %s", row->what, b->stage_mode, b->stage, job.d.reason);
    if (row->fires) {
        cr_expect_eq(help_lr(&job), row->rate, "%s, %s %d: %g", row->what, b->stage_mode, b->stage,
                     help_lr(&job));
        cr_expect_eq(job.d.action, row->action, "%s: %s", row->what, action_words[job.d.action]);
        cr_expect(s->stage == STAGE_NONE && s->stage_left == 0, "%s: the stage ends", row->what);
        cr_expect(s->num_good == 0 && s->num_bad == 0, "%s: counting starts again", row->what);
        cr_expect(s->best == row->best && s->best_step == 7, "%s: best stays", row->what);
        cr_expect_eq(s->plateaued, b->plateaued, "%s", row->what);
        cr_expect_eq(s->resets_left, 9, "%s: no reset draws nearer", row->what);
        cr_expect_eq(strstr(job.d.reason, " ends") != NULL, b->stage != STAGE_NONE, "%s", job.d.reason);
    } else if (b->stage == STAGE_NONE && b->bad == 0 && b->good == 0) {
        cr_expect_eq(help_lr(&job), row->rate, "%s: %g", row->what, help_lr(&job));
        cr_expect_eq(job.d.action, row->action, "%s: %s", row->what, action_words[job.d.action]);
        cr_expect(s->num_good + s->num_bad == 1, "%s: compared and counted", row->what);
    }
    help_job_free(&job);
}

Test(core_guard, every_state_and_value)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++)
            check(&table[i], &states[k]);
    }
}

/* Reckoned by hand: factor 0.5, patience 1, no threshold, ratio 2, guard_factor 0.25, a median of three. */
Test(core_guard, a_trace_by_hand)
{
    static const struct {
        double value, smoothed, lr, best;
        uint32_t good, bad;
        enum stage stage;
        uint32_t left;
        enum action action;
    } rows[] = {
        {4, 4, 1, 4, 1, 0, STAGE_NONE, 0, ACTION_HOLD},
        {2, 3, 2, 3, 0, 0, STAGE_WARMUP, 2, ACTION_RAISE},    /* median of 4 2; good 2: raise */
        {30, 4, 4, 3, 0, 0, STAGE_WARMUP, 1, ACTION_RAISE},   /* 4 2 30: one spike is nothing */
        {40, 30, 1, 3, 0, 0, STAGE_NONE, 0, ACTION_CUT},      /* 2 30 40: 30 > 2 * 3, the warm-up ends */
        {2, 30, 0.25, 3, 0, 0, STAGE_NONE, 0, ACTION_CUT},    /* 30 40 2: still */
        {2, 2, 0.25, 2, 1, 0, STAGE_NONE, 0, ACTION_HOLD},    /* 40 2 2 */
        {5, 2, 0.25, 2, 0, 1, STAGE_NONE, 0, ACTION_HOLD},    /* 2 2 5: no better */
        {4, 4, 0.125, 2, 0, 0, STAGE_NONE, 0, ACTION_CUT},    /* 2 5 4: 4 is not above 2 * 2; bad 2: cut */
        {4.5, 4.5, 0.1, 2, 0, 0, STAGE_NONE, 0, ACTION_CUT},  /* 5 4 4.5: 4.5 is; the floor is 0.1 */
        {4.5, 4.5, 0.1, 2, 0, 0, STAGE_NONE, 0, ACTION_HOLD}, /* 4 4.5 4.5 */
    };
    struct help_job job =
        help_job("1", "factor=0.5 patience=1 threshold=0 smoothing=median window_size=3 warmup=2 min_lr=0.1 "
                      "max_lr=10 guard_ratio=2 guard_factor=0.25");

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        help_report(&job, rows[i].value);
        cr_expect_eq(job.d.smoothed, rows[i].smoothed, "row %zu: %g", i, job.d.smoothed);
        cr_expect_eq(help_lr(&job), rows[i].lr, "row %zu: %g", i, help_lr(&job));
        cr_expect_eq(job.d.best, rows[i].best, "row %zu: %g", i, job.d.best);
        cr_expect_eq(job.d.num_good, rows[i].good, "row %zu: %u", i, job.d.num_good);
        cr_expect_eq(job.d.num_bad, rows[i].bad, "row %zu: %u", i, job.d.num_bad);
        cr_expect_eq(job.d.stage, rows[i].stage, "row %zu", i);
        cr_expect_eq(help_greedy(&job)->stage_left, rows[i].left, "row %zu", i);
        cr_expect_eq(job.d.action, rows[i].action, "row %zu: %s", i, job.d.reason);
    }
    help_job_free(&job);
}

Test(core_guard, reasons)
{
    struct help_job job = guarded("1", "min_lr=0.5 max_lr=2 patience=0 stage_mode=hold");

    help_report(&job, 1.5);
    cr_assert_eq(job.d.stage, STAGE_WARMUP);
    help_report(&job, 7.25);
    cr_assert_str_eq(job.d.reason,
                     "smoothed 7.25 is above guard_ratio 3 * best 1.5 (step 1); warmup ends: rate cut");
    help_report(&job, 7.25);
    cr_assert_str_eq(job.d.reason, "smoothed 7.25 is above guard_ratio 3 * best 1.5 (step 1): rate cut");
    help_report(&job, 7.25);
    cr_assert_str_eq(job.d.reason,
                     "smoothed 7.25 is above guard_ratio 3 * best 1.5 (step 1): cut due, but every "
                     "rate is at min_lr");
    help_job_free(&job);

    job = guarded("1", "eps=0.5 min_lr=0.1 patience=0");
    help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 1, "1.25 is within eps");
    help_report(&job, 9);
    cr_assert_str_eq(
        job.d.reason,
        "smoothed 9 is above guard_ratio 3 * best 1 (step 1); warmup ends: cut due, but no change is "
        "larger than eps 0.5");
    help_job_free(&job);
}

Test(core_guard, groups_keep_their_own_bounds)
{
    struct help_job job = guarded("1,8,4", "min_lr=0.9,1,4 max_lr=100 guard_factor=0.125");

    help_report(&job, 1);
    help_report(&job, 9);
    cr_assert_eq(job_lrs(job.state)[0], 0.9);
    cr_assert_eq(job_lrs(job.state)[1], 1);
    cr_assert_eq(job_lrs(job.state)[2], 4);
    cr_assert_eq(job.d.action, ACTION_CUT);
    cr_assert(job.d.at_min && !job.d.plateaued);
    help_job_free(&job);
}

/* A mean that overflows is above every finite ratio; a NaN from two of them is above none. */
Test(core_guard, an_overflow_is_a_divergence)
{
    struct help_job job = help_job("1", "smoothing=mean window_size=2 guard_ratio=3 patience=9");

    help_report(&job, 1);
    help_report(&job, 1);
    help_report(&job, 1.7e308);
    cr_assert_eq(help_lr(&job), 0.5);
    help_report(&job, 1.7e308);
    cr_assert_eq(job.d.smoothed, INFINITY);
    cr_assert_eq(help_lr(&job), 0.25);
    cr_assert_eq(job.d.best, 1);
    help_job_free(&job);
}

/* on_nonfinite has the word where a value is not finite. */
Test(core_guard, values_that_are_not_finite)
{
    static const struct {
        enum on_nonfinite rule;
        double lr;
        uint32_t bad;
    } rows[] = {{NONFINITE_BAD, 1, 1}, {NONFINITE_SKIP, 1, 0}, {NONFINITE_CUT, 0.8, 0}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct job_spec *spec = help_raw_spec("1", "smooth=false guard_ratio=3 patience=9");

        spec->on_nonfinite = rows[i].rule;
        cr_assert_eq(spec_resolve(spec, NULL), ST_OK);
        struct help_job job = help_job_take(spec);

        help_report(&job, 1);
        help_report(&job, INFINITY);
        cr_expect_eq(help_lr(&job), rows[i].lr, "row %zu", i);
        cr_expect_eq(job.d.num_bad, rows[i].bad, "row %zu", i);
        help_job_free(&job);
    }
}

Test(core_guard, off_is_as_it_was)
{
    static const char *const settings[] = {"smooth=false patience=9", "smooth=false patience=9 guard_ratio=0",
                                           "smooth=false patience=9 guard_factor=0.1",
                                           "dialect=transformers patience=9 guard_ratio=0 guard_factor=0.1"};

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        struct help_job job = help_job("1", settings[i]);

        help_report(&job, 1);
        help_report(&job, 1e300);
        cr_expect_eq(help_lr(&job), 1, "%s", settings[i]);
        cr_expect_eq(job.d.num_bad, 1, "%s", settings[i]);
        help_job_free(&job);
    }
}

Test(core_guard, settings_are_checked)
{
    static const struct {
        const char *settings, *message; /* NULL: fine */
    } rows[] = {
        {"guard_ratio=1",
         "greedy.guard_ratio: must be above 1, or 0 for no guard, got 1; 2 cuts once the smoothed "
         "value is more than twice the best one"},
        {"guard_ratio=0.5",
         "greedy.guard_ratio: must be above 1, or 0 for no guard, got 0.5; 2 cuts once the "
         "smoothed value is more than twice the best one"},
        {"guard_ratio=2 mode=max",
         "greedy.guard_ratio: must be 0 with mode max, got 2; the guard is for values that "
         "are better the lower they are"},
        {"guard_ratio=2 dialect=transformers",
         "greedy.guard_ratio: must be 0 in the transformers dialect, which has "
         "no guard, got 2; use greedy.dialect greedylr"},
        {"guard_ratio=1.0000001", NULL},
        {"guard_ratio=1e308 guard_factor=0.001", NULL},
        {"guard_ratio=-0.0", NULL},
        {"guard_ratio=0 mode=max", NULL},
    };
    static const struct {
        const char *key, *text, *message;
    } ranges[] = {
        {"guard_ratio", "-2", "must be finite and at least 0, got -2"},
        {"guard_ratio", "nan", "must be finite and at least 0, got NaN"},
        {"guard_ratio", "inf", "must be finite and at least 0, got Infinity"},
        {"guard_factor", "0", "must be in (0, 1), got 0"},
        {"guard_factor", "1", "must be in (0, 1), got 1"},
        {"guard_factor", "nan", "must be in (0, 1), got NaN"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct job_spec *spec = help_raw_spec("1", rows[i].settings);
        struct error err = {0};

        cr_expect_eq(spec_resolve(spec, &err), rows[i].message ? ST_FIELD_INVALID : ST_OK, "row %zu", i);
        if (rows[i].message) cr_expect_str_eq(err.message, rows[i].message);
        spec_free(spec);
    }
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct job_spec *spec = help_raw_spec("1", "");
        struct error err = {0};

        cr_expect_eq(help_set(spec, ranges[i].key, ranges[i].text, &err), ST_FIELD_INVALID);
        cr_expect_str_eq(err.message, ranges[i].message);
        spec_free(spec);
    }
}
