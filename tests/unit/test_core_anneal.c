/* The anneal: a line to 0 behind a policy that does not notice. */
#include "test_core_help.h"

struct rules {
    const char *policy, *lr, *settings;
    uint32_t total;
    double fraction; /* 0: the default */
    struct ramp ramp;
    enum on_nonfinite on_nonfinite;
};

static struct job_spec *spec_of(const struct rules *rules)
{
    struct job_spec *spec = help_raw_spec_of(rules->policy, rules->lr, rules->settings);
    struct error err = {0};

    spec->anneal = (struct anneal){rules->total, rules->fraction, rules->fraction > 0};
    spec->ramp = rules->ramp;
    spec->on_nonfinite = rules->on_nonfinite;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    return spec;
}

static struct help_job job_of(const struct rules *rules)
{
    return help_job_take(spec_of(rules));
}

/* A policy that rests: patience is out of reach. */
#define RESTS "patience=1000 smooth=false min_lr=1e-3 max_lr=2"

/* The formula as it is told: f = 1 up to n - p n, then (n - t) / (p n), 0 from n on. */
static double line(double n, double p, double t)
{
    return t <= n - p * n ? 1 : t < n ? (n - t) / (p * n) : 0;
}

Test(core_anneal, the_line_by_hand)
{
    /* 10 reports, the last 40 % of them: 6 at the full rate, then 3/4, 2/4, 1/4 and the floor. */
    static const double want[] = {1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 1e-3, 1e-3, 1e-3};
    struct help_job job = job_of(&(struct rules){"greedy", "1,0.5", RESTS, 10, 0.4, {0}, NONFINITE_BAD});

    cr_assert_eq(help_lr(&job), 1);
    for (size_t t = 0; t < sizeof(want) / sizeof(want[0]); t++) {
        help_report(&job, 1);
        cr_expect_eq(job_lrs(job.state)[0], want[t], "t %zu: %.17g", t + 1, help_lr(&job));
        cr_expect_eq(job_lrs(job.state)[1], t < 9 ? 0.5 * want[t] : 1e-3, "t %zu", t + 1);
        cr_expect_eq(help_greedy(&job)->data[0], 1, "the policy does not notice");
        cr_expect_eq(job.d.at_min, t >= 9, "t %zu", t + 1);
        cr_expect(!job.d.at_max && !job.d.plateaued);
    }
    cr_assert_eq(job.state->anneal_done, 12);
    help_job_free(&job);
}

Test(core_anneal, any_length_and_fraction)
{
    static const uint32_t lengths[] = {1, 2, 3, 7, 10, 100, 999};
    static const double fractions[] = {1e-300, 1e-9, 0.1, 0.2, 0.3, 0.5, 0.7, 0.999, 1};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (size_t k = 0; k < sizeof(fractions) / sizeof(fractions[0]); k++) {
            struct help_job job = job_of(&(struct rules){
                "plateau", "0.3", "patience=5000", lengths[i], fractions[k], {0}, NONFINITE_BAD});
            double before = 0.3;

            for (uint32_t t = 0; t <= lengths[i] + 2; t++) {
                cr_assert_eq(help_lr(&job), 0.3 * line(lengths[i], fractions[k], t), "n %u p %g t %u",
                             lengths[i], fractions[k], t);
                cr_assert_leq(help_lr(&job), before);
                before = help_lr(&job);
                help_report(&job, 1);
            }
            cr_assert_eq(help_lr(&job), 0, "plateau's floor is 0");
            help_job_free(&job);
        }
    }
}

Test(core_anneal, fraction_is_a_fifth_unless_given)
{
    struct job_spec *spec = spec_of(&(struct rules){"greedy", "1", RESTS, 50, 0, {0}, NONFINITE_BAD});
    static const struct {
        double fraction;
        const char *message;
    } rows[] = {{0, "anneal.fraction: must be in (0, 1], got 0"},
                {-0.1, "anneal.fraction: must be in (0, 1], got -0.1"},
                {1.1, "anneal.fraction: must be in (0, 1], got 1.1"},
                {NAN, "anneal.fraction: must be in (0, 1], got NaN"},
                {INFINITY, "anneal.fraction: must be in (0, 1], got Infinity"}};

    cr_assert_eq(spec->anneal.fraction, 0.2);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};

        spec->anneal = (struct anneal){50, rows[i].fraction, true};
        cr_expect_eq(spec_resolve(spec, &err), ST_FIELD_INVALID);
        cr_expect_str_eq(err.message, rows[i].message);
    }
    spec_free(spec);
}

/* With and without: the policy's state, flags of its own and actions are the same, report by report. */
Test(core_anneal, the_policy_does_not_notice)
{
    static const char *const settings[] = {"patience=1 cooldown=2 warmup=1 guard_ratio=3",
                                           "smooth=false patience=0", "dialect=transformers patience=1"};

    for (size_t k = 0; k < sizeof(settings) / sizeof(settings[0]); k++) {
        struct help_job with =
            job_of(&(struct rules){"greedy", "0.1,0.2", settings[k], 40, 0.6, {3, 0.5}, NONFINITE_BAD});
        struct help_job without =
            job_of(&(struct rules){"greedy", "0.1,0.2", settings[k], 0, 0, {3, 0.5}, NONFINITE_BAD});
        size_t block = with.spec->policy->state_size(with.spec);

        for (int i = 0; i < 60; i++) {
            double value = i % 11 == 5 ? NAN : fabs(5.3 - i % 13), f = line(40, 0.6, i + 1);

            help_report(&with, value);
            help_report(&without, value);
            cr_assert(memcmp(job_policy_state(with.state), job_policy_state(without.state), block) == 0);
            cr_assert_eq(with.d.action, without.d.action);
            cr_assert_eq(with.d.plateaued, without.d.plateaued);
            for (int g = 0; g < 2; g++) {
                double rate = job_lrs(without.state)[g];
                double min = ((const struct greedy_params *)with.spec->params)->min_lr.v[g];

                cr_assert_eq(job_lrs(with.state)[g], fmax(rate * f, fmin(rate, min)), "%d %s", i,
                             settings[k]);
            }
        }
        help_job_free(&with);
        help_job_free(&without);
    }
}

Test(core_anneal, what_counts)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 10, 0.5, {2, 0.5}, NONFINITE_SKIP});

    help_report(&job, 1);
    help_report(&job, NAN); /* of the ramp */
    cr_assert_eq(job.state->anneal_done, 2, "reports of the ramp count");
    help_report(&job, NAN);
    cr_assert_eq(job.d.action, ACTION_SKIP);
    cr_assert_eq(job.state->anneal_done, 2, "one that is skipped does not");
    for (int i = 0; i < 4; i++)
        help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 0.8);
    help_report(&job, NAN);
    cr_assert_eq(help_lr(&job), 0.8, "nothing changes");
    job.state->status = JOB_PAUSED;
    for (int i = 0; i < 5; i++) {
        help_report(&job, 1);
        cr_assert_eq(help_lr(&job), 0.8, "a pause rests");
        cr_assert_str_eq(job.d.reason, "the job is paused: recorded, nothing changes");
    }
    cr_assert_eq(job.state->anneal_done, 6);
    job.state->status = JOB_ACTIVE;
    help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 0.6);
    cr_assert_eq(job.state->reports, 14);
    job.state->anneal_done = UINT32_MAX;
    help_report(&job, 1);
    cr_assert_eq(job.state->anneal_done, UINT32_MAX, "it does not begin again");
    cr_assert_eq(help_lr(&job), 1e-3);
    help_job_free(&job);
}

Test(core_anneal, a_ramp_that_reaches_into_it)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 8, 1, {4, 0.5}, NONFINITE_BAD});

    cr_assert_eq(help_lr(&job), 0.5);
    for (uint32_t t = 1; t <= 8; t++) {
        double rate = t < 4 ? 0.5 + (1 - 0.5) * t / 4 : 1;

        help_report(&job, 1);
        cr_assert_eq(help_lr(&job), fmax(rate * line(8, 1, t), 1e-3), "t %u", t);
    }
    help_job_free(&job);
}

/* A cap is one for the answer; what reaches the policy is as much larger as the anneal makes it smaller. */
Test(core_anneal, a_cap_clamps_no_harder_than_needed)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 10, 0.5, {0}, NONFINITE_BAD});
    struct job_event event = help_event(1);

    for (int i = 0; i < 6; i++)
        help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 0.8);
    event.report.lr_cap = 0.6; /* at 0.6: the policy's 1 fits */
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_greedy(&job)->data[0], 1);
    cr_assert_eq(help_lr(&job), 0.6);
    cr_assert_null(strstr(job.d.reason, "limited"), "%s", job.d.reason);
    event.report.lr_cap = 0.1; /* at 0.4: 0.25 is what fits */
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_greedy(&job)->data[0], 0.1 / 0.4);
    cr_assert_leq(help_lr(&job), 0.1);
    cr_assert_not_null(strstr(job.d.reason, "; anneal x0.4 (lr_cap 0.1 is 0.25 before it)"), "%s",
                       job.d.reason);
    help_report(&job, 1);
    event.report.lr_cap = 1e-4; /* at 0: below min_lr the cap wins, and only in the answer */
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_greedy(&job)->data[0], 0.1 / 0.4);
    cr_assert_eq(help_lr(&job), 1e-4);
    cr_assert(job.d.at_min);
    help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 1e-3);
    help_job_free(&job);
}

Test(core_anneal, every_answer_keeps_to_its_cap)
{
    for (int i = 1; i <= 300; i++) {
        struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 300, 1, {0}, NONFINITE_BAD});

        for (int k = 0; k < i; k++) {
            struct job_event event = help_event(1);

            event.report.lr_cap = 0.9 / i;
            cr_assert_eq(help_step(&job, &event), ST_OK);
            cr_assert_leq(help_lr(&job), 0.9 / i);
        }
        help_job_free(&job);
    }
}

static int set_lr(struct help_job *job, double lr)
{
    double lrs[] = {lr};
    struct job_event event = {.kind = EVENT_SET_LR, .set_lr = {lrs}};

    return help_step(job, &event);
}

Test(core_anneal, an_override_is_what_is_answered)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 10, 0.5, {0}, NONFINITE_BAD});

    for (int i = 0; i < 8; i++)
        help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 0.4);
    cr_assert_eq(set_lr(&job, 0.5), ST_OK);
    cr_assert_eq(help_lr(&job), 0.5);
    cr_assert_eq(help_greedy(&job)->data[0], 0.5 / 0.4);
    cr_assert_str_eq(job.d.reason, "set from 0.4 to 0.5; anneal x0.4");
    cr_assert_eq(job.state->anneal_done, 8);
    cr_assert_eq(set_lr(&job, 2 * 0.4), ST_OK, "max_lr times the anneal");
    cr_assert_eq(help_greedy(&job)->data[0], 2);
    cr_assert_eq(set_lr(&job, 0.81), ST_FIELD_INVALID);
    cr_assert_str_eq(job.err.message,
                     "lr[0]: must be finite, above 0 and within the bounds 0.001 to 0.8 (max_lr "
                     "times the anneal's 0.4), got 0.81; PATCH the job to move the bounds");
    cr_assert_eq(set_lr(&job, 0.0009), ST_FIELD_INVALID);
    cr_assert_eq(set_lr(&job, NAN), ST_FIELD_INVALID);
    cr_assert_eq(set_lr(&job, 1e-3), ST_OK);
    cr_assert_geq(help_lr(&job), 1e-3);
    help_report(&job, 1);
    help_report(&job, 1);
    cr_assert_eq(set_lr(&job, 0.5), ST_FIELD_INVALID);
    cr_assert_str_eq(job.err.message,
                     "lr: the anneal is at its end, 10 of anneal.total_reports 10, and takes any rate "
                     "down; PATCH the job with a larger anneal.total_reports first");
    help_job_free(&job);

    job = job_of(&(struct rules){"plateau", "1", "patience=99", 10, 1, {0}, NONFINITE_BAD});
    for (int i = 0; i < 9; i++)
        help_report(&job, 1);
    cr_assert_eq(set_lr(&job, 1.7e308), ST_FIELD_INVALID, "beyond doubles before the anneal");
    cr_assert_eq(set_lr(&job, 3), ST_OK);
    help_job_free(&job);
}

/* The override, then the bounds of the policy: never above max_lr by a rounding. */
Test(core_anneal, an_override_at_the_bound_stays_within)
{
    for (uint32_t n = 2; n < 400; n++) {
        struct help_job job =
            job_of(&(struct rules){"greedy", "1", "patience=9 max_lr=1.9", n, 1, {0}, NONFINITE_BAD});
        double f = line(n, 1, 1);

        help_report(&job, 1);
        cr_assert_eq(set_lr(&job, 1.9 * f), ST_OK, "n %u: %s", n, job.err.message);
        cr_assert_leq(help_greedy(&job)->data[0], 1.9);
        help_job_free(&job);
    }
}

static void update(struct help_job *job, struct anneal anneal)
{
    struct job_spec *spec = spec_copy(job->spec);
    struct job_event event = {.kind = EVENT_UPDATE, .update = {spec, "anneal.total_reports"}};

    spec->anneal = anneal;
    cr_assert_eq(spec_resolve(spec, NULL), ST_OK);
    cr_assert_eq(help_step(job, &event), ST_OK);
    spec_free(job->spec);
    job->spec = spec;
}

Test(core_anneal, a_run_made_longer_or_shorter)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 10, 0.5, {0}, NONFINITE_BAD});

    for (int i = 0; i < 8; i++)
        help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 0.4);
    update(&job, (struct anneal){20, 0.5, true});
    cr_assert_eq(help_lr(&job), 1, "at once");
    for (int i = 0; i < 4; i++)
        help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 0.8);
    update(&job, (struct anneal){11, 0.5, true});
    cr_assert_eq(help_lr(&job), 1e-3);
    help_job_free(&job);

    job = job_of(&(struct rules){"greedy", "1", RESTS, 0, 0, {0}, NONFINITE_BAD});
    job.state->status = JOB_PAUSED;
    help_report(&job, 1);
    job.state->status = JOB_ACTIVE;
    for (int i = 0; i < 9; i++)
        help_report(&job, 1);
    cr_assert_eq(job.state->anneal_done, 9, "counted before anybody asks");
    update(&job, (struct anneal){10, 0.2, true});
    cr_assert_eq(help_lr(&job), 0.5);
    help_job_free(&job);
}

Test(core_anneal, a_rewind_takes_its_count_back)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 10, 0.5, {0}, NONFINITE_BAD});
    struct job_state *past = malloc(job_state_size(job.spec));
    struct job_event event = {.kind = EVENT_RESTORE,
                              .restore = {.action = ACTION_REWIND, .to = past, .why = "back"}};

    for (int i = 0; i < 6; i++)
        help_report(&job, 1);
    memcpy(past, job.state, job_state_size(job.spec));
    for (int i = 0; i < 4; i++)
        help_report(&job, 1);
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(job.state->anneal_done, 6);
    cr_assert_eq(help_lr(&job), 0.8);
    help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 0.6);
    free(past);
    help_job_free(&job);
}

/* The policy's own flags stand, those of the rates are the answer's. */
Test(core_anneal, flags_are_those_of_the_answered_rates)
{
    struct help_job job = job_of(&(struct rules){
        "greedy", "1", "factor=0.5 patience=0 smooth=false min_lr=0.5 max_lr=2", 8, 0.5, {0}, NONFINITE_BAD});

    help_report(&job, 5); /* 2 */
    cr_assert(job.d.at_max);
    for (int i = 0; i < 4; i++)
        help_report(&job, 4 - i);
    cr_assert(!job.d.at_max, "max_lr times 3/4");
    cr_assert_eq(help_lr(&job), 1.5);
    cr_assert_str_eq(job.d.reason,
                     "better than best 2 (step 4); good 1 beyond patience 0: raise due, but every rate is "
                     "at max_lr; anneal x0.75");
    for (int i = 0; i < 3; i++)
        help_report(&job, 9);
    cr_assert(job.d.at_min && job.d.plateaued);
    cr_assert_eq(help_lr(&job), 0.5, "at the floor, the anneal lowers nothing");
    cr_assert_not_null(strstr(job.d.reason, "; anneal x0, its end"), "%s", job.d.reason);
    help_job_free(&job);
}

Test(core_anneal, the_least_rates_stay_above_zero_where_there_is_a_bound)
{
    struct help_job job = job_of(
        &(struct rules){"greedy", "1e-300", "patience=1000 min_lr=1e-310", 1000, 1, {0}, NONFINITE_BAD});

    for (int i = 0; i < 1005; i++) {
        help_report(&job, 1);
        cr_assert_geq(help_lr(&job), 1e-310);
    }
    help_job_free(&job);
}

/* An lr_cap may have left the policy below its floor: the anneal does not lift it. */
Test(core_anneal, a_rate_below_the_floor_is_not_lifted)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 10, 0.5, {0}, NONFINITE_BAD});
    struct job_event event = help_event(1);

    event.report.lr_cap = 1e-4;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    for (int i = 0; i < 9; i++) {
        help_report(&job, 1);
        cr_assert_eq(help_lr(&job), 1e-4);
    }
    help_job_free(&job);
}

Test(core_anneal, states_as_bytes)
{
    struct help_job job = job_of(&(struct rules){"greedy", "1", RESTS, 10, 0.5, {3, 0.5}, NONFINITE_SKIP});

    for (int i = 0; i < 9; i++)
        help_report(&job, i % 3 == 2 ? NAN : 1);
    size_t n = job_state_encoded_size(job.spec, job.state);
    uint8_t *bytes = malloc(n);

    job_state_encode(job.spec, job.state, bytes);
    memset(job.next, 0xff, job_state_size(job.spec));
    cr_assert_eq(job_state_decode(job.spec, bytes, n, job.next, &job.err), ST_OK);
    cr_assert(memcmp(job.next, job.state, job_state_size(job.spec)) == 0);
    cr_assert_eq(job.next->anneal_done, 7);
    free(bytes);
    help_job_free(&job);
}
