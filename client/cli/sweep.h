/* A sweep: a grid of settings, and a row about each of its points. */
#ifndef GREEDYLR_CLI_SWEEP_H
#define GREEDYLR_CLI_SWEEP_H

#include "cli/arguments.h"

#include <jansson.h>

#define SWEEP_ROWS_MAX 1000

struct sweep_axis {
    char name[FIELD_PATH_MAX];
    char **values;
    size_t n;
};

struct sweep_row {
    size_t at[SETS_MAX];    /* index of each axis' value */
    double final, min, max; /* rates of the first group after the reports */
    double raises, cuts, resets;
    double plateaued; /* step at which it plateaued first; NaN: it did not */
};

struct sweep {
    const struct invocation *in;
    struct sweep_axis axes[SETS_MAX];
    size_t n_axes, n; /* n: rows */
    json_t *spec;     /* before the settings are changed */
    json_t *values, *steps;
    struct sweep_row *rows;
};

/* EXIT_USAGE after saying what --sort takes, if it is none of that. */
int sweep_check_sort(const struct sweep *s);
/* Sorts the rows as --sort says and shows them in the format asked for. */
void sweep_show(struct sweep *s);
/* Says on standard error which row it is about. */
void sweep_say_row(const struct sweep *s, const struct sweep_row *row);

#endif
