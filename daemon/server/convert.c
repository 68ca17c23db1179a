/* Messages <-> core.  In: given fields are set through the policy's table, then the core fills and checks the
 * rest; a failure names the field from the root of the request.  Out: messages that borrow from the core's
 * structs. */
#include "server/convert.h"

#include "core/policy.h"
#include "server/message.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_NAME_MAX 128
#define LABELS_MAX     32
#define LABEL_MAX      128

/* Of learned policies that name no model; set once, before there is a second thread. */
static const struct learned_model *learned;

void convert_use_model(const struct learned_model *model)
{
    learned = model;
}

/* Member of the field in the message. */
static const void *member(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (const char *)message + field->offset;
}

/* The policy's field that is set in a spec or in a shadow, or NULL. */
static const ProtobufCFieldDescriptor *policy_field(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *desc = message->descriptor;

    for (unsigned i = 0; i < desc->n_fields; i++) {
        if ((desc->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && message_has(message, &desc->fields[i]))
            return &desc->fields[i];
    }
    return NULL;
}

static bool read_param(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       enum param_kind kind, struct param_value *out)
{
    if (!message_has(message, field)) return false;
    const void *at = member(message, field);

    *out = (struct param_value){.kind = kind};
    switch (kind) {
    case PARAM_F64: out->f64 = *(const double *)at; break;
    case PARAM_U32: out->u32 = *(const uint32_t *)at; break;
    case PARAM_BOOL: out->boolean = *(const protobuf_c_boolean *)at != 0; break;
    case PARAM_WORD:
    case PARAM_HASH: out->word = *(char *const *)at; break;
    case PARAM_F64_LIST:
    case PARAM_F64_VECTOR: out->list = *(double *const *)at; break;
    case PARAM_U32_LIST: out->u32s = *(uint32_t *const *)at; break;
    }
    if (kind == PARAM_F64_LIST || kind == PARAM_F64_VECTOR || kind == PARAM_U32_LIST)
        out->n = (uint32_t) * (const size_t *)((const char *)message + field->quantifier_offset);
    return true;
}

static int convert_params(const ProtobufCMessage *message, struct job_spec *spec, struct error *err)
{
    for (size_t row = 0; row < spec->policy->n_params; row++) {
        const struct param_def *def = &spec->policy->params[row];
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(message->descriptor, def->name);
        struct param_value value;

        if (!field)
            return error_set(err, ST_INTERNAL, "the contract lacks %s.%s", spec->policy->name, def->name);
        if (!read_param(message, field, def->kind, &value)) continue;
        if (spec_set_param(spec, row, &value, err))
            return error_wrap(err, "%s.%s", spec->policy->name, def->name);
    }
    return 0;
}

static int find_word(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; i++) {
        if (!strcmp(words[i], word)) return i;
    }
    return -1;
}

static int convert_ranks(const Greedylr__V1__Ranks *message, struct ranks *ranks, struct error *err)
{
    if (message->has_world_size) {
        if (!message->world_size)
            return error_set(err, ST_FIELD_INVALID, "ranks.world_size: must be at least 1, got 0");
        ranks->world_size = message->world_size;
    }
    if (message->reduce) {
        int i = find_word(reduce_words, message->reduce);
        if (i < 0)
            return error_set(err, ST_FIELD_INVALID,
                             "ranks.reduce: must be mean, min, max, median or first, got \"%.40s\"",
                             message->reduce);
        ranks->reduce = (enum reduce)i;
    }
    if (message->has_quorum) {
        if (!message->quorum)
            return error_set(err, ST_FIELD_INVALID, "ranks.quorum: must be at least 1, got 0");
        ranks->quorum = message->quorum;
    }
    if (message->deadline) {
        ranks->deadline_ms = message->deadline->seconds * 1000 + message->deadline->nanos / 1000000;
        if (ranks->deadline_ms < 1)
            return error_set(err, ST_FIELD_INVALID, "ranks.deadline: must be at least 1ms");
    }
    return 0;
}

/* The rules that a shadow has as well. */
struct rules {
    const Greedylr__V1__Ramp *ramp;
    const Greedylr__V1__Anneal *anneal;
    const char *on_nonfinite;
};

static int convert_rules(const struct rules *rules, struct job_spec *spec, struct error *err)
{
    const Greedylr__V1__Ramp *ramp = rules->ramp;
    const Greedylr__V1__Anneal *anneal = rules->anneal;

    if (ramp) {
        if (!ramp->has_reports || !ramp->reports)
            return error_set(err, ST_FIELD_REQUIRED, "ramp.reports: is required and must be at least 1");
        if (!ramp->has_start_factor)
            return error_set(err, ST_FIELD_REQUIRED, "ramp.start_factor: is required, in (0, 1]");
        spec->ramp = (struct ramp){ramp->reports, ramp->start_factor};
    }
    if (anneal) {
        if (!anneal->has_total_reports || !anneal->total_reports)
            return error_set(err, ST_FIELD_REQUIRED,
                             "anneal.total_reports: is required and must be at least 1");
        spec->anneal = (struct anneal){anneal->total_reports, anneal->fraction, anneal->has_fraction};
    }
    if (rules->on_nonfinite) {
        int i = find_word(on_nonfinite_words, rules->on_nonfinite);
        if (i < 0)
            return error_set(err, ST_FIELD_INVALID,
                             "on_nonfinite: must be bad, skip, cut or reject, got \"%.40s\"",
                             rules->on_nonfinite);
        spec->on_nonfinite = (enum on_nonfinite)i;
        spec->on_nonfinite_given = true;
    }
    return 0;
}

/* The policy that a spec or a shadow says. */
static int find_policy(const ProtobufCMessage *message, const struct policy **out, struct error *err)
{
    const ProtobufCFieldDescriptor *field = policy_field(message);

    *out = field ? policy_find(field->name) : policy_default();
    if (*out) return 0;
    return error_set(err, ST_NOT_SERVED, "%s: this policy is not served yet", field->name);
}

static int convert_policy(const ProtobufCMessage *message, struct job_spec *spec, struct error *err)
{
    const ProtobufCFieldDescriptor *field = policy_field(message);

    return field ? convert_params(*(ProtobufCMessage *const *)member(message, field), spec, err) : 0;
}

static int convert_shadow(const Greedylr__V1__Shadow *message, struct job_spec *spec, struct error *err)
{
    const struct rules rules = {message->ramp, message->anneal, message->on_nonfinite};
    const struct policy *policy;

    if (find_policy(&message->base, &policy, err)) return (int)err->status;
    struct job_spec *shadow = spec_add_shadow(spec, message->name ? message->name : "", policy);

    if (!shadow) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    shadow->live = spec->live;
    shadow->learned = learned;
    if (convert_rules(&rules, shadow, err)) return (int)err->status;
    return convert_policy(&message->base, shadow, err);
}

static int convert_shadows(const spec_message *message, struct job_spec *spec, struct error *err)
{
    if (message->n_shadow > SHADOWS_MAX)
        return error_set(err, ST_FIELD_INVALID, "shadow: must be at most %d, got %zu", SHADOWS_MAX,
                         message->n_shadow);
    for (size_t i = 0; i < message->n_shadow; i++) {
        struct error inner;

        if (convert_shadow(message->shadow[i], spec, &inner))
            return error_set(err, inner.status, "shadow[%zu].%.480s", i, inner.message);
    }
    return 0;
}

static int build_spec(const spec_message *message, struct job_spec *spec, struct error *err)
{
    const struct rules rules = {message->ramp, message->anneal, message->on_nonfinite};

    if (message->n_lr > GROUPS_MAX)
        return error_set(err, ST_FIELD_INVALID, "lr: must have at most %d rates, one per group, got %zu",
                         GROUPS_MAX, message->n_lr);
    if (message->n_lr && f64_list_set(&spec->lr, message->lr, (uint32_t)message->n_lr))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (convert_rules(&rules, spec, err)) return (int)err->status;
    if (message->ranks && convert_ranks(message->ranks, &spec->ranks, err)) return (int)err->status;
    spec->strict = message->has_strict && message->strict;
    if (convert_policy(&message->base, spec, err) || convert_shadows(message, spec, err))
        return (int)err->status;
    return spec_resolve(spec, err);
}

/* Shadows that start with an update are checked as those of a new job: their rates are the initial ones. */
static int check_fresh_shadows(struct job_spec *spec, const struct job_spec *before, struct error *err)
{
    bool fresh = false;

    for (uint32_t i = 0; i < spec->n_shadows; i++) {
        if (spec_same_shadow(before, &spec->shadows[i]) >= 0) continue;
        spec->shadows[i].spec->live = false;
        fresh = true;
    }
    return fresh ? spec_resolve(spec, err) : 0;
}

static int convert(const spec_message *message, bool live, const struct job_spec *before,
                   struct job_spec **out, struct error *err)
{
    const struct policy *policy;
    struct job_spec *spec = NULL;
    struct error inner;

    if (find_policy(&message->base, &policy, &inner)) goto err_spec;
    spec = spec_new(policy);
    if (!spec) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    spec->live = live;
    spec->learned = learned;
    if (build_spec(message, spec, &inner) || (before && check_fresh_shadows(spec, before, &inner)))
        goto err_spec;
    *out = spec;
    return 0;

err_spec:
    spec_free(spec);
    return error_set(err, inner.status, "%s%.500s", inner.status == ST_OUT_OF_MEMORY ? "" : "spec.",
                     inner.message);
}

int convert_spec(const spec_message *message, struct job_spec **out, struct error *err)
{
    return convert(message, false, NULL, out, err);
}

int convert_live_spec(const spec_message *message, struct job_spec **out, struct error *err)
{
    return convert(message, true, NULL, out, err);
}

int convert_changed_spec(const spec_message *message, const struct job_spec *before, struct job_spec **out,
                         struct error *err)
{
    return convert(message, true, before, out, err);
}

static int write_list(void *at, void *quantifier, const void *elements, size_t n, size_t size)
{
    void *list = malloc(n * size), *old;

    if (!list) return -1;
    memcpy(list, elements, n * size);
    memcpy(&old, at, sizeof(old));
    free(old);
    memcpy(at, &list, sizeof(list));
    *(size_t *)quantifier = n;
    return 0; // cppcheck-suppress memleak ; the message owns the list by now
}

static int write_param(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       const struct param_value *value)
{
    char *at = (char *)message + field->offset, *quantifier = (char *)message + field->quantifier_offset;

    switch (value->kind) {
    case PARAM_F64: *(double *)(void *)at = value->f64; break;
    case PARAM_U32: *(uint32_t *)(void *)at = value->u32; break;
    case PARAM_BOOL: *(protobuf_c_boolean *)(void *)at = value->boolean; break;
    case PARAM_WORD:
    case PARAM_HASH: {
        char *word = strdup(value->word);
        if (!word) return -1;
        free(*(char **)(void *)at);
        *(char **)(void *)at = word;
        return 0;
    }
    case PARAM_F64_LIST:
    case PARAM_F64_VECTOR: return write_list(at, quantifier, value->list, value->n, sizeof(*value->list));
    case PARAM_U32_LIST: return write_list(at, quantifier, value->u32s, value->n, sizeof(*value->u32s));
    }
    *(protobuf_c_boolean *)(void *)quantifier = 1;
    return 0;
}

/* The policy's message inside the spec or the shadow, created if absent. */
static ProtobufCMessage *policy_message(ProtobufCMessage *message, const struct policy *policy)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, policy->name);
    if (!field) return NULL;
    ProtobufCMessage **slot = (ProtobufCMessage **)(void *)((char *)message + field->offset);

    if (message_has(message, field)) return *slot;
    const ProtobufCMessageDescriptor *desc = field->descriptor;
    ProtobufCMessage *created = calloc(1, desc->sizeof_message);
    if (!created) return NULL;
    protobuf_c_message_init(desc, created);
    *slot = created;
    *(uint32_t *)(void *)((char *)message + field->quantifier_offset) = field->id;
    return created;
}

/* on_nonfinite has no meaning where NaN is treated as Python does, and where values are not looked at. */
static bool follows_python(const struct job_spec *spec)
{
    int row = param_find(spec->policy->params, spec->policy->n_params, "dialect");

    if (!spec->policy->own_nonfinite) return true;
    return row >= 0 && !strcmp(param_get(spec->params, &spec->policy->params[row]).word, "transformers");
}

static int write_ranks(spec_message *message, const struct ranks *ranks)
{
    Greedylr__V1__Ranks *m = message->ranks;

    if (!m) {
        m = message->ranks = malloc(sizeof(*m));
        if (!m) return -1;
        greedylr__v1__ranks__init(m);
    }
    if (!m->deadline) {
        m->deadline = malloc(sizeof(*m->deadline));
        if (!m->deadline) return -1;
        google__protobuf__duration__init(m->deadline);
    }
    if (!m->reduce && !(m->reduce = strdup(reduce_words[ranks->reduce]))) return -1;
    m->has_world_size = m->has_quorum = 1;
    m->world_size = ranks->world_size;
    m->quorum = ranks->quorum;
    m->deadline->seconds = ranks->deadline_ms / 1000;
    m->deadline->nanos = (int32_t)(ranks->deadline_ms % 1000) * 1000000;
    return 0;
}

/* Everything the policy has, and what a NaN does, in a spec or a shadow. */
static int write_policy(ProtobufCMessage *message, char **on_nonfinite, const struct job_spec *spec)
{
    ProtobufCMessage *params = policy_message(message, spec->policy);

    if (!params) return -1;
    for (size_t row = 0; row < spec->policy->n_params; row++) {
        const struct param_def *def = &spec->policy->params[row];
        struct param_value value = param_get(spec->params, def);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(params->descriptor, def->name);
        if (!field || write_param(params, field, &value)) return -1;
    }
    if (*on_nonfinite || follows_python(spec)) return 0;
    *on_nonfinite = strdup(on_nonfinite_words[spec->on_nonfinite]);
    return *on_nonfinite ? 0 : -1;
}

static void write_anneal(Greedylr__V1__Anneal *message, const struct anneal *anneal)
{
    if (!message) return;
    message->has_fraction = 1;
    message->fraction = anneal->fraction;
}

int convert_effective(const spec_message *given, const struct job_spec *spec, spec_message **out,
                      struct error *err)
{
    spec_message *message = (spec_message *)(void *)message_clone(&given->base);

    if (!message || write_policy(&message->base, &message->on_nonfinite, spec)) goto err_memory;
    for (uint32_t i = 0; i < spec->n_shadows && i < message->n_shadow; i++) {
        Greedylr__V1__Shadow *shadow = message->shadow[i];

        if (write_policy(&shadow->base, &shadow->on_nonfinite, spec->shadows[i].spec)) goto err_memory;
        write_anneal(shadow->anneal, &spec->shadows[i].spec->anneal);
    }
    write_anneal(message->anneal, &spec->anneal);
    if (write_ranks(message, &spec->ranks)) goto err_memory;
    message->has_strict = 1;
    message->strict = spec->strict;
    *out = message;
    return 0;

err_memory:
    if (message) protobuf_c_message_free_unpacked(&message->base, NULL);
    return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

int convert_check_texts(const spec_message *message, uint32_t groups, struct error *err)
{
    if (message->n_group_names && message->n_group_names != groups)
        return error_set(err, ST_FIELD_INVALID,
                         "spec.group_names: must have %u names, one per rate of lr, got %zu", groups,
                         message->n_group_names);
    for (size_t i = 0; i < message->n_group_names; i++) {
        if (strlen(message->group_names[i]) > GROUP_NAME_MAX)
            return error_set(err, ST_FIELD_INVALID, "spec.group_names[%zu]: must be at most %d bytes", i,
                             GROUP_NAME_MAX);
    }
    if (message->n_labels > LABELS_MAX)
        return error_set(err, ST_FIELD_INVALID, "spec.labels: must be at most %d, got %zu", LABELS_MAX,
                         message->n_labels);
    for (size_t i = 0; i < message->n_labels; i++) {
        const char *label = message->labels[i], *equals = strchr(label, '=');
        if (!equals || equals == label || strlen(label) > LABEL_MAX || strchr(label, '\n'))
            return error_set(
                err, ST_FIELD_INVALID,
                "spec.labels[%zu]: must be key=value of at most %d bytes in one line, got \"%.60s\"", i,
                LABEL_MAX, label);
    }
    return 0;
}

void convert_time(int64_t time_us, Google__Protobuf__Timestamp *out)
{
    int64_t below = time_us % 1000000 < 0; /* before 1970 */

    google__protobuf__timestamp__init(out);
    out->seconds = time_us / 1000000 - below;
    out->nanos = (int32_t)(time_us % 1000000 + below * 1000000) * 1000;
}

int convert_decision(const struct job_decision *d, const char *job, decision_message *out,
                     Google__Protobuf__Timestamp *time, struct error *err)
{
    greedylr__v1__decision__init(out);
    out->job = (char *)(uintptr_t)job;
    out->has_step = d->has_step;
    out->step = d->step;
    out->has_attempt = out->has_revision = out->has_lr = 1;
    out->attempt = d->attempt;
    out->revision = d->revision;
    out->lr = d->lrs[0];
    out->lrs = (double *)(uintptr_t)d->lrs;
    out->n_lrs = d->groups;
    out->action = (char *)(uintptr_t)action_words[d->action];
    out->reason = (char *)(uintptr_t)d->reason;
    out->has_value = d->has_value;
    out->value = d->value;
    out->has_smoothed = d->has_smoothed;
    out->smoothed = d->smoothed;
    /* A policy without a best value has none of what follows from comparing with it. */
    if (d->has_best) out->stage = (char *)(uintptr_t)stage_words[d->stage];
    out->has_best = d->has_best;
    out->best = d->best;
    out->has_num_good = out->has_num_bad = d->has_best;
    out->num_good = d->num_good;
    out->num_bad = d->num_bad;
    out->has_at_min = out->has_at_max = out->has_plateaued = d->has_best;
    out->at_min = d->at_min;
    out->at_max = d->at_max;
    out->plateaued = d->plateaued;
    out->has_applied_mismatch = d->has_value;
    out->applied_mismatch = d->applied_mismatch;
    out->has_ranks = d->ranks > 0;
    out->ranks = d->ranks;
    if (d->actor[0]) out->actor = (char *)(uintptr_t)d->actor;
    out->has_superseded = out->superseded = d->superseded; /* only where it is true */
    if (d->time_us) {
        convert_time(d->time_us, time);
        out->time = time;
    }
    return convert_said(d, out, err);
}

void convert_own_state(const struct job_spec *spec, const struct job_state *state,
                       Greedylr__V1__JobState *out)
{
    struct policy_view view;

    job_view(spec, state, &view);
    greedylr__v1__job_state__init(out);
    out->lrs = (double *)(uintptr_t)job_lrs(state);
    out->n_lrs = state->groups;
    out->has_lr = out->has_reports = 1;
    out->lr = out->lrs[0];
    out->reports = state->reports;
    out->has_step = state->has_step;
    out->step = state->step;
    out->has_best = view.has_best;
    out->best = view.best;
    out->has_best_step = view.has_best_step;
    out->best_step = view.best_step;
    out->has_num_good = out->has_num_bad = out->has_stage_left = view.has_best;
    out->num_good = view.num_good;
    out->num_bad = view.num_bad;
    if (view.has_best) out->stage = (char *)(uintptr_t)stage_words[view.stage];
    out->stage_left = view.stage_left;
    out->has_resets_left = view.has_resets_left;
    out->resets_left = view.resets_left;
    out->has_at_min = out->has_at_max = out->has_plateaued = view.has_best;
    out->at_min = view.at_min;
    out->at_max = view.at_max;
    out->plateaued = view.plateaued;
}
