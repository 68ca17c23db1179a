/* What begins like JSON is JSON.  A CSV is read cell by cell; the first line is one of names unless its only
 * cell is a number. */
#include "cli/losses.h"

#include "cli/file.h"
#include "cli/losses_json.h"
#include "cli/pick.h"
#include "cli/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX 256
#define BOM       "\xef\xbb\xbf" /* spreadsheets put it in front */

struct reader {
    const char *path;
    char *at; /* next line; the text is taken apart in place */
    char *cells[CELLS_MAX];
    size_t n_cells, line, next; /* line: where the cells begin; next: where the next ones do */
    char *error;
    size_t size;
};

static int wrong(const struct reader *r, const char *what, const char *got)
{
    snprintf(r->error, r->size, "%s, line %zu: %s%.80s", r->path, r->line, what, got);
    return -1;
}

/* Takes the quotes off the cell at *at, which moves behind it, and counts its line ends.  false: no closing
 * quote. */
static bool unquote(char **at, size_t *lines)
{
    char *from = *at + 1, *to = *at;

    while (*from && (*from != '"' || from[1] == '"')) {
        from += *from == '"';
        *lines += *from == '\n';
        *to++ = *from++;
    }
    bool closed = *from;
    *at = from + closed;
    *to = '\0';
    return closed;
}

/* Takes the next line apart.  1: there is one, 0: the end, -1: error. */
static int next_line(struct reader *r)
{
    char *at = r->at, *cell, *end, stop;

    r->n_cells = 0;
    r->line = ++r->next;
    if (!*at) return 0;
    do {
        if (r->n_cells == CELLS_MAX) return wrong(r, "more columns than this reads", "");
        at += strspn(at, " \t");
        cell = at;
        if (*at == '"' && !unquote(&at, &r->next)) return wrong(r, "a quote is not closed", "");
        at += strcspn(at, ",\r\n");
        stop = *at;
        *at = '\0';
        for (end = cell + strlen(cell); end > cell && strchr(" \t", end[-1]);)
            *--end = '\0';
        r->cells[r->n_cells++] = cell;
        if (stop) at++;
    } while (stop == ',');
    if (stop == '\r' && *at == '\n') at++;
    r->at = at;
    return 1;
}

static bool is_number(const char *text)
{
    double ignored;

    return nonfinite_name(text) || number_parse(text, &ignored);
}

static bool is_blank(const struct reader *r)
{
    return r->n_cells == 1 && !*r->cells[0];
}

static bool has_names(const struct reader *r)
{
    for (size_t i = 0; i < r->n_cells; i++) {
        if (*r->cells[i] && !is_number(r->cells[i])) return true;
    }
    return false;
}

static int add(struct reader *r, json_t *values, const char *text)
{
    const char *special = nonfinite_name(text);
    double value;

    if (!*text) return 0;
    if (special) return json_array_append_new(values, json_string(special));
    if (!number_parse(text, &value) || !isfinite(value)) return wrong(r, "must be a number, got ", text);
    return json_array_append_new(values, json_real(value));
}

/* Index of the column to read, from the line of names; -1: error. */
static int choose(struct reader *r, const char *column)
{
    char why[400];
    int chosen = pick_column((const char *const *)r->cells, r->n_cells, column, why, sizeof(why));

    if (chosen < 0) snprintf(r->error, r->size, "%s: %s", r->path, why);
    return chosen;
}

static int read_column(struct reader *r, size_t column, json_t *values)
{
    int more;

    while ((more = next_line(r)) > 0) {
        if (is_blank(r)) continue;
        if (column >= r->n_cells) return wrong(r, "the column is missing", "");
        if (add(r, values, r->cells[column])) return -1;
    }
    return more;
}

/* Without a line of names: one value a line, or one line of values. */
static int read_bare(struct reader *r, json_t *values)
{
    bool one_line = r->n_cells > 1;

    for (size_t i = 0; i < r->n_cells; i++) {
        if (add(r, values, r->cells[i])) return -1;
    }
    if (!one_line) return read_column(r, 0, values);
    int more;
    while ((more = next_line(r)) > 0) {
        if (!is_blank(r)) return wrong(r, "several columns and no line of names in front", "");
    }
    return more;
}

static int read_values(struct reader *r, const char *column, json_t *values)
{
    int more;

    while ((more = next_line(r)) > 0 && is_blank(r))
        ;
    if (more <= 0) return more;
    if (!column && !has_names(r)) return read_bare(r, values);
    int chosen = choose(r, column);
    return chosen < 0 ? -1 : read_column(r, (size_t)chosen, values);
}

static json_t *read_table(const char *path, char *text, const char *column, char *error, size_t size)
{
    struct reader r = {.path = path, .at = text, .error = error, .size = size};
    json_t *values = need(json_array());

    if (!read_values(&r, column, values)) return values;
    json_decref(values);
    return NULL;
}

json_t *losses_read(const char *path, const char *column, char *error, size_t size)
{
    char *all = file_read(path, error, size), *text = all;
    json_t *values;

    if (!all) return NULL;
    if (!strcmp(path, "-")) path = "standard input";
    if (!strncmp(text, BOM, strlen(BOM))) text += strlen(BOM);
    char first = text[strspn(text, " \t\r\n")];
    if (first == '{' || first == '[')
        values = losses_json(path, text, column, error, size);
    else
        values = read_table(path, text, column, error, size);
    if (values && !json_array_size(values)) {
        snprintf(error, size, "%s: has no values", path);
        json_decref(values);
        values = NULL;
    }
    free(all);
    return values;
}
