/* ReduceLROnPlateau: the full table of state and event, and what the conformance vectors cannot see (flags,
 * reasons, caps, settings that change, states as bytes). */
#include "core/plateau.h"
#include "test_core_help.h"

static struct help_job plateau_job(const char *lr, const char *settings)
{
    return help_job_take(help_spec_of("plateau", lr, settings));
}

static struct plateau_state *plateau_of(struct help_job *job)
{
    return (struct plateau_state *)(uintptr_t)job_policy_state(job->state);
}

enum event { BETTER, SAME, WORSE, NAN_VALUE, INF_WORSE, INF_BETTER, EVENTS };

struct row {
    bool cooldown;   /* 2 reports of it left */
    bool due;        /* patience is 0, so that a counted report triggers; else it is 5 */
    unsigned events; /* bits of enum event */
    double rate;     /* times the rate before */
    uint32_t bad, left;
    enum action action;
};

#define E(event)   (1u << (event))
#define ANY_BETTER (E(BETTER) | E(INF_BETTER))
#define ANY_WORSE  (E(SAME) | E(WORSE) | E(NAN_VALUE) | E(INF_WORSE))

/* cooldown is 3; bad is 0, best 1. */
static const struct row table[] = {
    {false, false, ANY_BETTER, 1, 0, 0, ACTION_HOLD},
    {false, false, ANY_WORSE, 1, 1, 0, ACTION_HOLD},
    {false, true, ANY_BETTER, 1, 0, 0, ACTION_HOLD},
    {false, true, ANY_WORSE, 0.5, 0, 3, ACTION_CUT},
    {true, false, ANY_BETTER | ANY_WORSE, 1, 0, 1, ACTION_HOLD},
    {true, true, ANY_BETTER | ANY_WORSE, 1, 0, 1, ACTION_HOLD},
};

static double value_of(enum event event, bool max)
{
    switch (event) {
    case BETTER: return max ? 2 : 0.5;
    case SAME: return 1;
    case WORSE: return max ? 0.5 : 2;
    case NAN_VALUE: return NAN;
    case INF_WORSE: return max ? -INFINITY : INFINITY;
    case INF_BETTER: return max ? INFINITY : -INFINITY;
    case EVENTS: break;
    }
    return NAN;
}

static void check_row(const struct row *row, size_t i, bool max, const char *threshold_mode, enum event event)
{
    double value = value_of(event, max);
    bool better = E(event) & ANY_BETTER;
    char settings[256];

    snprintf(settings, sizeof(settings),
             "mode=%s factor=0.5 patience=%d cooldown=3 threshold=0 threshold_mode=%s", max ? "max" : "min",
             row->due ? 0 : 5, threshold_mode);
    struct help_job job = plateau_job("1", settings);
    struct plateau_state *s = plateau_of(&job);

    s->best = 1;
    s->has_best_step = true;
    s->cooldown_left = row->cooldown ? 2 : 0;
    help_report(&job, value);
    s = plateau_of(&job);
    cr_expect_eq(help_lr(&job), row->rate, "row %zu, event %d: rate %g", i, event, help_lr(&job));
    cr_expect_eq(s->num_bad, row->bad, "row %zu, event %d: bad %u", i, event, s->num_bad);
    cr_expect_eq(s->cooldown_left, row->left, "row %zu, event %d: left %u", i, event, s->cooldown_left);
    cr_expect_eq(s->best, better ? value : 1, "row %zu, event %d: best %g", i, event, s->best);
    cr_expect_eq(job.d.action, row->action, "row %zu, event %d: %s", i, event, action_words[job.d.action]);
    cr_expect_eq(job.d.stage, row->left ? STAGE_COOLDOWN : STAGE_NONE, "row %zu, event %d", i, event);
    help_job_free(&job);
}

Test(core_plateau, every_state_and_event)
{
    size_t cells = 0;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int event = 0; event < EVENTS; event++) {
            if (!(table[i].events & E(event))) continue;
            for (int max = 0; max < 2; max++) {
                check_row(&table[i], i, max, "rel", (enum event)event);
                check_row(&table[i], i, max, "abs", (enum event)event);
            }
            cells++;
        }
    }
    /* cooldown x due x event: no cell is missing, none is there twice. */
    cr_assert_eq(cells, 2 * 2 * EVENTS);
}

Test(core_plateau, defaults_are_those_of_pytorch)
{
    struct job_spec *spec = help_spec_of("plateau", "0.1,0.2", "");
    const struct plateau_params *p = spec->params;

    cr_assert_eq(p->mode, MODE_MIN);
    cr_assert_eq(p->factor, 0.1);
    cr_assert_eq(p->patience, 10);
    cr_assert_eq(p->threshold, 1e-4);
    cr_assert_eq(p->threshold_mode, THRESHOLD_REL);
    cr_assert_eq(p->cooldown, 0);
    cr_assert_eq(p->eps, 1e-8);
    cr_assert(p->min_lr.n == 2 && p->min_lr.v[0] == 0 && p->min_lr.v[1] == 0);
    spec_free(spec);
}

static const char *refusal(const char *lr, const char *settings, bool on_nonfinite)
{
    static struct error err;
    struct job_spec *spec = help_raw_spec_of("plateau", lr, settings);

    spec->on_nonfinite_given = on_nonfinite;
    cr_assert_eq(spec_resolve(spec, &err), ST_FIELD_INVALID);
    spec_free(spec);
    return err.message;
}

Test(core_plateau, refusals_name_the_field_and_the_remedy)
{
    cr_assert_str_eq(refusal("1,2,3", "min_lr=0,0", false),
                     "plateau.min_lr: must have 1 or 3 values, one per group of lr, got 2");
    cr_assert_str_eq(
        refusal("1", "", true),
        "on_nonfinite: does not apply to plateau, which treats a NaN as Python does; leave it out, or "
        "use greedy");
}

Test(core_plateau, a_scalar_floor_is_for_every_group_and_may_be_above_the_rates)
{
    struct help_job job = plateau_job("1,8", "factor=0.5 patience=0 min_lr=3");

    help_report(&job, 1);
    for (int i = 0; i < 3; i++)
        help_report(&job, 2);
    cr_assert_eq(job_lrs(job.state)[0], 1);
    cr_assert_eq(job_lrs(job.state)[1], 3);
    cr_assert(job.d.at_min && !job.d.at_max);
    help_job_free(&job);
}

Test(core_plateau, reasons_say_what_happened)
{
    struct help_job job = plateau_job("0.1", "factor=0.5 patience=1 threshold=0 min_lr=0.05 cooldown=1");
    struct job_event event = help_event(2);

    event.report.has_step = true;
    event.report.step = 4000;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_str_eq(job.d.reason, "first best value; bad 0 of 1");
    help_report(&job, 3);
    cr_assert_str_eq(job.d.reason, "worse than best 2 (step 4000); bad 1 of 1");
    help_report(&job, 2);
    cr_assert_str_eq(job.d.reason, "no better than best 2 (step 4000); bad 2 beyond patience 1: rate cut");
    cr_assert_eq(job.d.action, ACTION_CUT);
    cr_assert(job.d.at_min && !job.d.plateaued);
    help_report(&job, NAN);
    cr_assert_str_eq(job.d.reason,
                     "value is NaN and counts as worse; cooldown ignores worse values, 0 more to come");
    for (int i = 0; i < 2; i++)
        help_report(&job, 4);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    cr_assert_str_eq(
        job.d.reason,
        "worse than best 2 (step 4000); bad 2 beyond patience 1: cut due, but every rate is at min_lr; "
        "plateaued, consider stopping");
    cr_assert(job.d.plateaued);
    help_report(&job, 1);
    cr_assert_str_eq(job.d.reason,
                     "better than best 2 (step 4000); cooldown ignores worse values, 0 more to come");
    cr_assert(!job.d.plateaued && job.d.at_min);
    help_job_free(&job);
}

Test(core_plateau, before_the_first_best_value_there_is_none)
{
    struct help_job job = plateau_job("1", "patience=0 factor=0.5");

    help_report(&job, NAN);
    cr_assert_str_eq(job.d.reason, "value is NaN and counts as worse; bad 1 beyond patience 0: rate cut");
    help_report(&job, 5);
    cr_assert_eq(job.d.best, 5);
    help_job_free(&job);
    /* inf * (1 - 1) is NaN: with such a threshold nothing is ever better, in PyTorch neither. */
    job = plateau_job("1", "threshold=1");
    help_report(&job, 5);
    cr_assert_str_eq(job.d.reason, "no best value yet; bad 1 of 10");
    help_job_free(&job);
}

Test(core_plateau, a_change_within_eps_is_a_hold)
{
    struct help_job job = plateau_job("1", "factor=0.5 patience=0 eps=0.25");

    help_report(&job, 1);
    help_report(&job, 2); /* a cut by 0.5 is larger than eps */
    cr_assert_eq(help_lr(&job), 0.5);
    help_report(&job, 2); /* a cut by 0.25 is not */
    cr_assert_eq(help_lr(&job), 0.5);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    cr_assert_not_null(strstr(job.d.reason, "no change is larger than eps 0.25"), "%s", job.d.reason);
    help_job_free(&job);
}

Test(core_plateau, lr_cap_clamps_the_state)
{
    struct help_job job = plateau_job("1", "factor=0.5 patience=0 min_lr=0.5");
    struct job_event event = help_event(5);

    event.report.lr_cap = 0.75;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_lr(&job), 0.75);
    cr_assert_eq(job.d.action, ACTION_CUT);
    cr_assert_not_null(strstr(job.d.reason, "; limited to lr_cap 0.75"), "%s", job.d.reason);
    event = help_event(4);
    event.report.lr_cap = 0.25; /* below min_lr the cap wins */
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_eq(help_lr(&job), 0.25);
    cr_assert(job.d.at_min);
    help_report(&job, 9); /* a cut does not lift the rate to min_lr */
    cr_assert_eq(help_lr(&job), 0.25);
    cr_assert_eq(job.d.action, ACTION_HOLD);
    help_job_free(&job);
}

Test(core_plateau, set_rates_moves_the_rates_and_nothing_else)
{
    struct help_job job = plateau_job("1", "min_lr=0.5");
    struct plateau_state *s = plateau_of(&job);
    double down[] = {0.25}, up[] = {2}, lrs[1];

    *s = (struct plateau_state){
        .best = 3, .best_step = 7, .num_bad = 2, .cooldown_left = 4, .plateaued = true};
    struct plateau_state before = *s;

    cr_assert_eq(job.spec->policy->set_rates(job.spec, s, down, &job.err), ST_OK);
    cr_assert(memcmp(s, &before, sizeof(before)) == 0);
    cr_assert_eq(job.spec->policy->set_rates(job.spec, s, up, &job.err), ST_OK);
    job.spec->policy->rates(job.spec, s, lrs);
    cr_assert_eq(lrs[0], 2);
    before.plateaued = false; /* the rate has left the floor */
    cr_assert(memcmp(s, &before, sizeof(before)) == 0);
    help_job_free(&job);
}

static void update(struct help_job *job, const char *settings)
{
    struct job_spec *spec = spec_copy(job->spec);
    struct error err;
    struct job_event event = {.kind = EVENT_UPDATE, .update = {spec, "plateau changed"}};

    cr_assert_eq(help_set_all(spec, settings, &err), ST_OK);
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    cr_assert_eq(help_step(job, &event), ST_OK);
    spec_free(job->spec);
    job->spec = spec;
}

Test(core_plateau, new_settings_carry_the_state_over)
{
    struct help_job job = plateau_job("1,4", "factor=0.5 patience=0 cooldown=5");

    help_report(&job, 1);
    help_report(&job, 2);
    cr_assert_eq(job_lrs(job.state)[1], 2);
    update(&job, "min_lr=1,1 cooldown=2"); /* a bound clamps at once, a stage is no longer than it may be */
    cr_assert_eq(job_lrs(job.state)[0], 1);
    cr_assert_eq(job_lrs(job.state)[1], 2);
    cr_assert_eq(plateau_of(&job)->cooldown_left, 2);
    cr_assert_eq(job.d.best, 1);
    update(&job, "cooldown=0");
    cr_assert_eq(job.d.stage, STAGE_NONE);
    for (int i = 0; i < 2; i++)
        help_report(&job, 9);
    cr_assert(job.d.plateaued);
    update(&job, "min_lr=0.5,1"); /* no longer at the floor */
    cr_assert(!job.d.plateaued);
    update(&job, "mode=max patience=3"); /* what was best is worst now */
    cr_assert_eq(job.d.best, -INFINITY);
    cr_assert_eq(job.d.num_bad, 0);
    help_report(&job, 1);
    cr_assert_eq(job.d.best, 1);
    help_job_free(&job);
}

Test(core_plateau, a_cap_below_an_old_floor_survives_an_update)
{
    struct help_job job = plateau_job("1", "min_lr=0.5");
    struct job_event event = help_event(5);

    event.report.lr_cap = 0.25;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    update(&job, "patience=3");
    cr_assert_eq(help_lr(&job), 0.25);
    update(&job, "min_lr=0.4");
    cr_assert_eq(help_lr(&job), 0.4);
    help_job_free(&job);
}

/* What the policy writes, at the end of a job's state but for the number of shadows: best, has_best_step,
 * best_step, num_bad, cooldown_left, plateaued, a rate. */
#define POLICY_BYTES (8 + 1 + 4 + 4 + 4 + 1 + 8)

Test(core_plateau, impossible_states_are_damage)
{
    struct help_job job = plateau_job("1", "");
    const struct {
        size_t at;
        double f64;
        int byte;
    } damage[] = {{0, NAN, -1}, {8, 0, 2}, {8 + 1 + 12, 0, 2}, {8 + 1 + 12 + 1, -1, -1}, {22, INFINITY, -1}};
    uint8_t bytes[256];
    struct error err;
    size_t n = job_state_encoded_size(job.spec, job.state);

    uint8_t *policy = bytes + n - 1 - POLICY_BYTES;

    job_state_encode(job.spec, job.state, bytes);
    cr_assert_eq(job_state_decode(job.spec, bytes, n, job.next, &err), ST_OK);
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        job_state_encode(job.spec, job.state, bytes);
        if (damage[i].byte >= 0)
            policy[damage[i].at] = (uint8_t)damage[i].byte;
        else
            memcpy(policy + damage[i].at, &damage[i].f64, 8);
        cr_expect_eq(job_state_decode(job.spec, bytes, n, job.next, &err), ST_DATA_DAMAGED, "damage %zu", i);
    }
    for (size_t len = 0; len < n; len++) {
        job_state_encode(job.spec, job.state, bytes);
        cr_expect_eq(job_state_decode(job.spec, bytes, len, job.next, &err), ST_DATA_DAMAGED, "%zu bytes",
                     len);
    }
    help_job_free(&job);
}

Test(core_plateau, reasons_fit_whatever_the_numbers)
{
    struct help_job job = plateau_job("1", "factor=0.5 patience=4294967294 cooldown=4294967295 threshold=0");
    struct job_event event = help_event(-1.23456789e-300);

    event.report.has_step = true;
    event.report.step = UINT32_MAX - 2;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    plateau_of(&job)->num_bad = UINT32_MAX - 1;
    event = help_event(1);
    event.report.lr_cap = 1.2345678e-301;
    cr_assert_eq(help_step(&job, &event), ST_OK);
    cr_assert_lt(strlen(job.d.reason), DECISION_REASON_MAX - 1, "%s", job.d.reason);
    cr_assert_not_null(strstr(job.d.reason, "limited to lr_cap 1.23457e-301"), "%s", job.d.reason);
    help_job_free(&job);
}
