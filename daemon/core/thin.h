/* Which points of a long history a plot needs: so many that loss and rate look as they do with all of them.
 *
 * One pass over the points, in memory that depends on how many are to be kept and not on how many there are:
 * thin_init, thin_add for each point, thin_choose.  Same points, same choice. */
#ifndef GREEDYLRD_CORE_THIN_H
#define GREEDYLRD_CORE_THIN_H

#include "core/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THIN_MIN 2

struct thin_point {
    uint32_t revision; /* above that of the point before, and above 0 */
    enum action action;
    bool has_value;
    double value; /* the loss; may be anything, NaN and infinities too */
    double lr;    /* of the first group */
};

struct thin; /* a flat block of thin_size() bytes */

/* Bytes for a choice of at most max points; max >= THIN_MIN. */
size_t thin_size(uint32_t max);
void thin_init(struct thin *thin, uint32_t max);
void thin_add(struct thin *thin, const struct thin_point *point);

/* Ends the pass: writes the revisions that were chosen, ascending, at most max, and returns how many.
 *
 * Up to max points all are chosen.  Of more, in this order of precedence: the first and the last; the largest
 * and the smallest value and rate of all, and a value that is no number; what did something, every action but
 * hold, schedule and ramp, as long as these take up to three quarters of the room, and of each action that is
 * more frequent than its share every 2nd, 4th, 8th ... one; the largest and the smallest value and rate, and
 * a value that is no number, of as many equal stretches of the history as there is room for.  Of equal ones
 * the first is taken.  Below 7 points there is room for the first two of these only, in part. */
size_t thin_choose(struct thin *thin, uint32_t *out);

#endif
