/* The rules of one report and of one round, as ALGORITHMS tells them. */
#include "policy.h"

#include <math.h>
#include <string.h>

enum { NONE, WARMUP, COOLDOWN };

void ref_start(const struct ref_settings *settings, struct ref_state *state)
{
    memset(state, 0, sizeof(*state));
    state->rate = state->answered = settings->lr;
    state->best = INFINITY;
}

static double middle(const double *window, uint32_t n)
{
    double sorted[REF_WINDOW];

    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;

        for (; at > 0 && sorted[at - 1] > window[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = window[i];
    }
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static void keep_newest(struct ref_state *s, uint32_t most)
{
    while (s->values > most) {
        memmove(s->window, s->window + 1, sizeof(s->window) - sizeof(s->window[0]));
        s->window[--s->values] = 0;
    }
}

static double smoothed(const struct ref_settings *settings, struct ref_state *s, double value)
{
    double sum = 0;

    if (!settings->window) return value;
    keep_newest(s, settings->window - 1);
    s->window[s->values++] = value;
    if (settings->median) return middle(s->window, s->values);
    for (uint32_t i = 0; i < s->values; i++)
        sum += s->window[i];
    return sum / s->values;
}

static void raise_rate(const struct ref_settings *settings, struct ref_state *s)
{
    double raised = s->rate / settings->factor;

    s->rate = raised < settings->max_lr ? raised : settings->max_lr;
}

static void lower_rate(const struct ref_settings *settings, struct ref_state *s, double factor)
{
    double lower = s->rate * factor;

    s->rate = lower > settings->min_lr ? lower : settings->min_lr;
}

static void cut_rate(const struct ref_settings *settings, struct ref_state *s)
{
    lower_rate(settings, s, settings->factor);
}

static void begin_stage(struct ref_state *s, uint32_t stage, uint32_t length)
{
    s->stage = length ? stage : NONE;
    s->left = length;
}

static void greedy(const struct ref_settings *settings, struct ref_state *s, double value)
{
    bool better = false;

    if (isfinite(value)) {
        double current = smoothed(settings, s, value);

        if (settings->guard_ratio > 0 && s->best > 0 && current > settings->guard_ratio * s->best) {
            s->good = s->bad = 0;
            begin_stage(s, NONE, 0);
            lower_rate(settings, s, settings->guard_factor);
            return;
        }
        better = current < s->best * (1 - settings->threshold);
        if (better) s->best = current;
    }
    if (s->stage) {
        s->good = s->bad = 0;
        (s->stage == WARMUP ? raise_rate : cut_rate)(settings, s);
        if (!--s->left) s->stage = NONE;
        return;
    }
    s->good = better ? s->good + 1 : 0;
    s->bad = better ? 0 : s->bad + 1;
    if (s->good > settings->patience) {
        s->good = 0;
        raise_rate(settings, s);
        begin_stage(s, WARMUP, settings->warmup);
    } else if (s->bad > settings->patience) {
        s->bad = 0;
        cut_rate(settings, s);
        begin_stage(s, COOLDOWN, settings->cooldown);
    }
}

/* What the anneal leaves of a rate, as a factor, when so many reports have counted. */
static double line(const struct ref_settings *settings, uint32_t counted)
{
    double n = settings->total_reports, part = settings->fraction * n;

    if (settings->total_reports == 0 || counted <= n - part) return 1;
    return counted >= n ? 0 : (n - counted) / part;
}

static double annealed(const struct ref_settings *settings, const struct ref_state *s)
{
    double rate = s->rate * line(settings, s->counted);
    double least = s->rate < settings->min_lr ? s->rate : settings->min_lr;

    return rate > least ? rate : least;
}

const char *ref_decide(const struct ref_settings *settings, struct ref_state *s, bool paused, double value,
                       double cap)
{
    double before = s->rate;

    if (!paused) {
        double f = line(settings, ++s->counted);

        greedy(settings, s, value);
        if (f > 0 && s->rate > cap / f) s->rate = cap / f;
    }
    s->answered = annealed(settings, s);
    if (s->answered > cap) s->answered = cap;
    s->reports++;
    return s->rate > before ? "raise" : s->rate < before ? "cut" : "hold";
}

bool ref_override(const struct ref_settings *settings, struct ref_state *s, double lr)
{
    double f = line(settings, s->counted);

    if (f <= 0 || lr < settings->min_lr || lr > settings->max_lr * f) return false;
    s->rate = lr / f < settings->max_lr ? lr / f : settings->max_lr;
    s->answered = annealed(settings, s);
    return true;
}

void ref_settle(const struct ref_settings *settings, struct ref_state *s)
{
    if (s->rate > settings->max_lr) s->rate = settings->max_lr;
    s->answered = annealed(settings, s);
    keep_newest(s, settings->window);
}

double ref_reduce(enum ref_reduce reduce, const struct ref_value *values)
{
    double sum = 0, weights = 0, list[REF_RANKS], low = INFINITY, high = -INFINITY, first = NAN;
    uint32_t n = 0;

    for (uint32_t rank = 0; rank < REF_RANKS; rank++) {
        const struct ref_value *v = &values[rank];

        if (!v->there) continue;
        if (!isfinite(v->value)) return NAN;
        sum += v->weight * v->value;
        weights += v->weight;
        if (v->value < low) low = v->value;
        if (v->value > high) high = v->value;
        if (v->order == 1) first = v->value;
        list[n++] = v->value;
    }
    switch (reduce) {
    case MEAN: return sum / weights;
    case MIN: return low;
    case MAX: return high;
    case FIRST: return first;
    case MEDIAN: break;
    }
    for (uint32_t i = 1; i < n; i++) {
        for (uint32_t k = i; k > 0 && list[k - 1] > list[k]; k--) {
            double swap = list[k];

            list[k] = list[k - 1];
            list[k - 1] = swap;
        }
    }
    return n % 2 ? list[n / 2] : (list[n / 2 - 1] + list[n / 2]) / 2;
}
