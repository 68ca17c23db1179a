/* The policy learned: its model, its weights files, and what goes around the model.  Rates are compared with
 * another implementation in test_core_conformance.c. */
#include "core/learned.h"

#include "test_core_help.h"

#include "core/exact_math.h"

/* A model whose action is always tanh(bias). */
static struct learned_model constant_model(double bias)
{
    struct learned_model model = {.feature_set = LEARNED_FEATURE_SET, .up = 1.5, .down = 4};

    model.weights[LEARNED_FEATURES] = bias;
    for (int i = 0; i < LEARNED_FEATURES; i++) {
        model.lo[i] = -1e5;
        model.hi[i] = 1e5;
    }
    return model;
}

static struct job_spec *spec_with(const struct learned_model *model, const char *lr, const char *settings)
{
    struct job_spec *spec = help_raw_spec_of("learned", lr, settings);
    struct error err;

    spec->learned = model;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    return spec;
}

static void report(struct help_job *job, double value)
{
    help_report(job, value);
}

Test(core_learned, functions_are_near_those_of_libm)
{
    for (int i = -4000; i <= 4000; i++) {
        double x = i / 40.0, positive = pow(10, i / 20.0);

        cr_expect_float_eq(exact_tanh(x), tanh(x), 1e-14, "tanh %g", x);
        cr_expect(fabs(exact_asinh(x * x * x) - asinh(x * x * x)) <= 1e-14 * (1 + fabs(asinh(x * x * x))),
                  "asinh %g", x);
        cr_expect(fabs(exact_exp(x) - exp(x)) <= 1e-14 * exp(x), "exp %g", x);
        cr_expect(fabs(exact_log(positive) - log(positive)) <= 1e-14 * fabs(log(positive)), "log %g",
                  positive);
    }
    cr_expect_eq(exact_log(1), 0);
    cr_expect_eq(exact_exp(0), 1);
    cr_expect_eq(exact_tanh(1e9), 1);
    cr_expect_eq(exact_tanh(-1e9), -1);
    cr_expect_float_eq(exact_log(5e-324), log(5e-324), 1e-12);
}

/* What a machine with other habits would get wrong. */
Test(core_learned, functions_are_these_bits)
{
    cr_expect_eq(exact_log(3), 0x1.193ea7aad030bp+0, "%a", exact_log(3));
    cr_expect_eq(exact_exp(1), 0x1.5bf0a8b14576ap+1, "%a", exact_exp(1));
    cr_expect_eq(exact_tanh(0.3), 0x1.2a4dda7d914f9p-2, "%a", exact_tanh(0.3));
    cr_expect_eq(exact_asinh(2), 0x1.719218313d087p+0, "%a", exact_asinh(2));
}

Test(core_learned, the_action_moves_every_group_by_its_limit)
{
    struct learned_model up = constant_model(50), down = constant_model(-50);
    struct help_job job = help_job_take(spec_with(&up, "0.1,0.01", ""));

    report(&job, 1);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.15, 1e-15);
    cr_expect_float_eq(job_lrs(job.state)[1], 0.015, 1e-16);
    cr_expect_eq(job.d.action, ACTION_RAISE);
    cr_expect_not_null(strstr(job.d.reason, "; model "), "%s", job.d.reason);
    help_job_free(&job);
    job = help_job_take(spec_with(&down, "0.1", ""));
    report(&job, 1);
    report(&job, 1.1);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.025, 1e-15);
    cr_expect_eq(job.d.action, ACTION_CUT);
    help_job_free(&job);
}

Test(core_learned, bounds_and_cap)
{
    struct learned_model up = constant_model(50);
    struct help_job job = help_job_take(spec_with(&up, "0.1", "max_lr=0.2"));
    struct job_event event = help_event(1);

    report(&job, 1);
    report(&job, 0.9);
    cr_expect_eq(job_lrs(job.state)[0], 0.2);
    cr_expect(job.d.at_max);
    event.report.value = 0.8;
    event.report.lr_cap = 0.05;
    help_step(&job, &event);
    cr_expect_eq(job_lrs(job.state)[0], 0.05);
    cr_expect_not_null(strstr(job.d.reason, "limited to lr_cap 0.05"), "%s", job.d.reason);
    report(&job, 0.7);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.075, 1e-15, "nothing wound up under the cap");
    help_job_free(&job);
}

Test(core_learned, a_loss_that_is_not_above_zero_hands_over)
{
    struct learned_model up = constant_model(50);
    const double values[] = {0, -1, NAN, INFINITY};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct help_job job = help_job_take(spec_with(&up, "0.1", ""));

        report(&job, 1);
        report(&job, values[i]);
        cr_expect_not_null(strstr(job.d.reason, "GreedyLR takes over"), "%s", job.d.reason);
        report(&job, 1);
        cr_expect(strstr(job.d.reason, "GreedyLR since step 2") == job.d.reason, "%s", job.d.reason);
        cr_expect_eq(job.d.action, ACTION_HOLD);
        help_job_free(&job);
    }
}

Test(core_learned, three_reports_outside_the_envelope_hand_over)
{
    struct learned_model up = constant_model(50);

    up.hi[13] = 0.5; /* known */
    struct help_job job = help_job_take(spec_with(&up, "0.1", "total_reports=50"));

    report(&job, 1);
    cr_expect_not_null(strstr(job.d.reason, "known 1 is above the 0.5 seen in training (1 of 3): rate held"),
                       "%s", job.d.reason);
    report(&job, 0.9);
    cr_expect_eq(job_lrs(job.state)[0], 0.1);
    report(&job, 0.8);
    cr_expect_not_null(strstr(job.d.reason, "outside of what the model was trained on: GreedyLR takes over"),
                       "%s", job.d.reason);
    report(&job, 0.7);
    report(&job, 0.6);
    report(&job, 0.5);
    cr_expect_eq(job_lrs(job.state)[0], 0.1 / 0.8, "three better values raise");
    help_job_free(&job);
}

Test(core_learned, tripwire)
{
    struct learned_model up = constant_model(50);
    struct help_job job = help_job_take(spec_with(&up, "0.1", ""));
    uint32_t trips = 0;

    report(&job, 1);
    for (int i = 0; i < 40 && trips < LEARNED_TRIPS; i++) {
        double before = job_lrs(job.state)[0];

        report(&job, exp(2 + i));
        if (!strstr(job.d.reason, "tripwire")) continue;
        trips++;
        cr_expect_leq(job_lrs(job.state)[0], before / 4 * (1 + 1e-12), "%s", job.d.reason);
        cr_expect_eq(job.d.action, ACTION_CUT);
    }
    cr_expect_eq(trips, LEARNED_TRIPS);
    cr_expect_not_null(strstr(job.d.reason, "tripwire 5 of 5"), "%s", job.d.reason);
    cr_expect_not_null(strstr(job.d.reason, "GreedyLR decides from here on"), "%s", job.d.reason);
    report(&job, 1e40);
    cr_expect_not_null(strstr(job.d.reason, "(the tripwire's last time)"), "%s", job.d.reason);
    help_job_free(&job);
}

Test(core_learned, noise_gate)
{
    struct learned_model up = constant_model(50);
    struct help_job job = help_job_take(spec_with(&up, "0.1", "noise_gate=0.1"));

    for (int i = 0; i < 6; i++)
        report(&job, i % 2 ? 1.4 : 1);
    double before = job_lrs(job.state)[0];

    report(&job, 1);
    cr_expect_not_null(strstr(job.d.reason, "is above noise_gate 0.1: no raise"), "%s", job.d.reason);
    cr_expect_eq(job_lrs(job.state)[0], before);
    cr_expect_eq(job.d.action, ACTION_HOLD);
    help_job_free(&job);
}

/* ---- the watch ---- */

static const struct learned_state *watched(const struct help_job *job)
{
    return job_policy_state(job->state);
}

/* GreedyLR ran along from the first report: it decides as a job of its own would have. */
Test(core_learned, cuts_that_nothing_asked_for_hand_over_to_the_greedylr_that_ran_along)
{
    struct learned_model down = constant_model(-50);
    struct help_job job = help_job_take(spec_with(&down, "0.1,0.01", ""));
    struct help_job greedy = help_job("0.1,0.01", "min_lr=1e-5,1e-6 max_lr=100,10");

    for (int i = 0; i < 20; i++) {
        report(&job, pow(0.9, i));
        report(&greedy, pow(0.9, i));
        if (i < 2) {
            cr_expect_eq(job_lrs(job.state)[0], 0.1);
            cr_expect_eq(job.d.action, ACTION_HOLD);
            cr_expect_not_null(strstr(job.d.reason, "the model cuts and the loss did not rise"), "%s",
                               job.d.reason);
        } else {
            cr_expect_eq(memcmp(job_lrs(job.state), job_lrs(greedy.state), 2 * sizeof(double)), 0);
            cr_expect_eq(job.d.action, greedy.d.action);
            cr_expect_not_null(strstr(job.d.reason, "the model drives the rate away"), "%s", job.d.reason);
        }
    }
    cr_expect_gt(job_lrs(job.state)[0], 0.1);
    cr_expect(strstr(job.d.reason, "GreedyLR since step 3 (the model") == job.d.reason, "%s", job.d.reason);
    help_job_free(&job);
    help_job_free(&greedy);
}

/* A cut after a loss that rose is followed, and is no end of the count. */
Test(core_learned, a_rising_loss_excuses_a_cut)
{
    struct learned_model down = constant_model(-50);
    struct help_job job = help_job_take(spec_with(&down, "0.1", ""));
    const double values[] = {1, 1.1, 1.05, 1.2};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        report(&job, values[i]);
    cr_expect_eq(watched(&job)->outside, 2);
    cr_expect_eq(watched(&job)->pilot, LEARNED_WATCHED);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.1 / 16, 1e-15);
    report(&job, 1.15);
    cr_expect_eq(watched(&job)->pilot, LEARNED_ASTRAY);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.08, 1e-15, "where GreedyLR is after three worse values");
    cr_expect_eq(job.d.action, ACTION_RAISE);
    help_job_free(&job);
}

Test(core_learned, an_lr_cap_holds_where_the_watch_hands_over)
{
    struct learned_model down = constant_model(-50);
    struct help_job job = help_job_take(spec_with(&down, "0.1", ""));
    struct job_event event = help_event(1);

    event.report.lr_cap = 0.05;
    for (int i = 0; i < 12; i++) {
        event.report.value = pow(0.9, i);
        help_step(&job, &event);
        cr_expect_leq(job_lrs(job.state)[0], 0.05);
    }
    cr_expect_eq(watched(&job)->pilot, LEARNED_ASTRAY);
    help_job_free(&job);
}

/* Raises on trial, then drives the rate away: tanh(5 - 2 log(1 + t)). */
static struct learned_model late_model(void)
{
    struct learned_model model = constant_model(5);

    model.weights[14] = -8;
    return model;
}

Test(core_learned, a_rate_far_down_where_nothing_moves_starts_again)
{
    struct learned_model late = late_model();
    struct help_job job = help_job_take(spec_with(&late, "0.1", ""));
    uint32_t held = 0;

    for (int i = 0; i < 60 && watched(&job)->pilot == LEARNED_WATCHED; i++) {
        double before = job_lrs(job.state)[0];

        report(&job, i < 10 ? pow(0.9, i) : 0.35);
        if (!strstr(job.d.reason, "of the initial rate and the loss hardly moves")) continue;
        held++;
        cr_expect_eq(job_lrs(job.state)[0], before);
        cr_expect_lt(before, 0.1 / 50);
    }
    cr_expect_eq(held, 2, "the third hands over");
    cr_expect_eq(watched(&job)->pilot, LEARNED_ASTRAY);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.1, 1e-15);
    cr_expect_eq(job.d.action, ACTION_RAISE);
    cr_expect_not_null(strstr(job.d.reason, "the model drives the rate away: GreedyLR takes over"), "%s",
                       job.d.reason);
    help_job_free(&job);
}

/* The noise is what the jump itself left in it: 2.2, of which the allowance would be 13. */
Test(core_learned, a_jump_is_no_noise_to_a_model_that_raises_into_it)
{
    struct learned_model up = constant_model(50), still = constant_model(0);
    const double values[] = {8.29, 8.1, 104};
    struct help_job job = help_job_take(spec_with(&up, "0.1", "")),
                    calm = help_job_take(spec_with(&still, "0.1", ""));

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        report(&job, values[i]);
        report(&calm, values[i]);
    }
    cr_expect_eq(watched(&job)->trips, 1);
    cr_expect_float_eq(job_lrs(job.state)[0], 0.1 * 1.5 * 1.5 / 4, 1e-15, "cut by four");
    cr_expect_eq(watched(&calm)->trips, 0, "the allowance stands");
    help_job_free(&job);
    help_job_free(&calm);
}

/* What a daemon of before the watch left: byte for byte a state of today, that nobody watches. */
Test(core_learned, states_of_before_the_watch_go_on_as_they_were)
{
    struct learned_model late = late_model();
    struct help_job job = help_job_take(spec_with(&late, "0.1", ""));
    struct learned_state *s = (struct learned_state *)(uintptr_t)watched(&job);

    s->pilot = LEARNED_FLIES;
    memset(learned_greedy_block(job.spec, s), 0, learned_greedy_size(job.spec));
    size_t n = job_state_encoded_size(job.spec, job.state);
    uint8_t *bytes = malloc(n);
    struct help_job fresh = help_job_take(spec_with(&late, "0.1", ""));

    cr_expect_lt(n + 40, job_state_encoded_size(fresh.spec, fresh.state), "no GreedyLR in it");
    job_state_encode(job.spec, job.state, bytes);
    cr_assert_eq(job_state_decode(job.spec, bytes, n, job.next, &job.err), ST_OK);
    cr_expect_eq(memcmp(job.next, job.state, job_state_size(job.spec)), 0);
    for (int i = 0; i < 60; i++)
        report(&job, i < 10 ? pow(0.9, i) : 0.35);
    cr_expect_eq(watched(&job)->pilot, LEARNED_FLIES);
    cr_expect_float_eq(job_lrs(job.state)[0], 1e-5, 1e-15, "down at its bound");
    free(bytes);
    help_job_free(&fresh);
    help_job_free(&job);
}

static int refused(const char *settings, struct error *err)
{
    struct job_spec *spec = help_raw_spec_of("learned", "0.1", "");
    int rc = help_set_all(spec, settings, err);

    if (rc == ST_OK) rc = spec_resolve(spec, err);
    spec_free(spec);
    return rc;
}

Test(core_learned, settings_that_do_not_fit)
{
    static const struct {
        const char *settings, *says;
    } rows[] = {
        {"min_lr=0.2", "learned.min_lr: must be above 0 and at most lr 0.1, got 0.2"},
        {"max_lr=0.05", "learned.max_lr: must be finite and at least lr 0.1, got 0.05"},
        {"up=1.5", "learned.feature_set: is required with the other numbers of a model"},
        {"model=0123456789abcdef", "learned.model: must be "},
        {"model=0123", "must be 16 lower-case hex digits, got \"0123\""},
        {"up=1", "must be in (1, 10], got 1"},
        {"noise_gate=-1", "at least 0, got -1"},
        {"feature_set=2 up=2 down=2 weights=1 feature_lo=1 feature_hi=1", "learned.feature_set: must be 1"},
        {"feature_set=1 up=2 down=2 weights=1 feature_lo=1 feature_hi=1",
         "learned.weights: must have 23 numbers, one per feature and the bias, got 1"},
    };
    struct error err;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cr_expect_neq(refused(rows[i].settings, &err), ST_OK, "%s", rows[i].settings);
        cr_expect_not_null(strstr(err.message, rows[i].says), "%s: %s", rows[i].settings, err.message);
    }
}

/* ---- weights files ---- */

#define TEXT_MAX 8192

static size_t default_text(char *text)
{
    return learned_write(&learned_default_model, &learned_default_origin, text, TEXT_MAX);
}

Test(core_learned, files_read_back)
{
    char text[TEXT_MAX], again[TEXT_MAX], hash[LEARNED_HASH_LEN + 1];
    struct learned_model model;
    struct learned_origin origin;
    struct error err;
    size_t n = default_text(text);

    cr_assert_eq(learned_read("f", text, n, &model, &origin, &err), ST_OK, "%s", err.message);
    cr_expect_eq(memcmp(&model.weights, &learned_default_model.weights, sizeof(model.weights)), 0);
    cr_expect_eq(learned_write(&model, &origin, again, sizeof(again)), n);
    cr_expect_str_eq(text, again);
    learned_hash(&model, hash);
    cr_expect_not_null(strstr(text, hash));
    cr_expect_geq(learned_write(&model, &origin, NULL, 0) + 13, n, "what there is, without room");
}

/* Every byte of a file counts: no other value of it is taken. */
Test(core_learned, changed_files_are_refused)
{
    char text[TEXT_MAX];
    struct learned_model model;
    struct learned_origin origin;
    struct error err;
    size_t n = default_text(text);

    for (size_t i = 0; i < n; i++) {
        char was = text[i];

        text[i] = was == '1' ? '2' : '1';
        cr_expect_eq(learned_read("weights", text, n, &model, &origin, &err), ST_FIELD_INVALID, "byte %zu",
                     i);
        cr_expect(strncmp(err.message, "weights:", 8) == 0, "%s", err.message);
        text[i] = '\0';
        cr_expect_eq(learned_read("weights", text, n, &model, &origin, &err), ST_FIELD_INVALID, "byte %zu",
                     i);
        text[i] = was;
        cr_expect_eq(learned_read("weights", text, i, &model, &origin, &err), ST_FIELD_INVALID, "cut at %zu",
                     i);
    }
    text[n] = '\n';
    cr_expect_eq(learned_read("weights", text, n + 1, &model, &origin, &err), ST_FIELD_INVALID);
    cr_expect_not_null(strstr(err.message, "behind the last line"), "%s", err.message);
}

Test(core_learned, refusals_name_the_line)
{
    static const struct {
        const char *from, *to, *says;
    } rows[] = {
        {"greedylr-learned 1", "greedylr-learned 2", "w:1: version 2 of the format, this program reads 1"},
        {"greedylr-learned 1", "greedylr-learnt 1", "w:1: expected \"greedylr-learned ...\""},
        {"feature_set 1", "feature_set 3",
         "w:2: feature_set 3, this program computes set 1; train the model again"},
        {"up ", "up 9", "w:3: up must be in (1, 10]"},
        {"feature fast", "feature slow", "w:6: expected \"feature fast ...\""},
        {"bias ", "bias x", "w:27: expected 1 finite number, got \"x"},
        {"seed ", "seed 7", "the CRC of the lines above"},
        {"model ", "model 0", "the hash of these numbers is"},
    };
    char text[TEXT_MAX], changed[TEXT_MAX + 32];
    struct learned_model model;
    struct learned_origin origin;
    struct error err;

    default_text(text);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *at = strstr(text, rows[i].from);

        cr_assert_not_null(at, "%s", rows[i].from);
        snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, rows[i].to,
                 at + strlen(rows[i].from));
        cr_expect_eq(learned_read("w", changed, strlen(changed), &model, &origin, &err), ST_FIELD_INVALID);
        cr_expect_not_null(strstr(err.message, rows[i].says), "%s", err.message);
    }
}

/* The model that ships starts inside its own envelope and moves. */
Test(core_learned, the_default_model_decides)
{
    struct help_job job = help_job_take(help_spec_of("learned", "0.1", "total_reports=60"));

    for (int i = 0; i < 60; i++) {
        report(&job, 2 * exp(-0.03 * i));
        cr_expect_not_null(strstr(job.d.reason, "; model "), "%s", job.d.reason);
    }
    cr_expect_gt(job_lrs(job.state)[0], 0.1, "a loss that falls all the way wants more");
    help_job_free(&job);
}
