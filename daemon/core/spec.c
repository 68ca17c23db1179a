/* What a job is: building, copying and checking specs.
 *
 * Happy path: spec_new, spec_set_param for what was given, spec_resolve fills the rest.  Failures: resolve
 * names the field and what is allowed (ST_FIELD_INVALID, ST_FIELD_REQUIRED, ST_NOT_SERVED) and leaves a spec
 * that can only be freed or changed and resolved again; out of memory is NULL or ST_OUT_OF_MEMORY. */
#include "core/spec.h"

#include "core/policy.h"

#include <math.h>
#include <stdio.h>
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
    for (uint32_t i = 0; i < spec->n_shadows; i++)
        spec_free(spec->shadows[i].spec);
    free(spec->shadows);
    params_clear(spec->params, spec->policy->params, spec->policy->n_params);
    free(spec->params);
    free(spec->lr.v);
    free(spec);
}

/* The spec takes shadow, whatever becomes of it. */
static int take_shadow(struct job_spec *spec, const char *name, struct job_spec *shadow)
{
    struct shadow *grown =
        shadow ? realloc(spec->shadows, (spec->n_shadows + 1) * sizeof(*spec->shadows)) : NULL;

    if (!grown) {
        spec_free(shadow);
        return ST_OUT_OF_MEMORY;
    }
    spec->shadows = grown;
    struct shadow *last = &grown[spec->n_shadows++];

    snprintf(last->name, sizeof(last->name), "%s", name);
    last->spec = shadow;
    return ST_OK;
}

struct job_spec *spec_add_shadow(struct job_spec *spec, const char *name, const struct policy *policy)
{
    struct job_spec *shadow = spec_new(policy);

    return take_shadow(spec, name, shadow) ? NULL : shadow;
}

static int copy_shadows(struct job_spec *dst, const struct job_spec *src)
{
    for (uint32_t i = 0; i < src->n_shadows; i++) {
        if (take_shadow(dst, src->shadows[i].name, spec_copy(src->shadows[i].spec))) return ST_OUT_OF_MEMORY;
    }
    return ST_OK;
}

int spec_keep_shadows(struct job_spec *dst, const struct job_spec *src)
{
    if (copy_shadows(dst, src)) return ST_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < dst->n_shadows; i++) {
        dst->shadows[i].spec->params_given = UINT64_MAX;
        dst->shadows[i].spec->live = true;
    }
    return ST_OK;
}

/* Whether what is fixed on a live job is the same in both, of one policy. */
static bool same_kind(const struct job_spec *a, const struct job_spec *b)
{
    if (a->policy != b->policy || a->ramp.reports != b->ramp.reports) return false;
    if (a->ramp.reports &&
        !(a->ramp.start_factor <= b->ramp.start_factor && a->ramp.start_factor >= b->ramp.start_factor))
        return false;
    for (size_t i = 0; i < a->policy->n_params; i++) {
        const struct param_def *def = &a->policy->params[i];

        if ((def->flags & PARAM_FIXED) && def->kind == PARAM_WORD &&
            strcmp(param_get(a->params, def).word, param_get(b->params, def).word) != 0)
            return false;
    }
    return true;
}

int spec_same_shadow(const struct job_spec *spec, const struct shadow *shadow)
{
    for (uint32_t i = 0; i < spec->n_shadows; i++) {
        if (strcmp(spec->shadows[i].name, shadow->name) == 0)
            return same_kind(spec->shadows[i].spec, shadow->spec) ? (int)i : -1;
    }
    return -1;
}

struct job_spec *spec_copy(const struct job_spec *spec)
{
    struct job_spec *copy = spec_new(spec->policy);

    if (!copy) return NULL;
    void *params = copy->params;

    *copy = *spec;
    copy->params = params;
    copy->lr = (struct f64_list){0};
    copy->shadows = NULL;
    copy->n_shadows = 0;
    if (copy_shadows(copy, spec) || f64_list_set(&copy->lr, spec->lr.v, spec->lr.n) ||
        params_copy(copy->params, spec->params, spec->policy->params, spec->policy->n_params)) {
        spec_free(copy);
        return NULL;
    }
    return copy;
}

void spec_bytes(const struct job_spec *spec, void (*take)(void *arg, const void *bytes, size_t n), void *arg)
{
#define TAKE(field) take(arg, &spec->field, sizeof(spec->field))
    TAKE(policy);
    TAKE(lr.n);
    if (spec->lr.n) take(arg, spec->lr.v, spec->lr.n * sizeof(*spec->lr.v));
    params_bytes(spec->params, spec->policy->params, spec->policy->n_params, take, arg);
    TAKE(params_given);
    TAKE(ramp.reports);
    TAKE(ramp.start_factor);
    TAKE(anneal.total_reports);
    TAKE(anneal.fraction);
    TAKE(anneal.fraction_given);
    TAKE(ranks.world_size);
    TAKE(ranks.quorum);
    TAKE(ranks.reduce);
    TAKE(ranks.deadline_ms);
    TAKE(on_nonfinite);
    TAKE(on_nonfinite_given);
    TAKE(strict);
    TAKE(learned);
    TAKE(live);
    TAKE(n_shadows);
    for (uint32_t i = 0; i < spec->n_shadows; i++) {
        take(arg, spec->shadows[i].name, strlen(spec->shadows[i].name) + 1);
        spec_bytes(spec->shadows[i].spec, take, arg);
    }
#undef TAKE
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

static int check_shadow_name(const struct job_spec *spec, uint32_t i, struct error *err)
{
    const char *name = spec->shadows[i].name;

    if (!name[0]) return error_set(err, ST_FIELD_REQUIRED, "name: is required, to tell the shadow by");
    if (!job_id_valid(name) || strlen(name) > SHADOW_NAME_MAX)
        return error_set(err, ST_FIELD_INVALID,
                         "name: must be 1 to %d of A-Z a-z 0-9 . _ - and not start with a dot or a dash, got "
                         "\"%.60s\"",
                         SHADOW_NAME_MAX, name);
    for (uint32_t k = 0; k < i; k++) {
        if (strcmp(spec->shadows[k].name, name) == 0)
            return error_set(err, ST_FIELD_INVALID,
                             "name: must be another than those of the other shadows, \"%s\" is that of "
                             "shadow[%u] as well",
                             name, k);
    }
    return ST_OK;
}

static int resolve_shadow(const struct job_spec *spec, uint32_t i, struct error *err)
{
    struct job_spec *shadow = spec->shadows[i].spec;
    int rc = check_shadow_name(spec, i, err);

    if (rc) return rc;
    if (f64_list_set(&shadow->lr, spec->lr.v, spec->lr.n))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    /* Alone it would have to be reject. */
    if (shadow->on_nonfinite_given && shadow->policy->schedule)
        return error_set(err, ST_FIELD_INVALID,
                         "on_nonfinite: must be left out with %s, which takes no notice of values",
                         shadow->policy->name);
    if (shadow->on_nonfinite == NONFINITE_REJECT)
        return error_set(err, ST_FIELD_INVALID,
                         "on_nonfinite: must be bad, skip or cut, got reject; a shadow refuses nothing");
    return spec_resolve(shadow, err);
}

static int resolve_shadows(const struct job_spec *spec, struct error *err)
{
    if (spec->n_shadows > SHADOWS_MAX)
        return error_set(err, ST_FIELD_INVALID, "shadow: must be at most %d, got %u", SHADOWS_MAX,
                         spec->n_shadows);
    for (uint32_t i = 0; i < spec->n_shadows; i++) {
        struct error inner;

        if (resolve_shadow(spec, i, &inner))
            return error_set(err, inner.status, "shadow[%u].%.480s", i, inner.message);
    }
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
    rc = spec->policy->resolve(spec, err);
    return rc ? rc : resolve_shadows(spec, err);
}

bool job_id_valid(const char *id)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strspn(id, allowed);

    return n >= 1 && n <= JOB_ID_MAX && id[n] == '\0' && id[0] != '.' && id[0] != '-';
}
