/* Smoothing.
 *
 * Happy path: smooth_add appends to an ordered window, drops the oldest when it is full, and reduces it. Only
 * reading can fail, through io->failed, and leaves the window empty. */
#include "core/smooth.h"

#include "core/spec.h"

#include <math.h>
#include <string.h>

static bool has_window(enum smooth_kind kind)
{
    return kind == SMOOTH_MEAN || kind == SMOOTH_MEDIAN || kind == SMOOTH_RUNNING;
}

/* Whether the values of one kind mean the same to another. */
static bool compatible(enum smooth_kind from, enum smooth_kind to)
{
    bool plain = (from == SMOOTH_MEAN || from == SMOOTH_MEDIAN) && (to == SMOOTH_MEAN || to == SMOOTH_MEDIAN);

    return from == to || plain;
}

size_t smooth_size(struct smooth_config config)
{
    return sizeof(struct smooth) + (has_window(config.kind) ? config.window * sizeof(double) : 0);
}

void smooth_clear(struct smooth_config config, struct smooth *s)
{
    memset(s, 0, smooth_size(config));
}

static void append(struct smooth_config config, struct smooth *s, double x)
{
    if (s->count == config.window) {
        memmove(s->values, s->values + 1, (config.window - 1) * sizeof(s->values[0]));
        s->count--;
    }
    s->values[s->count++] = x;
}

static double mean(const struct smooth *s)
{
    double sum = 0;

    for (uint32_t i = 0; i < s->count; i++)
        sum += s->values[i];
    return sum / s->count;
}

/* Shell sort: no allocation, which qsort may do, and fast enough for WINDOW_MAX values. */
static void sort(double *v, uint32_t n)
{
    static const uint32_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};

    for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
        for (uint32_t i = gaps[g]; i < n; i++) {
            double x = v[i];
            uint32_t j = i;

            for (; j >= gaps[g] && v[j - gaps[g]] > x; j -= gaps[g])
                v[j] = v[j - gaps[g]];
            v[j] = x;
        }
    }
}

static double median(const struct smooth *s)
{
    double v[WINDOW_MAX];
    uint32_t mid = s->count / 2;

    memcpy(v, s->values, s->count * sizeof(v[0]));
    sort(v, s->count);
    return s->count % 2 ? v[mid] : (v[mid - 1] + v[mid]) / 2;
}

static double ema(struct smooth_config config, struct smooth *s, double x)
{
    double alpha = 2.0 / ((double)config.window + 1.0);
    double next = s->count ? s->acc + alpha * (x - s->acc) : x;

    /* Values near the end of the range overflow the difference; an infinity would stay for ever. */
    s->acc = isfinite(next) ? next : x;
    s->count = 1;
    return s->acc;
}

static double running(struct smooth_config config, struct smooth *s, double x)
{
    bool full = s->count == config.window;
    double oldest = s->values[0];

    s->acc += x;
    if (full) s->acc -= oldest;
    append(config, s, x);
    return s->acc / s->count;
}

double smooth_add(struct smooth_config config, struct smooth *s, double x)
{
    switch (config.kind) {
    case SMOOTH_OFF: break;
    case SMOOTH_MEAN: append(config, s, x); return mean(s);
    case SMOOTH_MEDIAN: append(config, s, x); return median(s);
    case SMOOTH_EMA: return ema(config, s, x);
    case SMOOTH_RUNNING: return running(config, s, x);
    }
    return x;
}

/* Value i of count on its way into s, where only the newest config.window of them stay. */
static void keep(struct smooth_config config, struct smooth *s, double x, uint32_t i, uint32_t count)
{
    if (count - i <= config.window)
        s->values[s->count++] = x;
    else if (config.kind == SMOOTH_RUNNING)
        s->acc -= x;
}

void smooth_carry(struct smooth_config old_config, const struct smooth *old, struct smooth_config config,
                  struct smooth *s)
{
    smooth_clear(config, s);
    if (!compatible(old_config.kind, config.kind) || config.kind == SMOOTH_OFF) return;
    s->acc = old->acc;
    if (!has_window(config.kind)) {
        s->count = old->count;
        return;
    }
    for (uint32_t i = 0; i < old->count; i++)
        keep(config, s, old->values[i], i, old->count);
}

static void read_values(struct state_io *io, enum smooth_kind kind, uint32_t count,
                        struct smooth_config config, struct smooth *s)
{
    for (uint32_t i = 0; i < count && !io->failed; i++) {
        double x = 0;

        state_io_f64(io, &x);
        if (kind != SMOOTH_RUNNING && !isfinite(x)) io->failed = true;
        if (compatible(kind, config.kind)) keep(config, s, x, i, count);
    }
}

static void read_smooth(struct state_io *io, struct smooth_config config, struct smooth *s)
{
    uint8_t kind = 0;
    uint32_t count = 0;
    double acc = 0;

    smooth_clear(config, s);
    state_io_u8(io, &kind);
    if (kind > SMOOTH_RUNNING) io->failed = true;
    if (io->failed || kind == SMOOTH_OFF) return;
    state_io_u32(io, &count);
    if (kind == SMOOTH_EMA || kind == SMOOTH_RUNNING) state_io_f64(io, &acc);
    if (count > (kind == SMOOTH_EMA ? 1 : WINDOW_MAX) || (kind == SMOOTH_EMA && !isfinite(acc)))
        io->failed = true;
    if (compatible((enum smooth_kind)kind, config.kind)) {
        s->acc = acc;
        s->count = kind == SMOOTH_EMA ? count : 0;
    }
    if (has_window((enum smooth_kind)kind)) read_values(io, (enum smooth_kind)kind, count, config, s);
    if (io->failed) smooth_clear(config, s);
}

void smooth_io(struct state_io *io, struct smooth_config config, struct smooth *s)
{
    uint8_t kind = (uint8_t)config.kind;

    if (io->reading) {
        read_smooth(io, config, s);
        return;
    }
    state_io_u8(io, &kind);
    if (config.kind == SMOOTH_OFF) return;
    state_io_u32(io, &s->count);
    if (config.kind == SMOOTH_EMA || config.kind == SMOOTH_RUNNING) state_io_f64(io, &s->acc);
    if (has_window(config.kind)) state_io_f64s(io, s->values, s->count);
}
