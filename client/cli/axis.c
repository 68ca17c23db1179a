/* Ends are kept within a quarter of the range of a double, so that differences are finite. */
#include "cli/axis.h"

#include <math.h>

#define ROOM      0.05 /* at each end */
#define FAR_APART 100  /* largest by smallest, from where a log axis shows more */
#define ZERO_ROOM 0.1  /* of a log axis, below the smallest */
#define LARGEST   4e307

void axis_take(struct axis *a, double value)
{
    if (!isfinite(value)) return;
    value = fmax(-LARGEST, fmin(LARGEST, value));
    /* The ends of a log axis are those of what is above 0. */
    if (value == 0) a->zero = true;
    if (!a->any || value < a->lo) a->lo = value;
    if (!a->any || value > a->hi) a->hi = value;
    if (value > 0 && (!a->smallest || value < a->smallest)) a->smallest = value;
    a->any = true;
}

void axis_fit(struct axis *a, enum scale scale, bool tight)
{
    double room;

    a->log = a->any && a->lo >= 0 && a->hi > 0 &&
             (scale == SCALE_LOG || (scale == SCALE_AUTO && !a->zero && a->hi / a->lo >= FAR_APART));
    if (!a->any) a->hi = 1;
    if (a->log) {
        a->lo = a->smallest;
        room = a->hi > a->lo ? pow(a->hi / a->lo, ROOM) : 1.5;
        a->lo = fmax(a->lo / room, 5e-324);
        a->hi = fmin(a->hi * room, LARGEST);
        return;
    }
    a->zero = false;
    room = a->hi > a->lo ? (tight ? 0 : (a->hi - a->lo) * ROOM) : fmax(fabs(a->hi) * 0.1, 1e-300);
    if (a->hi == 0 && a->lo == 0) room = 1;
    a->lo -= room;
    a->hi += room;
}

double axis_at(const struct axis *a, double value)
{
    double at, floor_at = a->log && a->zero ? ZERO_ROOM : 0;

    if (!isfinite(value)) return NAN;
    if (!a->log) {
        at = (value - a->lo) / (a->hi - a->lo);
    } else if (value > 0) {
        at = floor_at + (1 - floor_at) * (log(value) - log(a->lo)) / (log(a->hi) - log(a->lo));
    } else {
        return 0;
    }
    return fmax(0, fmin(1, at));
}

/* ---- ticks ---- */

static size_t linear_ticks(const struct axis *a, double *out, size_t room)
{
    double range = a->hi - a->lo, step = pow(10, floor(log10(range))) / 10;
    static const double next[] = {2, 2.5, 2};
    size_t n = 0;

    for (int i = 0; range / step > (double)room - 1; i++)
        step *= next[i % 3]; /* 1, 2, 5, 10, ... */
    for (double k = ceil(a->lo / step); n < room && k * step <= a->hi; k++)
        out[n++] = k * step + 0.0; /* -0 becomes 0 */
    return n;
}

/* Every stride-th power of ten, times the first n_digits of these. */
static size_t powers(const struct axis *a, int stride, size_t n_digits, double *out, size_t room)
{
    static const double digits[] = {1, 2, 5}, pair[] = {1, 3};
    size_t n = 0;

    for (int e = (int)floor(log10(a->lo)); e <= (int)ceil(log10(a->hi)); e += stride) {
        for (size_t i = 0; i < n_digits; i++) {
            double tick = (n_digits == 2 ? pair : digits)[i] * pow(10, e);
            if (tick < a->lo || tick > a->hi) continue;
            if (n < room) out[n] = tick;
            n++;
        }
    }
    return n;
}

/* As many as there is room for. */
static size_t log_ticks(const struct axis *a, double *out, size_t room)
{
    for (size_t n_digits = 3; n_digits > 1; n_digits--) {
        size_t n = powers(a, 1, n_digits, out, room);
        if (n <= room) return n;
    }
    for (int stride = 1;; stride++) {
        size_t n = powers(a, stride, 1, out, room);
        if (n <= room) return n;
    }
}

size_t axis_ticks(const struct axis *a, double *out, size_t room)
{
    size_t n = 0;

    if (a->log && a->zero) {
        out[n++] = 0;
        room--;
    }
    size_t more = a->log ? log_ticks(a, out + n, room) : 0;
    if (more < 2) more = linear_ticks(a, out + n, room);
    n += more;
    if (!n) out[n++] = a->lo;
    return n;
}
