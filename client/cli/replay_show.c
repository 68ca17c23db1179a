/* Rows and summary of a replay.  Ratios are those of the first group; a rate of 0 has none. */
#include "cli/call.h"
#include "cli/paper.h"
#include "cli/replay.h"
#include "cli/settings.h"
#include "cli/simulate.h"
#include "cli/table.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is named in the summary.  reason: how the reason of a report's decision tells. */
static const struct {
    const char *name, *action, *reason, *text;
} aparts[APARTS] = {
    [APART_OVERRIDE] = {"override", "override", NULL, "rates set by hand"},
    [APART_UPDATE] = {"update", "update", NULL, "settings changed: those in force now count from the start"},
    [APART_IMPORT] = {"import", "import", NULL, "a state taken over"},
    [APART_FORK] = {"fork", "fork", NULL,
                    "a state to begin with, another job's: the replay begins with the initial rates"},
    [APART_PAUSE] = {"pause", NULL, "the job is paused", "a pause: its reports count like others"},
    [APART_CAP] = {"lr_cap", NULL, "lr_cap", "a report's lr_cap"},
};

/* ---- what is left out ---- */

void replay_note(struct replay *r, const json_t *decision)
{
    const char *action = json_string_value(json_object_get(decision, "action"));
    const char *reason = json_string_value(json_object_get(decision, "reason"));
    json_t *step = json_object_get(decision, "step");

    for (int i = 0; i < APARTS; i++) {
        bool is = aparts[i].action ? action && !strcmp(action, aparts[i].action)
                                   : reason && strstr(reason, aparts[i].reason);
        if (!is) continue;
        if (r->apart[i].n < APART_STEPS) r->apart[i].steps[r->apart[i].n] = json_integer_value(step);
        r->apart[i].n++;
    }
}

static json_t *apart_json(const struct replay *r)
{
    json_t *list = need(json_array());

    for (int i = 0; i < APARTS; i++) {
        json_t *steps = r->apart[i].n ? need(json_array()) : NULL;
        if (!steps) continue;
        for (size_t k = 0; k < r->apart[i].n && k < APART_STEPS; k++)
            json_array_append_new(steps, json_integer(r->apart[i].steps[k]));
        json_array_append_new(list, json_pack("{s:s, s:I, s:o, s:s}", "what", aparts[i].name, "count",
                                              (json_int_t)r->apart[i].n, "first_steps", steps, "text",
                                              aparts[i].text));
    }
    return list;
}

static void print_apart(FILE *out, const struct replay *r)
{
    for (int i = 0; i < APARTS; i++) {
        size_t n = r->apart[i].n;
        if (!n) continue;
        fprintf(out, "Not replayed: %s (step", aparts[i].text);
        for (size_t k = 0; k < n && k < APART_STEPS; k++)
            fprintf(out, "%s %lld", k ? "," : n > 1 ? "s" : "", r->apart[i].steps[k]);
        fputs(n > APART_STEPS ? ", ...)\n" : ")\n", out);
    }
}

char *replay_changes(const struct invocation *in)
{
    const char *policy = in->options[OPTION_POLICY];
    char *text = NULL;
    size_t len;
    FILE *out = need(open_memstream(&text, &len));

    if (policy) fprintf(out, "%s", policy);
    for (size_t i = 0; i < in->n_sets; i++)
        fprintf(out, "%s%s", i || policy ? " " : "", in->sets[i]);
    end_text(out, &text);
    return text;
}

/* ---- rows ---- */

static double ratio_of(const json_t *recorded, const json_t *replayed)
{
    double was = value_number(json_object_get(recorded, "lr")),
           is = value_number(json_object_get(replayed, "lr"));

    return was > 0 && is > 0 ? is / was : NAN;
}

static void add_cell(struct table *table, const json_t *decision, const char *name)
{
    char *text = value_text(json_object_get(decision, name), SIX_DIGITS, ',');

    table_add(table, text);
    free(text);
}

static void show_table(const struct replay *r)
{
    static const struct column columns[] = {
        {"STEP", true, 7, 0},      {"VALUE", true, 9, 1}, {"RECORDED", false, 8, 2}, {"LR", true, 10, 0},
        {"REPLAYED", false, 8, 2}, {"LR", true, 10, 0},   {"RATIO", true, 0, 0},
    };
    struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; i < r->n; i++) {
        const json_t *was = json_array_get(r->recorded, i), *is = json_array_get(r->replayed, i);
        double ratio = ratio_of(was, is);
        char text[40] = "";
        if (isfinite(ratio) && ratio != 1) snprintf(text, sizeof(text), "%.4g", ratio);
        add_cell(table, was, "step");
        add_cell(table, was, "value");
        add_cell(table, was, "action");
        add_cell(table, was, "lrs");
        add_cell(table, is, "action");
        add_cell(table, is, "lrs");
        table_add(table, text);
    }
    table_print(table);
    table_free(table);
}

static void put_exact(const json_t *value, const char *end)
{
    char *text = value_text(value, EXACT, ';'); /* numbers and words of the daemon's: nothing to quote */

    put_safe(stdout, text, 0);
    fputs(end, stdout);
    free(text);
}

static void show_csv(const struct replay *r)
{
    fputs("step,value,recorded_action,recorded_lrs,replayed_action,replayed_lrs,ratio\r\n", stdout);
    for (size_t i = 0; i < r->n; i++) {
        const json_t *was = json_array_get(r->recorded, i), *is = json_array_get(r->replayed, i);
        json_t *ratio = json_real(ratio_of(was, is)); /* NULL where there is none */
        put_exact(json_object_get(was, "step"), ",");
        put_exact(json_object_get(was, "value"), ",");
        put_exact(json_object_get(was, "action"), ",");
        put_exact(json_object_get(was, "lrs"), ",");
        put_exact(json_object_get(is, "action"), ",");
        put_exact(json_object_get(is, "lrs"), ",");
        put_exact(ratio, "\r\n");
        json_decref(ratio);
    }
}

/* ---- JSON ---- */

static void copy(json_t *to, const json_t *from, const char *name)
{
    json_t *value = json_object_get(from, name);

    if (value && json_object_set(to, name, value)) need(NULL);
}

static json_t *side_json(const json_t *decision)
{
    json_t *side = need(json_object());

    copy(side, decision, "action");
    copy(side, decision, "lr");
    copy(side, decision, "lrs");
    copy(side, decision, "reason");
    return side;
}

static json_t *rows_json(const struct replay *r)
{
    json_t *rows = need(json_array());

    for (size_t i = 0; i < r->n; i++) {
        const json_t *was = json_array_get(r->recorded, i);
        json_t *row = need(json_object());
        copy(row, was, "step");
        copy(row, was, "revision");
        copy(row, was, "value");
        json_object_set_new(row, "recorded", side_json(was));
        json_object_set_new(row, "replayed", side_json(json_array_get(r->replayed, i)));
        if (json_array_append_new(rows, row)) need(NULL);
    }
    return rows;
}

static json_t *counts_json(const struct replay *r, int side)
{
    return json_pack("{s:I, s:I, s:I}", "raises", (json_int_t)r->raises[side], "cuts",
                     (json_int_t)r->cuts[side], "resets", (json_int_t)r->resets[side]);
}

static void show_json(const struct replay *r)
{
    json_t *out = need(json_object());

    copy(out, r->in->request, "job");
    json_object_set_new(out, "spec", json_deep_copy(r->spec));
    json_object_set_new(out, "rows", rows_json(r));
    json_object_set_new(out, "different", json_integer((json_int_t)r->n_different));
    if (r->n_different) {
        json_t *step = json_object_get(json_array_get(r->recorded, r->first), "step");
        json_object_set_new(out, "first_difference",
                            json_pack("{s:I, s:O}", "row", (json_int_t)r->first, "step", step));
    }
    if (isfinite(r->ratio)) json_object_set_new(out, "ratio", json_real(r->ratio));
    if (r->n_ratios)
        json_object_set_new(out, "mean_ratio", json_real(exp(r->sum_of_logs / (double)r->n_ratios)));
    json_object_set_new(out, "recorded", counts_json(r, 0));
    json_object_set_new(out, "replayed", counts_json(r, 1));
    json_object_set_new(out, "not_replayed", apart_json(r));
    json_object_set_new(out, "note", json_string(WHAT_IF_NOTE));
    put_json(stdout, out);
    putchar('\n');
    json_decref(out);
}

void replay_show_rows(const struct replay *r)
{
    switch (r->in->output) {
    case OUTPUT_TABLE: show_table(r); break;
    case OUTPUT_CSV: show_csv(r); break;
    case OUTPUT_JSON: show_json(r); break;
    }
}

/* ---- summary ---- */

static void print_decision(FILE *out, const json_t *decision)
{
    char *rates = value_text(json_object_get(decision, "lrs"), SIX_DIGITS, ',');
    const char *action = json_string_value(json_object_get(decision, "action"));

    put_safe(out, action ? action : "", 0);
    fputc(' ', out);
    put_safe(out, rates, 0);
    free(rates);
}

static void print_difference(FILE *out, const struct replay *r)
{
    const json_t *was = json_array_get(r->recorded, r->first), *is = json_array_get(r->replayed, r->first);

    fprintf(out, "First difference: step %" JSON_INTEGER_FORMAT ", recorded ",
            json_integer_value(json_object_get(was, "step")));
    print_decision(out, was);
    fputs(", replayed ", out);
    print_decision(out, is);
    fprintf(out, "; %zu of %zu reports differ\n", r->n_different, r->n);
}

static void print_ratios(FILE *out, const struct replay *r)
{
    const json_t *was = json_array_get(r->recorded, r->n - 1), *is = json_array_get(r->replayed, r->n - 1);

    fprintf(out, "Rate at the end: recorded %.6g, replayed %.6g", value_number(json_object_get(was, "lr")),
            value_number(json_object_get(is, "lr")));
    if (isfinite(r->ratio)) fprintf(out, ", ratio %.4g", r->ratio);
    if (r->n_ratios)
        fprintf(out, "; geometric mean of the ratios %.4g", exp(r->sum_of_logs / (double)r->n_ratios));
    if (r->n_ratios < r->n) fprintf(out, " (reports with a rate of 0 left out: %zu)", r->n - r->n_ratios);
    fputs(json_array_size(json_object_get(was, "lrs")) > 1 ? "; first group\n" : "\n", out);
}

void replay_show_summary(const struct replay *r)
{
    FILE *out = r->in->output == OUTPUT_TABLE ? stdout : stderr;

    if (r->in->output == OUTPUT_TABLE) putchar('\n');
    if (r->n_different)
        print_difference(out, r);
    else
        fprintf(out, "No difference in %zu reports\n", r->n);
    print_ratios(out, r);
    fprintf(out, "Recorded: raises %zu, cuts %zu, resets %zu; replayed: raises %zu, cuts %zu, resets %zu\n",
            r->raises[0], r->cuts[0], r->resets[0], r->raises[1], r->cuts[1], r->resets[1]);
    print_apart(out, r);
    put_words(out, WHAT_IF_NOTE, 0, 0, paper().width);
}
