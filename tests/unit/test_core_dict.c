/* State dicts: what each key means, what is refused and how, and that a job which goes out and comes back
 * decides as one that stayed. */
#include "core/plateau.h"
#include "core/scheduler_dict.h"
#include "rpc/state_dict.h"
#include "test_core_help.h"

#include <jansson.h>

static const char greedy_text[] =
    "{\"factor\": 0.5, \"min_lrs\": [0.001, 0.0], \"max_lrs\": [1.0, 2.0], \"patience\": 3, \"verbose\": "
    "false,"
    " \"cooldown\": 4, \"warmup\": 5, \"cooldown_counter\": 2, \"warmup_counter\": 0, \"mode\": \"max\","
    " \"threshold\": 1e-06, \"threshold_mode\": \"rel\", \"best\": 0.75, \"num_bad_epochs\": 0,"
    " \"num_good_epochs\": 0, \"eps\": 1e-08, \"last_epoch\": 17, \"smooth\": true, \"window_size\": 3,"
    " \"reset_start\": 6, \"reset_start_original\": 7, \"_last_lr\": [0.25, 0.125], \"_init_lrs\": [0.5, "
    "0.25],"
    " \"_streaming_avg\": {\"window_size\": 3, \"values\": [0.5, 1.0], \"sum\": 1.5}}";

/* As torch 1.13 writes it. */
static const char plateau_text[] =
    "{\"factor\": 0.1, \"min_lrs\": [0, 0.001], \"patience\": 2, \"verbose\": false, \"cooldown\": 3,"
    " \"cooldown_counter\": 1, \"mode\": \"min\", \"threshold\": 0.0001, \"threshold_mode\": \"abs\","
    " \"best\": 1.5, \"num_bad_epochs\": 0, \"mode_worse\": 1e308, \"eps\": 1e-08, \"last_epoch\": 9,"
    " \"_last_lr\": [0.01, 0.02]}";

/* A copy of text with key (or "outer.inner") set to value, or without it: value NULL. */
static char *with(const char *text, const char *key, const char *value)
{
    json_t *root = json_loads(text, 0, NULL), *at = root, *new = NULL;
    const char *dot = strchr(key, '.');
    char outer[40] = "";

    cr_assert_not_null(root);
    if (dot) {
        snprintf(outer, sizeof(outer), "%.*s", (int)(dot - key), key);
        at = json_object_get(root, outer);
        key = dot + 1;
    }
    if (!value) {
        cr_assert_eq(json_object_del(at, key), 0, "%s", key);
    } else {
        /* A marker, for values that are no JSON. */
        new = json_string("VALUE");
        json_object_set_new(at, key, new);
    }
    char *out = json_dumps(root, JSON_REAL_PRECISION(17)), *mark = value ? strstr(out, "\"VALUE\"") : NULL;

    json_decref(root);
    if (!value) return out;
    char *done = malloc(strlen(out) + strlen(value) + 1);

    sprintf(done, "%.*s%s%s", (int)(mark - out), out, value, mark + 7);
    free(out);
    return done;
}

static struct state_dict *parse(const char *text)
{
    struct state_dict *dict = NULL;
    struct error err = {0};

    cr_assert_eq(state_dict_parse(text, &dict, &err), ST_OK, "%s", err.message);
    return dict;
}

static int import(const char *text, const struct help_job *base, struct help_job *out, struct error *err)
{
    struct state_dict *dict = parse(text);
    const struct scheduler_dict *items = state_dict_items(dict);
    struct job_spec *spec = NULL;
    int rc = scheduler_dict_spec(items, base ? base->spec : NULL, &spec, err);

    if (!rc) {
        struct help_job job = help_job_take(spec);

        rc = scheduler_dict_state(items, spec, base ? base->state : NULL, job.state, err);
        if (rc)
            help_job_free(&job);
        else
            *out = job;
    }
    state_dict_free(dict);
    return rc;
}

static struct help_job imported(const char *text)
{
    struct help_job job;
    struct error err = {0};

    cr_assert_eq(import(text, NULL, &job, &err), ST_OK, "%s", err.message);
    return job;
}

static char *exported(const struct help_job *job)
{
    struct dict_item items[DICT_ITEMS_MAX];
    struct scheduler_dict dict = {items, 0, DICT_ITEMS_MAX};
    struct error err = {0};
    struct buf out = {0};

    cr_assert_eq(scheduler_dict_export(job->spec, job->state, &dict, &err), ST_OK, "%s", err.message);
    cr_assert_lt(dict.n, DICT_ITEMS_MAX);
    cr_assert_eq(state_dict_print(&dict, &out, &err), ST_OK);
    return buf_take(&out, NULL);
}

Test(core_dict, rows_name_parameters_of_their_kind)
{
    static const enum param_kind kinds[] = {[DICT_BOOL] = PARAM_BOOL,
                                            [DICT_WHOLE] = PARAM_U32,
                                            [DICT_NUMBER] = PARAM_F64,
                                            [DICT_TEXT] = PARAM_WORD,
                                            [DICT_LIST] = PARAM_F64_LIST};
    const struct policy *policies[] = {policy_find("greedy"), policy_find("plateau")};

    for (size_t p = 0; p < 2; p++) {
        const struct scheduler_form *form = policies[p]->form;
        size_t params = 0;

        for (size_t i = 0; i < form->n_rows; i++) {
            if (!form->rows[i].param) continue;
            int at = param_find(policies[p]->params, policies[p]->n_params, form->rows[i].param);

            cr_assert(at >= 0, "%s", form->rows[i].param);
            cr_assert_eq(policies[p]->params[at].kind, kinds[form->rows[i].kind], "%s", form->rows[i].key);
            params++;
        }
        /* All but dialect, stage_mode, smoothing and the guard, which Transformers has no words for. */
        cr_assert_eq(params, policies[p]->n_params - (p == 0 ? 5 : 0));
    }
}

Test(core_dict, a_dict_of_greedylr_becomes_a_job)
{
    struct help_job job = imported(greedy_text);
    const struct greedy_params *p = job.spec->params;
    struct greedy_state *s = help_greedy(&job);
    struct smooth *w = greedy_smooth(job.spec, s);

    cr_assert_str_eq(job.spec->policy->name, "greedy");
    cr_assert(job.spec->lr.n == 2 && job.spec->lr.v[0] == 0.5 && job.spec->lr.v[1] == 0.25);
    cr_assert_eq(p->dialect, GREEDY_TRANSFORMERS);
    cr_assert_eq(p->stage_mode, GREEDY_HOLD);
    cr_assert_eq(p->smoothing, GREEDY_MEAN);
    cr_assert(p->factor == 0.5 && p->patience == 3 && p->cooldown == 4 && p->warmup == 5);
    cr_assert(p->mode == MODE_MAX && p->threshold == 1e-6 && p->threshold_mode == THRESHOLD_REL);
    cr_assert(p->eps == 1e-8 && p->smooth && p->window_size == 3 && p->reset_start == 7);
    cr_assert(p->min_lr.n == 2 && p->min_lr.v[0] == 0.001 && p->min_lr.v[1] == 0);
    cr_assert(p->max_lr.n == 2 && p->max_lr.v[1] == 2);
    cr_assert(s->best == 0.75 && s->num_good == 0 && s->num_bad == 0);
    cr_assert(s->stage == STAGE_COOLDOWN && s->stage_left == 2 && s->resets_left == 6);
    cr_assert(!s->has_best_step && !s->plateaued);
    cr_assert(w->acc == 1.5 && w->count == 2 && w->values[0] == 0.5 && w->values[1] == 1);
    cr_assert(job.state->reports == 17 && !job.state->has_step && job.state->revision == 0);
    cr_assert(job_lrs(job.state)[0] == 0.25 && job_lrs(job.state)[1] == 0.125);
    char *again = exported(&job);
    json_t *a = json_loads(greedy_text, 0, NULL), *b = json_loads(again, 0, NULL);

    cr_assert(json_equal(a, b), "%s", again);
    json_decref(a);
    json_decref(b);
    free(again);
    help_job_free(&job);
}

Test(core_dict, a_dict_of_reducelronplateau_becomes_a_job)
{
    char *text = with(plateau_text, "mode_worse", "Infinity");
    struct help_job job = imported(text);
    const struct plateau_params *p = job.spec->params;
    const struct plateau_state *s = job_policy_state(job.state);

    cr_assert_str_eq(job.spec->policy->name, "plateau");
    /* The dict has no initial rates: the current ones. */
    cr_assert(job.spec->lr.n == 2 && job.spec->lr.v[0] == 0.01 && job.spec->lr.v[1] == 0.02);
    cr_assert(p->factor == 0.1 && p->patience == 2 && p->cooldown == 3 && p->mode == MODE_MIN);
    cr_assert(p->threshold == 1e-4 && p->threshold_mode == THRESHOLD_ABS && p->eps == 1e-8);
    cr_assert(p->min_lr.v[0] == 0 && p->min_lr.v[1] == 0.001);
    cr_assert(s->best == 1.5 && s->num_bad == 0 && s->cooldown_left == 1 && !s->has_best_step);
    cr_assert_eq(job.state->reports, 9);
    char *again = exported(&job);

    cr_assert_str_eq(
        again,
        "{\"factor\": 0.1, \"min_lrs\": [0.0, 0.001], \"patience\": 2, \"cooldown\": 3, \"mode\": \"min\", "
        "\"threshold\": 0.0001, \"threshold_mode\": \"abs\", \"eps\": 1e-08, \"last_epoch\": 9, "
        "\"verbose\": false, \"cooldown_counter\": 1, \"best\": 1.5, \"num_bad_epochs\": 0, "
        "\"mode_worse\": Infinity, \"_last_lr\": [0.01, 0.02]}");
    free(again);
    free(text);
    help_job_free(&job);
}

/* Versions of PyTorch differ in these. */
Test(core_dict, keys_of_other_versions_of_pytorch)
{
    static const struct {
        const char *key, *value;
    } same[] = {{"verbose", NULL},       {"mode_worse", NULL},       {"verbose", "\"deprecated\""},
                {"default_min_lr", "0"}, {"default_min_lr", "null"}, {"mode_worse", "Infinity"},
                {"last_epoch", "9.0"},   {"patience", "2.0"},        {"threshold", "0"}};

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        char *text = with(plateau_text, same[i].key, same[i].value);
        struct help_job job = imported(text);

        cr_expect_eq(job.state->reports, 9, "%s", same[i].key);
        help_job_free(&job);
        free(text);
    }
}

struct bad {
    const char *key, *value, *message;
};

static void refuse(const char *text, const struct bad *bad, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *changed = with(text, bad[i].key, bad[i].value);
        struct help_job job;
        struct error err = {0};

        cr_expect_eq(import(changed, NULL, &job, &err), ST_STATE_INVALID, "%s = %s", bad[i].key,
                     bad[i].value);
        cr_expect_eq(err.status, ST_STATE_INVALID, "%s", bad[i].key);
        cr_expect_str_eq(err.message, bad[i].message);
        free(changed);
    }
}

#define REFUSE(text, list) refuse(text, list, sizeof(list) / sizeof(list[0]))

Test(core_dict, impossible_dicts_of_greedylr_are_refused_by_key)
{
    static const struct bad bad[] = {
        {"factor", NULL, "state_dict.factor: is missing; give all of scheduler.state_dict()"},
        {"best", "null", "state_dict.best: is missing; give all of scheduler.state_dict()"},
        {"_init_lrs", NULL, "state_dict._init_lrs: is missing; give all of scheduler.state_dict()"},
        {"factor", "1.5", "state_dict.factor: must be in (0, 1), got 1.5"},
        {"factor", "\"big\"", "state_dict.factor: must be a number, got \"big\""},
        {"factor", "true", "state_dict.factor: must be a number, got true"},
        {"eps", "NaN", "state_dict.eps: must be finite and at least 0, got NaN"},
        {"max_lrs", "[1.0, Infinity]",
         "state_dict.max_lrs: must be finite and above 0, got Infinity at index 1"},
        {"patience", "-1", "state_dict.patience: must be a whole number from 0 to 4294967295, got -1"},
        {"patience", "2.5", "state_dict.patience: must be a whole number from 0 to 4294967295, got 2.5"},
        {"mode", "\"low\"", "state_dict.mode: must be \"min\" or \"max\", got \"low\""},
        {"mode", "1", "state_dict.mode: must be a text, got 1"},
        {"smooth", "1", "state_dict.smooth: must be true or false, got 1"},
        {"best", "NaN", "state_dict.best: must be a number, got NaN"},
        {"best", "1e999", "state_dict.best: must be a number, got a number beyond a double"},
        {"last_epoch", "3.5", "state_dict.last_epoch: must be a whole number from 0 to 4294967295, got 3.5"},
        {"last_epoch", "NaN", "state_dict.last_epoch: must be a whole number from 0 to 4294967295, got NaN"},
        {"warmup_counter", "1",
         "state_dict.warmup_counter: is 1 while cooldown_counter is 2; one of them is always 0: give a "
         "state_dict as "
         "the scheduler wrote it"},
        {"cooldown_counter", "-2",
         "state_dict.cooldown_counter: must be a whole number from 0 to 4294967295, got -2"},
        {"reset_start", "0", "state_dict.reset_start: must be a whole number from 1 to 2147483647, got 0"},
        {"reset_start_original", "Infinity",
         "state_dict.reset_start_original: must be a whole number from 0 to 4294967295, got Infinity"},
        {"reset_start_original", "4294967295",
         "state_dict.reset_start_original: must be in [0, 2147483647], got 4294967295"},
        {"min_lrs", "0.1", "state_dict.min_lrs: must be a list of numbers, got 0.1"},
        {"min_lrs", "[0.1]", "state_dict.min_lrs: must have 2 values, one per parameter group, got 1"},
        {"min_lrs", "[0.1, \"a\"]",
         "state_dict.min_lrs: must be a list of numbers, got a list of something else than numbers"},
        {"_last_lr", "[]",
         "state_dict._last_lr: must be a list of 1 to 256 rates, one per parameter group, got a list of 0"},
        {"_last_lr", "[0.1, -0.5]", "state_dict._last_lr[1]: must be finite and at least 0, got -0.5"},
        {"_last_lr", "[0.1, NaN]", "state_dict._last_lr[1]: must be finite and at least 0, got NaN"},
        {"_init_lrs", "[0.1, 0]", "state_dict._init_lrs[1]: must be finite and above 0, got 0"},
        {"_init_lrs", "[0.1]", "state_dict._init_lrs: must have 2 values, one per parameter group, got 1"},
        {"window_size", "5000", "state_dict.window_size: must be in [1, 1000], got 5000"},
        {"window_size", "4",
         "state_dict._streaming_avg.window_size: must be a whole number from 4 to 4, got 3"},
        {"smooth", "false",
         "state_dict._streaming_avg.window_size: is there while smooth is false; remove _streaming_avg"},
        {"_streaming_avg", NULL,
         "state_dict._streaming_avg.window_size: is missing while smooth is true; give all of "
         "scheduler.state_dict()"},
        {"_streaming_avg", "7", "state_dict._streaming_avg: must be a dict, got 7"},
        {"_streaming_avg", "[\"a\"]",
         "state_dict._streaming_avg: must be a dict, got a list of something else than numbers"},
        {"_streaming_avg.sum", NULL,
         "state_dict._streaming_avg.sum: is missing while smooth is true; give all of "
         "scheduler.state_dict()"},
        {"_streaming_avg.values", "[1, 2, 3, 4]",
         "state_dict._streaming_avg.values: must have at most window_size 3 values, got 4"},
        {"_streaming_avg.extra", "1",
         "state_dict._streaming_avg.extra: is not a key of GreedyLR (Transformers); remove it"},
        {"base_lrs", "[1]", "state_dict.base_lrs: is not a key of GreedyLR (Transformers); remove it"},
        {"mode_worse", "1",
         "state_dict.mode_worse: is a key of ReduceLROnPlateau (PyTorch), while max_lrs is one of GreedyLR "
         "(Transformers); give the dict of one scheduler"},
    };

    REFUSE(greedy_text, bad);
}

Test(core_dict, impossible_dicts_of_reducelronplateau_are_refused_by_key)
{
    static const struct bad bad[] = {
        {"_last_lr", NULL,
         "state_dict._last_lr: is missing; older PyTorch writes it after the first step; before, set it to "
         "[g[\"lr\"] for g in optimizer.param_groups]"},
        {"num_bad_epochs", NULL, "state_dict.num_bad_epochs: is missing; give all of scheduler.state_dict()"},
        {"num_bad_epochs", "-1",
         "state_dict.num_bad_epochs: must be a whole number from 0 to 4294967295, got -1"},
        {"cooldown_counter", "0.5",
         "state_dict.cooldown_counter: must be a whole number from 0 to 4294967295, got 0.5"},
        {"best", "\"inf\"", "state_dict.best: must be a number, got \"inf\""},
        {"best", "NaN", "state_dict.best: must be a number, got NaN"},
        {"factor", "0", "state_dict.factor: must be in (0, 1), got 0"},
        {"threshold", "-1", "state_dict.threshold: must be finite and at least 0, got -1"},
        {"min_lrs", "[0, 0, 0]", "state_dict.min_lrs: must have 2 values, one per parameter group, got 3"},
        {"_last_lr", "[0.1, 0]", "state_dict._last_lr[1]: must be finite and above 0, got 0"},
        {"_last_lr", "[0.1, Infinity]",
         "state_dict._last_lr[1]: must be finite and at least 0, got Infinity"},
        {"_last_lr", "[null, 1]",
         "state_dict._last_lr: must be a list of numbers, got a list of something else than numbers"},
        {"lr_lambdas", "[null]",
         "state_dict.lr_lambdas: is not a key of ReduceLROnPlateau (PyTorch); remove it"},
    };

    REFUSE(plateau_text, bad);
}

Test(core_dict, other_schedulers_are_told_so)
{
    static const char *const others[] = {
        "{}",
        "{\"step_size\": 30, \"gamma\": 0.1, \"base_lrs\": [0.1], \"last_epoch\": 3, \"_step_count\": 4, "
        "\"_last_lr\": "
        "[0.1]}",
        "{\"state\": {\"0\": {\"step\": 1}}, \"param_groups\": [{\"lr\": 0.1}]}"};

    for (size_t i = 0; i < 3; i++) {
        struct help_job job;
        struct error err = {0};

        cr_expect_eq(import(others[i], NULL, &job, &err), ST_STATE_INVALID);
        cr_expect_str_eq(
            err.message,
            "state_dict: is not one of GreedyLR (Transformers) or ReduceLROnPlateau (PyTorch); give all "
            "of scheduler.state_dict()");
    }
}

Test(core_dict, a_job_that_is_there_keeps_what_the_dict_does_not_say)
{
    struct job_spec *spec = help_raw_spec_of("plateau", "3,4", "patience=1");
    struct error err = {0};

    spec->strict = true;
    spec->ramp = (struct ramp){5, 0.5};
    spec->anneal = (struct anneal){100, 0.5, true};
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    struct help_job base = help_job_take(spec), job;
    struct job_event event = help_event(7);

    event.report.has_step = event.report.has_attempt = true;
    event.report.step = 40;
    event.report.attempt = 2;
    cr_assert_eq(help_step(&base, &event), ST_OK);
    cr_assert_eq(import(plateau_text, &base, &job, &err), ST_OK, "%s", err.message);
    cr_assert(job.spec->strict && job.spec->ramp.reports == 5 && job.spec->anneal.total_reports == 100);
    cr_assert(job.spec->lr.v[0] == 3 && job.spec->lr.v[1] == 4, "the dict does not know the initial rates");
    cr_assert_eq(((const struct plateau_params *)job.spec->params)->patience, 2);
    cr_assert(job.state->has_step && job.state->step == 40 && job.state->attempt == 2);
    cr_assert_eq(job.state->reports, 9);
    cr_assert_eq(job.state->anneal_done, 9);
    cr_assert_eq(job_lrs(job.state)[0], 0.01, "the ramp is over");
    help_job_free(&job);

    cr_assert_eq(import(greedy_text, &base, &job, &err), ST_STATE_INVALID);
    cr_assert_str_eq(err.message,
                     "state_dict: is one of GreedyLR (Transformers) (it has max_lrs), the job's policy is "
                     "plateau; import into another job");
    help_job_free(&base);

    base = help_job("1,2,3", "");
    cr_assert_eq(import(greedy_text, &base, &job, &err), ST_STATE_INVALID);
    cr_assert_str_eq(err.message,
                     "state_dict._last_lr: must have 3 rates, as the job has, got 2; import into another "
                     "job");
    help_job_free(&base);

    /* Whatever the dialect and its rules were, it is Transformers' now, initial rates included. */
    spec = help_raw_spec("1,2", "min_lr=0.5");
    spec->on_nonfinite = NONFINITE_SKIP;
    spec->on_nonfinite_given = true;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    base = help_job_take(spec);
    cr_assert_eq(import(greedy_text, &base, &job, &err), ST_OK, "%s", err.message);
    cr_assert_eq(((const struct greedy_params *)job.spec->params)->dialect, GREEDY_TRANSFORMERS);
    cr_assert(job.spec->lr.v[0] == 0.5 && !job.spec->on_nonfinite_given);
    help_job_free(&job);
    help_job_free(&base);
}

Test(core_dict, reasons_of_an_imported_job_know_its_best_value)
{
    char *text = with(plateau_text, "cooldown_counter", "0");
    struct help_job job = imported(text);

    help_report(&job, 2);
    cr_assert_str_eq(job.d.reason, "worse than best 1.5; bad 1 of 2");
    cr_assert(job.d.has_step && job.d.step == 1);
    help_job_free(&job);
    free(text);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Text that is nearly a dict: whatever gets through is a job that can be written, read and stepped. */
Test(core_dict, damaged_texts_never_make_an_impossible_job)
{
    static const char junk[] = "0123456789-+.eE,:{}[]\"NaNInfinitytruefalsenull _";
    uint64_t seed = 20261125;
    size_t taken = 0;

    for (int i = 0; i < 20000; i++) {
        char *text = strdup(i % 2 ? greedy_text : plateau_text);
        struct state_dict *dict = NULL;
        struct help_job job;
        struct error err = {0};

        for (uint64_t n = 1 + next_random(&seed) % 3; n; n--)
            text[next_random(&seed) % strlen(text)] = junk[next_random(&seed) % (sizeof(junk) - 1)];
        int rc = state_dict_parse(text, &dict, &err);

        state_dict_free(dict);
        if (!rc && !import(text, NULL, &job, &err)) {
            size_t n = job_state_encoded_size(job.spec, job.state);
            uint8_t *bytes = malloc(n);

            job_state_encode(job.spec, job.state, bytes);
            cr_assert_eq(job_state_decode(job.spec, bytes, n, job.next, &err), ST_OK, "%s: %s", text,
                         err.message);
            free(bytes);
            free(exported(&job));
            help_report(&job, 1);
            help_job_free(&job);
            taken++;
        }
        free(text);
    }
    cr_assert(taken > 100 && taken < 20000, "%zu", taken);
}

static double noise(uint64_t *seed)
{
    return (double)next_random(seed) / 2147483648.0;
}

/* Steps a job and one that goes out and comes back before every report: the same rates, bit for bit. */
static void there_and_back(const char *policy, const char *lr, const char *settings, int reports)
{
    struct help_job stays = help_job_take(help_spec_of(policy, lr, settings));
    uint64_t seed = 7;

    for (int i = 0; i < reports; i++) {
        double value = i % 61 == 60 ? NAN : 2 + noise(&seed) - i * 0.004;
        char *text = exported(&stays);
        struct help_job moved = imported(text);
        char *again = exported(&moved);

        cr_assert_str_eq(text, again);
        help_report(&stays, value);
        help_report(&moved, value);
        cr_assert(memcmp(job_lrs(stays.state), job_lrs(moved.state), stays.spec->lr.n * sizeof(double)) == 0,
                  "%s, report %d", settings, i);
        help_job_free(&moved);
        free(text);
        free(again);
    }
    help_job_free(&stays);
}

Test(core_dict, a_job_that_moves_decides_as_one_that_stays)
{
    there_and_back("greedy", "0.1,0.02", "dialect=transformers patience=1 factor=0.5 cooldown=2 warmup=1",
                   400);
    there_and_back("greedy", "0.1", "dialect=transformers patience=0 smooth=true window_size=4 reset_start=3",
                   400);
    there_and_back("greedy", "0.1", "dialect=transformers patience=0 min_lr=0.05 reset_start=2 mode=max",
                   400);
    there_and_back("greedy", "0.1", "dialect=transformers patience=0 min_lr=0.05 reset_start=0 cooldown=1",
                   400);
    there_and_back("plateau", "0.1,3", "patience=1 factor=0.5 cooldown=2 min_lr=0.001,0.5", 400);
    there_and_back("plateau", "0.1", "patience=0 factor=0.9 threshold=0.01 mode=max threshold_mode=abs", 400);
}

Test(core_dict, the_greedylr_dialect_leaves_where_it_is_expressible)
{
    /* What is off here is out of reach there; no stages, no smoothing. */
    there_and_back("greedy", "0.1,0.2", "patience=1 smooth=false", 400);
    there_and_back("greedy", "0.1", "patience=0 smooth=false reset_start=2 min_lr=0.09", 400);
    there_and_back("greedy", "0.1", "patience=0 smooth=false stage_mode=hold cooldown=2 warmup=3", 400);
    struct help_job job = help_job("0.1", "smooth=false");
    char *text = exported(&job);

    cr_assert_not_null(strstr(text, "\"reset_start_original\": 2147483647"), "%s", text);
    cr_assert_not_null(strstr(text, "\"reset_start\": 2147483647"), "%s", text);
    free(text);
    help_job_free(&job);
}

static void stays_here(struct help_job *job, const char *message)
{
    struct dict_item items[DICT_ITEMS_MAX];
    struct scheduler_dict dict = {items, 0, DICT_ITEMS_MAX};
    struct error err = {0};

    cr_expect_eq(scheduler_dict_export(job->spec, job->state, &dict, &err), ST_STATE_NOT_EXPORTABLE);
    cr_expect_str_eq(err.message, message);
    help_job_free(job);
}

Test(core_dict, what_is_not_expressible_says_why_and_what_to_do)
{
    struct help_job job = help_job("1", "");

    stays_here(
        &job,
        "state: GreedyLR (Transformers) does not smooth as the greedylr dialect does; set greedy.smooth to "
        "false first");
    job = help_job("1", "smooth=false guard_ratio=2.5");
    stays_here(&job, "state: GreedyLR (Transformers) has no guard, this job has guard_ratio 2.5; set "
                     "greedy.guard_ratio to 0 first");
    job = help_job("1", "smooth=false cooldown=1");
    stays_here(&job, "state: the stages of GreedyLR (Transformers) rest, those of this job do not; set "
                     "greedy.stage_mode to hold first");
    job = help_job("1", "dialect=transformers stage_mode=ignore warmup=1");
    stays_here(&job, "state: the stages of GreedyLR (Transformers) rest, those of this job do not; set "
                     "greedy.stage_mode to hold first");
    struct job_spec *spec = help_raw_spec("1", "smooth=false");
    struct error err = {0};

    spec->on_nonfinite = NONFINITE_SKIP;
    spec->on_nonfinite_given = true;
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    job = help_job_take(spec);
    stays_here(
        &job,
        "state: to GreedyLR (Transformers) a NaN is a worse value, to this job on_nonfinite is skip; set it "
        "to bad first");
    spec = help_raw_spec_of("plateau", "1", "");
    spec->ramp = (struct ramp){3, 0.5};
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    job = help_job_take(spec);
    help_report(&job, 1);
    stays_here(
        &job, "state: the ramp is not over, 1 of 3 reports, and ReduceLROnPlateau (PyTorch) has none; export "
              "after it");
    spec = help_raw_spec_of("plateau", "1", "");
    spec->anneal = (struct anneal){2, 0.5, true};
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    job = help_job_take(spec);
    help_report(&job, 1);
    help_report(&job, 1);
    stays_here(&job,
               "state: the anneal has begun, report 2 of 2, and ReduceLROnPlateau (PyTorch) has none; PATCH "
               "the job with a larger anneal.total_reports first");
}
