/* GreedyLR: the full table of state and event, and what the conformance vectors cannot see (flags, reasons,
 * caps). */
#include "test_core_help.h"

/* One better, worse or non-finite report, or one handled by on_nonfinite skip or cut. */
enum event { BETTER, WORSE, NAN_BAD, NAN_SKIP, NAN_CUT, EVENTS };

struct row {
    const char *stage_mode; /* NULL: the same in all of them */
    enum stage stage;
    bool due;        /* patience is 0, so that a counted report triggers; else it is 5 */
    unsigned events; /* bits of enum event */
    double rate;     /* times the rate before */
    uint32_t good, bad;
    enum stage after;
    uint32_t left;
    enum action action;
};

#define E(event)  (1u << (event))
#define ANY_WORSE (E(WORSE) | E(NAN_BAD))
#define COMPARED  (E(BETTER) | ANY_WORSE)

/* cooldown is 3, warmup 2, a stage in force has 2 reports left, good and bad are 0. */
static const struct row table[] = {
    {NULL, STAGE_NONE, false, E(BETTER), 1, 1, 0, STAGE_NONE, 0, ACTION_HOLD},
    {NULL, STAGE_NONE, true, E(BETTER), 2, 0, 0, STAGE_WARMUP, 2, ACTION_RAISE},
    {NULL, STAGE_NONE, false, ANY_WORSE, 1, 0, 1, STAGE_NONE, 0, ACTION_HOLD},
    {NULL, STAGE_NONE, true, ANY_WORSE, 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},
    {NULL, STAGE_NONE, false, E(NAN_SKIP), 1, 0, 0, STAGE_NONE, 0, ACTION_SKIP},
    {NULL, STAGE_NONE, true, E(NAN_SKIP), 1, 0, 0, STAGE_NONE, 0, ACTION_SKIP},
    {NULL, STAGE_WARMUP, false, E(NAN_SKIP), 1, 0, 0, STAGE_WARMUP, 2, ACTION_SKIP},
    {NULL, STAGE_WARMUP, true, E(NAN_SKIP), 1, 0, 0, STAGE_WARMUP, 2, ACTION_SKIP},
    {NULL, STAGE_COOLDOWN, false, E(NAN_SKIP), 1, 0, 0, STAGE_COOLDOWN, 2, ACTION_SKIP},
    {NULL, STAGE_COOLDOWN, true, E(NAN_SKIP), 1, 0, 0, STAGE_COOLDOWN, 2, ACTION_SKIP},
    {NULL, STAGE_NONE, false, E(NAN_CUT), 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},
    {NULL, STAGE_NONE, true, E(NAN_CUT), 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},
    {NULL, STAGE_WARMUP, false, E(NAN_CUT), 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},
    {NULL, STAGE_WARMUP, true, E(NAN_CUT), 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},
    {NULL, STAGE_COOLDOWN, false, E(NAN_CUT), 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},
    {NULL, STAGE_COOLDOWN, true, E(NAN_CUT), 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},

    {"continue", STAGE_WARMUP, false, COMPARED, 2, 0, 0, STAGE_WARMUP, 1, ACTION_RAISE},
    {"continue", STAGE_WARMUP, true, COMPARED, 2, 0, 0, STAGE_WARMUP, 1, ACTION_RAISE},
    {"continue", STAGE_COOLDOWN, false, COMPARED, 0.5, 0, 0, STAGE_COOLDOWN, 1, ACTION_CUT},
    {"continue", STAGE_COOLDOWN, true, COMPARED, 0.5, 0, 0, STAGE_COOLDOWN, 1, ACTION_CUT},

    {"hold", STAGE_WARMUP, false, COMPARED, 1, 0, 0, STAGE_WARMUP, 1, ACTION_HOLD},
    {"hold", STAGE_WARMUP, true, COMPARED, 1, 0, 0, STAGE_WARMUP, 1, ACTION_HOLD},
    {"hold", STAGE_COOLDOWN, false, COMPARED, 1, 0, 0, STAGE_COOLDOWN, 1, ACTION_HOLD},
    {"hold", STAGE_COOLDOWN, true, COMPARED, 1, 0, 0, STAGE_COOLDOWN, 1, ACTION_HOLD},

    {"ignore", STAGE_WARMUP, false, E(BETTER), 1, 0, 0, STAGE_WARMUP, 1, ACTION_HOLD},
    {"ignore", STAGE_WARMUP, true, E(BETTER), 1, 0, 0, STAGE_WARMUP, 1, ACTION_HOLD},
    {"ignore", STAGE_WARMUP, false, ANY_WORSE, 1, 0, 1, STAGE_WARMUP, 1, ACTION_HOLD},
    {"ignore", STAGE_WARMUP, true, ANY_WORSE, 0.5, 0, 0, STAGE_COOLDOWN, 3, ACTION_CUT},
    {"ignore", STAGE_COOLDOWN, false, E(BETTER), 1, 1, 0, STAGE_COOLDOWN, 1, ACTION_HOLD},
    {"ignore", STAGE_COOLDOWN, true, E(BETTER), 2, 0, 0, STAGE_WARMUP, 2, ACTION_RAISE},
    {"ignore", STAGE_COOLDOWN, false, ANY_WORSE, 1, 0, 0, STAGE_COOLDOWN, 1, ACTION_HOLD},
    {"ignore", STAGE_COOLDOWN, true, ANY_WORSE, 1, 0, 0, STAGE_COOLDOWN, 1, ACTION_HOLD},
};

static const enum on_nonfinite rule[EVENTS] = {NONFINITE_BAD, NONFINITE_BAD, NONFINITE_BAD, NONFINITE_SKIP,
                                               NONFINITE_CUT};

static void check_row(const struct row *row, size_t i, const char *stage_mode, const char *mode,
                      enum event event)
{
    bool max = strcmp(mode, "max") == 0;
    double better = max ? 2 : 0.5, worse = max ? 0.5 : 2;
    char settings[256];

    snprintf(settings, sizeof(settings),
             "mode=%s factor=0.5 patience=%d cooldown=3 warmup=2 threshold=0 threshold_mode=abs smooth=false "
             "stage_mode=%s min_lr=0.01 max_lr=100",
             mode, row->due ? 0 : 5, stage_mode);
    struct job_spec *spec = help_raw_spec("1", settings);
    struct error err;

    spec->on_nonfinite = rule[event];
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    struct help_job job = help_job_take(spec);
    struct greedy_state *s = help_greedy(&job);

    s->best = 1;
    s->has_best_step = true;
    s->stage = (uint8_t)row->stage;
    s->stage_left = row->stage == STAGE_NONE ? 0 : 2;
    help_report(&job, event == BETTER ? better : event == WORSE ? worse : NAN);

    bool hold = row->stage != STAGE_NONE && strcmp(stage_mode, "hold") == 0;
    double best = event == BETTER && !hold ? better : 1;

    s = help_greedy(&job);
    cr_expect_eq(help_lr(&job), row->rate, "row %zu, event %d, %s: rate %g", i, event, mode, help_lr(&job));
    cr_expect_eq(s->num_good, row->good, "row %zu, event %d, %s: good %u", i, event, mode, s->num_good);
    cr_expect_eq(s->num_bad, row->bad, "row %zu, event %d, %s: bad %u", i, event, mode, s->num_bad);
    cr_expect_eq(s->stage, row->after, "row %zu, event %d, %s: stage %u", i, event, mode, s->stage);
    cr_expect_eq(s->stage_left, row->left, "row %zu, event %d, %s: left %u", i, event, mode, s->stage_left);
    cr_expect_eq(s->best, best, "row %zu, event %d, %s: best %g", i, event, mode, s->best);
    cr_expect_eq(job.d.action, row->action, "row %zu, event %d, %s: %s", i, event, mode,
                 action_words[job.d.action]);
    help_job_free(&job);
}

Test(core_greedy, every_state_and_event)
{
    static const char *const stage_modes[] = {"continue", "hold", "ignore"};
    static const char *const modes[] = {"min", "max"};
    size_t cells = 0;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int event = 0; event < EVENTS; event++) {
            for (size_t m = 0; m < 3; m++) {
                if (!(table[i].events & E(event))) continue;
                if (table[i].stage_mode && strcmp(table[i].stage_mode, stage_modes[m]) != 0) continue;
                for (size_t k = 0; k < 2; k++)
                    check_row(&table[i], i, stage_modes[m], modes[k], (enum event)event);
                cells++;
            }
        }
    }
    /* stage_mode x stage x due x event: no cell is missing, none is there twice. */
    cr_assert_eq(cells, 3 * 3 * 2 * EVENTS);
}

Test(core_greedy, a_stage_ends_and_counting_goes_on)
{
    struct help_job job = help_job("1", "factor=0.5 patience=0 cooldown=1 smooth=false stage_mode=hold");

    help_report(&job, 1); /* raise */
    help_report(&job, 2); /* cut, cooldown 1 */
    cr_assert_eq(job.d.stage, STAGE_COOLDOWN);
    help_report(&job, 3);
    cr_assert_eq(job.d.stage, STAGE_NONE);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    help_report(&job, 3);
    cr_assert_eq(job.d.action, ACTION_CUT);
    help_job_free(&job);
}

Test(core_greedy, reject_changes_nothing_and_names_the_value)
{
    struct job_spec *spec = help_raw_spec("1", "");
    struct error err;

    spec->on_nonfinite = NONFINITE_REJECT;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    struct help_job job = help_job_take(spec);
    struct job_event event = help_event(-INFINITY);

    cr_assert_eq(help_step(&job, &event), ST_NONFINITE_REJECTED);
    cr_assert_not_null(strstr(job.err.message, "-Infinity"), "%s", job.err.message);
    cr_assert_eq(job.state->revision, 0);
    /* The policy itself refuses too, and leaves its state alone. */
    struct policy_report report = {NAN, 1, INFINITY};
    struct policy_outcome out;
    size_t n = job_state_size(spec);

    memcpy(job.next, job.state, n);
    cr_assert_eq(spec->policy->step(spec, help_greedy(&job), &report, &out, &err), ST_NONFINITE_REJECTED);
    cr_assert(memcmp(job.next, job.state, n) == 0);
    help_job_free(&job);
}

Test(core_greedy, reasons_say_what_happened)
{
    struct help_job job =
        help_job("0.1", "factor=0.5 patience=1 smooth=false threshold=0 max_lr=0.2 min_lr=0.05");
    struct job_event event = help_event(2);

    event.report.has_step = true;
    event.report.step = 4000;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_str_eq(job.d.reason, "first best value; good 1 of 1");
    help_report(&job, 3);
    cr_assert_str_eq(job.d.reason, "worse than best 2 (step 4000); bad 1 of 1");
    help_report(&job, 2);
    cr_assert_str_eq(job.d.reason, "no better than best 2 (step 4000); bad 2 beyond patience 1: rate cut");
    cr_assert_eq(job.d.action, ACTION_CUT);
    for (int i = 0; i < 2; i++)
        help_report(&job, 4);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    cr_assert_str_eq(job.d.reason,
                     "worse than best 2 (step 4000); bad 2 beyond patience 1: cut due, but every rate is "
                     "at min_lr; plateaued, consider stopping");
    for (int i = 0; i < 4; i++)
        help_report(&job, 1 - i * 0.1);
    cr_assert_eq(job.d.action, ACTION_RAISE);
    cr_assert_str_eq(job.d.reason, "better than best 0.8 (step 4007); good 2 beyond patience 1: rate raised");
    for (int i = 0; i < 2; i++)
        help_report(&job, 0.1 - i * 0.01);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    cr_assert(job.d.at_max);
    cr_assert_str_eq(job.d.reason,
                     "better than best 0.1 (step 4009); good 2 beyond patience 1: raise due, but every rate "
                     "is at max_lr");
    help_job_free(&job);
}

Test(core_greedy, a_change_within_eps_is_a_hold)
{
    struct help_job job = help_job("1", "factor=0.5 patience=0 smooth=false eps=0.5 min_lr=0.1");

    help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 2);
    help_report(&job, 2); /* a cut by 1 is larger than eps */
    cr_assert_eq(help_lr(&job), 1);
    help_report(&job, 2); /* a cut by 0.5 is not */
    cr_assert_eq(help_lr(&job), 1);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    cr_assert_not_null(strstr(job.d.reason, "eps 0.5"), "%s", job.d.reason);
    help_job_free(&job);
}

Test(core_greedy, groups_keep_their_own_bounds)
{
    struct help_job job = help_job("1,8", "factor=0.5 patience=0 smooth=false min_lr=0.5,1 max_lr=1,64");

    help_report(&job, 1);
    cr_assert_eq(job.d.action, ACTION_RAISE);
    cr_assert_eq(job_lrs(job.state)[0], 1);
    cr_assert_eq(job_lrs(job.state)[1], 16);
    cr_assert(!job.d.at_max);
    for (int i = 0; i < 4; i++)
        help_report(&job, 2);
    cr_assert_eq(job_lrs(job.state)[0], 0.5);
    cr_assert_eq(job_lrs(job.state)[1], 1);
    cr_assert(job.d.at_min && !job.d.plateaued);
    help_job_free(&job);
}

static struct help_job at_floor(const char *more)
{
    char settings[256];

    snprintf(settings, sizeof(settings), "factor=0.5 patience=0 smooth=false min_lr=0.5 max_lr=4 %s", more);
    struct help_job job = help_job("1", settings);

    help_report(&job, 5); /* the first best, a raise to 2 */
    help_report(&job, 9);
    help_report(&job, 9);
    cr_assert(job.d.at_min && !job.d.plateaued);
    cr_assert_eq(job.d.action, ACTION_CUT);
    return job;
}

Test(core_greedy, plateaued_stays_until_something_better)
{
    struct help_job job = at_floor("");

    help_report(&job, 9);
    cr_assert(job.d.plateaued && job.d.at_min);
    struct job_event event = help_event(NAN);

    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert(job.d.plateaued);
    help_report(&job, 4);
    cr_assert(!job.d.plateaued);
    help_job_free(&job);
}

Test(core_greedy, plateaued_is_cleared_by_a_new_best_at_the_floor)
{
    struct help_job job = help_job("1", "factor=0.5 patience=1 smooth=false min_lr=1");

    help_report(&job, 5);
    for (int i = 0; i < 2; i++)
        help_report(&job, 9);
    cr_assert(job.d.plateaued && job.d.at_min);
    help_report(&job, 9);
    cr_assert(job.d.plateaued, "it stays");
    help_report(&job, 4);
    cr_assert(job.d.at_min && !job.d.plateaued);
    help_job_free(&job);
}

Test(core_greedy, plateaued_is_cleared_by_a_rate_that_leaves_the_floor)
{
    struct help_job job = at_floor("");

    help_report(&job, 9);
    cr_assert(job.d.plateaued);
    struct job_spec *spec = spec_copy(job.spec);
    struct error err;
    struct job_event event = {.kind = EVENT_UPDATE, .update = {spec, "greedy.min_lr 0.5 -> 0.1"}};

    cr_assert_eq(help_set(spec, "min_lr", "0.1", &err), ST_OK);
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert(!job.d.plateaued && !job.d.at_min);
    spec_free(spec);
    help_job_free(&job);
}

Test(core_greedy, set_rates_moves_the_rates_and_nothing_else)
{
    struct help_job job = at_floor("patience=1 cooldown=2 stage_mode=hold");
    struct greedy_state *s = help_greedy(&job);
    double up[] = {2}, down[] = {0.25}, lrs[1];

    s->num_bad = 1;
    s->plateaued = true;
    struct greedy_state before = *s;

    cr_assert_eq(job.spec->policy->set_rates(job.spec, s, down, &job.err), ST_OK);
    job.spec->policy->rates(job.spec, s, lrs);
    cr_assert_eq(lrs[0], 0.25);
    cr_assert(memcmp(&before, s, sizeof(before)) == 0);
    cr_assert_eq(job.spec->policy->set_rates(job.spec, s, up, &job.err), ST_OK);
    job.spec->policy->rates(job.spec, s, lrs);
    cr_assert_eq(lrs[0], 2);
    before.plateaued = false; /* the rate has left the floor */
    cr_assert(memcmp(&before, s, sizeof(before)) == 0);
    help_job_free(&job);
}

Test(core_greedy, resets_start_over)
{
    struct help_job job = at_floor("reset_start=2");
    struct policy_view view;

    /* The cut that reached the floor has used one of the two. */
    job_view(job.spec, job.state, &view);
    cr_assert_eq(view.resets_left, 1);
    help_report(&job, 9);
    cr_assert_eq(job.d.action, ACTION_RESET);
    cr_assert(!job.d.plateaued);
    cr_assert_eq(help_lr(&job), 1);
    cr_assert_eq(job.d.best, INFINITY);
    job_view(job.spec, job.state, &view);
    cr_assert_eq(view.resets_left, 2);
    cr_assert(!view.has_best_step);
    help_job_free(&job);
}

Test(core_greedy, without_reset_start_there_are_no_resets)
{
    struct help_job job = at_floor("reset_start=0");
    struct policy_view view;

    for (int i = 0; i < 50; i++) {
        help_report(&job, 9);
        cr_assert_eq(job.d.action, ACTION_HOLD);
    }
    job_view(job.spec, job.state, &view);
    cr_assert(!view.has_resets_left);
    help_job_free(&job);
}

Test(core_greedy, lr_cap_clamps_the_state)
{
    struct help_job job = help_job("1", "factor=0.5 patience=0 smooth=false min_lr=0.5 max_lr=4");
    struct job_event event = help_event(5);

    event.report.lr_cap = 1.5;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_lr(&job), 1.5);
    cr_assert_eq(job.d.action, ACTION_RAISE);
    cr_assert_not_null(strstr(job.d.reason, "lr_cap 1.5"), "%s", job.d.reason);
    help_report(&job, 4); /* no wind-up: from 1.5, not from 2 */
    cr_assert_eq(help_lr(&job), 3);

    event = help_event(3);
    event.report.lr_cap = 0.25; /* below min_lr the cap wins */
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_lr(&job), 0.25);
    cr_assert_eq(job.d.action, ACTION_CUT);
    cr_assert(job.d.at_min);
    help_report(&job, 9); /* a cut does not lift the rate to min_lr */
    cr_assert_eq(help_lr(&job), 0.25);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    help_report(&job, 2);
    cr_assert_eq(help_lr(&job), 0.5);
    help_job_free(&job);
}

Test(core_greedy, a_cap_at_the_rate_turns_a_raise_into_a_hold)
{
    struct help_job job = help_job("1", "factor=0.5 patience=0 smooth=false");
    struct job_event event = help_event(5);

    event.report.lr_cap = 1;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    cr_assert_not_null(strstr(job.d.reason, "lr_cap"), "%s", job.d.reason);
    help_job_free(&job);
}

Test(core_greedy, non_finite_values_never_enter_a_window)
{
    struct help_job job = help_job("1", "smoothing=mean window_size=3");
    static const double values[] = {4, NAN, INFINITY, 2, -INFINITY};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        help_report(&job, values[i]);
    cr_assert(!job.d.has_smoothed);
    help_report(&job, 3);
    cr_assert(job.d.has_smoothed);
    cr_assert_eq(job.d.smoothed, 3);
    cr_assert_eq(job.d.best, 3);
    help_job_free(&job);
}

Test(core_greedy, an_overflowing_window_is_never_best)
{
    struct help_job job = help_job("1", "smoothing=mean window_size=2");

    help_report(&job, -1.7e308);
    help_report(&job, -1.7e308);
    cr_assert_eq(job.d.smoothed, -INFINITY);
    cr_assert_eq(job.d.best, -1.7e308);
    cr_assert_eq(job.d.num_bad, 1);
    help_job_free(&job);
}

Test(core_greedy, reasons_fit_whatever_the_numbers)
{
    static const char *const stage_modes[] = {"continue", "hold", "ignore"};

    for (size_t m = 0; m < 3; m++) {
        char settings[256];

        snprintf(
            settings, sizeof(settings),
            "factor=0.5 patience=0 smooth=false cooldown=4294967295 stage_mode=%s reset_start=2147483647 "
            "min_lr=0.9999999",
            stage_modes[m]);
        struct job_spec *spec = help_spec("1", settings);
        struct help_job job = help_job_take(spec);
        struct job_event event = help_event(-1.23456789e-300);

        event.report.has_step = true;
        event.report.step = UINT32_MAX - 3;
        event.report.lr_cap = 1.2345678e-300;
        cr_assert_eq(help_step(&job, &event), ST_OK);
        struct greedy_params *p = spec->params;

        p->patience = UINT32_MAX - 1;
        for (int i = 0; i < 3; i++) {
            help_greedy(&job)->num_bad = UINT32_MAX - 1;
            event = help_event(1);
            event.report.lr_cap = 1.2345678e-301;
            cr_assert_eq(help_step(&job, &event), ST_OK, "%s", job.err.message);
            cr_assert_lt(strlen(job.d.reason), DECISION_REASON_MAX - 1, "%s", job.d.reason);
        }
        help_job_free(&job);
    }
}
