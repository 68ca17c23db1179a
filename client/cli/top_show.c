/* Columns are as wide as what is in sight; where that is too much for the terminal, the least important ones
 * are left out, and names are cut. */
#include "cli/moment.h"
#include "cli/paper.h"
#include "cli/text.h"
#include "cli/top.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CELL_MAX    40
#define NAME_ROOM   15 /* a name has this much before columns are left out */
#define LINES_ABOVE 2
#define LINES_BELOW 2
#define NO_TERMINAL 24
#define REVERSE     "\033[7m"
#define YELLOW      "\033[33m"
#define RED         "\033[31m"

enum { JOB, STATUS, STEP, VALUE, BEST, RATE, CHANGE, LAST, ROUND, COLUMNS };

static const struct {
    const char *head;
    bool right;
    size_t room;    /* width it has at least, so that it stays where it is when others are in sight */
    int importance; /* those with the least are left out first; 0: never */
} columns[COLUMNS] = {
    [JOB] = {"JOB", false, 8, 0},      [STATUS] = {"STATUS", false, 8, 0}, [STEP] = {"STEP", true, 6, 0},
    [VALUE] = {"VALUE", true, 6, 3},   [BEST] = {"BEST", true, 6, 2},      [RATE] = {"LR", true, 8, 0},
    [CHANGE] = {"CHANGE", true, 6, 1}, [LAST] = {"LAST", false, 10, 5},    [ROUND] = {"ROUND", false, 5, 4},
};
#define IMPORTANCES 5

struct grid {
    char (*cells)[COLUMNS][CELL_MAX]; /* [n] */
    const struct top_job *const *jobs;
    size_t n, width[COLUMNS]; /* 0: left out */
};

/* ---- cells ---- */

static void put_number(char cell[CELL_MAX], double value, int digits)
{
    if (!isnan(value)) snprintf(cell, CELL_MAX, "%.*g", digits, value);
}

/* "3/4 no 2": three of four ranks are there, number 2 is not. */
static void put_round(char cell[CELL_MAX], const struct top_job *job)
{
    char *missing = value_text(job->missing, EXACT, ',');
    int len = 0;

    if (job->has_round)
        len =
            snprintf(cell, CELL_MAX, "%lld/%lld%s%s%s", (long long)job->reported, (long long)job->world_size,
                     job->overdue ? " overdue" : "", *missing ? " no " : "", missing);
    if (len >= CELL_MAX) memcpy(cell + CELL_MAX - 4, "...", 4);
    free(missing);
}

static void fill(const struct top *top, const struct top_job *job, char cells[COLUMNS][CELL_MAX])
{
    char age[20];

    moment_age(top_age(top, isnan(job->decided) ? job->updated : job->decided), age, sizeof(age));
    snprintf(cells[STATUS], CELL_MAX, "%s", job->status);
    if (job->step >= 0) snprintf(cells[STEP], CELL_MAX, "%lld", (long long)job->step);
    put_number(cells[VALUE], job->value, 4);
    put_number(cells[BEST], job->best, 4);
    put_number(cells[RATE], job->rate, 3);
    if (isfinite(job->change)) snprintf(cells[CHANGE], CELL_MAX, "x%.2g", job->change);
    snprintf(cells[LAST], CELL_MAX, "%s%s%s", job->action, *job->action ? " " : "", age);
    put_round(cells[ROUND], job);
}

static void grid_fill(struct grid *grid, const struct top *top, size_t first, size_t n)
{
    grid->n = n;
    grid->jobs = top->order + first;
    grid->cells = need(calloc(n + 1, sizeof(*grid->cells)));
    for (size_t c = 0; c < COLUMNS; c++)
        grid->width[c] = columns[c].room;
    for (size_t i = 0; i < n; i++) {
        fill(top, grid->jobs[i], grid->cells[i]);
        for (size_t c = 0; c < COLUMNS; c++) {
            size_t width = text_width(c == JOB ? grid->jobs[i]->name : grid->cells[i][c]);
            if (width > grid->width[c]) grid->width[c] = width;
        }
    }
}

/* Between a column and the next one that is there: numbers beside numbers stand closer. */
static size_t gap_after(const struct grid *grid, size_t column)
{
    size_t next = column + 1;

    while (next < COLUMNS && !grid->width[next])
        next++;
    return next == COLUMNS ? 0 : columns[column].right && columns[next].right ? 1 : 2;
}

static size_t total(const struct grid *grid)
{
    size_t width = 0;

    for (size_t c = 0; c < COLUMNS; c++)
        width += grid->width[c] ? grid->width[c] + gap_after(grid, c) : 0;
    return width;
}

static void grid_fit(struct grid *grid, size_t width)
{
    bool rounds = false;

    for (size_t i = 0; i < grid->n; i++)
        rounds = rounds || grid->jobs[i]->has_round;
    if (!rounds) grid->width[ROUND] = 0;
    for (int importance = 1; importance <= IMPORTANCES; importance++) {
        size_t all = total(grid), name = grid->width[JOB] < NAME_ROOM ? grid->width[JOB] : NAME_ROOM;
        if (all - grid->width[JOB] + name <= width) break;
        for (size_t c = 0; c < COLUMNS; c++)
            if (columns[c].importance == importance) grid->width[c] = 0;
    }
    size_t rest = total(grid) - grid->width[JOB], room = width > rest ? width - rest : 0;
    if (room < columns[JOB].room) room = columns[JOB].room;
    if (grid->width[JOB] > room) grid->width[JOB] = room;
}

/* ---- lines ---- */

/* A name that is too long loses its middle: jobs begin alike and end in numbers. */
static void put_name(FILE *out, const char *name, size_t width)
{
    size_t len = strlen(name), head = (width - 2) / 3, tail = width - 2 - head;

    if (len <= width)
        put_safe(out, name, width);
    else
        fprintf(out, "%.*s..%s", (int)head, name, name + len - tail);
}

/* Spaces wait in *pending until something stands behind them. */
static void put_cell(FILE *out, const struct grid *grid, size_t column, const char *text, const char *style,
                     size_t *pending)
{
    size_t width = grid->width[column], used = text_width(text), space = used < width ? width - used : 0;
    bool right = columns[column].right;

    if (right) *pending += space;
    if (*text) {
        fprintf(out, "%*s%s", (int)*pending, "", style ? style : "");
        if (column == JOB)
            put_name(out, text, width);
        else
            put_safe(out, text, width);
        if (style) fputs(STYLE_PLAIN, out);
        *pending = 0;
    }
    if (!right) *pending += space;
    *pending += gap_after(grid, column);
}

/* The style of the word that a cell begins with. */
static const char *style_of(const char *cell)
{
    char word[CELL_MAX];

    snprintf(word, sizeof(word), "%.*s", (int)strcspn(cell, " "), cell);
    return word_style(word);
}

/* A job, or the heads; chosen: under the cursor. */
static void put_row(FILE *out, const struct grid *grid, size_t i, bool heads, bool chosen, bool colour)
{
    const struct top_job *job = heads ? NULL : grid->jobs[i];
    bool plain = !colour || heads || chosen;
    size_t pending = 0;

    fputs(colour && heads ? STYLE_BOLD : colour && chosen ? REVERSE : "", out);
    fputs(chosen ? "> " : "  ", out);
    for (size_t c = 0; c < COLUMNS; c++) {
        if (!grid->width[c]) continue;
        const char *text = heads ? columns[c].head : c == JOB ? job->name : grid->cells[i][c], *style = NULL;
        if (!plain && (c == STATUS || c == LAST)) style = style_of(text);
        if (!plain && c == ROUND) style = job->overdue ? RED : YELLOW;
        put_cell(out, grid, c, text, style, &pending);
    }
    if (colour && chosen) fprintf(out, "%*s", (int)pending, ""); /* a bar to the end */
    if (colour && (heads || chosen)) fputs(STYLE_PLAIN, out);
    fputc('\n', out);
}

static void put_summary(FILE *out, const struct top *top, size_t width)
{
    static const char *const states[] = {"active", "paused", "finished"};
    char text[400];
    size_t rounds = 0;
    int len = snprintf(text, sizeof(text), "greedylr top  %zu job%s", top->n, top->n == 1 ? "" : "s");

    for (size_t s = 0; s < 3; s++) {
        size_t n = 0;
        for (size_t i = 0; i < top->n; i++)
            n += !strcmp(top->jobs[i].status, states[s]);
        if (n) len += snprintf(text + len, sizeof(text) - (size_t)len, ", %zu %s", n, states[s]);
    }
    for (size_t i = 0; i < top->n; i++)
        rounds += top->jobs[i].has_round;
    if (rounds)
        len += snprintf(text + len, sizeof(text) - (size_t)len, ", %zu wait%s for ranks", rounds,
                        rounds == 1 ? "s" : "");
    if ((size_t)len + 2 + strlen(transport_url(top->t)) <= width)
        snprintf(text + len, sizeof(text) - (size_t)len, "  %.200s", transport_url(top->t));
    put_safe(out, text, width);
    fputc('\n', out);
}

/* Which it is, and why its last decision was made: what a person asks next. */
static void put_chosen(FILE *out, const struct top_job *job, size_t width)
{
    char *text = NULL;
    size_t len;
    FILE *line = need(open_memstream(&text, &len));

    if (job) fprintf(line, "%s: %s", job->name, *job->reason ? job->reason : "nothing was decided yet");
    end_text(line, &text);
    put_safe(out, text, width);
    fputc('\n', out);
    free(text);
}

size_t top_rows(void)
{
    size_t height = paper().height;

    if (!height) height = NO_TERMINAL;
    return height > LINES_ABOVE + LINES_BELOW ? height - LINES_ABOVE - LINES_BELOW : 1;
}

char *top_frame(const struct top *top, size_t first, size_t chosen, const char *line)
{
    struct paper on = paper();
    struct grid grid;
    char *frame = NULL;
    size_t len, room = top_rows(), n = top->n_shown > first ? top->n_shown - first : 0;
    FILE *out = need(open_memstream(&frame, &len));

    if (n > room) n = room;
    if (!on.width) on.width = 80;
    grid_fill(&grid, top, first, n);
    grid_fit(&grid, on.width - 2);
    put_summary(out, top, on.width);
    put_row(out, &grid, 0, true, false, on.colour);
    for (size_t i = 0; i < n; i++)
        put_row(out, &grid, i, false, first + i == chosen, on.colour);
    for (size_t i = n; i < room; i++)
        fputs(i || top->n_shown ? "\n"
              : top->n          ? "  no job has that in its name\n"
                                : "  there are no jobs yet\n",
              out);
    put_chosen(out, chosen < top->n_shown ? top->order[chosen] : NULL, on.width);
    if (*top->why) fputs(on.colour ? YELLOW : "", out);
    put_safe(out, line, on.width);
    end_text(out, &frame);
    free(grid.cells);
    return frame;
}

/* ---- once ---- */

static void print_table(const struct top *top)
{
    struct paper on = paper();
    struct grid grid;

    grid_fill(&grid, top, 0, top->n_shown);
    grid_fit(&grid, on.width ? on.width - 2 : SIZE_MAX / 2);
    put_row(stdout, &grid, 0, true, false, on.colour);
    for (size_t i = 0; i < grid.n; i++)
        put_row(stdout, &grid, i, false, false, on.colour);
    free(grid.cells);
}

static void set(json_t *row, const char *name, json_t *value)
{
    if (json_object_set_new(row, name, value)) need(NULL);
}

static void set_number(json_t *row, const char *name, double value)
{
    if (isfinite(value)) set(row, name, json_real(value));
}

/* Named like the fields of the contract. */
static json_t *row_json(const struct top *top, const struct top_job *job)
{
    json_t *row = need(json_object()), *round;

    set(row, "job", json_string(job->name));
    set(row, "status", json_string(job->status));
    if (job->step >= 0) set(row, "step", json_integer(job->step));
    set_number(row, "value", job->value);
    set_number(row, "best", job->best);
    set_number(row, "lr", job->rate);
    set_number(row, "change", job->change);
    if (*job->action) set(row, "action", json_string(job->action));
    if (*job->reason) set(row, "reason", json_string(job->reason));
    set_number(row, "age_seconds", top_age(top, isnan(job->decided) ? job->updated : job->decided));
    if (!job->has_round) return row;
    round = need(json_object());
    set(round, "reported", json_integer(job->reported));
    set(round, "world_size", json_integer(job->world_size));
    if (job->missing) set(round, "missing", json_incref(job->missing));
    set(round, "overdue", json_boolean(job->overdue));
    set(row, "round", round);
    return row;
}

static void print_csv(const json_t *rows)
{
    static const char *const names[] = {"job", "status", "step",   "value",  "best",
                                        "lr",  "change", "action", "reason", "age_seconds"};
    static const char *const of_round[] = {"reported", "world_size", "missing", "overdue"};
    size_t n = sizeof(names) / sizeof(names[0]), all = n + sizeof(of_round) / sizeof(of_round[0]), i;
    json_t *row;

    for (size_t c = 0; c < all; c++)
        printf("%s%s%s", c < n ? names[c] : "round.", c < n ? "" : of_round[c - n],
               c + 1 < all ? "," : "\r\n");
    json_array_foreach((json_t *)rows, i, row)
    {
        for (size_t c = 0; c < all; c++) {
            json_t *value = c < n ? json_object_get(row, names[c])
                                  : json_object_get(json_object_get(row, "round"), of_round[c - n]);
            char *text = value_text(value, EXACT, ';');
            put_csv(text);
            fputs(c + 1 < all ? "," : "\r\n", stdout);
            free(text);
        }
    }
}

void top_print(const struct top *top)
{
    json_t *rows;

    if (top->in->output == OUTPUT_TABLE) {
        print_table(top);
        return;
    }
    rows = need(json_array());
    for (size_t i = 0; i < top->n_shown; i++) {
        if (json_array_append_new(rows, row_json(top, top->order[i]))) need(NULL);
    }
    if (top->in->output == OUTPUT_CSV) {
        print_csv(rows);
    } else {
        fputs("{\"jobs\":", stdout);
        put_json(stdout, rows);
        puts("}");
    }
    json_decref(rows);
}
