/* State dicts of schedulers in training processes.
 *
 * Happy path of an import: the keys say whose dict it is; every key is checked against the scheduler's rows;
 * rows that are parameters become the spec, the form reads the rest into a state.  An export goes the other
 * way. Failures: ST_STATE_INVALID naming the key, the value and the remedy; ST_STATE_NOT_EXPORTABLE; nothing
 * is changed. */
#include "core/scheduler_dict.h"

#include "core/job_impl.h"
#include "core/policy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char whole_dict[] = "give all of scheduler.state_dict()";

static const char *const kind_words[] = {
    [DICT_NULL] = "null",       [DICT_BOOL] = "true or false", [DICT_WHOLE] = "a whole number",
    [DICT_NUMBER] = "a number", [DICT_TEXT] = "a text",        [DICT_LIST] = "a list of numbers",
    [DICT_OTHER] = "a dict",
};

/* ---- items ---- */

static const struct dict_item *find_item(const struct scheduler_dict *dict, const char *key)
{
    for (size_t i = 0; i < dict->n; i++) {
        if (strcmp(dict->items[i].key, key) == 0) return &dict->items[i];
    }
    return NULL;
}

const struct dict_item *dict_find(const struct scheduler_dict *dict, const char *key)
{
    const struct dict_item *item = find_item(dict, key);

    return item && item->kind != DICT_NULL ? item : NULL;
}

void dict_set(struct scheduler_dict *dict, struct dict_item item)
{
    struct dict_item *slot = (struct dict_item *)(uintptr_t)find_item(dict, item.key);

    if (!slot && dict->n == dict->cap) return;
    if (!slot) slot = &dict->items[dict->n++];
    *slot = item;
}

/* "two", 1.5, a list of 3: what was given. */
static const char *describe(const struct dict_item *item, char *out, size_t size)
{
    char number[DOUBLE_TEXT_MAX];

    switch (item->kind) {
    case DICT_NULL: snprintf(out, size, "null"); break;
    case DICT_BOOL: snprintf(out, size, "%s", item->boolean ? "true" : "false"); break;
    case DICT_WHOLE:
    case DICT_NUMBER:
        double_text(number, item->number);
        snprintf(out, size, "%s", number);
        break;
    case DICT_TEXT: snprintf(out, size, "\"%.60s\"", item->text); break;
    case DICT_LIST: snprintf(out, size, "a list of %u", item->n); break;
    case DICT_OTHER: snprintf(out, size, "%.60s", item->text); break;
    }
    return out;
}

static int wrong(const struct dict_item *item, const char *expected, struct error *err)
{
    char got[80];

    return error_set(err, ST_STATE_INVALID, "state_dict.%.60s: must be %s, got %s", item->key, expected,
                     describe(item, got, sizeof(got)));
}

static bool is_number(const struct dict_item *item)
{
    return item->kind == DICT_WHOLE || item->kind == DICT_NUMBER;
}

int dict_whole(const struct scheduler_dict *dict, const char *key, double lo, double hi, double *out,
               struct error *err)
{
    const struct dict_item *item = dict_find(dict, key);
    char low[DOUBLE_TEXT_MAX], high[DOUBLE_TEXT_MAX], expected[120];

    if (is_number(item) && item->number >= lo && item->number <= hi && item->number == floor(item->number)) {
        *out = item->number;
        return ST_OK;
    }
    double_text(low, lo);
    double_text(high, hi);
    snprintf(expected, sizeof(expected), "a whole number from %s to %s", low, high);
    return wrong(item, expected, err);
}

int dict_u32(const struct scheduler_dict *dict, const char *key, uint32_t *out, struct error *err)
{
    double number = 0;
    int rc = dict_whole(dict, key, 0, UINT32_MAX, &number, err);

    if (rc == ST_OK) *out = (uint32_t)number;
    return rc;
}

int dict_number(const struct scheduler_dict *dict, const char *key, double *out, struct error *err)
{
    const struct dict_item *item = dict_find(dict, key);

    if (isnan(item->number)) return wrong(item, "a number", err);
    *out = item->number;
    return ST_OK;
}

static int wrong_rate(const char *key, uint32_t i, const char *expected, double got, struct error *err)
{
    char text[DOUBLE_TEXT_MAX];

    double_text(text, got);
    return error_set(err, ST_STATE_INVALID, "state_dict.%s[%u]: must be finite and %s, got %s", key, i,
                     expected, text);
}

int dict_rates(const struct scheduler_dict *dict, const char *key, uint32_t n, double *out, struct error *err)
{
    const struct dict_item *item = dict_find(dict, key);

    if (item->n != n)
        return error_set(err, ST_STATE_INVALID,
                         "state_dict.%s: must have %u values, one per parameter group, got %u", key, n,
                         item->n);
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(item->list[i]) || item->list[i] < 0)
            return wrong_rate(key, i, "at least 0", item->list[i], err);
        out[i] = item->list[i];
    }
    return ST_OK;
}

/* ---- whose dict it is ---- */

static const struct dict_row *find_row(const struct scheduler_form *form, const char *key)
{
    for (size_t i = 0; i < form->n_rows; i++) {
        if (strcmp(form->rows[i].key, key) == 0) return &form->rows[i];
    }
    return NULL;
}

/* The first key of the dict that tells this scheduler; NULL if it has none. */
static const char *mark_of(const struct scheduler_form *form, const struct scheduler_dict *dict)
{
    for (size_t i = 0; i < dict->n; i++) {
        const struct dict_row *row = find_row(form, dict->items[i].key);

        if (row && (row->flags & DICT_MARK)) return row->key;
    }
    return NULL;
}

static int find_policy(const struct scheduler_dict *dict, const struct policy **out, struct error *err)
{
    char names[160] = "";

    for (size_t i = 0; policy_at(i); i++) {
        const struct scheduler_form *form = policy_at(i)->form;
        size_t n = strlen(names);

        if (!form) continue;
        if (mark_of(form, dict)) {
            *out = policy_at(i);
            return ST_OK;
        }
        snprintf(names + n, sizeof(names) - n, "%s%s", n ? " or " : "", form->name);
    }
    return error_set(err, ST_STATE_INVALID, "state_dict: is not one of %s; %s", names, whole_dict);
}

/* A key that this scheduler does not have. */
static int unknown_key(const struct scheduler_form *form, const struct scheduler_dict *dict, const char *key,
                       struct error *err)
{
    for (size_t i = 0; policy_at(i); i++) {
        const struct scheduler_form *other = policy_at(i)->form;

        if (!other || other == form || !find_row(other, key)) continue;
        return error_set(
            err, ST_STATE_INVALID,
            "state_dict.%s: is a key of %s, while %s is one of %s; give the dict of one scheduler", key,
            other->name, mark_of(form, dict), form->name);
    }
    return error_set(err, ST_STATE_INVALID, "state_dict.%.60s: is not a key of %s; remove it", key,
                     form->name);
}

static bool kind_fits(const struct dict_item *item, enum dict_kind kind)
{
    if (kind == DICT_NUMBER || kind == DICT_WHOLE) return is_number(item);
    return item->kind == kind && kind != DICT_OTHER;
}

static int check_rows(const struct scheduler_form *form, const struct scheduler_dict *dict, struct error *err)
{
    for (size_t i = 0; i < dict->n; i++) {
        if (!find_row(form, dict->items[i].key)) return unknown_key(form, dict, dict->items[i].key, err);
    }
    for (size_t i = 0; i < form->n_rows; i++) {
        const struct dict_row *row = &form->rows[i];
        const struct dict_item *item = dict_find(dict, row->key);

        if (!item && !(row->flags & DICT_OPTIONAL))
            return error_set(err, ST_STATE_INVALID, "state_dict.%s: is missing; %s", row->key,
                             row->remedy ? row->remedy : whole_dict);
        if (item && !(row->flags & DICT_IGNORED) && !kind_fits(item, row->kind))
            return wrong(item, kind_words[row->kind], err);
    }
    return ST_OK;
}

/* ---- import ---- */

static int set_param(const struct scheduler_dict *dict, const struct dict_row *row, struct job_spec *spec,
                     struct error *err)
{
    const struct policy *policy = spec->policy;
    int at = param_find(policy->params, policy->n_params, row->param);
    const struct dict_item *item = dict_find(dict, row->key);
    struct param_value value = {.kind = policy->params[at].kind};

    switch (value.kind) {
    case PARAM_F64: value.f64 = item->number; break;
    case PARAM_U32:
        if (dict_u32(dict, row->key, &value.u32, err)) return ST_STATE_INVALID;
        break;
    case PARAM_BOOL: value.boolean = item->boolean; break;
    case PARAM_WORD: value.word = item->text; break;
    case PARAM_F64_LIST:
        value.list = item->list;
        value.n = item->n;
        break;
    case PARAM_U32_LIST:
    case PARAM_F64_VECTOR:
    case PARAM_HASH: /* no form has one; param_set refuses them empty */ break;
    }
    if (value.kind == PARAM_F64_LIST && item->n != spec->lr.n)
        return error_set(err, ST_STATE_INVALID,
                         "state_dict.%s: must have %u values, one per parameter group, got %u", row->key,
                         spec->lr.n, item->n);
    int rc = spec_set_param(spec, (size_t)at, &value, err);

    if (rc == ST_OK || rc == ST_OUT_OF_MEMORY) return rc;
    if (err) err->status = ST_STATE_INVALID;
    return error_wrap(err, "state_dict.%s", row->key);
}

/* The initial rates: the dict's, or those of the job that is there and that knows better. */
static int set_lr(const struct scheduler_form *form, const struct scheduler_dict *dict,
                  const struct job_spec *base, struct job_spec *spec, struct error *err)
{
    const struct dict_item *last = dict_find(dict, "_last_lr");
    double lrs[GROUPS_MAX];

    if (last->n == 0 || last->n > GROUPS_MAX) {
        char expected[80];

        snprintf(expected, sizeof(expected), "a list of 1 to %d rates, one per parameter group", GROUPS_MAX);
        return wrong(last, expected, err);
    }
    if (base && base->lr.n != last->n)
        return error_set(
            err, ST_STATE_INVALID,
            "state_dict._last_lr: must have %u rates, as the job has, got %u; import into another job",
            base->lr.n, last->n);
    if (dict_rates(dict, form->initial_key, last->n, lrs, err)) return ST_STATE_INVALID;
    if (base && !form->knows_initial) memcpy(lrs, base->lr.v, last->n * sizeof(lrs[0]));
    for (uint32_t i = 0; i < last->n; i++) {
        if (!(lrs[i] > 0)) return wrong_rate(form->initial_key, i, "above 0", lrs[i], err);
    }
    if (f64_list_set(&spec->lr, lrs, last->n)) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return ST_OK;
}

static int fill_spec(const struct scheduler_dict *dict, const struct job_spec *base, struct job_spec *spec,
                     struct error *err)
{
    const struct scheduler_form *form = spec->policy->form;
    int rc = set_lr(form, dict, base, spec, err);

    if (rc == ST_OK && form->imply) rc = form->imply(spec, err);
    for (size_t i = 0; i < form->n_rows && rc == ST_OK; i++) {
        if (form->rows[i].param) rc = set_param(dict, &form->rows[i], spec, err);
    }
    if (rc) return rc;
    if (base) {
        spec->ranks = base->ranks;
        spec->ramp = base->ramp;
        spec->anneal = base->anneal;
        spec->strict = base->strict;
        if (spec_keep_shadows(spec, base)) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    rc = spec_resolve(spec, err);
    if (rc == ST_OK || rc == ST_OUT_OF_MEMORY) return rc;
    if (err) err->status = ST_STATE_INVALID;
    return error_wrap(err, "state_dict");
}

int scheduler_dict_spec(const struct scheduler_dict *dict, const struct job_spec *base, struct job_spec **out,
                        struct error *err)
{
    const struct policy *policy = NULL;
    int rc = find_policy(dict, &policy, err);

    if (rc == ST_OK) rc = check_rows(policy->form, dict, err);
    if (rc) return rc;
    if (base && base->policy != policy)
        return error_set(
            err, ST_STATE_INVALID,
            "state_dict: is one of %s (it has %s), the job's policy is %s; import into another job",
            policy->form->name, mark_of(policy->form, dict), base->policy->name);
    struct job_spec *spec = spec_new(policy);

    if (!spec) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    rc = fill_spec(dict, base, spec, err);
    if (rc)
        spec_free(spec);
    else
        *out = spec;
    return rc;
}

int scheduler_dict_state(const struct scheduler_dict *dict, const struct job_spec *spec,
                         const struct job_state *base, struct job_state *state, struct error *err)
{
    uint32_t reports = 0;
    int rc = dict_u32(dict, "last_epoch", &reports, err);

    if (rc) return rc;
    job_init(spec, state);
    if (base) memcpy(state, base, sizeof(*state));
    state->reports = reports;
    state->ramp_done = spec->ramp.reports;
    state->anneal_done = reports;
    rc = spec->policy->form->read(dict, spec, job_policy_block(state), err);
    if (rc == ST_OK) job_rates_now(spec, state, state->data);
    return rc;
}

/* ---- export ---- */

const char *scheduler_dict_name(const struct job_spec *spec)
{
    return spec->policy->form ? spec->policy->form->name : spec->policy->name;
}

static struct dict_item param_item(const struct job_spec *spec, const struct dict_row *row)
{
    const struct policy *policy = spec->policy;
    int at = param_find(policy->params, policy->n_params, row->param);
    struct param_value value = param_get(spec->params, &policy->params[at]);
    struct dict_item item = {
        .key = row->key, .kind = row->kind, .boolean = value.boolean, .text = value.word};

    item.number = value.kind == PARAM_U32 ? value.u32 : value.f64;
    item.list = value.list;
    item.n = value.n;
    return item;
}

int scheduler_dict_export(const struct job_spec *spec, const struct job_state *state,
                          struct scheduler_dict *dict, struct error *err)
{
    const struct scheduler_form *form = spec->policy->form;

    if (!form)
        return error_set(
            err, ST_STATE_NOT_EXPORTABLE,
            "state: %s has no state_dict here; build the schedule in the training process from the "
            "job's effective settings, and set its last_epoch to the number of reports that count",
            spec->policy->name);
    if (job_ramping(spec, state))
        return error_set(err, ST_STATE_NOT_EXPORTABLE,
                         "state: the ramp is not over, %u of %u reports, and %s has none; export after it",
                         state->ramp_done, spec->ramp.reports, form->name);
    if (job_anneal_factor(spec, state->anneal_done) < 1)
        return error_set(
            err, ST_STATE_NOT_EXPORTABLE,
            "state: the anneal has begun, report %u of %u, and %s has none; PATCH the job with a "
            "larger anneal.total_reports first",
            state->anneal_done, spec->anneal.total_reports, form->name);
    dict->n = 0;
    for (size_t i = 0; i < form->n_rows; i++) {
        if (form->rows[i].param) dict_set(dict, param_item(spec, &form->rows[i]));
    }
    dict_set(dict, (struct dict_item){.key = "last_epoch", .kind = DICT_WHOLE, .number = state->reports});
    dict_set(dict, (struct dict_item){.key = "verbose", .kind = DICT_BOOL});
    return form->write(spec, job_policy_state(state), dict, err);
}
