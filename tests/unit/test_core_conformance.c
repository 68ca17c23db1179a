/* The schedulers against tests/conformance/, with the state written and read back after every report:
 * GreedyLR and ReduceLROnPlateau have the same rates after every report, bit for bit, and the same counters
 * at the end; schedules by report count have the same rates but for rounding, from creation on. */
#include "core/greedy.h"
#include "core/job.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef CONFORMANCE_DIR
#define CONFORMANCE_DIR "tests/conformance"
#endif

/* Numbers, and the words JSON has none for. */
static double number(const json_t *v)
{
    if (json_is_number(v)) return json_number_value(v);
    const char *word = json_string_value(v);

    cr_assert_not_null(word, "neither a number nor a word");
    if (strcmp(word, "NaN") == 0) return NAN;
    return strcmp(word, "-Infinity") == 0 ? -INFINITY : INFINITY;
}

static struct param_value param_value(const struct param_def *def, const json_t *v, double *list,
                                      uint32_t *u32s)
{
    struct param_value value = {.kind = def->kind};

    switch (def->kind) {
    case PARAM_F64: value.f64 = json_number_value(v); break;
    case PARAM_U32: value.u32 = (uint32_t)json_integer_value(v); break;
    case PARAM_BOOL: value.boolean = json_is_true(v); break;
    case PARAM_WORD:
    case PARAM_HASH: value.word = json_string_value(v); break;
    case PARAM_F64_LIST:
    case PARAM_F64_VECTOR:
        value.list = list;
        value.n = json_is_array(v) ? (uint32_t)json_array_size(v) : 1;
        for (uint32_t i = 0; i < value.n; i++)
            list[i] = json_number_value(json_is_array(v) ? json_array_get(v, i) : v);
        break;
    case PARAM_U32_LIST:
        value.u32s = u32s;
        value.n = (uint32_t)json_array_size(v);
        for (uint32_t i = 0; i < value.n; i++)
            u32s[i] = (uint32_t)json_integer_value(json_array_get(v, i));
        break;
    }
    return value;
}

static struct job_spec *spec_of(json_t *vector)
{
    const struct policy *policy = policy_find(json_string_value(json_object_get(vector, "scheduler")));
    const char *on_nonfinite = json_string_value(json_object_get(vector, "on_nonfinite"));
    json_t *initial = json_object_get(vector, "initial_lr"), *v;
    double list[GROUPS_MAX];
    uint32_t u32s[U32_LIST_MAX];
    const char *key;
    struct error err;
    size_t i;

    cr_assert_not_null(policy);
    struct job_spec *spec = spec_new(policy);

    json_array_foreach(initial, i, v) list[i] = json_number_value(v);
    cr_assert_eq(f64_list_set(&spec->lr, list, (uint32_t)json_array_size(initial)), ST_OK);
    json_object_foreach(json_object_get(vector, "config"), key, v)
    {
        int row = param_find(policy->params, policy->n_params, key);

        cr_assert(row >= 0, "%s", key);
        struct param_value value = param_value(&policy->params[row], v, list, u32s);

        cr_assert_eq(spec_set_param(spec, (size_t)row, &value, &err), ST_OK, "%s: %s", key, err.message);
    }
    for (int w = 0; on_nonfinite && on_nonfinite_words[w]; w++) {
        if (strcmp(on_nonfinite_words[w], on_nonfinite) == 0) {
            spec->on_nonfinite = (enum on_nonfinite)w;
            spec->on_nonfinite_given = true;
        }
    }
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    return spec;
}

static void check_rates(const struct job_state *state, const json_t *want, const char *id, size_t i)
{
    for (uint32_t g = 0; g < state->groups; g++) {
        double lr = json_number_value(json_array_get(want, g));

        cr_assert(memcmp(&lr, &job_lrs(state)[g], sizeof(lr)) == 0,
                  "%s: report %zu, group %u: want %.17g, got %.17g", id, i + 1, g, lr, job_lrs(state)[g]);
    }
}

/* Continues from what was written, in memory that held something else. */
static void through_bytes(const struct job_spec *spec, struct job_state *state, const char *id)
{
    size_t n = job_state_encoded_size(spec, state);
    uint8_t *bytes = malloc(n), *again = malloc(n);
    struct error err;

    job_state_encode(spec, state, bytes);
    memset(state, 0xa5, job_state_size(spec));
    cr_assert_eq(job_state_decode(spec, bytes, n, state, &err), ST_OK, "%s: %s", id, err.message);
    cr_assert_eq(job_state_encoded_size(spec, state), n);
    job_state_encode(spec, state, again);
    cr_assert(memcmp(bytes, again, n) == 0, "%s: written again, the state is not the same bytes", id);
    free(bytes);
    free(again);
}

static double final_number(const json_t *final, const char *key)
{
    json_t *v = json_object_get(final, key);

    cr_assert_not_null(v, "final has no %s", key);
    return number(v);
}

static void check_final(const json_t *final, const struct policy_view *view, const struct job_state *state,
                        const char *id)
{
    bool transformers = json_object_get(final, "cooldown_counter") != NULL;
    double best = final_number(final, "best");

    cr_assert(memcmp(&best, &view->best, sizeof(best)) == 0, "%s: best want %.17g got %.17g", id, best,
              view->best);
    if (!transformers) {
        cr_assert_eq(view->num_good, final_number(final, "num_good"), "%s", id);
        cr_assert_eq(view->num_bad, final_number(final, "num_bad"), "%s", id);
        cr_assert_str_eq(stage_words[view->stage], json_string_value(json_object_get(final, "stage")), "%s",
                         id);
        cr_assert_eq(view->stage_left, final_number(final, "stage_left"), "%s", id);
        return;
    }
    uint32_t cooldown = view->stage == STAGE_COOLDOWN ? view->stage_left : 0;
    uint32_t warmup = view->stage == STAGE_WARMUP ? view->stage_left : 0;

    cr_assert_eq(view->num_good, final_number(final, "num_good_epochs"), "%s", id);
    cr_assert_eq(view->num_bad, final_number(final, "num_bad_epochs"), "%s", id);
    cr_assert_eq(cooldown, final_number(final, "cooldown_counter"), "%s", id);
    cr_assert_eq(warmup, final_number(final, "warmup_counter"), "%s", id);
    cr_assert_eq(view->resets_left, final_number(final, "reset_start"), "%s", id);
    cr_assert_eq(state->reports, final_number(final, "last_epoch"), "%s", id);
}

static void advance(const struct job_spec *spec, struct job_state **state, struct job_state **next,
                    double value, const char *id)
{
    struct job_event event = {.kind = EVENT_REPORT,
                              .report = {.value = value, .lr_cap = INFINITY, .applied_lr = NAN}};
    struct job_state *swap = *state;
    struct job_decision decision;
    struct error err;

    cr_assert_eq(job_step(spec, *state, &event, *next, &decision, &err), ST_OK, "%s: %s", id, err.message);
    cr_assert_eq(decision.lrs, (*next)->data);
    through_bytes(spec, *next, id);
    *state = *next;
    *next = swap;
}

static void run_vector(json_t *vector)
{
    const char *id = json_string_value(json_object_get(vector, "id"));
    json_t *metrics = json_object_get(vector, "metrics"), *rates = json_object_get(vector, "lr"), *v;
    struct job_spec *spec = spec_of(vector);
    struct job_state *state = malloc(job_state_size(spec)), *next = malloc(job_state_size(spec));
    struct policy_view view;
    size_t i;

    cr_assert_eq(json_array_size(metrics), json_array_size(rates), "%s", id);
    job_init(spec, state);
    json_array_foreach(metrics, i, v)
    {
        advance(spec, &state, &next, number(v), id);
        check_rates(state, json_array_get(rates, i), id, i);
    }
    job_view(spec, state, &view);
    if (json_object_get(vector, "final")) check_final(json_object_get(vector, "final"), &view, state, id);
    free(state);
    free(next);
    spec_free(spec);
}

static void check_near(const struct job_state *state, const json_t *want, const char *id, size_t t)
{
    cr_assert_eq(json_array_size(want), state->groups, "%s", id);
    for (uint32_t g = 0; g < state->groups; g++) {
        double lr = json_number_value(json_array_get(want, g)), got = job_lrs(state)[g];

        cr_assert(fabs(got - lr) <= fmax(1e-9 * fabs(lr), 1e-15),
                  "%s: t %zu, group %u: want %.17g, got %.17g", id, t, g, lr, got);
    }
}

/* Values say nothing, a NaN included. */
static void run_schedule(json_t *vector)
{
    static const double values[] = {1, NAN, -3, INFINITY};
    const char *id = json_string_value(json_object_get(vector, "id"));
    json_t *rates = json_object_get(vector, "lr"), *v;
    struct job_spec *spec = spec_of(vector);
    struct job_state *state = malloc(job_state_size(spec)), *next = malloc(job_state_size(spec));
    size_t t;

    job_init(spec, state);
    json_array_foreach(rates, t, v)
    {
        if (t > 0) advance(spec, &state, &next, values[t % 4], id);
        check_near(state, v, id, t);
    }
    free(state);
    free(next);
    spec_free(spec);
}

static void run_file(const char *path, void (*run)(json_t *vector), size_t at_least)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0, n = 0;

    cr_assert_not_null(file, "%s: run the tests from the top of the project", path);
    while (getline(&line, &size, file) > 0) {
        json_t *vector = json_loads(line, JSON_ALLOW_NUL, NULL);

        cr_assert_not_null(vector, "%s: line %zu is no JSON", path, n + 1);
        run(vector);
        json_decref(vector);
        n++;
    }
    free(line);
    fclose(file);
    cr_assert_geq(n, at_least, "%s: %zu vectors", path, n);
}

Test(core_conformance, transformers_dialect)
{
    run_file(CONFORMANCE_DIR "/greedy.jsonl", run_vector, 150);
}

Test(core_conformance, greedylr_dialect)
{
    run_file(CONFORMANCE_DIR "/greedylr.jsonl", run_vector, 140);
}

Test(core_conformance, plateau)
{
    run_file(CONFORMANCE_DIR "/plateau.jsonl", run_vector, 40);
}

Test(core_conformance, learned)
{
    run_file(CONFORMANCE_DIR "/learned.jsonl", run_vector, 40);
}

Test(core_conformance, schedules)
{
    run_file(CONFORMANCE_DIR "/schedules.jsonl", run_schedule, 128);
}

/* A schedule that no trace covers would be one that nobody has compared. */
Test(core_conformance, every_policy_has_traces)
{
    static const char *const paths[] = {CONFORMANCE_DIR "/greedy.jsonl", CONFORMANCE_DIR "/plateau.jsonl",
                                        CONFORMANCE_DIR "/learned.jsonl", CONFORMANCE_DIR "/schedules.jsonl"};
    bool seen[64] = {false};
    char *line = NULL;
    size_t size = 0;

    for (size_t f = 0; f < sizeof(paths) / sizeof(paths[0]); f++) {
        FILE *file = fopen(paths[f], "r");

        cr_assert_not_null(file, "%s: run the tests from the top of the project", paths[f]);
        while (getline(&line, &size, file) > 0) {
            json_t *vector = json_loads(line, JSON_ALLOW_NUL, NULL);
            const char *name = json_string_value(json_object_get(vector, "scheduler"));

            for (size_t i = 0; policy_at(i); i++)
                seen[i] |= strcmp(policy_at(i)->name, name) == 0;
            json_decref(vector);
        }
        fclose(file);
    }
    free(line);
    for (size_t i = 0; policy_at(i); i++)
        cr_expect(seen[i], "%s has no trace in tests/conformance", policy_at(i)->name);
}
