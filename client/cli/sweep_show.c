/* Rows of a sweep, in order and in every format. */
#include "cli/paper.h"
#include "cli/simulate.h"
#include "cli/sweep.h"
#include "cli/table.h"
#include "cli/text.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct number {
    const char *name, *head;
    size_t offset;
    int spare; /* as in table.h */
} numbers[] = {
    {"final", "FINAL", offsetof(struct sweep_row, final), 0},
    {"min", "MIN", offsetof(struct sweep_row, min), 3},
    {"max", "MAX", offsetof(struct sweep_row, max), 3},
    {"raises", "RAISES", offsetof(struct sweep_row, raises), 2},
    {"cuts", "CUTS", offsetof(struct sweep_row, cuts), 2},
    {"resets", "RESETS", offsetof(struct sweep_row, resets), 1},
    {"plateaued", "PLATEAUED", offsetof(struct sweep_row, plateaued), 0},
};
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static double number_of(const struct sweep_row *row, size_t i)
{
    return *(const double *)(const void *)((const char *)row + numbers[i].offset);
}

static const char *value_of(const struct sweep *s, const struct sweep_row *row, size_t axis)
{
    return s->axes[axis].values[row->at[axis]];
}

void sweep_say_row(const struct sweep *s, const struct sweep_row *row)
{
    if (s->n_axes) fputs("  With", stderr);
    for (size_t i = 0; i < s->n_axes; i++) {
        fputc(' ', stderr);
        put_safe(stderr, s->axes[i].name, 0);
        fputc('=', stderr);
        put_safe(stderr, value_of(s, row, i), 0);
    }
    if (s->n_axes) fputc('\n', stderr);
}

/* ---- order ---- */

/* What the rows are sorted by: a number, or an axis. */
struct order {
    const struct sweep *s;
    bool falling, by_axis;
    size_t index;
};

static bool find_order(const struct sweep *s, struct order *order)
{
    const char *name = s->in->options[OPTION_SORT];

    *order = (struct order){.s = s, .falling = *name == '-'};
    name += order->falling;
    for (size_t i = 0; i < NUMBERS; i++) {
        if (!strcmp(name, numbers[i].name)) {
            order->index = i;
            return true;
        }
    }
    order->by_axis = true;
    for (size_t i = 0; i < s->n_axes; i++) {
        order->index = i;
        if (same_flag(name, s->axes[i].name)) return true;
    }
    return false;
}

int sweep_check_sort(const struct sweep *s)
{
    struct order order;
    char known[300] = "";
    size_t at = 0;

    if (!s->in->options[OPTION_SORT] || find_order(s, &order)) return 0;
    for (size_t i = 0; i < NUMBERS; i++)
        at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "", numbers[i].name);
    return usage_error(s->in, "--sort %.80s: must be one of %s or a setting that --set names",
                       s->in->options[OPTION_SORT], known);
}

static double key(const struct order *order, const struct sweep_row *row)
{
    return order->by_axis ? (double)row->at[order->index] : number_of(row, order->index);
}

/* Rows without the number come last, equal ones in the order of the grid. */
static int compare(const void *a, const void *b, void *arg)
{
    const struct order *order = arg;
    double x = key(order, a), y = key(order, b);

    if (isnan(x) != isnan(y)) return isnan(x) ? 1 : -1;
    if (x != y && !isnan(x)) return ((x > y) == order->falling) ? -1 : 1;
    for (size_t i = 0; i < order->s->n_axes; i++) {
        size_t p = ((const struct sweep_row *)a)->at[i], q = ((const struct sweep_row *)b)->at[i];
        if (p != q) return p < q ? -1 : 1;
    }
    return 0;
}

/* ---- rows ---- */

static void show_table(const struct sweep *s)
{
    struct column columns[SETS_MAX + NUMBERS] = {0};
    char heads[SETS_MAX][FIELD_PATH_MAX], text[40];
    size_t n = s->n_axes + NUMBERS;

    for (size_t i = 0; i < s->n_axes; i++) {
        size_t k = 0;
        for (; s->axes[i].name[k]; k++)
            heads[i][k] = (char)toupper((unsigned char)s->axes[i].name[k]);
        heads[i][k] = '\0';
        columns[i] = (struct column){heads[i], true, 0, 0};
    }
    for (size_t i = 0; i < NUMBERS; i++)
        columns[s->n_axes + i] = (struct column){numbers[i].head, true, 0, numbers[i].spare};
    struct table *table = table_new(columns, n);
    for (size_t r = 0; r < s->n; r++) {
        for (size_t i = 0; i < s->n_axes; i++)
            table_add(table, value_of(s, &s->rows[r], i));
        for (size_t i = 0; i < NUMBERS; i++) {
            double number = number_of(&s->rows[r], i);
            snprintf(text, sizeof(text), isnan(number) ? "-" : "%.6g", number);
            table_add(table, text);
        }
    }
    table_print(table);
    table_free(table);
    printf("\n%zu values.\n", json_array_size(s->values));
    put_words(stdout, WHAT_IF_NOTE, 0, 0, paper().width);
}

static void show_csv(const struct sweep *s)
{
    for (size_t i = 0; i < s->n_axes; i++) {
        put_csv(s->axes[i].name);
        putchar(',');
    }
    for (size_t i = 0; i < NUMBERS; i++)
        printf("%s%s", numbers[i].name, i + 1 < NUMBERS ? "," : "\r\n");
    for (size_t r = 0; r < s->n; r++) {
        for (size_t i = 0; i < s->n_axes; i++) {
            put_csv(value_of(s, &s->rows[r], i));
            putchar(',');
        }
        for (size_t i = 0; i < NUMBERS; i++) {
            json_t *number = json_real(number_of(&s->rows[r], i)); /* NULL: there is none */
            char *text = value_text(number, EXACT, ',');
            printf("%s%s", text, i + 1 < NUMBERS ? "," : "\r\n");
            free(text);
            json_decref(number);
        }
    }
}

static json_t *row_json(const struct sweep *s, const struct sweep_row *row)
{
    json_t *set = need(json_object()), *out = need(json_pack("{s:o}", "set", set));

    for (size_t i = 0; i < s->n_axes; i++) {
        json_t *value = json_loads(value_of(s, row, i), JSON_DECODE_ANY, NULL); /* a word is none */
        json_object_set_new(set, s->axes[i].name, value ? value : json_string(value_of(s, row, i)));
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        double number = number_of(row, i);
        bool whole = numbers[i].offset > offsetof(struct sweep_row, max);
        if (isnan(number)) continue;
        json_object_set_new(out, numbers[i].name,
                            whole ? json_integer((json_int_t)number) : json_real(number));
    }
    return out;
}

static void show_json(const struct sweep *s)
{
    json_t *rows = need(json_array()), *out;

    for (size_t r = 0; r < s->n; r++)
        json_array_append_new(rows, row_json(s, &s->rows[r]));
    out = need(json_pack("{s:O, s:I, s:o, s:s}", "spec", s->spec, "values",
                         (json_int_t)json_array_size(s->values), "rows", rows, "note", WHAT_IF_NOTE));
    put_json(stdout, out);
    putchar('\n');
    json_decref(out);
}

void sweep_show(struct sweep *s)
{
    struct order order;

    if (s->in->options[OPTION_SORT] && find_order(s, &order))
        qsort_r(s->rows, s->n, sizeof(*s->rows), compare, &order);
    switch (s->in->output) {
    case OUTPUT_TABLE: show_table(s); break;
    case OUTPUT_CSV: show_csv(s); break;
    case OUTPUT_JSON: show_json(s); break;
    }
}
