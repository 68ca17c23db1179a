/* What holds for every policy, with random settings, rules and lives: rates stay within bounds, a restored
 * state goes on the same, going back and replaying is the same, and ramp and anneal are what they say around
 * a policy that does not notice.  Settings are drawn through the table of policies, so that a new policy is
 * tested with no word here. */
#include "test_core_random.h"

#include <float.h>

#define LIVES 250 /* of each policy */

/* ---- bounds ---- */

static const double *bound(const struct job_spec *spec, const char *name)
{
    bool bounds = strcmp(spec->policy->name, "greedy") == 0 || strcmp(spec->policy->name, "plateau") == 0 ||
                  strcmp(spec->policy->name, "learned") == 0;
    int row = bounds ? param_find(spec->policy->params, spec->policy->n_params, name) : -1;

    return row < 0 ? NULL : param_get(spec->params, &spec->policy->params[row]).list;
}

/* How low and how high a rate may rightly be: the bounds, widened by what may rightly lead out of them. */
struct range {
    double least[GROUPS], most[GROUPS];
};

static struct range range_of(const struct job_spec *spec)
{
    const double *min = bound(spec, "min_lr"), *max = bound(spec, "max_lr");
    struct range range;

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double lr = spec->lr.v[i];

        /* The transformers dialect takes an initial rate outside of its bounds, and crossed ones. */
        range.least[i] = min ? fmin(fmin(min[i], lr), max ? max[i] : lr) : 0;
        range.most[i] = min ? fmax(fmax(lr, min[i]), max ? max[i] : lr) : DBL_MAX;
        if (spec->ramp.reports) range.least[i] *= spec->ramp.start_factor;
    }
    return range;
}

static void check_rates(const struct help_job *job, struct range *range, double lr_cap)
{
    for (uint32_t i = 0; i < job->spec->lr.n; i++) {
        double lr = job_lrs(job->state)[i];

        if (lr_cap < range->least[i]) range->least[i] = lr_cap;
        cr_assert(isfinite(lr) && lr >= 0, "%s: %g, seed %llu", job->spec->policy->name, lr,
                  (unsigned long long)life);
        cr_assert(lr <= lr_cap, "%g above lr_cap %g, seed %llu", lr, lr_cap, (unsigned long long)life);
        cr_assert(lr >= range->least[i] && lr <= range->most[i],
                  "%s[%u]: %.17g outside %.17g to %.17g (%s), seed %llu", job->spec->policy->name, i, lr,
                  range->least[i], range->most[i], job->d.reason, (unsigned long long)life);
    }
    cr_assert_lt(strlen(job->d.reason), DECISION_REASON_MAX, "seed %llu", (unsigned long long)life);
}

/* A cap is in the state of a policy with bounds, as far as the anneal leaves it: nothing winds up. */
static void check_cap(const struct help_job *job, double lr_cap)
{
    const struct job_spec *spec = job->spec;
    double n = spec->anneal.total_reports, span = spec->anneal.fraction * n, k = job->state->anneal_done;
    double f = n < 1 || k <= n - span ? 1 : k < n ? (n - k) / span : 0, lrs[GROUPS];

    if (!bound(spec, "min_lr") || job->state->status == JOB_PAUSED || job->d.action == ACTION_RAMP ||
        job->d.action == ACTION_SKIP || f <= 0)
        return;
    spec->policy->rates(spec, job_policy_state(job->state), lrs);
    for (uint32_t i = 0; i < spec->lr.n; i++)
        cr_assert(lrs[i] <= lr_cap / f, "%s: %g winds up above %g, seed %llu", spec->policy->name, lrs[i],
                  lr_cap / f, (unsigned long long)life);
}

static void maybe_override(struct help_job *job, struct range *range)
{
    double lrs[GROUPS];
    struct job_event event = {.kind = EVENT_SET_LR, .set_lr = {lrs}};

    for (uint32_t i = 0; i < job->spec->lr.n; i++)
        lrs[i] = 0.3 * unit();
    if (help_step(job, &event)) {
        cr_assert_eq(job->err.status, ST_FIELD_INVALID);
        return;
    }
    for (uint32_t i = 0; i < job->spec->lr.n; i++) {
        double off = fabs(job_lrs(job->state)[i] - lrs[i]);

        cr_assert(off <= 1e-14 * lrs[i], "%s: set to %.17g, is %.17g, seed %llu", job->spec->policy->name,
                  lrs[i], job_lrs(job->state)[i], (unsigned long long)life);
        range->least[i] = fmin(range->least[i], lrs[i]);
        /* Plateau has no upper bound, and the anneal may be taken away from a rate that was set beneath it.
         */
        if (!bound(job->spec, "max_lr")) range->most[i] = DBL_MAX;
    }
}

static void maybe_pause(struct help_job *job)
{
    struct job_event event = {.kind = EVENT_STATUS, .status = {ACTION_PAUSE}};

    if (job->state->status == JOB_PAUSED) event.status.action = ACTION_RESUME;
    cr_assert_eq(help_step(job, &event), ST_OK);
}

static void each_policy(const char *test, void (*check)(const struct policy *policy))
{
    uint64_t seed = rng_seed(test);

    for (size_t p = 0; policy_at(p); p++) {
        rng_state = seed;
        for (int i = 0; i < LIVES; i++) {
            life = rng_state;
            check(policy_at(p));
        }
    }
}

static void check_bounds(const struct policy *policy)
{
    struct help_job job = help_job_take(random_spec(policy, NULL));
    struct range range = range_of(job.spec);
    double level = 4;

    for (int i = 0; i < REPORTS; i++) {
        struct job_event event = random_report(&level);

        if (chance(3)) maybe_override(&job, &range);
        if (chance(3)) maybe_pause(&job);
        cr_assert_eq(help_step(&job, &event), ST_OK, "%s", job.err.message);
        check_rates(&job, &range, event.report.lr_cap);
        check_cap(&job, event.report.lr_cap);
    }
    help_job_free(&job);
}

Test(core_property, rates_stay_within_bounds)
{
    each_policy("rates_stay_within_bounds", check_bounds);
}

/* ---- states ---- */

static void *encoded(const struct help_job *job, size_t *n)
{
    *n = job_state_encoded_size(job->spec, job->state);
    uint8_t *bytes = malloc(*n);

    job_state_encode(job->spec, job->state, bytes);
    return bytes;
}

static void same_states(const struct help_job *a, const struct help_job *b)
{
    cr_assert(memcmp(a->state, b->state, job_state_size(a->spec)) == 0, "%s: seed %llu",
              a->spec->policy->name, (unsigned long long)life);
}

/* A second job in the state that the first one's bytes say. */
static struct help_job restored(const struct help_job *job)
{
    struct help_job again = help_job_take(spec_copy(job->spec));
    size_t n;
    void *bytes = encoded(job, &n);

    memset(again.state, 0xa5, job_state_size(again.spec));
    cr_assert_eq(job_state_decode(again.spec, bytes, n, again.state, &again.err), ST_OK, "%s, seed %llu",
                 again.err.message, (unsigned long long)life);
    free(bytes);
    return again;
}

static void check_restored(const struct policy *policy)
{
    struct help_job job = help_job_take(random_spec(policy, NULL));
    uint32_t at = below(REPORTS);
    struct range ignored = {0};
    double level = 4;

    for (uint32_t i = 0; i < at; i++) {
        struct job_event event = random_report(&level);

        if (chance(3)) maybe_override(&job, &ignored);
        if (chance(3)) maybe_pause(&job);
        cr_assert_eq(help_step(&job, &event), ST_OK);
    }
    struct help_job again = restored(&job);

    same_states(&job, &again);
    for (uint32_t i = at; i < REPORTS; i++) {
        struct job_event event = random_report(&level);

        cr_assert_eq(help_step(&job, &event), ST_OK);
        cr_assert_eq(help_step(&again, &event), ST_OK);
        same_states(&job, &again);
        cr_assert_str_eq(job.d.reason, again.d.reason);
        cr_assert_eq(job.d.action, again.d.action);
    }
    help_job_free(&job);
    help_job_free(&again);
}

Test(core_property, a_restored_state_goes_on_the_same)
{
    each_policy("a_restored_state_goes_on_the_same", check_restored);
}

static void check_rewind(const struct policy *policy)
{
    struct job_event events[REPORTS];
    struct help_job job = help_job_take(random_spec(policy, NULL));
    uint32_t at = below(REPORTS);
    double level = 4;

    for (uint32_t i = 0; i < REPORTS; i++)
        events[i] = random_report(&level);
    for (uint32_t i = 0; i < at; i++)
        cr_assert_eq(help_step(&job, &events[i]), ST_OK);
    struct help_job straight = restored(&job), past = restored(&job);
    struct job_event back = {.kind = EVENT_RESTORE,
                             .restore = {.action = ACTION_REWIND, .to = past.state, .why = "back"}};

    for (uint32_t i = at; i < REPORTS; i++)
        cr_assert_eq(help_step(&straight, &events[i]), ST_OK);
    /* Another life from there, then back. */
    for (uint32_t i = below(REPORTS); i > 0; i--) {
        struct job_event event = random_report(&level);

        cr_assert_eq(help_step(&job, &event), ST_OK);
    }
    cr_assert_eq(help_step(&job, &back), ST_OK);
    for (uint32_t i = at; i < REPORTS; i++)
        cr_assert_eq(help_step(&job, &events[i]), ST_OK);
    job.state->revision = straight.state->revision; /* the only thing that a rewind does not take back */
    same_states(&job, &straight);
    help_job_free(&job);
    help_job_free(&straight);
    help_job_free(&past);
}

Test(core_property, going_back_and_replaying_is_the_same)
{
    each_policy("going_back_and_replaying_is_the_same", check_rewind);
}

/* The same events to a job whose memory was something else before: nothing decides that is not in it. */
static void check_again(const struct policy *policy)
{
    struct help_job job = help_job_take(random_spec(policy, NULL)),
                    again = help_job_take(spec_copy(job.spec));
    double level = 4;

    memset(again.state, 0x5a, job_state_size(again.spec));
    memset(again.next, 0xff, job_state_size(again.spec));
    job_init(again.spec, again.state);
    for (uint32_t i = 0; i < REPORTS; i++) {
        struct job_event event = random_report(&level);

        cr_assert_eq(help_step(&job, &event), ST_OK);
        cr_assert_eq(help_step(&again, &event), ST_OK);
        same_states(&job, &again);
        cr_assert_str_eq(job.d.reason, again.d.reason);
    }
    help_job_free(&job);
    help_job_free(&again);
}

Test(core_property, the_same_reports_are_the_same_decisions)
{
    each_policy("the_same_reports_are_the_same_decisions", check_again);
}

/* An update that changes nothing changes nothing. */
static void check_carried(const struct policy *policy)
{
    struct help_job job = help_job_take(random_spec(policy, NULL));
    double level = 4;

    for (uint32_t i = below(REPORTS); i > 0; i--) {
        struct job_event event = random_report(&level);

        event.report.lr_cap = INFINITY; /* one that clamped the answer alone is forgotten by it */
        cr_assert_eq(help_step(&job, &event), ST_OK);
    }
    memset(job.next, 0xa5, job_state_size(job.spec));
    job_state_carry(job.spec, job.state, job.spec, job.next);
    cr_assert(memcmp(job.next, job.state, job_state_size(job.spec)) == 0, "%s: seed %llu", policy->name,
              (unsigned long long)life);
    help_job_free(&job);
}

Test(core_property, carried_to_the_same_settings_a_state_is_the_same)
{
    each_policy("carried_to_the_same_settings_a_state_is_the_same", check_carried);
}

/* ---- ramp and anneal ---- */

/* The rate that the rules make of the policy's own, as ALGORITHMS has them. */
static double ruled(const struct job_spec *spec, uint32_t group, uint32_t done, double rate)
{
    const double *min = bound(spec, "min_lr");
    double k = done, r = spec->ramp.reports, n = spec->anneal.total_reports, p = spec->anneal.fraction;

    if (done < spec->ramp.reports)
        rate = rate * (spec->ramp.start_factor + (1 - spec->ramp.start_factor) * k / r);
    if (n < 1 || k <= n - p * n) return rate;
    return fmax(rate * fmax(0, k < n ? (n - k) / (p * n) : 0), min ? fmin(rate, min[group]) : 0);
}

/* Beside a job without the rules that gets the values after the ramp. */
static void check_rules(const struct policy *policy)
{
    struct help_job job = help_job_take(random_spec(policy, NULL));
    struct job_spec *bare = spec_copy(job.spec);
    double level = 4;
    uint32_t counted = 0;

    bare->ramp = (struct ramp){0};
    bare->anneal = (struct anneal){0};
    cr_assert_eq(spec_resolve(bare, NULL), ST_OK);
    struct help_job alone = help_job_take(bare);

    for (uint32_t i = 1; i <= REPORTS; i++) {
        struct job_event event = help_event(random_value(&level));

        event.report.has_step = true;
        event.report.step = i;
        cr_assert_eq(help_step(&job, &event), ST_OK);
        if (i > job.spec->ramp.reports) cr_assert_eq(help_step(&alone, &event), ST_OK);
        if (job.d.action != ACTION_SKIP) counted++;
        cr_assert_eq(job.state->anneal_done, counted);
        cr_assert(
            memcmp(job_policy_state(job.state), job_policy_state(alone.state), policy->state_size(bare)) == 0,
            "%s: seed %llu", policy->name, (unsigned long long)life);
        for (uint32_t g = 0; g < bare->lr.n; g++) {
            double want = ruled(job.spec, g, counted, job_lrs(alone.state)[g]);

            cr_assert_eq(job_lrs(job.state)[g], want, "%s: %.17g, not %.17g at %u, seed %llu", policy->name,
                         job_lrs(job.state)[g], want, i, (unsigned long long)life);
        }
    }
    help_job_free(&job);
    help_job_free(&alone);
}

Test(core_property, ramp_and_anneal_are_what_they_say)
{
    each_policy("ramp_and_anneal_are_what_they_say", check_rules);
}
