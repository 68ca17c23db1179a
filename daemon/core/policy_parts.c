/* What several policies are made of.
 *
 * Happy path: plain arithmetic in the order that PyTorch has.  Failures: only policy_fill and
 * policy_broadcast can, naming the field. */
#include "core/policy_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const mode_words[] = {"min", "max", NULL};
const char *const threshold_mode_words[] = {"rel", "abs", NULL};

bool policy_is_better(enum best_mode mode, enum threshold_mode threshold_mode, double threshold, double x,
                      double best)
{
    if (mode == MODE_MIN)
        return threshold_mode == THRESHOLD_ABS ? x < best - threshold : x < best * (1 - threshold);
    return threshold_mode == THRESHOLD_ABS ? x > best + threshold : x > best * (1 + threshold);
}

double policy_best_at_start(enum best_mode mode)
{
    return mode == MODE_MIN ? INFINITY : -INFINITY;
}

void policy_say(struct policy_outcome *out, const char *fmt, ...)
{
    size_t n = strlen(out->reason);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(out->reason + n, DECISION_REASON_MAX - n, fmt, ap);
    va_end(ap);
}

void policy_say_compared(struct policy_outcome *out, enum best_mode mode, double value, double compared,
                         bool better, double best, const uint32_t *best_step)
{
    char text[DOUBLE_TEXT_MAX];

    if (!isfinite(value)) {
        double_text(text, value);
        policy_say(out, "value is %s and counts as %s", text, better ? "better" : "worse");
        return;
    }
    if (!best_step && isinf(best)) {
        policy_say(out, better ? "first best value" : "no best value yet");
        return;
    }
    bool worse = mode == MODE_MIN ? compared > best : compared < best;

    const char *word = better ? "better" : worse ? "worse" : "no better";

    double_text_rounded(text, best);
    if (best_step)
        policy_say(out, "%s than best %s (step %u)", word, text, *best_step);
    else
        policy_say(out, "%s than best %s", word, text);
}

int policy_broadcast(const char *policy, const char *name, struct f64_list *list, uint32_t groups,
                     struct error *err)
{
    if (list->n == groups) return ST_OK;
    if (list->n != 1 && groups == 1)
        return error_set(err, ST_FIELD_INVALID, "%s.%s: must have 1 value, as lr has, got %u", policy, name,
                         list->n);
    if (list->n != 1)
        return error_set(err, ST_FIELD_INVALID,
                         "%s.%s: must have 1 or %u values, one per group of lr, got %u", policy, name, groups,
                         list->n);
    if (f64_list_fill(list, list->v[0], groups))
        return error_set(err, ST_OUT_OF_MEMORY, "%s.%s: out of memory", policy, name);
    return ST_OK;
}

int policy_refuse_rate(const struct job_spec *spec, const char *name, uint32_t group, const char *allowed,
                       double got, struct error *err)
{
    const char *policy = spec->policy->name;
    char got_text[DOUBLE_TEXT_MAX], lr[DOUBLE_TEXT_MAX];

    double_text(got_text, got);
    double_text(lr, spec->lr.v[group]);
    if (spec->lr.n == 1)
        return error_set(err, ST_FIELD_INVALID, "%s.%s: must be %s lr %s, got %s", policy, name, allowed, lr,
                         got_text);
    return error_set(err, ST_FIELD_INVALID, "%s.%s[%u]: must be %s lr[%u] %s, got %s", policy, name, group,
                     allowed, group, lr, got_text);
}

int policy_fill(struct job_spec *spec, const void *defaults, struct error *err)
{
    const struct policy *policy = spec->policy;
    int rc = params_fill(policy->name, spec->params, spec->params_given, defaults, policy->params,
                         policy->n_params, err);

    for (size_t i = 0; i < policy->n_params && !rc; i++) {
        const struct param_def *def = &policy->params[i];

        if (def->kind == PARAM_F64_LIST)
            rc = policy_broadcast(policy->name, def->name,
                                  (struct f64_list *)(void *)((char *)spec->params + def->offset), spec->lr.n,
                                  err);
    }
    return rc;
}

bool policy_all_at_or_below(const double *lrs, const struct f64_list *bounds)
{
    for (uint32_t i = 0; i < bounds->n; i++) {
        if (lrs[i] > bounds->v[i]) return false;
    }
    return true;
}

bool policy_all_at_or_above(const double *lrs, const struct f64_list *bounds)
{
    for (uint32_t i = 0; i < bounds->n; i++) {
        if (lrs[i] < bounds->v[i]) return false;
    }
    return true;
}

void policy_lower(double *lrs, double factor, const struct f64_list *bounds, double eps)
{
    for (uint32_t i = 0; i < bounds->n; i++) {
        double lr = lrs[i], lower = lr * factor;

        if (lower < bounds->v[i]) lower = bounds->v[i];
        if (lr - lower > eps) lrs[i] = lower;
    }
}

bool policy_clamp_to_cap(double *lrs, uint32_t groups, double cap)
{
    bool clamped = false;

    for (uint32_t i = 0; i < groups; i++) {
        if (lrs[i] > cap) {
            lrs[i] = cap;
            clamped = true;
        }
    }
    return clamped;
}
