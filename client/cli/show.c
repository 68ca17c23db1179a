/* Answers as tables, CSV or as they came.  What an answer does not have is left empty. */
#include "cli/show.h"

#include "cli/call.h"
#include "cli/paper.h"
#include "cli/table.h"
#include "cli/text.h"

#include "greedylr/v1/scheduler.pb-c.h"

#include <stdlib.h>
#include <string.h>

static const struct column decision_columns[] = {
    {"REVISION", true, 0, 2}, {"ATTEMPT", true, 0, 1}, {"STEP", true, 7, 0}, {"ACTION", false, 8, 0},
    {"LR", true, 10, 0},      {"VALUE", true, 9, 4},   {"BEST", true, 9, 3}, {"REASON", false, 0, 0},
};
static const struct column job_columns[] = {
    {"JOB", false, 0, 0}, {"STATUS", false, 8, 3}, {"ATTEMPT", true, 0, 1},  {"STEP", true, 0, 0},
    {"LR", true, 0, 0},   {"BEST", true, 0, 2},    {"CHANGED", false, 0, 0},
};
static const struct column leaf_columns[] = {{NULL, false, 0, 0}, {NULL, false, 0, 0}};
#define COLUMNS(columns) columns, sizeof(columns) / sizeof(columns[0])

/* ---- cells ---- */

static const json_t *member(const json_t *object, const char *path)
{
    const char *dot = strchr(path, '.');
    char name[40];

    if (!dot) return json_object_get(object, path);
    snprintf(name, sizeof(name), "%.*s", (int)(dot - path), path);
    return member(json_object_get(object, name), dot + 1);
}

static void add_cell(struct table *table, const json_t *row, const char *path)
{
    char *text = value_text(member(row, path), SIX_DIGITS, ',');

    table_add(table, text);
    free(text);
}

/* What a person should know about a decision: marks, the reason, what shadows would have done, who did it. */
static void add_reason(struct table *table, const json_t *decision)
{
    static const char *const marks[] = {"duplicate", "conflict", "applied_mismatch", "superseded",
                                        "plateaued"};
    const char *reason = json_string_value(json_object_get(decision, "reason"));
    const char *actor = json_string_value(json_object_get(decision, "actor"));
    char *text = NULL, *shadow = value_text(json_object_get(decision, "shadow"), SIX_DIGITS, ' ');
    size_t len;
    FILE *out = need(open_memstream(&text, &len));

    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (json_is_true(json_object_get(decision, marks[i]))) fprintf(out, "[%s] ", marks[i]);
    }
    fprintf(out, "%s%s%s%s%s%s", reason ? reason : "", *shadow ? "; shadow " : "", shadow,
            actor ? " (by " : "", actor ? actor : "", actor ? ")" : "");
    free(shadow);
    end_text(out, &text);
    table_add(table, text);
    free(text);
}

static void add_decision(struct table *table, const json_t *decision)
{
    static const char *const cells[] = {"revision", "attempt", "step", "action", "lrs", "value", "best"};

    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
        add_cell(table, decision, cells[i]);
    add_reason(table, decision);
}

static void add_job(struct table *table, const json_t *job)
{
    static const char *const cells[] = {"job",       "status",     "attempt",    "state.step",
                                        "state.lrs", "state.best", "update_time"};

    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
        add_cell(table, job, cells[i]);
}

/* ---- CSV ---- */

/* One line: the names of a message's fields, or their values in row; nested ones with a dot, lists of them in
 * one column.  A job's settings are left out: GetJob has them. */
static void put_csv_fields(const ProtobufCMessageDescriptor *message, const json_t *row, const char *prefix,
                           bool *first)
{
    for (unsigned i = 0; i < message->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &message->fields[i];
        const ProtobufCMessageDescriptor *inner = f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
        char path[100];

        if (inner == &greedylr__v1__job_spec__descriptor) continue;
        snprintf(path, sizeof(path), "%s%s", prefix, f->name);
        if (inner && f->label != PROTOBUF_C_LABEL_REPEATED &&
            strcmp(inner->package_name, "google.protobuf")) {
            strcat(path, ".");
            put_csv_fields(inner, row, path, first);
            continue;
        }
        if (!*first) putchar(',');
        *first = false;
        char *text = row ? value_text(member(row, path), EXACT, ';') : NULL;
        put_csv(row ? text : path);
        free(text);
    }
}

static void put_csv_line(const ProtobufCMessageDescriptor *message, const json_t *row)
{
    bool first = true;

    put_csv_fields(message, row, "", &first);
    fputs("\r\n", stdout);
}

/* ---- rows ---- */

struct rows {
    bool jobs;
    bool headed;
    struct table *table;                       /* NULL: CSV */
    const ProtobufCMessageDescriptor *message; /* of a row */
};

struct rows *rows_new(enum answer answer, bool csv)
{
    struct rows *rows = need(calloc(1, sizeof(*rows)));

    rows->jobs = answer == ANSWER_JOBS;
    rows->message = rows->jobs ? &greedylr__v1__job__descriptor : &greedylr__v1__decision__descriptor;
    if (!csv)
        rows->table = rows->jobs ? table_new(COLUMNS(job_columns)) : table_new(COLUMNS(decision_columns));
    return rows;
}

static void put_head(struct rows *rows)
{
    if (!rows->table && !rows->headed) put_csv_line(rows->message, NULL);
    rows->headed = true;
}

void rows_add(struct rows *rows, const json_t *row)
{
    put_head(rows);
    if (!rows->table)
        put_csv_line(rows->message, row);
    else if (rows->jobs)
        add_job(rows->table, row);
    else
        add_decision(rows->table, row);
}

void rows_print(struct rows *rows)
{
    put_head(rows);
    if (rows->table) table_print(rows->table);
}

void rows_free(struct rows *rows)
{
    if (rows) table_free(rows->table);
    free(rows);
}

/* ---- answers ---- */

void print_text(const char *text)
{
    size_t n = strlen(text);

    fputs(text, stdout);
    if (!n || text[n - 1] != '\n') putchar('\n');
}

json_t *reply_json(const struct transport *t, const char *body)
{
    json_t *answer = json_loads(body, 0, NULL);

    if (json_is_object(answer)) return answer;
    json_decref(answer);
    say("%s answered with something that is not greedylrd's; check --url or GREEDYLR_URL", transport_url(t));
    return NULL;
}

/* Names and values of what is not an object itself, nested ones with a dot. */
static void add_leaves(struct table *table, const json_t *object, const char *prefix,
                       enum precision precision, bool deep)
{
    const char *name;
    json_t *value;
    char path[120];

    json_object_foreach((json_t *)object, name, value)
    {
        snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", name);
        if (json_is_object(value)) {
            if (deep) add_leaves(table, value, path, precision, deep);
            continue;
        }
        char *text = value_text(value, precision, ',');
        table_add(table, path);
        table_add(table, text);
        free(text);
    }
}

static void show_leaves(const char *heading, const json_t *object, enum precision precision, bool deep)
{
    struct table *table = table_new(COLUMNS(leaf_columns));

    if (heading) putchar('\n');
    if (heading) put_heading(stdout, heading);
    add_leaves(table, object, "", precision, deep);
    table_print(table);
    table_free(table);
}

static void show_job(const json_t *job)
{
    const json_t *settings = json_object_get(job, "effective");

    show_leaves(NULL, job, SIX_DIGITS, false);
    show_leaves("STATE", json_object_get(job, "state"), SIX_DIGITS, true);
    show_leaves("SETTINGS", settings ? settings : json_object_get(job, "spec"), EXACT, true);
}

static void show_simulation(const json_t *answer, bool csv)
{
    struct rows *rows = rows_new(ANSWER_SIMULATION, csv);
    json_t *start = json_object(), *decision;
    size_t i;

    if (!csv && start) {
        json_object_set(start, "lrs", json_object_get(answer, "initial_lrs"));
        json_object_set_new(start, "action", json_string("start"));
        rows_add(rows, start);
    }
    json_decref(start);
    json_array_foreach(json_object_get(answer, "decisions"), i, decision) rows_add(rows, decision);
    rows_print(rows);
    rows_free(rows);
}

static void show_decision(const json_t *decision)
{
    struct rows *rows = rows_new(ANSWER_DECISION, false);

    rows_add(rows, decision);
    rows_print(rows);
    rows_free(rows);
}

int show_reply(const struct invocation *in, const struct transport *t, const struct transport_reply *reply)
{
    json_t *answer;

    if (in->output == OUTPUT_JSON || in->command->answer == ANSWER_TEXT) {
        print_text(reply->body);
        return 0;
    }
    answer = reply_json(t, reply->body);
    if (!answer) return EXIT_NO_ANSWER;
    switch (in->command->answer) {
    case ANSWER_JOB: show_job(answer); break;
    case ANSWER_DECISION: show_decision(answer); break;
    case ANSWER_SIMULATION: show_simulation(answer, in->output == OUTPUT_CSV); break;
    default: break;
    }
    json_decref(answer);
    return 0;
}
