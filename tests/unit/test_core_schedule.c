/* Schedules by report count beyond their traces: settings that are refused, defaults, groups, what an
 * operator and the rules around a policy do to them, their ends, and states that are damaged. */
#include "core/schedule.h"

#include "test_core_help.h"

#include <float.h>

#define LINEAR_5_10 "num_warmup_steps=5 num_training_steps=10"

static struct help_job job_of(const char *policy, const char *lr, const char *settings)
{
    return help_job_take(help_spec_of(policy, lr, settings));
}

static void near(double got, double want, const char *what)
{
    cr_expect(fabs(got - want) <= 1e-12 * fabs(want), "%s: want %.17g, got %.17g", what, want, got);
}

/* Settings that cannot be set, or not together: either says why. */
static void refused(const char *policy, const char *lr, const char *settings, const char *why)
{
    struct job_spec *spec = help_raw_spec_of(policy, lr, "");
    struct error err = {0};
    int rc = help_set_all(spec, settings, &err);

    if (!rc) rc = spec_resolve(spec, &err);
    cr_expect_neq(rc, ST_OK, "%s %s is taken", policy, settings);
    cr_expect(strstr(err.message, why), "%s %s: want \"%s\" in \"%s\"", policy, settings, why, err.message);
    spec_free(spec);
}

Test(core_schedule, what_is_required)
{
    static const struct {
        const char *policy, *settings, *why;
    } cases[] = {
        {"step", "", "step.step_size: is required; give a whole number, at least 1"},
        {"multi_step", "", "multi_step.milestones: is required; give a list of whole numbers, at least 0"},
        {"exponential", "", "exponential.gamma: is required; give a number, finite and above 0"},
        {"cosine_annealing", "eta_min=0", "cosine_annealing.t_max: is required"},
        {"cosine_annealing_warm_restarts", "t_mult=2", "cosine_annealing_warm_restarts.t_0: is required"},
        {"one_cycle", "total_steps=9",
         "one_cycle.max_lr: is required; give a list of numbers, finite and above 0"},
        {"one_cycle", "max_lr=1", "one_cycle.total_steps: is required; give a whole number, at least 2"},
        {"constant_with_warmup", "", "constant_with_warmup.num_warmup_steps: is required"},
        {"linear_with_warmup", "num_training_steps=9", "linear_with_warmup.num_warmup_steps: is required"},
        {"linear_with_warmup", "num_warmup_steps=9", "linear_with_warmup.num_training_steps: is required"},
        {"cosine_with_warmup", "num_training_steps=9", "cosine_with_warmup.num_warmup_steps: is required"},
        {"cosine_with_warmup", "num_warmup_steps=9", "cosine_with_warmup.num_training_steps: is required"},
        {"cosine_with_hard_restarts", "num_training_steps=9", "num_warmup_steps: is required"},
        {"cosine_with_hard_restarts", "num_warmup_steps=9", "num_training_steps: is required"},
        {"polynomial_decay_with_warmup", "num_training_steps=9", "num_warmup_steps: is required"},
        {"polynomial_decay_with_warmup", "num_warmup_steps=9", "num_training_steps: is required"},
        {"inverse_sqrt", "timescale=9", "inverse_sqrt.num_warmup_steps: is required"},
        {"warmup_stable_decay", "num_stable_steps=1 num_decay_steps=1", "num_warmup_steps: is required"},
        {"warmup_stable_decay", "num_warmup_steps=1 num_decay_steps=1", "num_stable_steps: is required"},
        {"warmup_stable_decay", "num_warmup_steps=1 num_stable_steps=1", "num_decay_steps: is required"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refused(cases[i].policy, "0.1", cases[i].settings, cases[i].why);
}

Test(core_schedule, what_is_out_of_range)
{
    static const struct {
        const char *policy, *settings, *why;
    } cases[] = {
        {"step", "step_size=0", "must be at least 1, got 0"},
        {"step", "step_size=3 gamma=0", "must be finite and above 0, got 0"},
        {"multi_step", "milestones=1,2 gamma=-1", "must be finite and above 0, got -1"},
        {"multi_step", "milestones=", "must have 1 to 1000 values, got 0"},
        {"exponential", "gamma=inf", "must be finite and above 0, got Infinity"},
        {"exponential", "gamma=nan", "must be finite and above 0, got NaN"},
        {"cosine_annealing", "t_max=0", "must be at least 1, got 0"},
        {"cosine_annealing", "t_max=9 eta_min=-0.1", "must be finite and at least 0, got -0.1"},
        {"cosine_annealing_warm_restarts", "t_0=0", "must be at least 1, got 0"},
        {"cosine_annealing_warm_restarts", "t_0=4 t_mult=0", "must be at least 1, got 0"},
        {"cosine_annealing_warm_restarts", "t_0=4 eta_min=inf", "must be finite and at least 0"},
        {"polynomial", "total_iters=0", "must be at least 1, got 0"},
        {"polynomial", "power=-0.5", "must be finite and at least 0, got -0.5"},
        {"linear", "start_factor=0", "must be in (0, 1], got 0"},
        {"linear", "end_factor=1.5", "must be in [0, 1], got 1.5"},
        {"linear", "total_iters=0", "must be at least 1, got 0"},
        {"one_cycle", "max_lr=0", "must be finite and above 0, got 0"},
        {"one_cycle", "total_steps=1", "must be at least 2, got 1"},
        {"one_cycle", "pct_start=1", "must be in (0, 1), got 1"},
        {"one_cycle", "div_factor=0", "must be finite and above 0, got 0"},
        {"one_cycle", "final_div_factor=-1", "must be finite and above 0, got -1"},
        {"one_cycle", "anneal_strategy=cosine", "must be \"cos\" or \"linear\", got \"cosine\""},
        {"linear_with_warmup", "num_training_steps=0", "must be at least 1, got 0"},
        {"cosine_with_warmup", "num_cycles=0", "must be finite and above 0, got 0"},
        {"cosine_with_warmup", "min_lr=-1", "must be finite and at least 0, got -1"},
        {"cosine_with_hard_restarts", "num_cycles=0", "must be at least 1, got 0"},
        {"polynomial_decay_with_warmup", "power=0", "must be finite and above 0, got 0"},
        {"polynomial_decay_with_warmup", "lr_end=-1", "must be finite and at least 0, got -1"},
        {"inverse_sqrt", "timescale=0", "must be at least 1, got 0"},
        {"warmup_stable_decay", "warmup_type=sqrt",
         "must be \"linear\", \"cosine\" or \"1-sqrt\", got \"sqrt\""},
        {"warmup_stable_decay", "decay_type=exp", "got \"exp\""},
        {"warmup_stable_decay", "min_lr_ratio=1.1", "must be in [0, 1], got 1.1"},
        {"warmup_stable_decay", "num_cycles=0", "must be finite and above 0, got 0"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refused(cases[i].policy, "0.1", cases[i].settings, cases[i].why);
}

Test(core_schedule, what_does_not_go_together)
{
    static const struct {
        const char *policy, *lr, *settings, *why;
    } cases[] = {
        {"multi_step", "1", "milestones=3,9,4",
         "multi_step.milestones[2]: must be at least the one before it, 9, got 4; give them in ascending "
         "order"},
        {"linear_with_warmup", "1", "num_warmup_steps=9 num_training_steps=8",
         "linear_with_warmup.num_training_steps: must be at least num_warmup_steps 9, got 8"},
        {"cosine_with_warmup", "1", "num_warmup_steps=9 num_training_steps=8", "at least num_warmup_steps 9"},
        {"cosine_with_hard_restarts", "1", "num_warmup_steps=9 num_training_steps=8",
         "at least num_warmup_steps 9"},
        {"polynomial_decay_with_warmup", "1", "num_warmup_steps=9 num_training_steps=8",
         "at least num_warmup_steps 9"},
        {"cosine_with_warmup", "0.1", "min_lr=0.2 " LINEAR_5_10,
         "cosine_with_warmup.min_lr: must be at most lr 0.1, got 0.2"},
        {"cosine_with_warmup", "0.3,0.1", "min_lr=0.2 " LINEAR_5_10,
         "cosine_with_warmup.min_lr[1]: must be at most lr[1] 0.1, got 0.2"},
        {"polynomial_decay_with_warmup", "0.1", "lr_end=0.1 " LINEAR_5_10,
         "polynomial_decay_with_warmup.lr_end: must be below lr 0.1, got 0.1"},
        {"polynomial_decay_with_warmup", "1e-8", LINEAR_5_10, "must be below lr 1e-08, got 1e-07"},
        {"one_cycle", "1", "max_lr=1 total_steps=9 pct_start=0.5 three_phase=true",
         "one_cycle.pct_start: must be below 0.5 with three_phase"},
        {"one_cycle", "1", "max_lr=1 total_steps=9 div_factor=1e-320", "one_cycle.div_factor: is so small"},
        {"one_cycle", "1", "max_lr=1 total_steps=9 final_div_factor=1e-320",
         "one_cycle.final_div_factor: is so small"},
        {"one_cycle", "1,2,3", "max_lr=1,2 total_steps=9",
         "one_cycle.max_lr: must have 1 or 3 values, one per group of lr, got 2"},
        {"cosine_annealing", "1", "t_max=9 eta_min=0,0", "must have 1 value, as lr has, got 2"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refused(cases[i].policy, cases[i].lr, cases[i].settings, cases[i].why);
}

Test(core_schedule, what_a_value_does_is_not_theirs)
{
    struct job_spec *spec = help_raw_spec_of("constant", "0.1", "");
    struct error err;

    spec->on_nonfinite_given = true;
    for (int i = NONFINITE_BAD; i < NONFINITE_REJECT; i++) {
        spec->on_nonfinite = (enum on_nonfinite)i;
        cr_expect_eq(spec_resolve(spec, &err), ST_FIELD_INVALID);
        cr_expect(strstr(err.message, "on_nonfinite: must be \"reject\" with constant"), "%s", err.message);
        cr_expect(strstr(err.message, on_nonfinite_words[i]), "%s", err.message);
    }
    spec->on_nonfinite = NONFINITE_REJECT;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);

    struct help_job job = help_job_take(spec);
    struct job_event event = help_event(NAN);

    cr_expect_eq(help_step(&job, &event), ST_NONFINITE_REJECTED);
    cr_expect_eq(job.state->reports, 0);
    help_report(&job, 1);
    help_job_free(&job);
}

Test(core_schedule, defaults)
{
    static const struct {
        const char *policy, *settings, *row;
        double want;
    } cases[] = {
        {"step", "step_size=1", "gamma", 0.1},
        {"multi_step", "milestones=1", "gamma", 0.1},
        {"cosine_annealing", "t_max=1", "eta_min", 0},
        {"cosine_annealing_warm_restarts", "t_0=1", "t_mult", 1},
        {"cosine_annealing_warm_restarts", "t_0=1", "eta_min", 0},
        {"polynomial", "", "total_iters", 5},
        {"polynomial", "", "power", 1},
        {"linear", "", "start_factor", 1.0 / 3},
        {"linear", "", "end_factor", 1},
        {"linear", "", "total_iters", 5},
        {"one_cycle", "max_lr=1 total_steps=9", "pct_start", 0.3},
        {"one_cycle", "max_lr=1 total_steps=9", "div_factor", 25},
        {"one_cycle", "max_lr=1 total_steps=9", "final_div_factor", 1e4},
        {"cosine_with_warmup", LINEAR_5_10, "num_cycles", 0.5},
        {"cosine_with_warmup", LINEAR_5_10, "min_lr", 0},
        {"cosine_with_hard_restarts", LINEAR_5_10, "num_cycles", 1},
        {"polynomial_decay_with_warmup", LINEAR_5_10, "lr_end", 1e-7},
        {"polynomial_decay_with_warmup", LINEAR_5_10, "power", 1},
        {"inverse_sqrt", "num_warmup_steps=7", "timescale", 7},
        {"inverse_sqrt", "num_warmup_steps=0", "timescale", 10000},
        {"inverse_sqrt", "num_warmup_steps=7 timescale=3", "timescale", 3},
        {"warmup_stable_decay", "num_warmup_steps=1 num_stable_steps=1 num_decay_steps=1", "min_lr_ratio", 0},
        {"warmup_stable_decay", "num_warmup_steps=1 num_stable_steps=1 num_decay_steps=1", "num_cycles", 0.5},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct job_spec *spec = help_spec_of(cases[i].policy, "0.1,0.2", cases[i].settings);
        int row = param_find(spec->policy->params, spec->policy->n_params, cases[i].row);
        struct param_value value = param_get(spec->params, &spec->policy->params[row]);
        double got = value.kind == PARAM_U32   ? value.u32
                     : value.kind == PARAM_F64 ? value.f64
                                               : value.list[1];

        cr_expect_eq(got, cases[i].want, "%s.%s: %g", cases[i].policy, cases[i].row, got);
        if (value.kind == PARAM_F64_LIST) cr_expect_eq(value.n, 2);
        spec_free(spec);
    }
}

Test(core_schedule, words_by_default)
{
    struct job_spec *wsd =
        help_spec_of("warmup_stable_decay", "1", "num_warmup_steps=1 num_stable_steps=1 num_decay_steps=1");
    struct job_spec *cycle = help_spec_of("one_cycle", "1", "max_lr=1 total_steps=9");

    cr_expect_str_eq(param_get(wsd->params, &wsd->policy->params[3]).word, "linear");
    cr_expect_str_eq(param_get(wsd->params, &wsd->policy->params[4]).word, "cosine");
    cr_expect_str_eq(param_get(cycle->params, &cycle->policy->params[5]).word, "cos");
    cr_expect(!param_get(cycle->params, &cycle->policy->params[6]).boolean);
    spec_free(wsd);
    spec_free(cycle);
}

/* Rates at some counts that no trace has: after the end, and in corners. */
Test(core_schedule, ends_and_corners)
{
    static const struct {
        const char *policy, *settings;
        uint32_t t;
        double want; /* for lr 1 */
    } cases[] = {
        {"constant", "", UINT32_MAX, 1},
        {"step", "step_size=4294967295 gamma=0.5", UINT32_MAX, 0.5},
        {"multi_step", "milestones=0,3,3,5 gamma=0.5", 0, 0.5},
        {"multi_step", "milestones=0,3,3,5 gamma=0.5", 3, 0.125},
        {"exponential", "gamma=0.5", UINT32_MAX, 0},
        {"exponential", "gamma=2", UINT32_MAX, DBL_MAX},
        {"cosine_annealing", "t_max=10", 10, 0},
        {"cosine_annealing", "t_max=10 eta_min=0.5", 15, 0.75},
        {"cosine_annealing", "t_max=10 eta_min=3", 10, 3},
        {"cosine_annealing_warm_restarts", "t_0=4294967295 t_mult=4294967295", UINT32_MAX, 1},
        {"cosine_annealing_warm_restarts", "t_0=1 t_mult=2", 3, 1},
        {"cosine_annealing_warm_restarts", "t_0=1 t_mult=2", 5, 0.5},
        {"polynomial", "total_iters=4 power=2", 9, 0},
        {"polynomial", "total_iters=4 power=0", 9, 1},
        {"linear", "start_factor=0.5 total_iters=4", 9, 1},
        {"one_cycle", "max_lr=50 total_steps=9 final_div_factor=10", 8, 0.2},
        {"one_cycle", "max_lr=50 total_steps=9 final_div_factor=10", 4000, 0.2},
        /* The way up is over at once: with nothing of it, and with less than nothing, as in PyTorch. */
        {"one_cycle", "max_lr=50 total_steps=2 pct_start=0.5 anneal_strategy=linear", 0, 50},
        {"one_cycle", "max_lr=50 total_steps=2 pct_start=0.25 anneal_strategy=linear final_div_factor=1", 0,
         34},
        {"constant_with_warmup", "num_warmup_steps=4", 3, 0.75},
        {"constant_with_warmup", "num_warmup_steps=4", 400, 1},
        {"linear_with_warmup", LINEAR_5_10, 11, 0},
        {"linear_with_warmup", "num_warmup_steps=4 num_training_steps=4", 3, 0.75},
        {"linear_with_warmup", "num_warmup_steps=4 num_training_steps=4", 4, 0},
        {"cosine_with_warmup", LINEAR_5_10, 15, 1}, /* the wave goes on, as in Transformers */
        {"cosine_with_warmup", "num_warmup_steps=4 num_training_steps=4", 4, 1},
        {"cosine_with_warmup", "min_lr=0.25 " LINEAR_5_10, 10, 0.25},
        {"cosine_with_hard_restarts", "num_cycles=2 " LINEAR_5_10, 10, 0},
        {"cosine_with_hard_restarts", "num_cycles=2 " LINEAR_5_10, 99, 0},
        {"polynomial_decay_with_warmup", "lr_end=0.25 " LINEAR_5_10, 99, 0.25},
        {"polynomial_decay_with_warmup", "num_warmup_steps=4 num_training_steps=4", 4, 1},
        {"inverse_sqrt", "num_warmup_steps=4", 16, 0.5},
        {"inverse_sqrt", "num_warmup_steps=4 timescale=1", 4, 1},
        {"warmup_stable_decay", "num_warmup_steps=0 num_stable_steps=0 num_decay_steps=0 min_lr_ratio=0.5", 0,
         0.5},
        {"warmup_stable_decay",
         "num_warmup_steps=4294967295 num_stable_steps=4294967295 num_decay_steps=4294967295", UINT32_MAX, 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct job_spec *spec = help_spec_of(cases[i].policy, "1", cases[i].settings);
        char what[160];

        snprintf(what, sizeof(what), "%s %s at %u", cases[i].policy, cases[i].settings, cases[i].t);
        near(fmin(spec->policy->schedule->rate(spec, 0, cases[i].t), DBL_MAX), cases[i].want, what);
        spec_free(spec);
    }
}

/* Whatever the settings, no rate is NaN or below 0: a state could not be read again. */
Test(core_schedule, no_rate_is_impossible)
{
    static const char *const cases[][2] = {
        {"cosine_with_warmup", "num_cycles=1e308 num_warmup_steps=0 num_training_steps=1"},
        {"warmup_stable_decay",
         "num_cycles=1.7e308 num_warmup_steps=0 num_stable_steps=0 num_decay_steps=1000"},
        {"exponential", "gamma=1e308"},
        {"step", "step_size=1 gamma=1e-308"},
        {"polynomial", "total_iters=7 power=1e308"},
        {"one_cycle", "max_lr=1.7e308 total_steps=3 div_factor=1.1 final_div_factor=1.7e308"},
        {"cosine_annealing", "t_max=1 eta_min=1.7e308"},
        {"polynomial_decay_with_warmup", "power=1e-308 lr_end=0 " LINEAR_5_10},
        {"inverse_sqrt", "num_warmup_steps=4294967295 timescale=1"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct help_job job = job_of(cases[i][0], "1.7e308,1e-300", cases[i][1]);

        for (int t = 0; t < 40; t++) {
            for (uint32_t g = 0; g < 2; g++)
                cr_expect(isfinite(job_lrs(job.state)[g]) && job_lrs(job.state)[g] >= 0, "%s %s: %g",
                          cases[i][0], cases[i][1], job_lrs(job.state)[g]);
            help_report(&job, NAN);
        }
        help_job_free(&job);
    }
}

Test(core_schedule, groups_move_by_one_rule)
{
    struct help_job job = job_of("cosine_annealing", "1,4", "t_max=2 eta_min=0,2");

    help_report(&job, 1);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.5, 1e-15);
    cr_expect_float_eq(job_lrs(job.state)[1], 3, 1e-15);
    help_report(&job, 1);
    cr_expect_eq(job_lrs(job.state)[0], 0);
    cr_expect_eq(job_lrs(job.state)[1], 2);
    help_job_free(&job);
}

Test(core_schedule, decisions_say_where_they_are)
{
    struct help_job job = job_of("polynomial", "1", "total_iters=2"), endless = job_of("constant", "1", "");
    struct policy_view view;

    help_report(&job, NAN);
    cr_expect_eq(job.d.action, ACTION_SCHEDULE);
    cr_expect_str_eq(job.d.reason, "report 1 of 2");
    cr_expect(job.d.has_value && !job.d.has_smoothed && !job.d.has_best);
    help_report(&job, 3);
    cr_expect_str_eq(job.d.reason, "report 2 of 2");
    help_report(&job, 3);
    cr_expect_str_eq(job.d.reason, "report 3, past the end at 2");
    job_view(job.spec, job.state, &view);
    cr_expect(!view.has_best && !view.at_min && !view.at_max && !view.plateaued && !view.has_resets_left);
    help_report(&endless, 1);
    cr_expect_str_eq(endless.d.reason, "report 1");
    help_job_free(&job);
    help_job_free(&endless);
}

static int set_lr(struct help_job *job, double first, double second)
{
    double lrs[] = {first, second};
    struct job_event event = help_event(0);

    event.kind = EVENT_SET_LR;
    event.set_lr.lrs = lrs;
    return help_step(job, &event);
}

Test(core_schedule, an_override_scales_what_follows)
{
    struct help_job job = job_of("exponential", "0.3,3", "gamma=0.7"),
                    plain = job_of("exponential", "0.3", "gamma=0.7");

    for (int i = 0; i < 3; i++) {
        help_report(&job, 1);
        help_report(&plain, 1);
    }
    /* Exactly what was asked for, whatever it is divided by. */
    cr_assert_eq(set_lr(&job, 0.1, 1.1), ST_OK, "%s", job.err.message);
    cr_expect_eq(job_lrs(job.state)[0], 0.1);
    cr_expect_eq(job_lrs(job.state)[1], 1.1);
    help_report(&job, 1);
    near(job_lrs(job.state)[0], 0.07, "first group");
    near(job_lrs(job.state)[1], 0.77, "second group");
    /* Another one replaces it; back on the old course the bits are the old ones'. */
    help_report(&plain, 1);
    cr_assert_eq(set_lr(&job, help_lr(&plain), 1), ST_OK);
    cr_expect_eq(help_lr(&job), help_lr(&plain));
    help_job_free(&job);
    help_job_free(&plain);
}

Test(core_schedule, nothing_scales_zero)
{
    struct help_job job = job_of("linear_with_warmup", "1,2", LINEAR_5_10);
    size_t size = job_state_size(job.spec);
    struct job_state *before = malloc(size);

    memcpy(before, job.state, size);
    cr_expect_eq(set_lr(&job, 0.5, 0.5), ST_FIELD_INVALID);
    cr_expect(strstr(job.err.message, "linear_with_warmup is at 0 after 0 reports"), "%s", job.err.message);
    cr_expect(memcmp(before, job.state, size) == 0);
    help_report(&job, 1);
    cr_expect_eq(set_lr(&job, 0.5, 0.25), ST_OK);
    for (int t = 2; t <= 10; t++) {
        cr_expect_gt(help_lr(&job), 0);
        help_report(&job, 1);
    }
    cr_expect_eq(help_lr(&job), 0);
    cr_expect_eq(set_lr(&job, 0.5, 0.5), ST_FIELD_INVALID);
    cr_expect(strstr(job.err.message, "after 10 reports"), "%s", job.err.message);
    free(before);
    help_job_free(&job);
}

Test(core_schedule, a_bound_it_is_not)
{
    struct help_job cycle = job_of("one_cycle", "1", "max_lr=0.5 total_steps=9");
    struct help_job cosine =
        job_of("cosine_with_warmup", "1", "min_lr=0.5 num_warmup_steps=0 num_training_steps=9");

    cr_expect_eq(set_lr(&cycle, 7, 0), ST_OK, "max_lr is the shape of one_cycle");
    cr_expect_eq(set_lr(&cosine, 0.1, 0), ST_OK, "min_lr is the shape of cosine_with_warmup");
    help_job_free(&cycle);
    help_job_free(&cosine);
}

Test(core_schedule, a_ramp_and_a_pause_do_not_count)
{
    struct job_spec *spec = help_raw_spec_of("polynomial", "1", "total_iters=4");
    struct job_event pause = help_event(0);
    struct error err;

    spec->ramp = (struct ramp){.reports = 2, .start_factor = 0.5};
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    struct help_job job = help_job_take(spec);

    cr_expect_eq(help_lr(&job), 0.5);
    help_report(&job, 1);
    cr_expect_eq(job.d.action, ACTION_RAMP);
    cr_expect_eq(help_lr(&job), 0.75);
    help_report(&job, 1);
    cr_expect_eq(help_lr(&job), 1);
    help_report(&job, 1);
    cr_expect_str_eq(job.d.reason, "report 1 of 4");
    pause.kind = EVENT_STATUS;
    pause.status.action = ACTION_PAUSE;
    cr_assert_eq(help_step(&job, &pause), ST_OK);
    help_report(&job, 1);
    cr_expect_eq(job.d.action, ACTION_HOLD);
    cr_expect_eq(help_lr(&job), 0.75);
    pause.status.action = ACTION_RESUME;
    cr_assert_eq(help_step(&job, &pause), ST_OK);
    help_report(&job, 1);
    cr_expect_str_eq(job.d.reason, "report 2 of 4");
    cr_expect_eq(help_lr(&job), 0.5);
    help_job_free(&job);
}

Test(core_schedule, a_cap_limits_the_answer_alone)
{
    struct help_job job = job_of("polynomial", "1", "total_iters=4");
    struct job_event event = help_event(1);

    event.report.lr_cap = 0.1;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_expect_eq(help_lr(&job), 0.1);
    cr_expect(strstr(job.d.reason, "the answer is limited to lr_cap 0.1"), "%s", job.d.reason);
    help_report(&job, 1);
    cr_expect_eq(help_lr(&job), 0.5);
    help_job_free(&job);
}

Test(core_schedule, new_settings_go_on_from_the_same_count)
{
    struct help_job job = job_of("polynomial", "1", "total_iters=4");
    struct job_spec *longer = help_spec_of("polynomial", "1", "total_iters=8"), *old = job.spec;
    struct job_event event = help_event(0);

    help_report(&job, 1);
    help_report(&job, 1);
    cr_assert_eq(set_lr(&job, 0.25, 0), ST_OK);
    event.kind = EVENT_UPDATE;
    event.update.spec = longer;
    event.update.changed = "polynomial.total_iters";
    cr_assert_eq(help_step(&job, &event), ST_OK, "%s", job.err.message);
    job.spec = longer;
    cr_expect_eq(help_lr(&job), 0.375, "3/4 of the way is left, on a scale of 0.25 / 0.5");
    help_report(&job, 1);
    cr_expect_str_eq(job.d.reason, "report 3 of 8");
    cr_expect_eq(help_lr(&job), 0.3125);
    spec_free(old);
    help_job_free(&job);
}

Test(core_schedule, the_last_count_is_the_last)
{
    struct help_job job = job_of("constant", "1", "");
    struct schedule_state *s = (struct schedule_state *)(uintptr_t)job_policy_state(job.state);

    s->t = UINT32_MAX;
    help_report(&job, 1);
    s = (struct schedule_state *)(uintptr_t)job_policy_state(job.state);
    cr_expect_eq(s->t, UINT32_MAX);
    help_job_free(&job);
}

Test(core_schedule, damaged_states_are_not_read)
{
    static const double bad[] = {0, -1, INFINITY, NAN};
    struct help_job job = job_of("linear_with_warmup", "1,2", LINEAR_5_10);
    size_t n = job_state_encoded_size(job.spec, job.state);
    uint8_t *bytes = malloc(n);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (uint32_t at = 0; at < 4; at++) {
            struct schedule_state *s = (struct schedule_state *)(uintptr_t)job_policy_state(job.state);

            s->data[at] = bad[i];
            job_state_encode(job.spec, job.state, bytes);
            s->data[at] = 1;
            cr_expect_eq(job_state_decode(job.spec, bytes, n, job.next, &job.err), ST_DATA_DAMAGED);
        }
    }
    job_state_encode(job.spec, job.state, bytes);
    cr_expect_eq(job_state_decode(job.spec, bytes, n, job.next, &job.err), ST_OK);
    for (size_t len = 0; len < n; len++)
        cr_expect_eq(job_state_decode(job.spec, bytes, len, job.next, &job.err), ST_DATA_DAMAGED);
    free(bytes);
    help_job_free(&job);
}

Test(core_schedule, a_spec_copies_its_lists)
{
    struct job_spec *spec = help_spec_of("multi_step", "1", "milestones=2,4,8"), *copy = spec_copy(spec);
    struct param_value value = param_get(copy->params, &copy->policy->params[0]);

    spec_free(spec);
    cr_assert_eq(value.n, 3);
    cr_expect_eq(value.u32s[2], 8);
    spec_free(copy);
}
