/* The table of jobs that greedylr top shows: what is known of each, in an order. */
#ifndef GREEDYLR_CLI_TOP_H
#define GREEDYLR_CLI_TOP_H

#include "cli/arguments.h"

#include "lib/transport.h"

#include <stdbool.h>
#include <stddef.h>

struct top_job {
    char *name, *status;
    json_int_t revision;
    json_int_t step; /* of the last decision; -1: none yet */
    double best, rate, change, updated;
    bool has_round, overdue;
    json_int_t reported, world_size, behind;
    json_t *missing; /* ranks that the round lacks; NULL: none */
    /* The last decision, where it was asked for. */
    json_int_t looked; /* revision it was asked for at; -1: not yet */
    double value, decided;
    char *action, *reason;
};

struct top {
    const struct invocation *in;
    struct transport *t;
    struct top_job *jobs; /* by name */
    size_t n;
    const struct top_job **order; /* those that are shown, as sorted */
    size_t n_shown;
    int key; /* index of the sort key */
    bool reverse;
    char search[64];
    double ahead;  /* of the daemon's clock, seconds */
    char why[600]; /* why the last look failed; "" if it did not */
};

/* --sort: a key's name, with a dash in front the other way round; false if there is none such. */
bool top_take_sort(struct top *top, const char *text);
/* The key after this one. */
void top_next_sort(struct top *top);
const char *top_sort_name(const struct top *top);
/* Names of all keys with commas between. */
void top_sort_names(char *out, size_t size);

/* Asks for the jobs.  Returns 0, or an exit code with top->why, and what was known stays. */
int top_look(struct top *top);
/* Asks for the last decisions of the shown jobs from one on, n of them, that have changed since. */
int top_look_closer(struct top *top, size_t from, size_t n);
/* Sorts those that have the search in their names. */
void top_sort(struct top *top);
void top_clear(struct top *top);

/* Seconds since a moment of the daemon's clock. */
double top_age(const struct top *top, double moment);

/* ---- what it looks like ---- */

/* A screen full of it: jobs from `first` on, one of them chosen, the last line being `line`. */
char *top_frame(const struct top *top, size_t first, size_t chosen, const char *line);
/* How many jobs a screen shows. */
size_t top_rows(void);
/* All of it on standard output, in the invocation's format. */
void top_print(const struct top *top);

#endif
