/* The state of ReduceLROnPlateau: where it starts, how it is shown, carried over to new settings, written and
 * read.
 *
 * Happy path: plateau_init once, then copies and plateau_io.  Only reading can fail, through io->failed. */
#include "core/plateau.h"

#include <math.h>
#include <string.h>

size_t plateau_state_size(const struct job_spec *spec)
{
    return sizeof(struct plateau_state) + spec->lr.n * sizeof(double);
}

void plateau_init(const struct job_spec *spec, void *state)
{
    const struct plateau_params *p = spec->params;
    struct plateau_state *s = state;

    memset(s, 0, sizeof(*s));
    s->best = policy_best_at_start(p->mode);
    memcpy(s->lrs, spec->lr.v, spec->lr.n * sizeof(double));
}

bool plateau_at_min(const struct job_spec *spec, const double *lrs)
{
    return policy_all_at_or_below(lrs, &((const struct plateau_params *)spec->params)->min_lr);
}

void plateau_rates(const struct job_spec *spec, const void *state, double *lrs)
{
    memcpy(lrs, ((const struct plateau_state *)state)->lrs, spec->lr.n * sizeof(double));
}

int plateau_set_rates(const struct job_spec *spec, void *state, const double *lrs, struct error *err)
{
    struct plateau_state *s = state;

    memcpy(s->lrs, lrs, spec->lr.n * sizeof(double));
    if (!plateau_at_min(spec, lrs)) s->plateaued = false;
    return ST_OK;
}

void plateau_view(const struct job_spec *spec, const void *state, struct policy_view *view)
{
    const struct plateau_state *s = state;

    *view = (struct policy_view){
        .best = s->best,
        .best_step = s->best_step,
        .num_bad = s->num_bad,
        .stage = s->cooldown_left ? STAGE_COOLDOWN : STAGE_NONE,
        .stage_left = s->cooldown_left,
        .has_best = true,
        .has_best_step = s->has_best_step,
        .at_min = plateau_at_min(spec, s->lrs),
        .plateaued = s->plateaued,
    };
}

void plateau_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                    void *new_state)
{
    const struct plateau_params *from = old_spec->params, *to = new_spec->params;
    struct plateau_state *s = new_state;

    memcpy(s, old_state, plateau_state_size(old_spec));
    for (uint32_t i = 0; i < new_spec->lr.n; i++) {
        /* Only to a bound that changed: a rate may rightly be below an old one (an lr_cap). */
        if (to->min_lr.v[i] != from->min_lr.v[i] && s->lrs[i] < to->min_lr.v[i]) s->lrs[i] = to->min_lr.v[i];
    }
    if (s->cooldown_left > to->cooldown) s->cooldown_left = to->cooldown;
    if (to->mode != from->mode) {
        /* What was best is worst now. */
        s->best = policy_best_at_start(to->mode);
        s->best_step = s->num_bad = 0;
        s->has_best_step = s->plateaued = false;
    }
    if (!plateau_at_min(new_spec, s->lrs)) s->plateaued = false;
}

void plateau_io(struct state_io *io, const struct job_spec *spec, void *state)
{
    struct plateau_state *s = state;

    state_io_f64(io, &s->best);
    state_io_u8(io, &s->has_best_step);
    state_io_u32(io, &s->best_step);
    state_io_u32(io, &s->num_bad);
    state_io_u32(io, &s->cooldown_left);
    state_io_u8(io, &s->plateaued);
    state_io_f64s(io, s->lrs, spec->lr.n);
    if (!io->reading) return;
    if (isnan(s->best) || s->has_best_step > 1 || s->plateaued > 1) io->failed = true;
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        /* 0 is where cuts end with min_lr 0 and eps 0. */
        if (!isfinite(s->lrs[i]) || s->lrs[i] < 0) io->failed = true;
    }
}
