/* Specs and parameter tables: defaults, every refusal with its message, copies. */
#include "test_core_help.h"

static struct job_spec *with_lr(const double *lr, uint32_t n)
{
    struct job_spec *spec = spec_new(NULL);

    cr_assert_eq(f64_list_set(&spec->lr, lr, n), ST_OK);
    return spec;
}

static void refused_take(struct job_spec *spec, int status, const char *message)
{
    struct error err = {0};

    cr_expect_eq(spec_resolve(spec, &err), status, "%s", message);
    cr_expect_eq((int)err.status, status);
    cr_expect_str_eq(err.message, message);
    spec_free(spec);
}

Test(core_spec, lr_is_checked)
{
    static const double several[] = {0.1, -1, 0.2};
    static const struct {
        double lr;
        const char *message;
    } rows[] = {{0, "lr: must be finite and above 0, got 0"},
                {-0.0, "lr: must be finite and above 0, got -0"},
                {-0.1, "lr: must be finite and above 0, got -0.1"},
                {NAN, "lr: must be finite and above 0, got NaN"},
                {INFINITY, "lr: must be finite and above 0, got Infinity"}};
    double many[GROUPS_MAX + 1];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        refused_take(with_lr(&rows[i].lr, 1), ST_FIELD_INVALID, rows[i].message);
    refused_take(with_lr(NULL, 0), ST_FIELD_REQUIRED,
                 "lr: is required, one initial learning rate per parameter group");
    refused_take(with_lr(several, 3), ST_FIELD_INVALID, "lr[1]: must be finite and above 0, got -1");
    for (size_t i = 0; i <= GROUPS_MAX; i++)
        many[i] = 1;
    refused_take(with_lr(many, GROUPS_MAX + 1), ST_FIELD_INVALID, "lr: must have 1 to 256 values, got 257");
    struct job_spec *most = with_lr(many, GROUPS_MAX);

    cr_assert_eq(spec_resolve(most, NULL), ST_OK);
    spec_free(most);
}

Test(core_spec, ramp_is_checked)
{
    static const struct {
        double start;
        const char *message; /* NULL: fine */
    } rows[] = {{0, "ramp.start_factor: must be in (0, 1], got 0"},
                {1.5, "ramp.start_factor: must be in (0, 1], got 1.5"},
                {-0.5, "ramp.start_factor: must be in (0, 1], got -0.5"},
                {NAN, "ramp.start_factor: must be in (0, 1], got NaN"},
                {1, NULL},
                {1e-9, NULL}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct job_spec *spec = help_raw_spec("0.1", "");

        spec->ramp = (struct ramp){10, rows[i].start};
        if (rows[i].message) {
            refused_take(spec, ST_FIELD_INVALID, rows[i].message);
        } else {
            cr_expect_eq(spec_resolve(spec, NULL), ST_OK);
            spec_free(spec);
        }
    }
}

Test(core_spec, ranks_are_checked)
{
    struct job_spec *spec = help_raw_spec("0.1", "");

    spec->ranks.world_size = 65537;
    refused_take(spec, ST_FIELD_INVALID, "ranks.world_size: must be in [1, 65536], got 65537");
    spec = help_raw_spec("0.1", "");
    spec->ranks.quorum = 3;
    refused_take(spec, ST_FIELD_INVALID, "ranks.quorum: must be in [1, world_size 1], got 3");
    spec = help_raw_spec("0.1", "");
    spec->ranks.deadline_ms = -1;
    refused_take(spec, ST_FIELD_INVALID, "ranks.deadline: must be above 0 and at most 24 hours");
    spec = help_spec("0.1", "");
    cr_assert_eq(spec->ranks.world_size, 1);
    cr_assert_eq(spec->ranks.quorum, 1);
    cr_assert_eq(spec->ranks.reduce, REDUCE_MEAN);
    cr_assert_eq(spec->ranks.deadline_ms, 60000);
    spec_free(spec);
}

Test(core_spec, settings_that_do_not_fit_are_refused)
{
    static const struct {
        const char *lr, *settings, *message;
    } rows[] = {
        {"0.1", "min_lr=0", "greedy.min_lr: must be above 0 and at most lr 0.1, got 0"},
        {"0.1", "min_lr=0.2", "greedy.min_lr: must be above 0 and at most lr 0.1, got 0.2"},
        {"0.1", "max_lr=0.05", "greedy.max_lr: must be finite and at least lr 0.1, got 0.05"},
        {"0.1,1", "min_lr=0.2", "greedy.min_lr[0]: must be above 0 and at most lr[0] 0.1, got 0.2"},
        {"1,0.1", "max_lr=1", NULL},
        {"1,0.1", "max_lr=2,0.01", "greedy.max_lr[1]: must be finite and at least lr[1] 0.1, got 0.01"},
        {"1,2,3", "min_lr=0.1,0.1", "greedy.min_lr: must have 1 or 3 values, one per group of lr, got 2"},
        {"1,2,3", "max_lr=10,20,30,40", "greedy.max_lr: must have 1 or 3 values, one per group of lr, got 4"},
        {"1", "min_lr=1,1", "greedy.min_lr: must have 1 value, as lr has, got 2"},
        {"1e308", "", "greedy.max_lr: must be finite and at least lr 1e+308, got Infinity"},
        {"5e-324", "", "greedy.min_lr: must be above 0 and at most lr 5e-324, got 0"},
        {"0.1", "min_lr=0.1 max_lr=0.1", NULL},
        {"0.1", "threshold=1",
         "greedy.threshold: must be below 1 with mode min and threshold_mode rel, got 1; no value could be "
         "better by that much: give a fraction such as 0.001, or use greedy.threshold_mode abs"},
        {"0.1", "threshold=2.5 mode=min threshold_mode=rel",
         "greedy.threshold: must be below 1 with mode min and threshold_mode rel, got 2.5; no value could be "
         "better by that much: give a fraction such as 0.001, or use greedy.threshold_mode abs"},
        {"0.1", "threshold=0.999", NULL},
        {"0.1", "threshold=1 mode=max", NULL},
        {"0.1", "threshold=1 threshold_mode=abs", NULL},
        {"0.1", "dialect=transformers threshold=1 threshold_mode=rel", NULL},
        {"0.1", "dialect=transformers min_lr=0", NULL},
        {"0.1", "dialect=transformers min_lr=0.5 max_lr=0.01", NULL},
        {"0.1", "dialect=transformers smoothing=median",
         "greedy.smoothing: must be \"mean\" in the transformers dialect, got \"median\"; use greedy.dialect "
         "greedylr "
         "for others"},
        {"0.1", "dialect=transformers smoothing=mean", NULL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct job_spec *spec = help_raw_spec(rows[i].lr, rows[i].settings);
        struct error err = {0};

        if (rows[i].message) {
            refused_take(spec, ST_FIELD_INVALID, rows[i].message);
        } else {
            cr_expect_eq(spec_resolve(spec, &err), ST_OK, "row %zu: %s", i, err.message);
            spec_free(spec);
        }
    }
}

Test(core_spec, on_nonfinite_does_not_go_with_transformers)
{
    struct job_spec *spec = help_raw_spec("0.1", "dialect=transformers");

    spec->on_nonfinite_given = true;
    refused_take(spec, ST_FIELD_INVALID,
                 "on_nonfinite: does not apply to the transformers dialect, which treats a NaN as Python "
                 "does; leave it "
                 "out, or use greedy.dialect greedylr");
}

/* Each value alone against its row. */
Test(core_spec, ranges_are_checked_one_by_one)
{
    static const struct {
        const char *key, *text, *message; /* NULL: fine */
    } rows[] = {
        {"factor", "1.5", "must be in (0, 1), got 1.5"},
        {"factor", "1", "must be in (0, 1), got 1"},
        {"factor", "0", "must be in (0, 1), got 0"},
        {"factor", "nan", "must be in (0, 1), got NaN"},
        {"factor", "0.999", NULL},
        {"threshold", "-0.1", "must be finite and at least 0, got -0.1"},
        {"threshold", "inf", "must be finite and at least 0, got Infinity"},
        {"threshold", "0", NULL},
        {"eps", "-1e-8", "must be finite and at least 0, got -1e-08"},
        {"window_size", "0", "must be in [1, 1000], got 0"},
        {"window_size", "1001", "must be in [1, 1000], got 1001"},
        {"window_size", "1000", NULL},
        {"patience", "4294967295", NULL},
        {"reset_start", "2147483648", "must be in [0, 2147483647], got 2147483648"},
        {"min_lr", "-1", "must be finite and at least 0, got -1"},
        {"max_lr", "0", "must be finite and above 0, got 0"},
        {"max_lr", "1,inf", "must be finite and above 0, got Infinity at index 1"},
        {"max_lr", "", "must have 1 to 256 values, got 0"},
        {"mode", "least", "must be \"min\" or \"max\", got \"least\""},
        {"stage_mode", "", "must be \"continue\", \"hold\" or \"ignore\", got \"\""},
        {"smoothing", "MEAN", "must be \"mean\", \"median\" or \"ema\", got \"MEAN\""},
        {"threshold_mode", "abs", NULL},
        {"dialect", "pytorch", "must be \"greedylr\" or \"transformers\", got \"pytorch\""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct job_spec *spec = help_raw_spec("0.1", "");
        struct error err = {0};
        int rc = help_set(spec, rows[i].key, rows[i].text, &err);

        cr_expect_eq(rc, rows[i].message ? ST_FIELD_INVALID : ST_OK, "row %zu: %s", i, err.message);
        cr_expect_str_eq(err.message, rows[i].message ? rows[i].message : "");
        cr_expect_eq(spec->params_given != 0, !rows[i].message, "row %zu: given only if it was taken", i);
        cr_expect_eq(spec_resolve(spec, &err), ST_OK, "a refused value leaves the spec as it was: %s",
                     err.message);
        spec_free(spec);
    }
}

Test(core_spec, kinds_are_checked)
{
    const struct policy *policy = policy_default();
    struct job_spec *spec = help_raw_spec("0.1", "");

    for (size_t row = 0; row < policy->n_params; row++) {
        for (int kind = PARAM_F64; kind <= PARAM_F64_LIST; kind++) {
            static const double half = 0.5;
            struct param_value value = {.kind = (enum param_kind)kind, .f64 = half, .u32 = 1, .word = "?"};
            struct error err;
            enum param_kind want = policy->params[row].kind;

            value.list = &half;
            value.n = 1;
            bool taken = kind == (int)want || (want == PARAM_F64_LIST && kind == PARAM_F64);

            if (kind == PARAM_WORD) taken = false;
            cr_expect_eq(spec_set_param(spec, row, &value, &err), taken ? ST_OK : ST_FIELD_INVALID,
                         "%s as kind %d", policy->params[row].name, kind);
        }
    }
    spec_free(spec);
}

Test(core_spec, defaults_by_dialect)
{
    struct job_spec *spec = help_spec("0.1,0.2", "");
    const struct greedy_params *p = spec->params;

    cr_assert_eq(p->factor, 0.8);
    cr_assert_eq(p->patience, 2);
    cr_assert_eq(p->threshold, 1e-3);
    cr_assert_eq(p->threshold_mode, THRESHOLD_REL);
    cr_assert_eq(p->stage_mode, GREEDY_CONTINUE);
    cr_assert(p->cooldown == 0 && p->warmup == 0 && p->eps == 0 && p->reset_start == 0);
    cr_assert(p->smooth && p->window_size == 5 && p->smoothing == GREEDY_MEDIAN);
    cr_assert_eq(p->min_lr.v[1], 0.2 / 1000);
    cr_assert_eq(p->max_lr.v[1], 0.2 * 10);
    cr_assert_eq(spec->params_given, 0);
    spec_free(spec);

    spec = help_spec("0.1,0.2", "dialect=transformers");
    p = spec->params;
    cr_assert_eq(p->factor, 0.95);
    cr_assert_eq(p->patience, 10);
    cr_assert_eq(p->threshold, 1e-6);
    cr_assert_eq(p->threshold_mode, THRESHOLD_ABS);
    cr_assert_eq(p->stage_mode, GREEDY_HOLD);
    cr_assert(p->cooldown == 0 && p->warmup == 0 && p->eps == 1e-8 && p->reset_start == 500);
    cr_assert(!p->smooth && p->window_size == 50 && p->smoothing == GREEDY_MEAN);
    cr_assert(p->min_lr.n == 2 && p->min_lr.v[1] == 1e-3);
    cr_assert(p->max_lr.n == 2 && p->max_lr.v[1] == 1.0);
    spec_free(spec);
}

Test(core_spec, resolving_again_changes_nothing_given)
{
    struct job_spec *spec = help_spec("0.1,0.2", "min_lr=0.01 patience=7");
    struct job_spec *copy = spec_copy(spec);
    struct error err;

    spec_free(spec);
    cr_assert_eq(spec_resolve(copy, &err), ST_OK, "%s", err.message);
    const struct greedy_params *p = copy->params;

    cr_assert(p->min_lr.n == 2 && p->min_lr.v[0] == 0.01 && p->min_lr.v[1] == 0.01);
    cr_assert_eq(p->patience, 7);
    cr_assert_eq(copy->lr.v[1], 0.2);
    /* What was not given follows what it is derived from. */
    copy->lr.v[1] = 0.4;
    cr_assert_eq(spec_resolve(copy, &err), ST_OK);
    cr_assert_eq(p->max_lr.v[1], 4);
    spec_free(copy);
    spec_free(NULL);
}

Test(core_spec, parameters_read_back)
{
    struct job_spec *spec =
        help_spec("1,2", "dialect=transformers factor=0.25 patience=9 smooth=true min_lr=0.5,0.75");
    const struct policy *policy = spec->policy;
    struct param_value v;

    v = param_get(spec->params, &policy->params[param_find(policy->params, policy->n_params, "dialect")]);
    cr_assert_str_eq(v.word, "transformers");
    v = param_get(spec->params, &policy->params[param_find(policy->params, policy->n_params, "factor")]);
    cr_assert_eq(v.f64, 0.25);
    v = param_get(spec->params, &policy->params[param_find(policy->params, policy->n_params, "patience")]);
    cr_assert_eq(v.u32, 9);
    v = param_get(spec->params, &policy->params[param_find(policy->params, policy->n_params, "smooth")]);
    cr_assert(v.boolean);
    v = param_get(spec->params, &policy->params[param_find(policy->params, policy->n_params, "min_lr")]);
    cr_assert(v.n == 2 && v.list[1] == 0.75);
    cr_assert_eq(param_find(policy->params, policy->n_params, "min_l"), -1);
    spec_free(spec);
}

static size_t size_of(enum param_kind kind)
{
    static const size_t sizes[] = {sizeof(double),          sizeof(uint32_t),        sizeof(bool),
                                   sizeof(uint8_t),         sizeof(struct f64_list), sizeof(struct u32_list),
                                   sizeof(struct f64_list), PARAM_HASH_LEN + 1};

    return sizes[kind];
}

static void check_row(const struct policy *policy, size_t i)
{
    const struct param_def *def = &policy->params[i];

    cr_expect_not_null(def->name);
    cr_expect_eq(param_find(policy->params, policy->n_params, def->name), (int)i, "%s is there twice",
                 def->name);
    cr_expect_leq(def->offset + size_of(def->kind), policy->params_size, "%s", def->name);
    cr_expect_eq(def->words != NULL, def->kind == PARAM_WORD, "%s", def->name);
    if (def->kind != PARAM_BOOL && def->kind != PARAM_WORD && def->kind != PARAM_HASH)
        cr_expect_lt(def->lo, def->hi, "%s", def->name);
    if (def->kind == PARAM_U32 || def->kind == PARAM_U32_LIST)
        cr_expect(def->lo >= 0 && def->hi <= UINT32_MAX, "%s", def->name);
    for (size_t j = 0; j < i; j++) {
        const struct param_def *other = &policy->params[j];

        cr_expect(other->offset + size_of(other->kind) <= def->offset ||
                      def->offset + size_of(def->kind) <= other->offset,
                  "%s and %s overlap", def->name, other->name);
    }
}

Test(core_spec, tables_of_policies_are_sound)
{
    size_t n = 0;

    for (const struct policy *policy; (policy = policy_at(n)); n++) {
        cr_assert_eq(policy_find(policy->name), policy);
        cr_assert_leq(policy->n_params, 64);
        cr_assert(policy->resolve && policy->state_size && policy->init && policy->step && policy->rates &&
                  policy->set_rates && policy->view && policy->update && policy->io);
        for (size_t i = 0; i < policy->n_params; i++)
            check_row(policy, i);
    }
    cr_assert_geq(n, 1);
    cr_assert_null(policy_find("greed"));
    cr_assert_str_eq(policy_default()->name, "greedy");
}

Test(core_spec, words_end_and_match_their_enums)
{
    cr_assert_null(action_words[ACTION_COUNT]);
    cr_assert_str_eq(action_words[ACTION_FINISH], "finish");
    cr_assert_str_eq(stage_words[STAGE_COOLDOWN], "cooldown");
    cr_assert_null(stage_words[STAGE_COOLDOWN + 1]);
    cr_assert_str_eq(on_nonfinite_words[NONFINITE_REJECT], "reject");
    cr_assert_null(on_nonfinite_words[NONFINITE_REJECT + 1]);
    cr_assert_str_eq(reduce_words[REDUCE_FIRST], "first");
    cr_assert_null(reduce_words[REDUCE_FIRST + 1]);
    cr_assert_str_eq(job_status_words[JOB_FINISHED], "finished");
    cr_assert_null(job_status_words[JOB_FINISHED + 1]);
}

Test(core_spec, job_ids)
{
    static const char *const good[] = {"a", "0", "_", "run-7", "A.b_c-9", "a..b"};
    static const char *const bad[] = {"",    ".",   "-",        ".a",  "-a", "a b",
                                      "a/b", "a\n", "\xc3\xa9", "a:b", "a%", "a\\"};
    char longest[JOB_ID_MAX + 2];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        cr_expect(job_id_valid(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect(!job_id_valid(bad[i]), "%s", bad[i]);
    memset(longest, 'x', sizeof(longest));
    longest[JOB_ID_MAX + 1] = '\0';
    cr_assert(!job_id_valid(longest));
    longest[JOB_ID_MAX] = '\0';
    cr_assert(job_id_valid(longest));
}
