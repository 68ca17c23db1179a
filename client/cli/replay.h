/* A replay: recorded and replayed decisions side by side. */
#ifndef GREEDYLR_CLI_REPLAY_H
#define GREEDYLR_CLI_REPLAY_H

#include "cli/arguments.h"

#include <jansson.h>

/* What happened to the recorded side alone. */
enum apart { APART_OVERRIDE, APART_UPDATE, APART_IMPORT, APART_FORK, APART_PAUSE, APART_CAP, APARTS };

#define APART_STEPS 5

struct replay {
    const struct invocation *in;
    const json_t *spec;           /* what was replayed */
    json_t *recorded, *replayed;  /* reports in order, as many on each side */
    size_t n, n_different, first; /* first: row of the first difference, if there is one */
    double ratio;                 /* replayed by recorded rate of the last row; NaN: one of them is 0 */
    double sum_of_logs;           /* of the ratios */
    size_t n_ratios;
    size_t raises[2], cuts[2], resets[2]; /* recorded, replayed */
    struct {
        size_t n;
        long long steps[APART_STEPS]; /* the first of them */
    } apart[APARTS];
};

/* The changes as they were given: "patience=3 factor=0.9"; the caller frees it. */
char *replay_changes(const struct invocation *in);

/* Takes note of a recorded decision that a replay leaves out, or whose circumstances it does. */
void replay_note(struct replay *r, const json_t *decision);

/* The rows, in the format asked for; as JSON with all of the summary. */
void replay_show_rows(const struct replay *r);
/* Where they part, how the rates differ, what was left out: below a table, beside a CSV. */
void replay_show_summary(const struct replay *r);

#endif
