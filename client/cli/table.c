/* Cells are kept until they are printed, so that a column is as wide as its widest cell.  On a terminal the
 * last column has what is left of the line; where that is not enough, columns that can be spared are left
 * out. */
#include "cli/table.h"

#include "cli/paper.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 24
#define GAP         2
#define WANTED      27 /* columns are left out until the last one has this, or what its widest cell needs */
#define NARROW      12 /* it is never cut below this */
#define SPARES      5

struct table {
    const struct column *columns;
    size_t n, width[COLUMNS_MAX];
    struct paper paper;
    char **cells;
    size_t filled, cap;
    bool headed, fitted, left_out[COLUMNS_MAX];
};

struct table *table_new(const struct column *columns, size_t n)
{
    struct table *t = need(calloc(1, sizeof(*t)));

    if (n > COLUMNS_MAX) abort();
    t->columns = columns;
    t->n = n;
    t->paper = paper();
    for (size_t i = 0; i < n; i++) {
        t->width[i] = columns[i].head ? text_width(columns[i].head) : 0;
        if (columns[i].room > t->width[i]) t->width[i] = columns[i].room;
    }
    return t;
}

void table_add(struct table *t, const char *text)
{
    size_t column = t->filled % t->n, width;

    if (t->filled == t->cap)
        t->cells = need(realloc(t->cells, (t->cap = t->cap ? t->cap * 2 : 64) * sizeof(char *)));
    t->cells[t->filled++] = need(strdup(text ? text : ""));
    width = text_width(text ? text : "");
    if (width > t->width[column]) t->width[column] = width;
}

static void pad(size_t n)
{
    printf("%*s", (int)n, "");
}

static size_t space_of(const struct table *t, size_t column, const char *text)
{
    size_t width = text_width(text);

    return t->width[column] > width ? t->width[column] - width : 0;
}

static void print_cell(const struct table *t, size_t column, size_t start, const char *text,
                       const char *style)
{
    size_t limit = 0;

    if (column + 1 == t->n && t->paper.width)
        limit = t->paper.width > start + NARROW ? t->paper.width - start : NARROW;
    if (t->columns[column].right) pad(space_of(t, column, text));
    if (style) fputs(style, stdout);
    put_safe(stdout, text, limit);
    if (style) fputs(STYLE_PLAIN, stdout);
}

static const char *style_of(const struct table *t, const char *text)
{
    return t->paper.colour ? word_style(text) : NULL;
}

/* Where the last column begins. */
static size_t start_of_last(const struct table *t)
{
    size_t start = 0;

    for (size_t i = 0; i + 1 < t->n; i++)
        start += t->left_out[i] ? 0 : t->width[i] + GAP;
    return start;
}

static void fit(struct table *t)
{
    size_t last = t->width[t->n - 1], wanted = last < WANTED ? last : WANTED;

    for (int spare = 1; spare <= SPARES && start_of_last(t) + wanted > t->paper.width; spare++) {
        for (size_t i = 0; i + 1 < t->n; i++)
            t->left_out[i] = t->left_out[i] || t->columns[i].spare == spare;
    }
}

static void print_row(const struct table *t, char *const *cells)
{
    size_t start = 0, used = t->n;

    while (used > 1 && (t->left_out[used - 1] || (cells && !*cells[used - 1])))
        used--;
    for (size_t i = 0; i < used; i++) {
        if (t->left_out[i]) continue;
        const char *text = cells ? cells[i] : t->columns[i].head;
        const char *style = cells ? style_of(t, text) : t->paper.colour ? STYLE_BOLD : NULL;
        print_cell(t, i, start, text, style);
        if (i + 1 == used) break;
        pad(GAP + (t->columns[i].right ? 0 : space_of(t, i, text)));
        start += t->width[i] + GAP;
    }
    putchar('\n');
}

void table_print(struct table *t)
{
    if (!t->fitted && t->paper.width) fit(t);
    t->fitted = true;
    if (!t->headed && t->columns[0].head) print_row(t, NULL);
    t->headed = true;
    for (size_t i = 0; i + t->n <= t->filled; i += t->n)
        print_row(t, t->cells + i);
    for (size_t i = 0; i < t->filled; i++)
        free(t->cells[i]);
    t->filled = 0;
}

void table_free(struct table *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->filled; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}
