/* The parameters of ReduceLROnPlateau: names, ranges, PyTorch's defaults.
 *
 * Happy path: plateau_resolve fills the rows that were not given.  Failures: ST_FIELD_INVALID naming the
 * field and the remedy, ST_OUT_OF_MEMORY. */
#include "core/plateau.h"

#include <math.h>
#include <stddef.h>

enum row {
    ROW_MODE,
    ROW_FACTOR,
    ROW_PATIENCE,
    ROW_THRESHOLD,
    ROW_THRESHOLD_MODE,
    ROW_COOLDOWN,
    ROW_MIN_LR,
    ROW_EPS,
    ROW_COUNT
};

#define AT(field) offsetof(struct plateau_params, field)

const struct param_def plateau_param_defs[] = {
    [ROW_MODE] = {"mode", PARAM_WORD, 0, AT(mode), 0, 0, mode_words},
    [ROW_FACTOR] = {"factor", PARAM_F64, PARAM_LO_OPEN | PARAM_HI_OPEN, AT(factor), 0, 1, NULL},
    [ROW_PATIENCE] = {"patience", PARAM_U32, 0, AT(patience), 0, UINT32_MAX, NULL},
    [ROW_THRESHOLD] = {"threshold", PARAM_F64, 0, AT(threshold), 0, INFINITY, NULL},
    [ROW_THRESHOLD_MODE] = {"threshold_mode", PARAM_WORD, 0, AT(threshold_mode), 0, 0, threshold_mode_words},
    [ROW_COOLDOWN] = {"cooldown", PARAM_U32, 0, AT(cooldown), 0, UINT32_MAX, NULL},
    [ROW_MIN_LR] = {"min_lr", PARAM_F64_LIST, 0, AT(min_lr), 0, INFINITY, NULL},
    [ROW_EPS] = {"eps", PARAM_F64, 0, AT(eps), 0, INFINITY, NULL},
};
_Static_assert(ROW_COUNT == PLATEAU_PARAMS, "plateau.h knows the number of rows");

static const struct plateau_params defaults = {
    .mode = MODE_MIN,
    .factor = 0.1,
    .patience = 10,
    .threshold = 1e-4,
    .threshold_mode = THRESHOLD_REL,
    .cooldown = 0,
    .min_lr = {(double[]){0}, 1},
    .eps = 1e-8,
};

int plateau_resolve(struct job_spec *spec, struct error *err)
{
    int rc = policy_fill(spec, &defaults, err);

    if (rc || !spec->on_nonfinite_given) return rc;
    return error_set(err, ST_FIELD_INVALID,
                     "on_nonfinite: does not apply to plateau, which treats a NaN as Python does; leave it "
                     "out, or use greedy");
}
