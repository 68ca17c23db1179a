/* The parameters of GreedyLR: names, ranges, defaults by dialect, and what ranges cannot say.
 *
 * Happy path: greedy_resolve fills the rows that were not given, then checks the bounds against the rates.
 * Failures: ST_FIELD_INVALID naming the field and the remedy, ST_OUT_OF_MEMORY. */
#include "core/greedy.h"

#include <math.h>
#include <stddef.h>

enum row {
    ROW_DIALECT,
    ROW_MODE,
    ROW_FACTOR,
    ROW_PATIENCE,
    ROW_THRESHOLD,
    ROW_THRESHOLD_MODE,
    ROW_COOLDOWN,
    ROW_WARMUP,
    ROW_STAGE_MODE,
    ROW_MIN_LR,
    ROW_MAX_LR,
    ROW_EPS,
    ROW_SMOOTH,
    ROW_SMOOTHING,
    ROW_WINDOW_SIZE,
    ROW_RESET_START,
    ROW_GUARD_RATIO,
    ROW_GUARD_FACTOR,
    ROW_COUNT
};

static const char *const dialect_words[] = {"greedylr", "transformers", NULL};
static const char *const stage_mode_words[] = {"continue", "hold", "ignore", NULL};
static const char *const smoothing_words[] = {"mean", "median", "ema", NULL};

#define AT(field)                      offsetof(struct greedy_params, field)
#define WORD(row, field, flags)        [row] = {#field, PARAM_WORD, flags, AT(field), 0, 0, field##_words}
#define U32(row, field, lo, hi)        [row] = {#field, PARAM_U32, 0, AT(field), lo, hi, NULL}
#define F64(row, field, flags, lo, hi) [row] = {#field, PARAM_F64, flags, AT(field), lo, hi, NULL}
#define LIST(row, field, flags, lo)    [row] = {#field, PARAM_F64_LIST, flags, AT(field), lo, INFINITY, NULL}

const struct param_def greedy_param_defs[] = {
    WORD(ROW_DIALECT, dialect, PARAM_FIXED),
    WORD(ROW_MODE, mode, 0),
    F64(ROW_FACTOR, factor, PARAM_LO_OPEN | PARAM_HI_OPEN, 0, 1),
    U32(ROW_PATIENCE, patience, 0, UINT32_MAX),
    F64(ROW_THRESHOLD, threshold, 0, 0, INFINITY),
    WORD(ROW_THRESHOLD_MODE, threshold_mode, 0),
    U32(ROW_COOLDOWN, cooldown, 0, UINT32_MAX),
    U32(ROW_WARMUP, warmup, 0, UINT32_MAX),
    WORD(ROW_STAGE_MODE, stage_mode, 0),
    LIST(ROW_MIN_LR, min_lr, 0, 0),
    LIST(ROW_MAX_LR, max_lr, PARAM_LO_OPEN, 0),
    F64(ROW_EPS, eps, 0, 0, INFINITY),
    [ROW_SMOOTH] = {"smooth", PARAM_BOOL, 0, AT(smooth), 0, 0, NULL},
    WORD(ROW_SMOOTHING, smoothing, 0),
    U32(ROW_WINDOW_SIZE, window_size, 1, WINDOW_MAX),
    /* The counter of resets is signed: at 0 the transformers dialect goes below it. */
    U32(ROW_RESET_START, reset_start, 0, INT32_MAX),
    /* 0 or above 1: see check_guard. */
    F64(ROW_GUARD_RATIO, guard_ratio, 0, 0, INFINITY),
    F64(ROW_GUARD_FACTOR, guard_factor, PARAM_LO_OPEN | PARAM_HI_OPEN, 0, 1),
};
_Static_assert(sizeof(greedy_param_defs) / sizeof(greedy_param_defs[0]) == ROW_COUNT,
               "a row for each parameter");
_Static_assert(ROW_COUNT == GREEDY_PARAMS, "greedy.h knows the number of rows");

static const struct greedy_params defaults[] = {
    [GREEDY_GREEDYLR] = {.dialect = GREEDY_GREEDYLR,
                         .factor = 0.8,
                         .patience = 2,
                         .threshold = 1e-3,
                         .threshold_mode = THRESHOLD_REL,
                         .stage_mode = GREEDY_CONTINUE,
                         .eps = 0,
                         .smooth = true,
                         .smoothing = GREEDY_MEDIAN,
                         .window_size = 5,
                         .reset_start = 0,
                         .guard_ratio = 0,
                         .guard_factor = 0.5},
    [GREEDY_TRANSFORMERS] = {.dialect = GREEDY_TRANSFORMERS,
                             .factor = 0.95,
                             .patience = 10,
                             .threshold = 1e-6,
                             .threshold_mode = THRESHOLD_ABS,
                             .stage_mode = GREEDY_HOLD,
                             .min_lr = {(double[]){1e-3}, 1},
                             .max_lr = {(double[]){1.0}, 1},
                             .eps = 1e-8,
                             .smooth = false,
                             .smoothing = GREEDY_MEAN,
                             .window_size = 50,
                             .reset_start = 500,
                             .guard_ratio = 0,
                             .guard_factor = 0.5},
};

const struct greedy_params *greedy_defaults(void)
{
    return &defaults[GREEDY_GREEDYLR];
}

static bool given(const struct job_spec *spec, enum row row)
{
    return spec->params_given >> row & 1;
}

/* The bounds that follow from the rates. */
static int fill_bounds(const struct job_spec *spec, struct greedy_params *p, struct error *err)
{
    uint32_t groups = spec->lr.n;

    if (!given(spec, ROW_MIN_LR)) {
        if (f64_list_fill(&p->min_lr, 0, groups))
            return error_set(err, ST_OUT_OF_MEMORY, "greedy.min_lr: out of memory");
        for (uint32_t i = 0; i < groups; i++)
            p->min_lr.v[i] = spec->lr.v[i] / 1000;
    }
    if (!given(spec, ROW_MAX_LR)) {
        if (f64_list_fill(&p->max_lr, 0, groups))
            return error_set(err, ST_OUT_OF_MEMORY, "greedy.max_lr: out of memory");
        for (uint32_t i = 0; i < groups; i++)
            p->max_lr.v[i] = spec->lr.v[i] * 10;
    }
    return ST_OK;
}

/* best * (1 - threshold) is never above what best starts with, so that nothing would ever become best. */
static int check_threshold(const struct greedy_params *p, struct error *err)
{
    char got[DOUBLE_TEXT_MAX];

    if (p->mode != MODE_MIN || p->threshold_mode != THRESHOLD_REL || p->threshold < 1) return ST_OK;
    double_text(got, p->threshold);
    return error_set(
        err, ST_FIELD_INVALID,
        "greedy.threshold: must be below 1 with mode min and threshold_mode rel, got %s; no value "
        "could be better by that much: give a fraction such as 0.001, or use greedy.threshold_mode "
        "abs",
        got);
}

/* guard_factor alone is fine: it waits for a guard_ratio, and effective settings always have it. */
static int check_guard(const struct greedy_params *p, struct error *err)
{
    char got[DOUBLE_TEXT_MAX];

    if (p->guard_ratio <= 0) return ST_OK;
    double_text(got, p->guard_ratio);
    if (p->guard_ratio <= 1)
        return error_set(err, ST_FIELD_INVALID,
                         "greedy.guard_ratio: must be above 1, or 0 for no guard, got %s; 2 cuts once the "
                         "smoothed value is more than twice the best one",
                         got);
    if (p->dialect == GREEDY_TRANSFORMERS)
        return error_set(err, ST_FIELD_INVALID,
                         "greedy.guard_ratio: must be 0 in the transformers dialect, which has no guard, got "
                         "%s; use greedy.dialect greedylr",
                         got);
    if (p->mode == MODE_MAX)
        return error_set(err, ST_FIELD_INVALID,
                         "greedy.guard_ratio: must be 0 with mode max, got %s; the guard is for values that "
                         "are better the lower they are",
                         got);
    return ST_OK;
}

/* The initial rates do not count any more. */
static int check_live_bounds(const struct greedy_params *p, uint32_t i, struct error *err)
{
    double min = p->min_lr.v[i], max = p->max_lr.v[i];
    char low[DOUBLE_TEXT_MAX], high[DOUBLE_TEXT_MAX];

    double_text(low, min);
    double_text(high, max);
    if (!isfinite(max))
        return error_set(err, ST_FIELD_INVALID, "greedy.max_lr[%u]: must be finite, got %s", i, high);
    if (!(min > 0 && min <= max))
        return error_set(err, ST_FIELD_INVALID,
                         "greedy.min_lr[%u]: must be above 0 and at most max_lr %s, got %s", i, high, low);
    return ST_OK;
}

static int check_greedylr(const struct job_spec *spec, const struct greedy_params *p, struct error *err)
{
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double min = p->min_lr.v[i], max = p->max_lr.v[i];

        if (spec->live) {
            if (check_live_bounds(p, i, err)) return ST_FIELD_INVALID;
            continue;
        }
        if (!(min > 0 && min <= spec->lr.v[i]))
            return policy_refuse_rate(spec, "min_lr", i, "above 0 and at most", min, err);
        if (!(isfinite(max) && max >= spec->lr.v[i]))
            return policy_refuse_rate(spec, "max_lr", i, "finite and at least", max, err);
    }
    return check_threshold(p, err);
}

/* The public implementation takes any bounds, below and above the initial rate and even crossed, and so must
 * this. */
static int check_transformers(const struct job_spec *spec, const struct greedy_params *p, struct error *err)
{
    if (spec->on_nonfinite_given)
        return error_set(err, ST_FIELD_INVALID,
                         "on_nonfinite: does not apply to the transformers dialect, which treats a NaN as "
                         "Python does; leave it out, "
                         "or use greedy.dialect greedylr");
    if (p->smoothing != GREEDY_MEAN)
        return error_set(err, ST_FIELD_INVALID,
                         "greedy.smoothing: must be \"mean\" in the transformers dialect, got \"%s\"; use "
                         "greedy.dialect greedylr for "
                         "others",
                         smoothing_words[p->smoothing]);
    return ST_OK;
}

int greedy_resolve(struct job_spec *spec, struct error *err)
{
    struct greedy_params *p = spec->params;

    if (!given(spec, ROW_DIALECT)) p->dialect = GREEDY_GREEDYLR;
    if (p->dialect == GREEDY_GREEDYLR && fill_bounds(spec, p, err)) return ST_OUT_OF_MEMORY;
    int rc = policy_fill(spec, &defaults[p->dialect], err);

    if (rc) return rc;
    rc = check_guard(p, err);
    if (rc) return rc;
    return p->dialect == GREEDY_GREEDYLR ? check_greedylr(spec, p, err) : check_transformers(spec, p, err);
}

struct smooth_config greedy_smooth_config(const struct job_spec *spec)
{
    static const enum smooth_kind kinds[] = {
        [GREEDY_MEAN] = SMOOTH_MEAN, [GREEDY_MEDIAN] = SMOOTH_MEDIAN, [GREEDY_EMA] = SMOOTH_EMA};
    const struct greedy_params *p = spec->params;
    struct smooth_config config = {kinds[p->smoothing], p->window_size};

    if (p->dialect == GREEDY_TRANSFORMERS) config.kind = SMOOTH_RUNNING;
    if (!p->smooth) config.kind = SMOOTH_OFF;
    return config;
}

bool greedy_resets(const struct greedy_params *p)
{
    return p->dialect == GREEDY_TRANSFORMERS || p->reset_start > 0;
}
