/* Settings that jobs have in common. */
#include "server/specs.h"

#include "core/greedy.h"
#include "core/policy.h"

#include <criterion/criterion.h>
#include <math.h>

static struct specs *specs;

static void setup(void)
{
    specs = specs_new();
    cr_assert_not_null(specs);
}

static void teardown(void)
{
    specs_free(specs);
}

TestSuite(server_specs, .init = setup, .fini = teardown);

static struct job_spec *greedy(double lr)
{
    struct job_spec *spec = spec_new(&policy_greedy);
    struct error err;

    cr_assert_eq(f64_list_set(&spec->lr, &lr, 1), 0);
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    return spec;
}

Test(server_specs, equal_ones_are_one)
{
    struct job_spec *a = specs_share(specs, greedy(0.1)), *b = specs_share(specs, greedy(0.1));

    cr_assert_eq(a, b);
    cr_assert_eq(specs_count(specs), 1);
    specs_release(specs, a);
    cr_assert_eq(specs_count(specs), 1, "the other still has it");
    cr_assert_eq(b->lr.v[0], 0.1);
    specs_release(specs, b);
    cr_assert_eq(specs_count(specs), 0);
}

/* Each of these is another than all the others. */
Test(server_specs, whatever_differs_is_kept_apart)
{
    struct job_spec *kept[32];
    unsigned n = 0;
    double two[] = {0.1, 0.1};
    struct error err;

#define KEEP(...)                                                                                            \
    {                                                                                                        \
        struct job_spec *s = greedy(0.1);                                                                    \
        __VA_ARGS__;                                                                                         \
        kept[n] = specs_share(specs, s);                                                                     \
        n++;                                                                                                 \
        cr_assert_eq(specs_count(specs), n, "%s", #__VA_ARGS__);                                             \
    }
    KEEP((void)s)
    KEEP(s->lr.v[0] = 0.2)
    KEEP(cr_assert_eq(f64_list_set(&s->lr, two, 2), 0))
    KEEP(s->params_given = 1)
    KEEP(s->ramp.reports = 3)
    KEEP(s->ramp.start_factor = 0.5)
    KEEP(s->anneal.total_reports = 9)
    KEEP(s->anneal.fraction = 0.25)
    KEEP(s->anneal.fraction_given = true)
    KEEP(s->ranks.world_size = 8)
    KEEP(s->ranks.quorum = 7)
    KEEP(s->ranks.reduce = REDUCE_MAX)
    KEEP(s->ranks.deadline_ms++)
    KEEP(s->on_nonfinite = NONFINITE_SKIP)
    KEEP(s->on_nonfinite_given = true)
    KEEP(s->strict = true)
    KEEP(s->live = true)
    KEEP(cr_assert_not_null(spec_add_shadow(s, "a", &policy_greedy)); cr_assert_eq(spec_resolve(s, &err), 0))
    KEEP(cr_assert_not_null(spec_add_shadow(s, "b", &policy_greedy)); cr_assert_eq(spec_resolve(s, &err), 0))
    for (unsigned i = 0; i < n; i++) {
        struct job_spec *same = spec_copy(kept[i]);

        cr_assert_eq(specs_share(specs, same), kept[i], "a copy of %u is the same", i);
        specs_release(specs, kept[i]);
        specs_release(specs, kept[i]);
    }
    cr_assert_eq(specs_count(specs), 0);
}

/* Through the tables: whatever row of whatever policy. */
Test(server_specs, every_parameter_counts)
{
    const struct policy *policy;

    for (size_t p = 0; (policy = policy_at(p)); p++) {
        struct job_spec *plain = specs_share(specs, spec_new(policy));

        for (size_t row = 0; row < policy->n_params; row++) {
            const struct param_def *def = &policy->params[row];
            struct param_value v = {.kind = def->kind, .u32 = def->lo < 7 ? 7 : (uint32_t)def->lo + 1};
            struct job_spec *other = spec_new(policy), *kept;
            struct error err;

            v.f64 = def->lo > 1                         ? def->lo + 1
                    : isfinite(def->hi) && def->hi <= 1 ? (def->lo + def->hi) / 2
                                                        : 1.5;
            v.boolean = true;
            v.word = def->kind == PARAM_WORD ? def->words[1] : "0123456789abcdef";
            v.list = &v.f64;
            v.u32s = &v.u32;
            v.n = 1;
            cr_assert_eq(spec_set_param(other, row, &v, &err), ST_OK, "%s.%s: %s", policy->name, def->name,
                         err.message);
            other->params_given = 0;
            kept = specs_share(specs, other);
            cr_assert_neq(kept, plain, "%s.%s", policy->name, def->name);
            specs_release(specs, kept);
        }
        specs_release(specs, plain);
    }
    cr_assert_eq(specs_count(specs), 0);
}
