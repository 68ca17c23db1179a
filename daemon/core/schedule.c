/* Schedules by report count: what all of them share.
 *
 * Happy path: schedule_step counts the report, schedule_rates asks the formula.  Failures: settings that are
 * missing or contradict each other; an override of a rate that is 0; a damaged state (io->failed). */
#include "core/schedule.h"

#include "core/policy_parts.h"

#include <float.h>
#include <math.h>
#include <string.h>

int schedule_resolve(struct job_spec *spec, struct error *err)
{
    const struct policy *policy = spec->policy;
    int rc = policy_fill(spec, policy->schedule->defaults, err);

    if (rc) return rc;
    if (policy->schedule->fill) policy->schedule->fill(spec);
    if (spec->on_nonfinite_given && spec->on_nonfinite != NONFINITE_REJECT)
        return error_set(
            err, ST_FIELD_INVALID,
            "on_nonfinite: must be \"reject\" with %s, which takes no notice of values, got \"%s\"; "
            "leave it out to record them all",
            policy->name, on_nonfinite_words[spec->on_nonfinite]);
    return policy->schedule->check ? policy->schedule->check(spec, err) : ST_OK;
}

size_t schedule_state_size(const struct job_spec *spec)
{
    return sizeof(struct schedule_state) + 2 * spec->lr.n * sizeof(double);
}

void schedule_init(const struct job_spec *spec, void *state)
{
    struct schedule_state *s = state;

    *s = (struct schedule_state){0};
    for (uint32_t i = 0; i < 2 * spec->lr.n; i++)
        s->data[i] = 1;
}

static void say_where(const struct job_spec *spec, uint32_t t, struct policy_outcome *out)
{
    const struct schedule *schedule = spec->policy->schedule;
    uint64_t length = schedule->length ? schedule->length(spec) : 0;

    policy_say(out, "report %u", t);
    if (!schedule->length) return;
    policy_say(out, t > length ? ", past the end at %llu" : " of %llu", (unsigned long long)length);
}

int schedule_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                  struct policy_outcome *out, struct error *err)
{
    struct schedule_state *s = state;

    *out = (struct policy_outcome){.action = ACTION_SCHEDULE};
    if (s->t < UINT32_MAX) s->t++;
    say_where(spec, s->t, out);
    return ST_OK;
}

/* A gamma above 1 goes beyond every number in the end. */
static double bounded(double rate)
{
    return rate < DBL_MAX ? rate : DBL_MAX;
}

static double formula(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    return bounded(spec->policy->schedule->rate(spec, group, t));
}

void schedule_rates(const struct job_spec *spec, const void *state, double *lrs)
{
    const struct schedule_state *s = state;
    const double *set = s->data, *at = s->data + spec->lr.n;

    for (uint32_t i = 0; i < spec->lr.n; i++)
        lrs[i] = bounded(formula(spec, i, s->t) / at[i] * set[i]);
}

int schedule_set_rates(const struct job_spec *spec, void *state, const double *lrs, struct error *err)
{
    struct schedule_state *s = state;
    double *set = s->data, *at = s->data + spec->lr.n;

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double rate = formula(spec, i, s->t);

        /* Nor does a scale of what is next to nothing lead anywhere. */
        if (rate < DBL_MIN)
            return error_set(
                err, ST_FIELD_INVALID,
                "lr[%u]: an override scales the schedule, and %s is at 0 after %u reports; set the rate "
                "when it is above 0, or PATCH the settings of %s so that it is",
                i, spec->policy->name, s->t, spec->policy->name);
        set[i] = lrs[i];
        at[i] = rate;
    }
    return ST_OK;
}

void schedule_view(const struct job_spec *spec, const void *state, struct policy_view *view)
{
    *view = (struct policy_view){0};
}

void schedule_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                     void *new_state)
{
    memcpy(new_state, old_state, schedule_state_size(old_spec));
}

void schedule_io(struct state_io *io, const struct job_spec *spec, void *state)
{
    struct schedule_state *s = state;

    state_io_u32(io, &s->t);
    state_io_f64s(io, s->data, 2 * spec->lr.n);
    for (uint32_t i = 0; io->reading && i < 2 * spec->lr.n; i++) {
        if (!isfinite(s->data[i]) || s->data[i] <= 0) io->failed = true;
    }
}

double schedule_cosine(double progress)
{
    /* There is no cosine of infinity. */
    return 0.5 * (1 + cos(M_PI * fmin(progress, 1e300)));
}

double schedule_blend(double from, double to, double share)
{
    return share < 1 ? to + (from - to) * share : from;
}

double schedule_progress(uint32_t t, uint32_t n)
{
    return t >= n ? 1 : (double)t / n;
}

double schedule_progress_after(uint32_t warmup, uint32_t total, uint32_t t)
{
    uint32_t n = total > warmup ? total - warmup : 1;

    return (double)(t - warmup) / n;
}

int schedule_check_total(const struct job_spec *spec, uint32_t warmup, uint32_t total, struct error *err)
{
    if (total >= warmup) return ST_OK;
    return error_set(
        err, ST_FIELD_INVALID,
        "%s.num_training_steps: must be at least num_warmup_steps %u, got %u; it counts the reports of "
        "the warm-up as well",
        spec->policy->name, warmup, total);
}
