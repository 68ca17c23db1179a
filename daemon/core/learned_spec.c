/* The parameters of the learned policy: names, ranges, defaults, and what ranges cannot say.
 *
 * Happy path: learned_resolve fills the bounds from the rates and the model from the spec's default, checks
 * that the numbers of a model fit each other, and that its hash is the one that was asked for.  Failures:
 * ST_FIELD_INVALID naming the field and the remedy, ST_OUT_OF_MEMORY. */
#include "core/learned.h"

#include "core/policy_parts.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define MIN_SHARE 1e-4 /* default bounds, of the initial rate */
#define MAX_SHARE 1e3

enum row {
    ROW_TOTAL_REPORTS,
    ROW_MIN_LR,
    ROW_MAX_LR,
    ROW_NOISE_GATE,
    ROW_MODEL,
    ROW_FEATURE_SET,
    ROW_UP,
    ROW_DOWN,
    ROW_WEIGHTS,
    ROW_FEATURE_LO,
    ROW_FEATURE_HI,
    ROW_COUNT
};

#define AT(field)    offsetof(struct learned_params, field)
#define VECTOR(name) #name, PARAM_F64_VECTOR, 0, AT(name), -1e6, 1e6, NULL

const struct param_def learned_param_defs[] = {
    [ROW_TOTAL_REPORTS] = {"total_reports", PARAM_U32, 0, AT(total_reports), 0, UINT32_MAX, NULL},
    [ROW_MIN_LR] = {"min_lr", PARAM_F64_LIST, 0, AT(min_lr), 0, INFINITY, NULL},
    [ROW_MAX_LR] = {"max_lr", PARAM_F64_LIST, PARAM_LO_OPEN, AT(max_lr), 0, INFINITY, NULL},
    [ROW_NOISE_GATE] = {"noise_gate", PARAM_F64, 0, AT(noise_gate), 0, INFINITY, NULL},
    [ROW_MODEL] = {"model", PARAM_HASH, 0, AT(model), 0, 0, NULL},
    [ROW_FEATURE_SET] = {"feature_set", PARAM_U32, 0, AT(feature_set), 1, UINT32_MAX, NULL},
    [ROW_UP] = {"up", PARAM_F64, PARAM_LO_OPEN, AT(up), 1, 10, NULL},
    [ROW_DOWN] = {"down", PARAM_F64, PARAM_LO_OPEN, AT(down), 1, 100, NULL},
    [ROW_WEIGHTS] = {VECTOR(weights)},
    [ROW_FEATURE_LO] = {VECTOR(feature_lo)},
    [ROW_FEATURE_HI] = {VECTOR(feature_hi)},
};
_Static_assert(ROW_COUNT == LEARNED_PARAMS, "learned.h knows the number of rows");
_Static_assert(LEARNED_HASH_LEN == PARAM_HASH_LEN, "a model's hash is a parameter");

/* The rows that are a model; its hash follows from them. */
#define MODEL_ROWS (UINT64_C(0x3f) << ROW_FEATURE_SET)

static bool given(const struct job_spec *spec, enum row row)
{
    return spec->params_given >> row & 1;
}

static int fill_bounds(const struct job_spec *spec, struct learned_params *p, struct error *err)
{
    struct f64_list *const lists[] = {&p->min_lr, &p->max_lr};
    static const double shares[] = {MIN_SHARE, MAX_SHARE};

    for (int k = 0; k < 2; k++) {
        if (given(spec, k ? ROW_MAX_LR : ROW_MIN_LR)) continue;
        if (f64_list_fill(lists[k], 0, spec->lr.n))
            return error_set(err, ST_OUT_OF_MEMORY, "learned.%s: out of memory", k ? "max_lr" : "min_lr");
        for (uint32_t i = 0; i < spec->lr.n; i++)
            lists[k]->v[i] = spec->lr.v[i] * shares[k];
    }
    return ST_OK;
}

/* The initial rates do not count any more on a live job. */
static int check_bounds(const struct job_spec *spec, const struct learned_params *p, struct error *err)
{
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double min = p->min_lr.v[i], max = p->max_lr.v[i];
        char low[DOUBLE_TEXT_MAX], high[DOUBLE_TEXT_MAX];

        if (spec->live) {
            if (min > 0 && min <= max && isfinite(max)) continue;
            double_text(low, min);
            double_text(high, max);
            return error_set(err, ST_FIELD_INVALID,
                             "learned.min_lr[%u]: must be above 0 and at most max_lr %s, got %s", i, high,
                             low);
        }
        if (!(min > 0 && min <= spec->lr.v[i]))
            return policy_refuse_rate(spec, "min_lr", i, "above 0 and at most", min, err);
        if (!(isfinite(max) && max >= spec->lr.v[i]))
            return policy_refuse_rate(spec, "max_lr", i, "finite and at least", max, err);
    }
    return ST_OK;
}

/* Half a model is none: an envelope belongs to the weights that were trained in it. */
static int check_whole(const struct job_spec *spec, struct error *err)
{
    uint64_t rows = spec->params_given & MODEL_ROWS;

    for (int row = ROW_FEATURE_SET; rows && row < ROW_COUNT; row++) {
        if (!given(spec, (enum row)row))
            return error_set(
                err, ST_FIELD_REQUIRED,
                "learned.%s: is required with the other numbers of a model (feature_set, up, down, "
                "weights, feature_lo, feature_hi); give all of them, or none for the daemon's model",
                learned_param_defs[row].name);
    }
    return ST_OK;
}

static int check_length(const char *name, const struct f64_list *list, uint32_t want, struct error *err)
{
    if (list->n == want) return ST_OK;
    return error_set(err, ST_FIELD_INVALID, "learned.%s: must have %u numbers%s, got %u", name, want,
                     want == LEARNED_WEIGHTS ? ", one per feature and the bias" : ", one per feature",
                     list->n);
}

static int check_model(const struct learned_params *p, struct error *err)
{
    char low[DOUBLE_TEXT_MAX], high[DOUBLE_TEXT_MAX];

    if (p->feature_set != LEARNED_FEATURE_SET)
        return error_set(
            err, ST_FIELD_INVALID,
            "learned.feature_set: must be %d, the features that this daemon computes, got %u; train "
            "the model again with its greedylr-train",
            LEARNED_FEATURE_SET, p->feature_set);
    if (check_length("weights", &p->weights, LEARNED_WEIGHTS, err) ||
        check_length("feature_lo", &p->feature_lo, LEARNED_FEATURES, err) ||
        check_length("feature_hi", &p->feature_hi, LEARNED_FEATURES, err))
        return ST_FIELD_INVALID;
    for (int i = 0; i < LEARNED_FEATURES; i++) {
        if (p->feature_lo.v[i] <= p->feature_hi.v[i]) continue;
        double_text(low, p->feature_lo.v[i]);
        double_text(high, p->feature_hi.v[i]);
        return error_set(err, ST_FIELD_INVALID,
                         "learned.feature_lo[%d]: must be at most feature_hi %s (%s), got %s", i, high,
                         learned_feature_names[i], low);
    }
    return ST_OK;
}

static int check_hash(const struct job_spec *spec, struct learned_params *p, struct error *err)
{
    struct learned_model model = {.feature_set = p->feature_set, .up = p->up, .down = p->down};
    char hash[LEARNED_HASH_LEN + 1];

    memcpy(model.weights, p->weights.v, sizeof(model.weights));
    memcpy(model.lo, p->feature_lo.v, sizeof(model.lo));
    memcpy(model.hi, p->feature_hi.v, sizeof(model.hi));
    learned_hash(&model, hash);
    if (given(spec, ROW_MODEL) && strcmp(hash, p->model) != 0)
        return error_set(
            err, ST_FIELD_INVALID,
            "learned.model: must be %s, that of the model in force, got %s; leave it out to take "
            "that one, or give the other model's numbers",
            hash, p->model);
    memcpy(p->model, hash, sizeof(hash));
    return ST_OK;
}

/* Borrows from the model. */
static struct learned_params defaults_of(const struct learned_model *model)
{
    return (struct learned_params){
        .feature_set = model->feature_set,
        .up = model->up,
        .down = model->down,
        .weights = {(double *)(uintptr_t)model->weights, LEARNED_WEIGHTS},
        .feature_lo = {(double *)(uintptr_t)model->lo, LEARNED_FEATURES},
        .feature_hi = {(double *)(uintptr_t)model->hi, LEARNED_FEATURES},
    };
}

int learned_resolve(struct job_spec *spec, struct error *err)
{
    struct learned_params *p = spec->params;
    struct learned_params defaults = defaults_of(spec->learned ? spec->learned : &learned_default_model);
    int rc = check_whole(spec, err);

    if (!rc) rc = fill_bounds(spec, p, err);
    if (!rc) rc = policy_fill(spec, &defaults, err);
    if (!rc) rc = check_bounds(spec, p, err);
    if (!rc) rc = check_model(p, err);
    return rc ? rc : check_hash(spec, p, err);
}
