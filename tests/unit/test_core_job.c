/* Jobs: what stands around the policy, and states as bytes. */
#include "test_core_help.h"

static struct job_event at_step(uint32_t step, double value)
{
    struct job_event event = help_event(value);

    event.report.has_step = true;
    event.report.step = step;
    return event;
}

static struct help_job ramp_job(uint32_t reports, double start_factor)
{
    struct job_spec *spec = help_raw_spec("0.3,0.007", "patience=0 smooth=false");
    struct error err;

    spec->ramp = (struct ramp){reports, start_factor};
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    return help_job_take(spec);
}

Test(core_job, at_creation)
{
    struct help_job job = help_job("0.1,0.2", "");
    struct policy_view view;

    cr_assert_eq(job.state->revision, 0);
    cr_assert_eq(job.state->attempt, 0);
    cr_assert(!job.state->has_step);
    cr_assert_eq(job.state->status, JOB_ACTIVE);
    cr_assert_eq(job_lrs(job.state)[0], 0.1);
    cr_assert_eq(job_lrs(job.state)[1], 0.2);
    job_view(job.spec, job.state, &view);
    cr_assert(view.has_best && !view.has_best_step);
    cr_assert_eq(view.best, INFINITY);
    cr_assert(!view.at_min && !view.at_max && !view.plateaued);
    help_job_free(&job);
}

Test(core_job, ramp_is_a_line_the_policy_does_not_see)
{
    const double f = 0.1;
    const uint32_t n = 7;
    struct help_job job = ramp_job(n, f);

    cr_assert_eq(job_lrs(job.state)[0], 0.3 * f);
    for (uint32_t t = 1; t <= n; t++) {
        help_report(&job, t % 2 ? NAN : 5);
        cr_assert_eq(job.d.action, ACTION_RAMP);
        cr_assert_eq(job_lrs(job.state)[0], 0.3 * (f + (1 - f) * t / n), "t %u", t);
        cr_assert(job.d.has_value && !job.d.has_smoothed);
        cr_assert_eq(job.d.best, INFINITY);
        cr_assert_eq(job.d.num_bad, 0);
    }
    cr_assert_eq(job_lrs(job.state)[0], 0.3, "exactly lr at the end");
    cr_assert_eq(job_lrs(job.state)[1], 0.007, "exactly lr at the end");
    help_report(&job, 9);
    cr_assert_eq(job.d.action, ACTION_RAISE);
    cr_assert_eq(job.state->reports, n + 1);
    help_job_free(&job);
}

/* start + (1 - start) is not always 1 in doubles: the end of the ramp is the policy's rate, whatever the sum
 * says. */
Test(core_job, ramp_ends_exactly_for_any_start)
{
    for (int i = 1; i <= 1000; i++) {
        struct help_job job = ramp_job(1, i / 1000.0);

        help_report(&job, 1);
        cr_assert_eq(help_lr(&job), 0.3, "start_factor %g", i / 1000.0);
        help_job_free(&job);
    }
}

Test(core_job, a_cap_during_the_ramp_clamps_only_the_answer)
{
    struct help_job job = ramp_job(4, 0.5);
    struct job_event event = help_event(1);

    event.report.lr_cap = 0.01;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(job_lrs(job.state)[0], 0.01);
    cr_assert_eq(job_lrs(job.state)[1], 0.007 * (0.5 + 0.5 * 1 / 4));
    help_report(&job, 1);
    cr_assert_eq(job_lrs(job.state)[0], 0.3 * 0.75);
    help_job_free(&job);
}

Test(core_job, flags_are_those_of_the_answered_rates)
{
    struct job_spec *spec = help_raw_spec("1", "min_lr=1 max_lr=1");
    struct error err;

    spec->ramp = (struct ramp){2, 0.1};
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    struct help_job job = help_job_take(spec);

    help_report(&job, 1);
    cr_assert(job.d.at_min && !job.d.at_max);
    help_report(&job, 1);
    cr_assert(job.d.at_min && job.d.at_max);
    help_job_free(&job);
}

Test(core_job, steps_are_counted_where_none_is_given)
{
    struct help_job job = help_job("1", "");

    help_report(&job, 1);
    cr_assert(job.d.has_step);
    cr_assert_eq(job.d.step, 1);
    struct job_event event = at_step(1000, 1);

    cr_assert_eq(help_step(&job, &event), ST_OK);
    help_report(&job, 1);
    cr_assert_eq(job.d.step, 1001);
    event = at_step(UINT32_MAX, 1);
    cr_assert_eq(help_step(&job, &event), ST_OK);
    event = help_event(1);
    cr_assert_eq(help_step(&job, &event), ST_FIELD_INVALID);
    cr_assert_eq(job.state->step, UINT32_MAX);
    help_job_free(&job);
}

Test(core_job, step_zero_is_a_step)
{
    struct help_job job = help_job("1", "");
    struct job_event event = at_step(0, 1);

    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert(job.d.has_step);
    cr_assert_eq(job.d.step, 0);
    cr_assert_eq(job_relation(job.state, &event), REPORT_RECORDED);
    help_job_free(&job);
}

struct relation_row {
    bool job_has_step; /* the job is at attempt 5, and step 100 if it has one */
    int attempt;       /* -1: none */
    int64_t step;      /* -1: automatic */
    enum report_relation want;
};

Test(core_job, relation_of_a_report_to_the_job)
{
    static const struct relation_row rows[] = {
        {false, -1, -1, REPORT_NEW},         {false, -1, 7, REPORT_NEW},
        {false, 5, 0, REPORT_NEW},           {false, 4, 7, REPORT_STALE},
        {false, 4, -1, REPORT_STALE},        {false, 6, 7, REPORT_NEW},
        {false, 6, -1, REPORT_NEW},          {true, -1, -1, REPORT_NEW},
        {true, -1, 99, REPORT_RECORDED},     {true, -1, 100, REPORT_RECORDED},
        {true, -1, 101, REPORT_NEW},         {true, 5, -1, REPORT_NEW},
        {true, 5, 99, REPORT_RECORDED},      {true, 5, 100, REPORT_RECORDED},
        {true, 5, 101, REPORT_NEW},          {true, 4, -1, REPORT_STALE},
        {true, 4, 99, REPORT_STALE},         {true, 4, 101, REPORT_STALE},
        {true, 6, -1, REPORT_NEW},           {true, 6, 101, REPORT_NEW},
        {true, 6, 100, REPORT_NEEDS_REWIND}, {true, 6, 99, REPORT_NEEDS_REWIND},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct help_job job = help_job("1", "");
        struct job_event event = help_event(1);

        job.state->attempt = 5;
        job.state->has_step = rows[i].job_has_step;
        job.state->step = rows[i].job_has_step ? 100 : 0;
        event.report.has_attempt = rows[i].attempt >= 0;
        event.report.attempt = (uint32_t)rows[i].attempt;
        event.report.has_step = rows[i].step >= 0;
        event.report.step = (uint32_t)rows[i].step;
        cr_expect_eq(job_relation(job.state, &event), rows[i].want, "row %zu", i);

        int rc = help_step(&job, &event);

        cr_expect_eq(rc,
                     rows[i].want == REPORT_NEW     ? ST_OK
                     : rows[i].want == REPORT_STALE ? ST_STALE_ATTEMPT
                                                    : ST_INTERNAL,
                     "row %zu: %d", i, rc);
        if (rc == ST_OK)
            cr_expect_eq(job.state->attempt, rows[i].attempt < 0 ? 5u : (uint32_t)rows[i].attempt, "row %zu",
                         i);
        help_job_free(&job);
    }
}

Test(core_job, a_paused_job_records_and_rests)
{
    struct help_job job = ramp_job(3, 0.5);

    help_report(&job, 1);
    job.state->status = JOB_PAUSED;
    double lr = help_lr(&job);

    for (int i = 0; i < 5; i++) {
        help_report(&job, 1);
        cr_assert_eq(job.d.action, ACTION_HOLD);
        cr_assert_eq(help_lr(&job), lr);
        cr_assert_eq(job.d.value, 1);
    }
    cr_assert_eq(job.state->reports, 6);
    cr_assert_eq(job.state->step, 6);
    cr_assert_eq(job.d.best, INFINITY);
    job.state->status = JOB_ACTIVE;
    help_report(&job, 1);
    cr_assert_eq(job.d.action, ACTION_RAMP);
    cr_assert_eq(help_lr(&job), 0.3 * (0.5 + 0.5 * 2 / 3), "the ramp goes on where it was");
    help_job_free(&job);
}

Test(core_job, skipped_values_count_as_reports_only)
{
    struct job_spec *spec = help_raw_spec("1", "patience=0 smooth=false");
    struct error err;

    spec->on_nonfinite = NONFINITE_SKIP;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    struct help_job job = help_job_take(spec);
    struct job_event event = help_event(NAN);

    event.report.lr_cap = 0.5;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(job.d.action, ACTION_SKIP);
    cr_assert_eq(help_lr(&job), 0.5, "the answer keeps to the cap");
    cr_assert_eq(job.state->reports, 1);
    cr_assert_eq(job.state->step, 1);
    cr_assert(job.d.has_value && isnan(job.d.value));
    help_report(&job, 1);
    cr_assert_eq(help_lr(&job), 1 / 0.8, "the policy had not seen it");
    help_job_free(&job);
}

Test(core_job, a_finished_job_takes_no_reports)
{
    struct help_job job = help_job("1", "");
    struct job_event event = help_event(1);

    job.state->status = JOB_FINISHED;
    cr_assert_eq(help_step(&job, &event), ST_JOB_FINISHED);
    cr_assert_eq(job.state->revision, 0);
    help_job_free(&job);
}

Test(core_job, reject_holds_during_a_ramp_too)
{
    struct job_spec *spec = help_raw_spec("1", "");
    struct error err;
    struct job_event event = help_event(NAN);

    spec->ramp = (struct ramp){5, 0.5};
    spec->on_nonfinite = NONFINITE_REJECT;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    struct help_job job = help_job_take(spec);

    cr_assert_eq(help_step(&job, &event), ST_NONFINITE_REJECTED);
    cr_assert_eq(job.state->ramp_done, 0);
    help_job_free(&job);
}

Test(core_job, applied_rates_are_compared_with_the_last_answer)
{
    static const struct {
        double applied;
        bool mismatch;
    } rows[] = {{NAN, false},       {1, false},         {1 + 9e-7, false}, {1 - 9e-7, false},
                {1 + 1.2e-6, true}, {1 - 1.2e-6, true}, {1.25, true},      {INFINITY, true},
                {-INFINITY, true},  {0, true},          {-1, true}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct help_job job = help_job("1", "patience=0 smooth=false");
        struct job_event event = help_event(1); /* raises to 1.25: what was answered last is still 1 */

        event.report.applied_lr = rows[i].applied;
        cr_assert_eq(help_step(&job, &event), ST_OK);
        cr_assert_eq(help_lr(&job), 1.25);
        cr_expect_eq(job.d.applied_mismatch, rows[i].mismatch, "applied %g", rows[i].applied);
        help_job_free(&job);
    }
}

/* A job after some reports, changed by one setting. */
static struct help_job updated(const char *settings, const double *values, size_t n, const char *change)
{
    struct help_job job = help_job("1", settings);
    struct error err;

    for (size_t i = 0; i < n; i++)
        help_report(&job, values[i]);
    struct job_spec *spec = spec_copy(job.spec);

    cr_assert_eq(help_set_all(spec, change, &err), ST_OK, "%s", err.message);
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    struct job_event event = {.kind = EVENT_UPDATE, .time_us = 5, .update = {spec, change}};

    job.next = realloc(job.next, job_state_size(spec));
    uint32_t reports = job.state->reports, step = job.state->step;

    cr_assert_eq(help_step(&job, &event), ST_OK, "%s", job.err.message);
    cr_assert_eq(job.d.action, ACTION_UPDATE);
    cr_assert_str_eq(job.d.reason, change);
    cr_assert(!job.d.has_value && !job.d.has_smoothed);
    cr_assert_eq(job.state->reports, reports);
    cr_assert_eq(job.state->step, step);
    spec_free(job.spec);
    job.spec = spec;
    job.next = realloc(job.next, job_state_size(spec));
    return job;
}

static const double rising[] = {1, 2, 3, 4, 5, 6};

Test(core_job, update_clamps_to_new_bounds_at_once)
{
    struct help_job job = updated("smooth=false", rising, 1, "max_lr=1 min_lr=1");

    cr_assert_eq(help_lr(&job), 1);
    cr_assert(job.d.at_min && job.d.at_max);
    help_job_free(&job);

    job = updated("smooth=false patience=0 factor=0.5", rising, 1, "max_lr=1.5");
    cr_assert_eq(help_lr(&job), 1.5);
    help_job_free(&job);
    job = updated("smooth=false patience=0 factor=0.5", rising, 4, "min_lr=0.75");
    cr_assert_eq(help_lr(&job), 0.75, "%g", help_lr(&job));
    help_job_free(&job);
}

Test(core_job, update_keeps_counters_and_best)
{
    struct help_job job = updated("smooth=false patience=5", rising, 4, "patience=3");

    cr_assert_eq(job.d.num_bad, 3);
    cr_assert_eq(job.d.best, 1);
    help_report(&job, 9);
    cr_assert_eq(job.d.action, ACTION_CUT);
    help_job_free(&job);
}

Test(core_job, a_smaller_window_keeps_the_newest)
{
    struct help_job job = updated("smoothing=mean window_size=5", rising, 6, "window_size=2");

    help_report(&job, 10);
    cr_assert_eq(job.d.smoothed, (6.0 + 10.0) / 2);
    help_job_free(&job);
    job = updated("smoothing=mean window_size=3", rising, 6, "window_size=100");
    help_report(&job, 10);
    cr_assert_eq(job.d.smoothed, (4.0 + 5 + 6 + 10) / 4);
    help_job_free(&job);
    job = updated("smoothing=mean window_size=3", rising, 6, "smoothing=median window_size=4");
    help_report(&job, 10);
    cr_assert_eq(job.d.smoothed, (5.0 + 6) / 2);
    help_job_free(&job);
    job = updated("dialect=transformers smooth=true window_size=5", rising, 6, "window_size=2");
    help_report(&job, 10);
    cr_assert_eq(job.d.smoothed, (6.0 + 10) / 2);
    help_job_free(&job);
}

Test(core_job, smoothing_of_another_kind_starts_empty)
{
    struct help_job job = updated("smoothing=mean window_size=3", rising, 6, "smoothing=ema");

    help_report(&job, 10);
    cr_assert_eq(job.d.smoothed, 10);
    help_job_free(&job);
}

Test(core_job, a_turned_mode_forgets_the_best)
{
    struct help_job job = updated("smooth=false patience=5", rising, 4, "mode=max");

    cr_assert_eq(job.d.best, -INFINITY);
    cr_assert_eq(job.d.num_bad, 0);
    help_report(&job, 3);
    cr_assert_eq(job.d.num_good, 1);
    help_job_free(&job);
}

Test(core_job, a_shorter_stage_ends_sooner)
{
    struct help_job job = updated("smooth=false patience=0 warmup=9 stage_mode=hold", rising, 1, "warmup=2");
    struct policy_view view;

    job_view(job.spec, job.state, &view);
    cr_assert_eq(view.stage, STAGE_WARMUP);
    cr_assert_eq(view.stage_left, 2);
    help_job_free(&job);
    job = updated("smooth=false patience=0 warmup=9", rising, 1, "warmup=0");
    cr_assert_eq(job.d.stage, STAGE_NONE);
    help_job_free(&job);
}

Test(core_job, an_update_of_something_else_leaves_a_capped_rate)
{
    struct help_job job = help_job("1", "smooth=false min_lr=0.5");
    struct job_spec *spec = spec_copy(job.spec);
    struct job_event event = help_event(1);
    struct error err;

    event.report.lr_cap = 0.25;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_set(spec, "patience", "9", &err), ST_OK);
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    event = (struct job_event){.kind = EVENT_UPDATE, .update = {spec, "greedy.patience 2 -> 9"}};
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_lr(&job), 0.25);
    spec_free(spec);
    help_job_free(&job);
}

Test(core_job, a_changed_reset_start_restores_the_counter)
{
    struct help_job job = updated("smooth=false reset_start=5", rising, 4, "reset_start=3");
    struct policy_view view;

    job_view(job.spec, job.state, &view);
    cr_assert(view.has_resets_left);
    cr_assert_eq(view.resets_left, 3);
    help_job_free(&job);
}

Test(core_job, an_update_before_the_first_report_has_no_step)
{
    struct help_job job = updated("", NULL, 0, "patience=1");

    cr_assert(!job.d.has_step);
    help_job_free(&job);
}

Test(core_job, an_update_cannot_change_the_groups)
{
    struct help_job job = help_job("1", "");
    struct job_spec *other = help_spec("1,2", "");
    struct job_event event = {.kind = EVENT_UPDATE, .update = {other, "lr"}};

    job.next = realloc(job.next, job_state_size(other));
    cr_assert_eq(help_step(&job, &event), ST_INTERNAL);
    spec_free(other);
    help_job_free(&job);
}

/* States as bytes. */

struct bytes {
    uint8_t *v;
    size_t n;
};

static struct bytes encode(const struct help_job *job)
{
    struct bytes b = {.n = job_state_encoded_size(job->spec, job->state)};

    b.v = malloc(b.n);
    job_state_encode(job->spec, job->state, b.v);
    return b;
}

static struct help_job busy_job(const char *settings)
{
    struct help_job job = help_job("0.1,0.2", settings);

    for (int i = 0; i < 12; i++)
        help_report(&job, i == 5 ? NAN : fabs(6.5 - i));
    job.state->status = JOB_PAUSED;
    return job;
}

static const char *const kinds[] = {
    "smooth=false",
    "smoothing=mean",
    "smoothing=median window_size=4",
    "smoothing=ema",
    "dialect=transformers smooth=true window_size=6",
    "cooldown=9 warmup=9 patience=0 reset_start=3",
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

Test(core_job, a_decoded_state_is_the_same_memory)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct help_job job = busy_job(kinds[k]);
        struct bytes b = encode(&job);

        memset(job.next, 0xff, job_state_size(job.spec));
        cr_assert_eq(job_state_decode(job.spec, b.v, b.n, job.next, &job.err), ST_OK, "%s", job.err.message);
        struct bytes first = b;

        struct job_state *swap = job.state;

        job.state = job.next;
        job.next = swap;
        cr_assert_eq(job.state->status, JOB_PAUSED);
        cr_assert_eq(job.state->reports, 12);
        b = encode(&job);
        cr_assert(b.n == first.n && memcmp(b.v, first.v, b.n) == 0, "%s", kinds[k]);
        free(b.v);
        free(first.v);
        help_job_free(&job);
    }
}

Test(core_job, truncated_and_longer_bytes_are_damaged)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct help_job job = busy_job(kinds[k]);
        struct bytes b = encode(&job);

        for (size_t n = 0; n < b.n; n++) {
            uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees a read beyond it */

            memcpy(exact, b.v, n);
            cr_assert_eq(job_state_decode(job.spec, exact, n, job.next, &job.err), ST_DATA_DAMAGED,
                         "%zu of %zu", n, b.n);
            free(exact);
        }
        b.v = realloc(b.v, b.n + 1);
        b.v[b.n] = 0;
        cr_assert_eq(job_state_decode(job.spec, b.v, b.n + 1, job.next, &job.err), ST_DATA_DAMAGED);
        free(b.v);
        help_job_free(&job);
    }
}

/* Any byte may be anything: it is refused, or it is a state that can be stepped and written again. */
Test(core_job, corrupt_bytes_never_hurt)
{
    size_t refused = 0;

    for (size_t k = 0; k < KINDS; k++) {
        struct help_job job = busy_job(kinds[k]);
        struct bytes b = encode(&job);

        for (size_t i = 0; i < b.n; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                struct job_event event = help_event(1);

                b.v[i] ^= (uint8_t)(1u << bit);
                if (job_state_decode(job.spec, b.v, b.n, job.next, &job.err)) {
                    cr_assert_eq(job.err.status, ST_DATA_DAMAGED);
                    refused++;
                } else {
                    struct job_state *after = malloc(job_state_size(job.spec));

                    (void)!job_step(job.spec, job.next, &event, after, &job.d, &job.err);
                    free(after);
                }
                b.v[i] ^= (uint8_t)(1u << bit);
            }
        }
        free(b.v);
        help_job_free(&job);
    }
    cr_assert_gt(refused, 0);
}

Test(core_job, impossible_states_are_damaged)
{
    struct help_job job = busy_job("smooth=false patience=0 cooldown=3");
    struct job_spec *other = help_spec("1", "smooth=false");
    struct bytes b = encode(&job);
    struct greedy_state *s = help_greedy(&job);

    cr_assert_eq(job_state_decode(other, b.v, b.n, job.next, &job.err), ST_DATA_DAMAGED, "other groups");
    b.v[0] = 4;
    cr_assert_eq(job_state_decode(job.spec, b.v, b.n, job.next, &job.err), ST_DATA_DAMAGED, "newer version");
    b.v[0] = 3;
    b.v[2] = 'p';
    cr_assert_eq(job_state_decode(job.spec, b.v, b.n, job.next, &job.err), ST_DATA_DAMAGED, "another policy");
    free(b.v);

    s->data[0] = NAN;
    b = encode(&job);
    cr_assert_eq(job_state_decode(job.spec, b.v, b.n, job.next, &job.err), ST_DATA_DAMAGED,
                 "a rate that is none");
    free(b.v);
    s->data[0] = 0.1;
    s->stage = STAGE_WARMUP;
    s->stage_left = 0;
    b = encode(&job);
    cr_assert_eq(job_state_decode(job.spec, b.v, b.n, job.next, &job.err), ST_DATA_DAMAGED,
                 "a stage of no length");
    free(b.v);
    help_job_free(&job);

    job = busy_job("smoothing=ema");
    greedy_smooth(job.spec, help_greedy(&job))->count = 2;
    b = encode(&job);
    cr_assert_eq(job_state_decode(job.spec, b.v, b.n, job.next, &job.err), ST_DATA_DAMAGED,
                 "an ema of two values");
    free(b.v);
    spec_free(other);
    help_job_free(&job);
}

/* A rewind reads what other settings wrote. */
Test(core_job, a_state_of_another_window_is_carried_over)
{
    struct help_job job = help_job("1", "smoothing=mean window_size=5");
    struct job_spec *spec = help_spec("1", "smoothing=mean window_size=2");

    for (size_t i = 0; i < 6; i++)
        help_report(&job, rising[i]);
    struct bytes b = encode(&job);
    struct help_job other = help_job_take(spec);

    cr_assert_eq(job_state_decode(spec, b.v, b.n, other.state, &job.err), ST_OK, "%s", job.err.message);
    cr_assert_eq(other.state->reports, 6);
    help_report(&other, 10);
    cr_assert_eq(other.d.smoothed, 8);
    free(b.v);
    help_job_free(&other);

    b = encode(&job);
    for (size_t k = 0; k < KINDS; k++) {
        other = help_job("1", kinds[k]);
        cr_assert_eq(job_state_decode(other.spec, b.v, b.n, other.state, &job.err), ST_OK, "%s", kinds[k]);
        help_report(&other, 10);
        help_job_free(&other);
    }
    free(b.v);
    help_job_free(&job);
}

Test(core_job, nothing_but_next_changes)
{
    struct help_job job = busy_job("window_size=3");
    size_t n = job_state_size(job.spec);
    void *before = malloc(n);

    job.state->status = JOB_ACTIVE;
    memcpy(before, job.state, n);
    struct job_event event = help_event(1);

    cr_assert_eq(job_step(job.spec, job.state, &event, job.next, &job.d, &job.err), ST_OK);
    cr_assert(memcmp(before, job.state, n) == 0);
    cr_assert_eq(job.d.time_us, event.time_us);
    free(before);
    help_job_free(&job);
}
