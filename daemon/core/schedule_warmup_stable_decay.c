/* Transformers' warm-up, stable, decay: the policy "warmup_stable_decay".
 *
 * lr * (min_lr_ratio + (1 - min_lr_ratio) * shape(p)), p being the part of the warm-up or of the decay that
 * is done, lr between them, lr * min_lr_ratio after them: get_wsd_schedule (transformers/optimization.py).
 * Shapes of a warm-up: p, (1 - cos(pi * p)) / 2, 1 - sqrt(1 - p); of a decay: 1 - p, (1 + cos(2 * pi *
 * num_cycles * p)) / 2, 1 - sqrt(p). */
#include "core/schedule.h"

#include <math.h>

enum shape { SHAPE_LINEAR, SHAPE_COSINE, SHAPE_1_SQRT };
static const char *const shape_words[] = {"linear", "cosine", "1-sqrt", NULL};

struct params {
    double min_lr_ratio, num_cycles;
    uint32_t num_warmup_steps, num_stable_steps, num_decay_steps;
    uint8_t warmup_type, decay_type;
};

static const struct param_def rows[] = {
    SCHEDULE_ROW(num_warmup_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(num_stable_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_ROW(num_decay_steps, PARAM_U32, PARAM_REQUIRED, 0, UINT32_MAX),
    SCHEDULE_WORD(warmup_type, shape_words),
    SCHEDULE_WORD(decay_type, shape_words),
    SCHEDULE_ROW(min_lr_ratio, PARAM_F64, 0, 0, 1),
    SCHEDULE_ROW(num_cycles, PARAM_F64, PARAM_LO_OPEN, 0, INFINITY),
};

static const struct params defaults = {
    .warmup_type = SHAPE_LINEAR, .decay_type = SHAPE_COSINE, .num_cycles = 0.5};

static double warmup(const struct params *p, double part)
{
    switch ((enum shape)p->warmup_type) {
    case SHAPE_COSINE: return 1 - schedule_cosine(part);
    case SHAPE_1_SQRT: return 1 - sqrt(1 - part);
    case SHAPE_LINEAR: break;
    }
    return part;
}

static double decay(const struct params *p, double part)
{
    switch ((enum shape)p->decay_type) {
    case SHAPE_COSINE: return schedule_cosine(2 * p->num_cycles * part);
    case SHAPE_1_SQRT: return 1 - sqrt(part);
    case SHAPE_LINEAR: break;
    }
    return 1 - part;
}

static double rate(const struct job_spec *spec, uint32_t group, uint32_t t)
{
    const struct params *p = spec->params;
    uint64_t decay_from = (uint64_t)p->num_warmup_steps + p->num_stable_steps;
    double shape = 1;

    if (t < p->num_warmup_steps)
        shape = warmup(p, schedule_progress(t, p->num_warmup_steps));
    else if (t >= decay_from + p->num_decay_steps)
        shape = 0;
    else if (t >= decay_from)
        shape = decay(p, schedule_progress(t - (uint32_t)decay_from, p->num_decay_steps));
    return spec->lr.v[group] * schedule_blend(1, p->min_lr_ratio, shape);
}

static uint64_t length(const struct job_spec *spec)
{
    const struct params *p = spec->params;

    return (uint64_t)p->num_warmup_steps + p->num_stable_steps + p->num_decay_steps;
}

static const struct schedule schedule = {.defaults = &defaults, .rate = rate, .length = length};

const struct policy policy_warmup_stable_decay = {
    .name = "warmup_stable_decay", SCHEDULE_PARAMS, SCHEDULE_COMMON};
