/* What a job is: building, copying and checking specs.
 *
 * Happy path: spec_new, spec_set_param for what was given, spec_resolve fills the rest.  Failures: resolve
 * names the field and what is allowed (ST_FIELD_INVALID, ST_FIELD_REQUIRED, ST_NOT_SERVED) and leaves a spec
 * that can only be freed or changed and resolved again; out of memory is NULL or ST_OUT_OF_MEMORY. */
#include "core/spec.h"

#include "core/policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS_DEFAULT     60000
#define DEADLINE_MS_MAX         86400000
#define ANNEAL_FRACTION_DEFAULT 0.2

const char *const on_nonfinite_words[] = {"bad", "skip", "cut", "reject", NULL};
const char *const reduce_words[] = {"mean", "min", "max", "median", "first", NULL};

struct job_spec *spec_new(const struct policy *policy)
{
    struct job_spec *spec = calloc(1, sizeof(*spec));

    if (!spec) return NULL;
    spec->policy = policy ? policy : policy_default();
    spec->params = calloc(1, spec->policy->params_size ? spec->policy->params_size : 1);
    if (!spec->params) {
        free(spec);
        return NULL;
    }
    return spec;
}

void spec_free(struct job_spec *spec)
{
    if (!spec) return;
    params_clear(spec->params, spec->policy->params, spec->policy->n_params);
    free(spec->params);
    free(spec->lr.v);
    free(spec);
}

struct job_spec *spec_copy(const struct job_spec *spec)
{
    struct job_spec *copy = spec_new(spec->policy);

    if (!copy) return NULL;
    void *params = copy->params;

    *copy = *spec;
    copy->params = params;
    copy->lr = (struct f64_list){0};
    if (f64_list_set(&copy->lr, spec->lr.v, spec->lr.n) ||
        params_copy(copy->params, spec->params, spec->policy->params, spec->policy->n_params)) {
        spec_free(copy);
        return NULL;
    }
    return copy;
}

int spec_set_param(struct job_spec *spec, size_t row, const struct param_value *value, struct error *err)
{
    int rc = param_set(spec->params, &spec->policy->params[row], value, err);

    if (rc == ST_OK) spec->params_given |= UINT64_C(1) << row;
    return rc;
}

static int resolve_lr(const struct job_spec *spec, struct error *err)
{
    if (spec->lr.n == 0)
        return error_set(err, ST_FIELD_REQUIRED,
                         "lr: is required, one initial learning rate per parameter group");
    if (spec->lr.n > GROUPS_MAX)
        return error_set(err, ST_FIELD_INVALID, "lr: must have 1 to %d values, got %u", GROUPS_MAX,
                         spec->lr.n);
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        char got[DOUBLE_TEXT_MAX];

        if (isfinite(spec->lr.v[i]) && spec->lr.v[i] > 0) continue;
        double_text(got, spec->lr.v[i]);
        if (spec->lr.n == 1)
            return error_set(err, ST_FIELD_INVALID, "lr: must be finite and above 0, got %s", got);
        return error_set(err, ST_FIELD_INVALID, "lr[%u]: must be finite and above 0, got %s", i, got);
    }
    return ST_OK;
}

static int resolve_ramp(const struct job_spec *spec, struct error *err)
{
    char got[DOUBLE_TEXT_MAX];

    if (spec->ramp.reports == 0 || (spec->ramp.start_factor > 0 && spec->ramp.start_factor <= 1))
        return ST_OK;
    double_text(got, spec->ramp.start_factor);
    return error_set(err, ST_FIELD_INVALID, "ramp.start_factor: must be in (0, 1], got %s", got);
}

static int resolve_anneal(struct anneal *anneal, struct error *err)
{
    char got[DOUBLE_TEXT_MAX];

    if (anneal->total_reports == 0) return ST_OK;
    if (!anneal->fraction_given) anneal->fraction = ANNEAL_FRACTION_DEFAULT;
    if (anneal->fraction > 0 && anneal->fraction <= 1) return ST_OK;
    double_text(got, anneal->fraction);
    return error_set(err, ST_FIELD_INVALID, "anneal.fraction: must be in (0, 1], got %s", got);
}

static int resolve_ranks(struct ranks *ranks, struct error *err)
{
    if (ranks->world_size == 0) ranks->world_size = 1;
    if (ranks->world_size > RANKS_MAX)
        return error_set(err, ST_FIELD_INVALID, "ranks.world_size: must be in [1, %u], got %u", RANKS_MAX,
                         ranks->world_size);
    if (ranks->quorum == 0) ranks->quorum = ranks->world_size;
    if (ranks->quorum > ranks->world_size)
        return error_set(err, ST_FIELD_INVALID, "ranks.quorum: must be in [1, world_size %u], got %u",
                         ranks->world_size, ranks->quorum);
    if ((unsigned)ranks->reduce > REDUCE_FIRST)
        return error_set(err, ST_FIELD_INVALID, "ranks.reduce: must be mean, min, max, median or first");
    if (ranks->deadline_ms == 0) ranks->deadline_ms = DEADLINE_MS_DEFAULT;
    if (ranks->deadline_ms < 0 || ranks->deadline_ms > DEADLINE_MS_MAX)
        return error_set(err, ST_FIELD_INVALID, "ranks.deadline: must be above 0 and at most 24 hours");
    return ST_OK;
}

int spec_resolve(struct job_spec *spec, struct error *err)
{
    int rc = resolve_lr(spec, err);

    if (rc) return rc;
    rc = resolve_ramp(spec, err);
    if (rc) return rc;
    rc = resolve_anneal(&spec->anneal, err);
    if (rc) return rc;
    rc = resolve_ranks(&spec->ranks, err);
    if (rc) return rc;
    if ((unsigned)spec->on_nonfinite > NONFINITE_REJECT)
        return error_set(err, ST_FIELD_INVALID, "on_nonfinite: must be bad, skip, cut or reject");
    return spec->policy->resolve(spec, err);
}

bool job_id_valid(const char *id)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strspn(id, allowed);

    return n >= 1 && n <= JOB_ID_MAX && id[n] == '\0' && id[0] != '.' && id[0] != '-';
}
