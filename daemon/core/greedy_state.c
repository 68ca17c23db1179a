/* The state of GreedyLR: where it starts, how it is shown, carried over to new settings, written and read.
 *
 * Happy path: greedy_init once, then copies and greedy_io.  Only reading can fail, through io->failed. */
#include "core/greedy.h"

#include <math.h>
#include <string.h>

static size_t smooth_offset(const struct job_spec *spec)
{
    return sizeof(struct greedy_state) + spec->lr.n * sizeof(double);
}

size_t greedy_state_size(const struct job_spec *spec)
{
    return smooth_offset(spec) + smooth_size(greedy_smooth_config(spec));
}

struct smooth *greedy_smooth(const struct job_spec *spec, struct greedy_state *s)
{
    return (struct smooth *)(void *)((char *)s + smooth_offset(spec));
}

void greedy_start_over(const struct job_spec *spec, struct greedy_state *s)
{
    const struct greedy_params *p = spec->params;

    memset(s, 0, sizeof(*s));
    s->best = policy_best_at_start(p->mode);
    s->resets_left = (int32_t)p->reset_start;
    s->stage = STAGE_NONE;
    memcpy(s->data, spec->lr.v, spec->lr.n * sizeof(double));
    /* An update may have moved a bound past them.  (The public implementation takes them as they are.) */
    for (uint32_t i = 0; p->dialect == GREEDY_GREEDYLR && i < spec->lr.n; i++) {
        if (s->data[i] < p->min_lr.v[i]) s->data[i] = p->min_lr.v[i];
        if (s->data[i] > p->max_lr.v[i]) s->data[i] = p->max_lr.v[i];
    }
    smooth_clear(greedy_smooth_config(spec), greedy_smooth(spec, s));
}

void greedy_init(const struct job_spec *spec, void *state)
{
    greedy_start_over(spec, state);
}

void greedy_rates(const struct job_spec *spec, const void *state, double *lrs)
{
    const struct greedy_state *s = state;

    memcpy(lrs, s->data, spec->lr.n * sizeof(double));
}

int greedy_set_rates(const struct job_spec *spec, void *state, const double *lrs, struct error *err)
{
    struct greedy_state *s = state;

    memcpy(s->data, lrs, spec->lr.n * sizeof(double));
    if (!greedy_at_min(spec, lrs)) s->plateaued = false;
    return ST_OK;
}

bool greedy_at_min(const struct job_spec *spec, const double *lrs)
{
    return policy_all_at_or_below(lrs, &((const struct greedy_params *)spec->params)->min_lr);
}

bool greedy_at_max(const struct job_spec *spec, const double *lrs)
{
    return policy_all_at_or_above(lrs, &((const struct greedy_params *)spec->params)->max_lr);
}

void greedy_view(const struct job_spec *spec, const void *state, struct policy_view *view)
{
    const struct greedy_state *s = state;

    *view = (struct policy_view){
        .best = s->best,
        .best_step = s->best_step,
        .num_good = s->num_good,
        .num_bad = s->num_bad,
        .stage = (enum stage)s->stage,
        .stage_left = s->stage_left,
        .resets_left = s->resets_left,
        .has_best = true,
        .has_best_step = s->has_best_step,
        .has_resets_left = greedy_resets(spec->params),
        .at_min = greedy_at_min(spec, s->data),
        .at_max = greedy_at_max(spec, s->data),
        .plateaued = s->plateaued,
    };
}

/* Clamps to the bounds that changed and to no other: a rate may rightly be outside one of the old ones (an
 * lr_cap below min_lr, the transformers dialect). */
static void clamp_to_new_bounds(const struct greedy_params *from, const struct greedy_params *to,
                                uint32_t groups, double *lrs)
{
    for (uint32_t i = 0; i < groups; i++) {
        if (to->min_lr.v[i] != from->min_lr.v[i] && lrs[i] < to->min_lr.v[i]) lrs[i] = to->min_lr.v[i];
        if (to->max_lr.v[i] != from->max_lr.v[i] && lrs[i] > to->max_lr.v[i]) lrs[i] = to->max_lr.v[i];
    }
}

/* A stage in force is never longer than the settings now say. */
static void shorten_stage(const struct greedy_params *p, struct greedy_state *s)
{
    uint32_t longest = s->stage == STAGE_WARMUP ? p->warmup : p->cooldown;

    if (s->stage_left > longest) s->stage_left = longest;
    if (s->stage_left == 0) s->stage = STAGE_NONE;
}

void greedy_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                   void *new_state)
{
    const struct greedy_params *from = old_spec->params, *to = new_spec->params;
    struct greedy_state *s = new_state;

    memcpy(s, old_state, smooth_offset(old_spec));
    clamp_to_new_bounds(from, to, new_spec->lr.n, s->data);
    shorten_stage(to, s);
    if (to->mode != from->mode) {
        /* What was best is worst now. */
        s->best = policy_best_at_start(to->mode);
        s->best_step = s->num_good = s->num_bad = 0;
        s->has_best_step = s->plateaued = false;
    }
    if (to->reset_start != from->reset_start) s->resets_left = (int32_t)to->reset_start;
    if (!greedy_at_min(new_spec, s->data)) s->plateaued = false;

    const struct smooth *old = (const void *)((const char *)old_state + smooth_offset(old_spec));

    smooth_carry(greedy_smooth_config(old_spec), old, greedy_smooth_config(new_spec),
                 greedy_smooth(new_spec, s));
}

static bool plausible(const struct greedy_state *s, uint32_t groups)
{
    if (isnan(s->best) || s->stage > STAGE_COOLDOWN || s->has_best_step > 1 || s->plateaued > 1) return false;
    if ((s->stage == STAGE_NONE) != (s->stage_left == 0)) return false;
    for (uint32_t i = 0; i < groups; i++) {
        /* 0 is where cuts end in the transformers dialect with min_lr 0 and eps 0. */
        if (!isfinite(s->data[i]) || s->data[i] < 0) return false;
    }
    return true;
}

void greedy_io(struct state_io *io, const struct job_spec *spec, void *state)
{
    struct greedy_state *s = state;
    uint32_t resets_left = (uint32_t)s->resets_left;

    state_io_f64(io, &s->best);
    state_io_u8(io, &s->has_best_step);
    state_io_u32(io, &s->best_step);
    state_io_u32(io, &s->num_good);
    state_io_u32(io, &s->num_bad);
    state_io_u8(io, &s->stage);
    state_io_u32(io, &s->stage_left);
    state_io_u32(io, &resets_left);
    state_io_u8(io, &s->plateaued);
    state_io_f64s(io, s->data, spec->lr.n);
    if (io->reading) {
        s->resets_left = (int32_t)resets_left;
        s->reserved = 0;
        if (!plausible(s, spec->lr.n)) io->failed = true;
    }
    smooth_io(io, greedy_smooth_config(spec), greedy_smooth(spec, s));
}
