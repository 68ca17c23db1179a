/* The state of the learned policy: where it starts, how it is shown, carried over to new settings, written
 * and read.
 *
 * Happy path: learned_init once, then copies and learned_io.  Only reading can fail, through io->failed. */
#include "core/learned.h"

#include "core/exact_math.h"
#include "core/policy_parts.h"

#include <math.h>
#include <string.h>

size_t learned_state_size(const struct job_spec *spec)
{
    return sizeof(struct learned_state) + spec->lr.n * sizeof(double) + learned_greedy_size(spec);
}

void learned_init(const struct job_spec *spec, void *state)
{
    const struct learned_params *p = spec->params;
    struct learned_state *s = state;

    memset(s, 0, learned_state_size(spec));
    s->best = policy_best_at_start(MODE_MIN);
    s->ceiling = INFINITY;
    s->pilot = LEARNED_WATCHED;
    memcpy(s->data, spec->lr.v, spec->lr.n * sizeof(double));
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        /* An update may have moved a bound past it. */
        if (s->data[i] < p->min_lr.v[i]) s->data[i] = p->min_lr.v[i];
        if (s->data[i] > p->max_lr.v[i]) s->data[i] = p->max_lr.v[i];
    }
    learned_greedy_init(spec, s);
}

double learned_log_rate(const struct job_spec *spec, const struct learned_state *s)
{
    return exact_log(s->data[0] / spec->lr.v[0]);
}

void learned_rates(const struct job_spec *spec, const void *state, double *lrs)
{
    memcpy(lrs, ((const struct learned_state *)state)->data, spec->lr.n * sizeof(double));
}

int learned_set_rates(const struct job_spec *spec, void *state, const double *lrs, struct error *err)
{
    struct learned_state *s = state;

    (void)err;
    memcpy(s->data, lrs, spec->lr.n * sizeof(double));
    /* Who sets a rate above the ceiling knows better. */
    if (learned_log_rate(spec, s) > s->ceiling) s->ceiling = INFINITY;
    if (!learned_decides(s) || learned_on_trial(s)) learned_greedy_set_rates(spec, s, lrs);
    return ST_OK;
}

void learned_view(const struct job_spec *spec, const void *state, struct policy_view *view)
{
    const struct learned_params *p = spec->params;
    const struct learned_state *s = state;

    if (!learned_decides(s)) {
        learned_greedy_view(spec, s, view);
        return;
    }
    *view = (struct policy_view){
        .best = s->best,
        .best_step = s->best_step,
        .num_bad = s->since_best,
        .stage = STAGE_NONE,
        .has_best = true,
        .has_best_step = s->has_best_step,
        .at_min = policy_all_at_or_below(s->data, &p->min_lr),
        .at_max = policy_all_at_or_above(s->data, &p->max_lr),
    };
}

void learned_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                    void *new_state)
{
    const struct learned_params *from = old_spec->params, *to = new_spec->params;
    struct learned_state *s = new_state;

    memcpy(s, old_state, learned_state_size(old_spec));
    for (uint32_t i = 0; i < new_spec->lr.n; i++) {
        /* Only to a bound that changed: a rate may rightly be below an old one (an lr_cap). */
        if (to->min_lr.v[i] != from->min_lr.v[i] && s->data[i] < to->min_lr.v[i])
            s->data[i] = to->min_lr.v[i];
        if (to->max_lr.v[i] != from->max_lr.v[i] && s->data[i] > to->max_lr.v[i])
            s->data[i] = to->max_lr.v[i];
    }
    if (!learned_decides(s) || learned_on_trial(s)) learned_greedy_update(old_spec, old_state, new_spec, s);
    if (!learned_decides(s)) learned_greedy_set_rates(new_spec, s, s->data);
}

/* What the averages can be, whatever was reported: the logarithms of doubles and the ratio's limit bound
 * them. */
static bool plausible(const struct learned_state *s, uint32_t groups)
{
    const double bounded[] = {s->first, s->last,  s->least,  s->ratio, s->fast, s->mid, s->slow,
                              s->noise, s->swing, s->action, s->acted, s->echo, s->top, s->at_best};

    for (size_t i = 0; i < sizeof(bounded) / sizeof(bounded[0]); i++) {
        if (!(bounded[i] >= -2000 && bounded[i] <= 2000)) return false;
    }
    if (!(s->noise >= 0) || isnan(s->best) || !(s->ceiling >= -2000) || s->pilot > LEARNED_ASTRAY)
        return false;
    if (s->has_best_step > 1 || (s->t > 0 && !s->has_best_step)) return false;
    for (uint32_t i = 0; i < groups; i++) {
        if (!isfinite(s->data[i]) || s->data[i] <= 0) return false;
    }
    return true;
}

void learned_io(struct state_io *io, const struct job_spec *spec, void *state)
{
    struct learned_state *s = state;
    double *const numbers[] = {&s->best, &s->first, &s->last,    &s->least,  &s->ratio,  &s->fast,
                               &s->mid,  &s->slow,  &s->noise,   &s->swing,  &s->action, &s->acted,
                               &s->echo, &s->top,   &s->at_best, &s->ceiling};
    uint32_t *const counts[] = {&s->t,          &s->best_step, &s->since_best, &s->trips,
                                &s->since_trip, &s->outside,   &s->handed_step};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        state_io_f64(io, numbers[i]);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        state_io_u32(io, counts[i]);
    state_io_u8(io, &s->pilot);
    state_io_u8(io, &s->has_best_step);
    state_io_f64s(io, s->data, spec->lr.n);
    if (io->reading) {
        s->reserved = s->reserved2 = 0;
        if (!plausible(s, spec->lr.n)) {
            io->failed = true;
            return;
        }
    }
    if (!learned_decides(s) || learned_on_trial(s))
        learned_greedy_io(io, spec, s);
    else
        memset(learned_greedy_block(spec, s), 0, io->reading ? learned_greedy_size(spec) : 0);
}
