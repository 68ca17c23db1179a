/* Random settings, rules and reports of any policy, drawn through the table of policies, so that a new policy
 * is tested with no word here. */
#ifndef GREEDYLRD_TESTS_TEST_CORE_RANDOM_H
#define GREEDYLRD_TESTS_TEST_CORE_RANDOM_H

#include "core/learned.h"

#include "test_core_help.h"
#include "test_random.h"

#define REPORTS 60 /* of a life */
#define GROUPS  3

static uint64_t life; /* the seed of this one, for messages: with TEST_SEED each policy begins with it */

static inline uint32_t below(uint32_t n)
{
    return (uint32_t)(rng() % n);
}

static inline bool chance(uint32_t percent)
{
    return below(100) < percent;
}

/* In [0, 1). */
static inline double unit(void)
{
    return (double)(rng() >> 11) * 0x1p-53;
}

static inline double random_in(const struct param_def *def)
{
    double most = isinf(def->hi) ? (chance(80) ? 2 : 50) : def->hi;
    double v = def->lo + (most - def->lo) * unit();

    return chance(15) && !(def->flags & PARAM_LO_OPEN) ? def->lo : v;
}

static inline uint32_t random_u32(const struct param_def *def)
{
    uint32_t lo = (uint32_t)def->lo, most = def->hi < 30 ? (uint32_t)def->hi : 30;

    return lo + below((chance(50) ? 4 : most) - lo + 1);
}

/* Lists are rates, around the initial ones: lower and upper bounds have to be on their sides of them. */
static inline uint32_t random_list(const struct job_spec *spec, const struct param_def *def, double *list)
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
static inline uint32_t random_u32s(const struct param_def *def, uint32_t *list)
{
    uint32_t n = 1 + below(5), last = (uint32_t)def->lo;

    for (uint32_t i = 0; i < n; i++)
        list[i] = last += 1 + below(15);
    return n;
}

static inline void set_randomly(struct job_spec *spec, size_t row)
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
    case PARAM_HASH: return;       /* follows from the numbers */
    case PARAM_F64_VECTOR: return; /* of a model, which is whole or not there: random_model */
    case PARAM_U32_LIST:
        value.n = random_u32s(def, u32s);
        value.u32s = u32s;
        break;
    }
    (void)!spec_set_param(spec, row, &value, NULL); /* a refused one stays as it was */
}

/* Of the policy learned: weights that nobody trained, in an envelope that they do not leave, or soon do. */
static inline void random_model(struct job_spec *spec)
{
    static const char *const names[] = {"feature_set", "up", "down", "weights", "feature_lo", "feature_hi"};
    double wide = chance(70) ? 1e4 : 2, list[LEARNED_WEIGHTS];

    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        int row = param_find(spec->policy->params, spec->policy->n_params, names[k]);
        struct param_value value = {.kind = spec->policy->params[row].kind,
                                    .u32 = LEARNED_FEATURE_SET,
                                    .f64 = 1.1 + 3 * unit(),
                                    .list = list,
                                    .n = k == 3 ? LEARNED_WEIGHTS : LEARNED_FEATURES};

        for (uint32_t i = 0; i < value.n; i++)
            list[i] = k == 3 ? 2 * unit() - 1 : k == 4 ? -wide : wide;
        cr_assert_eq(spec_set_param(spec, (size_t)row, &value, NULL), ST_OK, "%s", names[k]);
    }
}

static inline void random_lr(struct job_spec *spec)
{
    uint32_t groups = 1 + below(GROUPS);
    double lrs[GROUPS];

    for (uint32_t i = 0; i < groups; i++)
        lrs[i] = 0.02 + 0.2 * unit();
    cr_assert_eq(f64_list_set(&spec->lr, lrs, groups), ST_OK);
}

static inline struct job_spec *try_spec(const struct policy *policy, const struct f64_list *lr)
{
    struct job_spec *spec = spec_new(policy);
    uint32_t percent = 20 + below(81);

    if (lr)
        cr_assert_eq(f64_list_set(&spec->lr, lr->v, lr->n), ST_OK);
    else
        random_lr(spec);
    for (size_t row = 0; row < policy->n_params; row++) {
        if (chance(percent)) set_randomly(spec, row);
    }
    if (policy == &policy_learned && chance(60)) random_model(spec);
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

/* Draws until the settings fit each other.  lr: the initial rates, NULL for random ones. */
static inline struct job_spec *random_spec(const struct policy *policy, const struct f64_list *lr)
{
    for (int i = 0; i < 1000; i++) {
        struct job_spec *spec = try_spec(policy, lr);

        if (spec) return spec;
    }
    cr_assert_fail("no settings of %s fit, seed %llu", policy->name, (unsigned long long)life);
    return NULL;
}

/* A loss that falls and jumps about, and now and then is none. */
static inline double random_value(double *level)
{
    static const double strange[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1e300, -1e300, 5e-324};

    *level *= 0.85 + 0.27 * unit();
    return chance(6) ? strange[below(8)] : chance(10) ? *level * 8 : *level;
}

static inline struct job_event random_report(double *level)
{
    struct job_event event = help_event(random_value(level));

    if (chance(5)) event.report.lr_cap = 0.3 * unit();
    if (chance(5)) event.report.lr_cap = 1e-6 * unit() + 1e-12;
    return event;
}

#endif
