/* From a number to a place between the two ends of an axis, and the numbers to write along it. */
#ifndef GREEDYLR_CLI_AXIS_H
#define GREEDYLR_CLI_AXIS_H

#include <stdbool.h>
#include <stddef.h>

struct axis {
    double lo, hi; /* ends */
    bool log;
    bool zero;       /* of a log axis: it has a place for 0, below everything else */
    bool any;        /* something was put on it */
    double smallest; /* above 0; 0: none */
};

enum scale {
    SCALE_LINEAR,
    SCALE_LOG,  /* where no number is below 0 and some are above */
    SCALE_AUTO, /* log where all are above 0 and far apart */
};

/* Puts a number on it; what is not finite has no place. */
void axis_take(struct axis *a, double value);
/* Once all are on it: fixes ends and scale.  tight: without room at the ends. */
void axis_fit(struct axis *a, enum scale scale, bool tight);

/* From 0 to 1; NaN: it has no place. */
double axis_at(const struct axis *a, double value);

/* Numbers to write, ascending, at most room; returns how many, at least one. */
size_t axis_ticks(const struct axis *a, double *out, size_t room);

#endif
