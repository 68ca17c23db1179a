/* What holds for every policy, with random settings, rules and lives: rates stay within bounds, a restored
 * state goes on the same, going back and replaying is the same, and ramp and anneal are what they say around
 * a policy that does not notice.  Settings are drawn through the table of policies, so that a new policy is
 * tested with no word here. */
#include "test_core_help.h"
#include "test_random.h"

#include <float.h>

#define LIVES   250 /* of each policy */
#define REPORTS 60
#define GROUPS  3

static uint64_t life; /* the seed of this one, for messages: with TEST_SEED each policy begins with it */

static uint32_t below(uint32_t n)
{
    return (uint32_t)(rng() % n);
}

static bool chance(uint32_t percent)
{
    return below(100) < percent;
}

/* In [0, 1). */
static double unit(void)
{
    return (double)(rng() >> 11) * 0x1p-53;
}

static double random_in(const struct param_def *def)
{
    double most = isinf(def->hi) ? (chance(80) ? 2 : 50) : def->hi;
    double v = def->lo + (most - def->lo) * unit();

    return chance(15) && !(def->flags & PARAM_LO_OPEN) ? def->lo : v;
}

static uint32_t random_u32(const struct param_def *def)
{
    uint32_t lo = (uint32_t)def->lo, most = def->hi < 30 ? (uint32_t)def->hi : 30;

    return lo + below((chance(50) ? 4 : most) - lo + 1);
}

/* Lists are rates, around the initial ones: lower and upper bounds have to be on their sides of them. */
static uint32_t random_list(const struct job_spec *spec, const struct param_def *def, double *list)
{
    bool low = strstr(def->name, "min") != NULL, high = strstr(def->name, "max") != NULL;
    uint32_t n = chance(50) ? 1 : spec->lr.n;

    for (uint32_t i = 0; i < n; i++) {
        double by = low ? unit() * 0.1 : high ? 1 + 10 * unit() : unit();

        list[i] = (n == 1 ? 0.1 : spec->lr.v[i]) * (low && n == 1 ? by * 0.1 : high && n == 1 ? by * 10 : by);
    }
    return n;
}

/* Rising numbers, as milestones are. */
static uint32_t random_u32s(const struct param_def *def, uint32_t *list)
{
    uint32_t n = 1 + below(5), last = (uint32_t)def->lo;

    for (uint32_t i = 0; i < n; i++)
        list[i] = last += 1 + below(15);
    return n;
}

static void set_randomly(struct job_spec *spec, size_t row)
{
    const struct param_def *def = &spec->policy->params[row];
    struct param_value value = {.kind = def->kind};
    double list[GROUPS_MAX];
    uint32_t u32s[5], words = 0;

    switch (def->kind) {
    case PARAM_F64: value.f64 = random_in(def); break;
    case PARAM_U32: value.u32 = random_u32(def); break;
    case PARAM_BOOL: value.boolean = chance(50); break;
    case PARAM_WORD:
        while (def->words[words])
            words++;
        value.word = def->words[below(words)];
        break;
    case PARAM_F64_LIST:
        value.n = random_list(spec, def, list);
        value.list = list;
        break;
    case PARAM_U32_LIST:
        value.n = random_u32s(def, u32s);
        value.u32s = u32s;
        break;
    }
    (void)!spec_set_param(spec, row, &value, NULL); /* a refused one stays as it was */
}

static struct job_spec *try_spec(const struct policy *policy)
{
    struct job_spec *spec = spec_new(policy);
    double lrs[GROUPS];
    uint32_t groups = 1 + below(GROUPS), percent = 20 + below(81);

    for (uint32_t i = 0; i < groups; i++)
        lrs[i] = 0.02 + 0.2 * unit();
    cr_assert_eq(f64_list_set(&spec->lr, lrs, groups), ST_OK);
    for (size_t row = 0; row < policy->n_params; row++) {
        if (chance(percent)) set_randomly(spec, row);
    }
    if (chance(30)) spec->ramp = (struct ramp){1 + below(12), 1 - unit()};
    if (chance(50)) spec->anneal = (struct anneal){1 + below(2 * REPORTS), 1 - unit(), chance(70)};
    if (chance(40)) {
        spec->on_nonfinite = (enum on_nonfinite)below(3);
        spec->on_nonfinite_given = spec->on_nonfinite != NONFINITE_BAD;
    }
    if (spec_resolve(spec, NULL) == ST_OK) return spec;
    spec_free(spec);
    return NULL;
}

/* Draws until the settings fit each other. */
static struct job_spec *random_spec(const struct policy *policy)
{
    for (int i = 0; i < 1000; i++) {
        struct job_spec *spec = try_spec(policy);

        if (spec) return spec;
    }
    cr_assert_fail("no settings of %s fit, seed %llu", policy->name, (unsigned long long)life);
    return NULL;
}

/* A loss that falls and jumps about, and now and then is none. */
static double random_value(double *level)
{
    static const double strange[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1e300, -1e300, 5e-324};

    *level *= 0.85 + 0.27 * unit();
    return chance(6) ? strange[below(8)] : chance(10) ? *level * 8 : *level;
}

static struct job_event random_report(double *level)
{
    struct job_event event = help_event(random_value(level));

    if (chance(5)) event.report.lr_cap = 0.3 * unit();
    if (chance(5)) event.report.lr_cap = 1e-6 * unit() + 1e-12;
    return event;
}

/* ---- bounds ---- */

static const double *bound(const struct job_spec *spec, const char *name)
{
    bool bounds = strcmp(spec->policy->name, "greedy") == 0 || strcmp(spec->policy->name, "plateau") == 0;
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
    struct help_job job = help_job_take(random_spec(policy));
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
    struct help_job job = help_job_take(random_spec(policy));
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
    struct help_job job = help_job_take(random_spec(policy));
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
    struct help_job job = help_job_take(random_spec(policy)), again = help_job_take(spec_copy(job.spec));
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
    struct help_job job = help_job_take(random_spec(policy));
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
    struct help_job job = help_job_take(random_spec(policy));
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
