/* Smoothing of the values a policy compares: mean, median or ema over a window, and the running sum that
 * Transformers keeps (its rounding errors, and the NaN that poisons it, are part of being bit-identical). */
#ifndef GREEDYLRD_CORE_SMOOTH_H
#define GREEDYLRD_CORE_SMOOTH_H

#include "core/state_io.h"

#include <stddef.h>
#include <stdint.h>

enum smooth_kind {
    SMOOTH_OFF,
    SMOOTH_MEAN,    /* the window summed oldest to newest, divided by its count */
    SMOOTH_MEDIAN,  /* the middle value, or (a + b) / 2 of the two middle ones */
    SMOOTH_EMA,     /* the first value, then ema + alpha * (x - ema), alpha = 2 / (window + 1) */
    SMOOTH_RUNNING, /* sum += newest, then sum -= oldest; sum / count */
};

struct smooth_config {
    enum smooth_kind kind;
    uint32_t window; /* 1 .. WINDOW_MAX; of no meaning when off */
};

/* Flat: smooth_size() bytes, to be copied with memcpy. */
struct smooth {
    double acc;     /* SMOOTH_EMA: the ema; SMOOTH_RUNNING: the sum; else 0 */
    uint32_t count; /* values in the window; SMOOTH_EMA: 1 once acc holds one */
    uint32_t reserved;
    double values[]; /* the window, oldest first */
};

size_t smooth_size(struct smooth_config config);

/* Forgets every value. */
void smooth_clear(struct smooth_config config, struct smooth *s);

/* Takes x in and returns the smoothed value; x itself when off. */
double smooth_add(struct smooth_config config, struct smooth *s, double x);

/* Carries a window over to another configuration: a smaller one keeps its newest values.  A kind that cannot
 * go on from the old one's values starts empty. */
void smooth_carry(struct smooth_config old_config, const struct smooth *old, struct smooth_config config,
                  struct smooth *s);

/* Writes or reads.  Reading takes what any configuration wrote and carries it over as smooth_carry does;
 * values that a window cannot hold set io->failed. */
void smooth_io(struct state_io *io, struct smooth_config config, struct smooth *s);

#endif
