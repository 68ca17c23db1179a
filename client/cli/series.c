/* Decisions as numbers.  What a decision does not have stays NaN. */
#include "cli/series.h"

#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct series *series_new(const char *title, const char *x_name, const char *first, const char *second)
{
    struct series *s = need(calloc(1, sizeof(*s)));

    s->title = need(strdup(title));
    s->x_name = x_name;
    s->n_lines = second ? 2 : 1;
    s->lines[0].name = first;
    s->lines[1].name = second;
    return s;
}

void series_free(struct series *s)
{
    if (!s) return;
    for (size_t i = 0; i < SERIES_LINES; i++) {
        free(s->lines[i].rate);
        free(s->lines[i].mark);
    }
    free(s->x);
    free(s->value);
    free(s->event);
    free(s->title);
    free(s);
}

static void grow(struct series *s)
{
    if (s->n < s->cap) return;
    s->cap = s->cap ? s->cap * 2 : 256;
    s->x = need(realloc(s->x, s->cap * sizeof(double)));
    s->value = need(realloc(s->value, s->cap * sizeof(double)));
    s->event = need(realloc(s->event, s->cap * sizeof(bool)));
    for (size_t i = 0; i < s->n_lines; i++) {
        s->lines[i].rate = need(realloc(s->lines[i].rate, s->cap * sizeof(double)));
        s->lines[i].mark = need(realloc(s->lines[i].mark, s->cap));
    }
}

static enum mark mark_of(const json_t *decision, bool event)
{
    const char *action = json_string_value(json_object_get(decision, "action"));

    if (event) return MARK_EVENT;
    if (!action) return MARK_NONE;
    if (!strcmp(action, "raise")) return MARK_RAISE;
    if (!strcmp(action, "cut")) return MARK_CUT;
    return strcmp(action, "reset") ? MARK_NONE : MARK_RESET;
}

void series_add(struct series *s, double x, const json_t *decision, const json_t *second)
{
    const json_t *step = json_object_get(decision, "step");
    size_t i;

    if (isnan(x) && step) x = json_number_value(step);
    if (isnan(x)) x = s->n ? s->x[s->n - 1] : 0;
    /* Something was done, and then a rewind went back behind it. */
    while (s->n && s->event[s->n - 1] && s->x[s->n - 1] > x)
        s->n--;
    grow(s);
    i = s->n;
    s->x[i] = x;
    s->event[i] = !json_object_get(decision, "value");
    s->value[i] = value_number(json_object_get(decision, "value"));
    s->lines[0].rate[i] = value_number(json_object_get(decision, "lr"));
    s->lines[0].mark[i] = mark_of(decision, s->event[i]);
    if (s->n_lines == 2) {
        double before = i ? s->lines[1].rate[i - 1] : NAN;
        s->lines[1].rate[i] = second ? value_number(json_object_get(second, "lr")) : before;
        s->lines[1].mark[i] = mark_of(second, false);
    }
    s->n++;
}

void series_title(struct series *s, const char *title)
{
    free(s->title);
    s->title = need(strdup(title));
}

void series_drop(struct series *s, double x)
{
    size_t from = 0, n;

    if (!s->n) return;
    while (from < s->n && s->x[from] < x)
        from++;
    n = s->n - from;
    memmove(s->x, s->x + from, n * sizeof(*s->x));
    memmove(s->value, s->value + from, n * sizeof(*s->value));
    memmove(s->event, s->event + from, n * sizeof(*s->event));
    for (size_t i = 0; i < s->n_lines; i++) {
        memmove(s->lines[i].rate, s->lines[i].rate + from, n * sizeof(double));
        memmove(s->lines[i].mark, s->lines[i].mark + from, n);
    }
    s->n = n;
}

size_t series_count(const struct series *s, size_t line, enum mark mark)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += s->lines[line].mark[i] == mark;
    return n;
}
