/* Rounds.
 *
 * Happy path: open, add until ready, reduce into an event for job_step, leave a record.  Nothing here can
 * fail; whether a report may join at all is the caller's question to job_admit. */
#include "core/round.h"

#include "core/state_io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BYTES 12 /* u32 and f64 */

size_t round_size(uint32_t world_size)
{
    /* The values once more, to be sorted. */
    return sizeof(struct round) + world_size * (sizeof(struct round_report) + sizeof(double));
}

void round_open(struct round *round, uint32_t attempt, uint32_t step, const struct ranks *ranks)
{
    memset(round, 0, round_size(ranks->world_size));
    round->attempt = attempt;
    round->step = step;
    round->ranks = *ranks;
}

bool round_add(struct round *round, uint32_t rank, const struct round_report *report)
{
    struct round_report *own = &round->reports[rank];

    if (own->order) return false;
    *own = *report;
    own->order = ++round->n;
    return true;
}

bool round_complete(const struct round *round)
{
    return round->n >= (round->ranks.reduce == REDUCE_FIRST ? 1 : round->ranks.world_size);
}

bool round_ready(const struct round *round)
{
    return round_complete(round) || (round->overdue && round->n >= round->ranks.quorum);
}

uint32_t round_missing(const struct round *round, bool only_recorded, uint32_t *out, uint32_t max)
{
    uint32_t n = 0;

    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        const struct round_report *r = &round->reports[rank];

        if (r->order && (r->recorded || !only_recorded)) continue;
        if (n < max) out[n] = rank;
        n++;
    }
    return n;
}

void round_missing_text(const struct round *round, char *out, size_t size)
{
    uint32_t missing[8], total = round_missing(round, false, missing, 8), named = total < 8 ? total : 8;
    size_t at = 0;

    at += (size_t)snprintf(out, size, total == 1 ? "rank " : "ranks ");
    for (uint32_t i = 0; i < named && at < size - 32; i++) {
        const char *before = i == 0 ? "" : i + 1 == total ? " and " : ", ";
        at += (size_t)snprintf(out + at, size - at, "%s%u", before, missing[i]);
    }
    if (total > named) snprintf(out + at, size - at, " and %u more", total - named);
}

static double reduce_mean(const struct round *round)
{
    double sum = 0, weights = 0;

    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        const struct round_report *r = &round->reports[rank];

        if (!r->order) continue;
        sum += r->weight * r->value;
        weights += r->weight;
    }
    return sum / weights;
}

static double reduce_extreme(const struct round *round, bool greatest)
{
    double found = greatest ? -INFINITY : INFINITY;

    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        const struct round_report *r = &round->reports[rank];

        if (r->order && (greatest ? r->value > found : r->value < found)) found = r->value;
    }
    return found;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double reduce_median(struct round *round)
{
    double *sorted = (double *)(void *)&round->reports[round->ranks.world_size];
    uint32_t n = 0;

    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        if (round->reports[rank].order) sorted[n++] = round->reports[rank].value;
    }
    qsort(sorted, n, sizeof(*sorted), by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static double reduce_first(const struct round *round)
{
    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        if (round->reports[rank].order == 1) return round->reports[rank].value;
    }
    return NAN;
}

double round_reduce(struct round *round)
{
    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        if (round->reports[rank].order && !isfinite(round->reports[rank].value)) return NAN;
    }
    switch (round->ranks.reduce) {
    case REDUCE_MEAN: return reduce_mean(round);
    case REDUCE_MIN: return reduce_extreme(round, false);
    case REDUCE_MAX: return reduce_extreme(round, true);
    case REDUCE_MEDIAN: return reduce_median(round);
    case REDUCE_FIRST: return reduce_first(round);
    }
    return NAN;
}

void round_event(struct round *round, const struct job_state *state, struct job_event *event)
{
    int64_t time_us = event->time_us;

    *event = (struct job_event){.kind = EVENT_REPORT, .time_us = time_us};
    event->report.value = round_reduce(round);
    event->report.has_step = event->report.has_attempt = true;
    event->report.step = round->step;
    event->report.attempt = round->attempt;
    event->report.ranks = round->n;
    event->report.lr_cap = INFINITY;
    event->report.applied_lr = NAN;
    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        const struct round_report *r = &round->reports[rank];

        if (!r->order) continue;
        if (r->lr_cap < event->report.lr_cap) event->report.lr_cap = r->lr_cap;
        if (!job_applied_differs(state, event->report.applied_lr) && !isnan(r->applied_lr))
            event->report.applied_lr = r->applied_lr; /* the first that differs stays */
    }
}

size_t round_record_size(const struct round *round)
{
    return (size_t)round->n * RECORD_BYTES;
}

void round_record(const struct round *round, uint8_t *out)
{
    struct state_io io = {.out = out};

    for (uint32_t rank = 0; rank < round->ranks.world_size; rank++) {
        double value = round->reports[rank].value;
        uint32_t number = rank;

        if (!round->reports[rank].order) continue;
        state_io_u32(&io, &number);
        state_io_f64(&io, &value);
    }
}

bool round_record_check(const uint8_t *record, size_t len, uint32_t n)
{
    struct state_io io = {.in = record, .len = len, .reading = true};
    uint32_t before = 0, rank;
    double value;

    if (len != (size_t)n * RECORD_BYTES) return false;
    for (uint32_t i = 0; i < n; i++) {
        state_io_u32(&io, &rank);
        state_io_f64(&io, &value);
        if (rank >= RANKS_MAX || (i && rank <= before)) return false;
        before = rank;
    }
    return true;
}

bool round_record_find(const uint8_t *record, size_t len, uint32_t rank, double *value)
{
    size_t low = 0, high = len / RECORD_BYTES;

    while (low < high) {
        size_t middle = (low + high) / 2;
        struct state_io io = {.in = record + middle * RECORD_BYTES, .len = RECORD_BYTES, .reading = true};
        uint32_t found;

        state_io_u32(&io, &found);
        if (found == rank) {
            state_io_f64(&io, value);
            return true;
        }
        if (found < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}
