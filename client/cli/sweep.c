/* One simulation for every combination of the settings' values, and a row of numbers about each. */
#include "cli/sweep.h"

#include "cli/call.h"
#include "cli/progress.h"
#include "cli/recorded.h"
#include "cli/run.h"
#include "cli/settings.h"
#include "cli/simulate.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the grid ---- */

/* Ends a value: a comma that is in no brackets. */
static size_t value_length(const char *text)
{
    int depth = 0;
    size_t n = 0;

    for (; text[n] && (text[n] != ',' || depth); n++)
        depth += (text[n] == '[' || text[n] == '{') - (text[n] == ']' || text[n] == '}');
    return n;
}

static int add_value(const struct invocation *in, struct sweep_axis *axis, const char *text, size_t n)
{
    if (!n) return usage_error(in, "--set %s: a value is empty", axis->name);
    if (axis->n == SWEEP_ROWS_MAX)
        return usage_error(in, "--set %s: has more than %d values", axis->name, SWEEP_ROWS_MAX);
    axis->values = need(realloc(axis->values, (axis->n + 1) * sizeof(char *)));
    axis->values[axis->n++] = need(strndup(text, n));
    return 0;
}

static int add_axis(const struct invocation *in, struct sweep *s, const char *set)
{
    struct sweep_axis *axis = &s->axes[s->n_axes++];
    const char *text = settings_split(set, axis->name, sizeof(axis->name));
    int rc = 0;

    for (size_t i = 0; i + 1 < s->n_axes; i++) {
        if (same_flag(s->axes[i].name, axis->name))
            return usage_error(in, "--set %s: given twice; sweep takes its values with commas", axis->name);
    }
    while (!rc) {
        size_t n = value_length(text);
        rc = add_value(in, axis, text, n);
        if (!text[n]) break;
        text += n + 1;
    }
    return rc;
}

static int make_grid(const struct invocation *in, struct sweep *s)
{
    int rc = 0;

    s->n = 1;
    for (size_t i = 0; i < in->n_sets && !rc; i++) {
        rc = add_axis(in, s, in->sets[i]);
        s->n *= s->axes[i].n;
        if (!rc && s->n > SWEEP_ROWS_MAX)
            rc = usage_error(in, "the settings have more than %d combinations; leave values out",
                             SWEEP_ROWS_MAX);
    }
    return rc;
}

/* ---- where the values and the settings come from ---- */

static int take_job(const struct invocation *in, struct transport *t, struct sweep *s)
{
    struct recorded recorded;
    int rc = recorded_fetch(in, t, in->options[OPTION_JOB], &recorded);
    json_t *own = json_object_get(in->request, "spec"), *decision;
    size_t i;

    if (rc) return rc;
    s->spec = settings_of(json_object_get(recorded.job, "spec"));
    if (own && strcmp(settings_policy(own), settings_policy(s->spec)) &&
        json_object_get(own, settings_policy(own)))
        json_object_del(s->spec, settings_policy(s->spec));
    if (own && json_object_update_recursive(s->spec, own)) need(NULL);
    s->values = json_incref(recorded.values);
    json_array_foreach(recorded.decisions, i, decision)
    {
        if (json_object_get(decision, "value"))
            json_array_append(s->steps, json_object_get(decision, "step"));
    }
    recorded_clear(&recorded);
    return 0;
}

static int take_file(const struct invocation *in, struct sweep *s)
{
    json_t *own = json_object_get(in->request, "spec"), *losses = json_object_get(in->request, "losses");

    s->spec = own ? json_incref(own) : need(json_object());
    s->values = in->options[OPTION_LOSSES_FILE] ? simulate_values(in) : json_incref(losses);
    for (size_t i = 0; i < json_array_size(s->values); i++)
        json_array_append_new(s->steps, json_integer((json_int_t)i + 1));
    return s->values ? 0 : EXIT_USAGE;
}

static int check_source(const struct invocation *in)
{
    bool job = in->options[OPTION_JOB], file = in->options[OPTION_LOSSES_FILE],
         list = json_object_get(in->request, "losses");

    if (job + file + list != 1)
        return usage_error(in, "the values come from --job JOB or from --losses FILE: give one of the two");
    if (!file && in->options[OPTION_LOSSES_COLUMN])
        return usage_error(in, "--losses-column: needs --losses FILE");
    if (!job && in->options[OPTION_TO_STEP]) return usage_error(in, "--to-step: needs --job");
    return 0;
}

/* ---- one setting ---- */

/* The index-th combination, the last axis changing first. */
static int settle(const struct invocation *in, const struct sweep *s, size_t index, json_t *spec,
                  struct sweep_row *row)
{
    char error[600];

    for (size_t i = s->n_axes; i-- > 0; index /= s->axes[i].n)
        row->at[i] = index % s->axes[i].n;
    for (size_t i = 0; i < s->n_axes; i++) {
        if (settings_set(spec, s->axes[i].name, s->axes[i].values[row->at[i]], error, sizeof(error)))
            return usage_error(in, "%s", error);
    }
    return 0;
}

static void summarise(const struct sweep *s, const json_t *answer, struct sweep_row *row)
{
    json_t *decision;
    size_t i;

    row->min = INFINITY;
    row->max = -INFINITY;
    row->plateaued = NAN;
    json_array_foreach(json_object_get(answer, "decisions"), i, decision)
    {
        const char *action = json_string_value(json_object_get(decision, "action"));
        row->final = value_number(json_object_get(decision, "lr"));
        row->min = fmin(row->min, row->final);
        row->max = fmax(row->max, row->final);
        row->raises += action && !strcmp(action, "raise");
        row->cuts += action && !strcmp(action, "cut");
        row->resets += action && !strcmp(action, "reset");
        if (isnan(row->plateaued) && json_is_true(json_object_get(decision, "plateaued")))
            row->plateaued = json_number_value(json_array_get(s->steps, i));
    }
}

static int simulate(const struct invocation *in, struct transport *t, const struct sweep *s, size_t index,
                    struct sweep_row *row)
{
    json_t *spec = need(json_deep_copy(s->spec)), *request, *answer = NULL;
    int rc = settle(in, s, index, spec, row);

    if (!rc) {
        request = need(json_pack("{s:O, s:O}", "spec", spec, "losses", s->values));
        rc = simulate_json(in, t, request, &answer);
        json_decref(request);
        if (rc == EXIT_REFUSED) sweep_say_row(s, row);
    }
    if (!rc) summarise(s, answer, row);
    json_decref(answer);
    json_decref(spec);
    return rc;
}

static int simulate_all(const struct invocation *in, struct transport *t, struct sweep *s)
{
    struct progress progress;
    int rc = 0;

    progress_begin(&progress, "settings", s->n);
    s->rows = need(calloc(s->n, sizeof(*s->rows)));
    for (size_t i = 0; i < s->n && !rc; i++) {
        progress_to(&progress, i);
        rc = simulate(in, t, s, i, &s->rows[i]);
        if (rc) progress_end(&progress);
    }
    progress_end(&progress);
    return rc;
}

static void clear(struct sweep *s)
{
    for (size_t i = 0; i < s->n_axes; i++) {
        for (size_t k = 0; k < s->axes[i].n; k++)
            free(s->axes[i].values[k]);
        free(s->axes[i].values);
    }
    free(s->rows);
    json_decref(s->spec);
    json_decref(s->values);
    json_decref(s->steps);
}

static int set_policy(const struct invocation *in, json_t *spec)
{
    const char *policy = in->options[OPTION_POLICY];
    char error[300];

    if (!policy || !settings_set_policy(spec, policy, error, sizeof(error))) return 0;
    return usage_error(in, "%s", error);
}

int run_sweep(const struct invocation *in)
{
    struct sweep s = {.in = in, .steps = need(json_array())};
    struct transport *t = NULL;
    int rc = check_source(in);

    if (!rc) rc = make_grid(in, &s);
    if (!rc) rc = sweep_check_sort(&s);
    if (!rc) rc = session_open(in, &t);
    if (!rc) rc = in->options[OPTION_JOB] ? take_job(in, t, &s) : take_file(in, &s);
    if (!rc) rc = set_policy(in, s.spec);
    if (!rc) rc = simulate_all(in, t, &s);
    if (!rc) {
        sweep_show(&s);
        rc = finish_output();
    }
    clear(&s);
    transport_free(t);
    return rc;
}
