/* Rounds: the reports of several ranks for one step become one value.
 *
 * Pure: a round knows who reported what, says when it may be decided, and reduces in the order of the ranks,
 * whatever the order of arrival, so that a restart gives the same bits.  Waiting, deadlines and storing are
 * the shell's. */
#ifndef GREEDYLRD_CORE_ROUND_H
#define GREEDYLRD_CORE_ROUND_H

#include "core/job.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUNDS_BEHIND 8 /* later steps that may wait behind the open round */

/* One rank's report. */
struct round_report {
    double value;
    double weight;     /* > 0: samples behind the value */
    double lr_cap;     /* INFINITY: none */
    double applied_lr; /* NAN: not given */
    uint32_t order;    /* of arrival in the round, from 1; 0: the rank has not reported */
    bool recorded;     /* durable */
};

/* One flat block of round_size() bytes. */
struct round {
    uint32_t attempt, step;
    struct ranks ranks; /* in force when it opened: a changed world_size applies to the next round */
    uint32_t n;         /* ranks that reported */
    bool overdue;       /* the deadline passed without a decision: a quorum is enough from now on */
    struct round_report reports[]; /* [ranks.world_size], by rank */
};

size_t round_size(uint32_t world_size);
void round_open(struct round *round, uint32_t attempt, uint32_t step, const struct ranks *ranks);

/* Adds a rank's report; rank < world_size.  False: the rank has reported before, and the first stands. */
bool round_add(struct round *round, uint32_t rank, const struct round_report *report);

/* Everybody has reported; or, with reduce first, somebody. */
bool round_complete(const struct round *round);
/* Complete, or overdue with a quorum. */
bool round_ready(const struct round *round);

/* Writes up to max missing ranks, ascending, and returns how many are missing in all.  only_recorded: ranks
 * whose report is not durable count as missing. */
uint32_t round_missing(const struct round *round, bool only_recorded, uint32_t *out, uint32_t max);

/* "ranks 1, 4 and 7", "ranks 1, 2, 3 and 996 more": for messages; size is at least 64. */
void round_missing_text(const struct round *round, char *out, size_t size);

/* The value to decide on: mean (sum w*x / sum w), min, max, median (the mean of the two middle ones), first.
 * Any value that is not finite makes it NaN.  At least one rank has reported. */
double round_reduce(struct round *round);

/* The event that decides the round; state says what rates were answered before.  time_us is the caller's. */
void round_event(struct round *round, const struct job_state *state, struct job_event *event);

/* What a decided round leaves in the history: who reported which value, as bytes of round_record_size().
 * Little-endian: for each rank that reported, ascending, u32 rank and f64 value. */
size_t round_record_size(const struct round *round);
void round_record(const struct round *round, uint8_t *out);
/* Whether the bytes are a record of n ranks. */
bool round_record_check(const uint8_t *record, size_t len, uint32_t n);
/* Whether rank is in the record, and its value.  A record that is damaged holds nobody. */
bool round_record_find(const uint8_t *record, size_t len, uint32_t rank, double *value);

#endif
