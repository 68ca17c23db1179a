/* What the model sees of a run: nothing but losses, its own rates and actions, and the number of reports.
 *
 * Happy path: learned_observe updates the moving averages with one loss, learned_features reads the features
 * off them.  Unbounded quantities are compressed by asinh; scales are chosen so that most features are within
 * -2 and 2.  A change of any line here is another LEARNED_FEATURE_SET: weights belong to one of them.
 * Nothing can fail. */
#include "core/learned.h"

#include "core/exact_math.h"

#include <math.h>

#define RATIO_MAX 20.0 /* log: what a loss may grow or fall by in one report, for the averages */
#define TINY      1e-4 /* noise that counts as none */

enum feature {
    F_RATIO,
    F_FAST,
    F_MID,
    F_SLOW,
    F_NOISE,
    F_MID_BY_NOISE,
    F_SLOW_BY_NOISE,
    F_GAP,
    F_SINCE_BEST,
    F_RATE,
    F_RATE_BY_BEST,
    F_RATE_BY_TOP,
    F_DONE,
    F_KNOWN,
    F_REPORTS,
    F_ACTION,
    F_ACTED,
    F_SWING,
    F_PACE,
    F_PROGRESS,
    F_ECHO,
    F_LEFT,
    F_COUNT
};
_Static_assert(F_COUNT == LEARNED_FEATURES, "learned_model.h knows their number");

const char *const learned_feature_names[LEARNED_FEATURES] = {
    [F_RATIO] = "ratio",
    [F_FAST] = "fast",
    [F_MID] = "mid",
    [F_SLOW] = "slow",
    [F_NOISE] = "noise",
    [F_MID_BY_NOISE] = "mid_by_noise",
    [F_SLOW_BY_NOISE] = "slow_by_noise",
    [F_GAP] = "gap",
    [F_SINCE_BEST] = "since_best",
    [F_RATE] = "rate",
    [F_RATE_BY_BEST] = "rate_by_best",
    [F_RATE_BY_TOP] = "rate_by_top",
    [F_DONE] = "done",
    [F_KNOWN] = "known",
    [F_REPORTS] = "reports",
    [F_ACTION] = "action",
    [F_ACTED] = "acted",
    [F_SWING] = "swing",
    [F_PACE] = "pace",
    [F_PROGRESS] = "progress",
    [F_ECHO] = "echo",
    [F_LEFT] = "left",
};

static double within(double x, double limit)
{
    return x > limit ? limit : x < -limit ? -limit : x;
}

/* A moving average that is the plain mean until there are 1 / share of them. */
static void average(double *mean, double x, double share, uint32_t n)
{
    double plain = 1.0 / n;

    *mean += (plain > share ? plain : share) * (x - *mean);
}

static void observe_ratio(struct learned_state *s, double ratio, uint32_t n)
{
    double response = within(s->action * ratio / (s->noise + TINY), 3);

    average(&s->swing, (ratio > 0) != (s->ratio > 0) && n > 1, 0.2, n);
    if (n > 1) average(&s->noise, fabs(ratio - s->mid), 0.15, n - 1);
    if (n > 1) average(&s->echo, response, 0.2, n - 1);
    average(&s->fast, ratio, 0.5, n);
    average(&s->mid, ratio, 0.2, n);
    average(&s->slow, ratio, 0.07, n);
    s->ratio = ratio;
}

void learned_observe(struct learned_state *s, double loss, uint32_t step, double log_rate)
{
    double now = exact_log(loss);

    if (s->t == 0)
        s->first = now;
    else
        observe_ratio(s, within(now - s->last, RATIO_MAX), s->t);
    s->last = now;
    s->since_best++;
    if (loss < s->best) {
        s->best = loss;
        s->least = now;
        s->best_step = step;
        s->has_best_step = true;
        s->since_best = 0;
        s->at_best = log_rate;
    }
    if (log_rate > s->top) s->top = log_rate;
    if (s->t < UINT32_MAX) s->t++;
}

void learned_features(const struct learned_state *s, uint32_t total_reports, double log_rate,
                      double out[LEARNED_FEATURES])
{
    double t = s->t, total = total_reports, progress = s->first - s->least;
    bool known = total_reports > 0;
    double left = known && total > t ? total - t : 0;

    out[F_RATIO] = exact_asinh(10 * s->ratio);
    out[F_FAST] = exact_asinh(10 * s->fast);
    out[F_MID] = exact_asinh(20 * s->mid);
    out[F_SLOW] = exact_asinh(40 * s->slow);
    out[F_NOISE] = (exact_log(s->noise + TINY) + 4) / 3;
    out[F_MID_BY_NOISE] = exact_asinh(s->mid / (s->noise + TINY));
    out[F_SLOW_BY_NOISE] = exact_asinh(s->slow / (s->noise + TINY));
    out[F_GAP] = exact_asinh(10 * (s->last - s->least));
    out[F_SINCE_BEST] = exact_log(1 + (double)s->since_best) / 2;
    out[F_RATE] = log_rate / 4;
    out[F_RATE_BY_BEST] = (log_rate - s->at_best) / 2;
    out[F_RATE_BY_TOP] = (log_rate - s->top) / 2;
    out[F_DONE] = known ? (total - left) / total : 0;
    out[F_KNOWN] = known;
    out[F_REPORTS] = exact_log(1 + t) / 4;
    out[F_ACTION] = s->action;
    out[F_ACTED] = s->acted;
    out[F_SWING] = s->swing;
    out[F_PACE] = exact_asinh(-s->slow * t / (progress + 0.05));
    out[F_PROGRESS] = exact_asinh(progress);
    out[F_ECHO] = s->echo;
    out[F_LEFT] = known ? exact_log(1 + left) / 4 : 0;
}

double learned_action(const double *weights, const double features[LEARNED_FEATURES])
{
    double sum = weights[LEARNED_FEATURES];

    for (int i = 0; i < LEARNED_FEATURES; i++)
        sum += weights[i] * features[i];
    return exact_tanh(sum);
}
