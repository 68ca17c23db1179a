/* UpdateJob: settings of a live job.
 *
 * The patch replaces the fields it has, in the settings as given and in the effective ones (so that defaults
 * filled in at creation stay what they were), and the core carries the state over, in the history like a
 * decision. */
#include "server/service_impl.h"

#include "rpc/json.h"
#include "server/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a patch may not touch. */
static int check_patch(const spec_message *patch, const struct job *job, struct error *err)
{
    const char *field = NULL;

    if (patch->n_lr) field = "lr";
    if (patch->ramp) field = "ramp";
    if (field)
        return error_set(err, ST_FIELD_FIXED, "spec.%s: cannot change on a live job; %s", field,
                         strcmp(field, "lr") ? "create another job" : "use :setLr to move the current rates");
    return 0;
}

/* The patch's policy is the job's, and leaves what is fixed of it as it is. */
static int check_policy(const spec_message *patch, const struct job_spec *spec, struct error *err)
{
    const struct policy *policy = spec->policy;
    const ProtobufCFieldDescriptor *given =
        protobuf_c_message_descriptor_get_field(patch->base.descriptor, (unsigned)patch->policy_case);

    if (!given) return 0;
    if (strcmp(given->name, policy->name) != 0)
        return error_set(err, ST_FIELD_FIXED,
                         "spec.%s: the job's policy is %s; the kind of policy cannot change", given->name,
                         policy->name);
    const ProtobufCMessage *params =
        *(ProtobufCMessage *const *)(const void *)((const char *)patch + given->offset);
    for (size_t i = 0; i < policy->n_params; i++) {
        const struct param_def *def = &policy->params[i];
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(params->descriptor, def->name);
        if (!(def->flags & PARAM_FIXED) || def->kind != PARAM_WORD || !field) continue;
        const char *word = *(char *const *)(const void *)((const char *)params + field->offset);
        const char *now = param_get(spec->params, def).word;
        if (word && *word && strcmp(word, now) != 0)
            return error_set(err, ST_FIELD_FIXED, "spec.%s.%s: cannot change on a live job, it is %s",
                             policy->name, def->name, now);
    }
    return 0;
}

void texts_clear(struct texts *texts)
{
    if (texts->given) greedylr__v1__job_spec__free_unpacked(texts->given, NULL);
    if (texts->effective) greedylr__v1__job_spec__free_unpacked(texts->effective, NULL);
    free(texts->created);
}

int texts_load(struct service *service, const struct job *job, struct texts *out, struct error *err)
{
    struct store_job row = {0};

    if (store_get_job(service->reader, job->name, &row, err)) return (int)err->status;
    if (!service_parse_spec(row.spec, &out->given, err) &&
        !service_parse_spec(row.effective, &out->effective, err)) {
        err->status = ST_OK;
        out->created = strdup(row.created);
        if (!out->created) (void)error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    store_job_clear(&row);
    return (int)err->status;
}

/* A quorum that nobody gave is world_size, whatever that becomes. */
static void follow_world_size(struct texts *texts)
{
    const Greedylr__V1__Ranks *given = texts->given->ranks;

    if (texts->effective->ranks && !(given && given->has_quorum)) texts->effective->ranks->has_quorum = 0;
}

/* Likewise the timescale of inverse_sqrt, which is the length of the warm-up. */
static void follow_warmup(struct texts *texts)
{
    const spec_message *given = texts->given;
    spec_message *effective = texts->effective;

    if (given->policy_case != GREEDYLR__V1__JOB_SPEC__POLICY_INVERSE_SQRT ||
        effective->policy_case != given->policy_case)
        return;
    if (!given->inverse_sqrt->has_timescale) effective->inverse_sqrt->has_timescale = 0;
}

/* And the hash of a model, which is that of its numbers. */
static void drop_model(spec_message *message)
{
    Greedylr__V1__Learned *learned =
        message->policy_case == GREEDYLR__V1__JOB_SPEC__POLICY_LEARNED ? message->learned : NULL;

    if (!learned || !learned->model) return;
    free(learned->model);
    learned->model = NULL;
}

static void follow_model(struct texts *texts, const spec_message *patch)
{
    if (patch->policy_case != GREEDYLR__V1__JOB_SPEC__POLICY_LEARNED) return;
    const Greedylr__V1__Learned *p = patch->learned;

    if (p->model || !(p->has_feature_set || p->has_up || p->has_down || p->n_weights || p->n_feature_lo ||
                      p->n_feature_hi))
        return;
    drop_model(texts->given);
    drop_model(texts->effective);
}

int texts_patch(struct texts *texts, const struct job *job, const spec_message *patch, struct job_spec **out,
                struct error *err)
{
    struct job_spec *spec = NULL;
    spec_message *effective = NULL;

    if (check_patch(patch, job, err) || check_policy(patch, job->spec, err)) return (int)err->status;
    if (message_merge(&texts->given->base, &patch->base, err) ||
        message_merge(&texts->effective->base, &patch->base, err))
        return (int)err->status;
    follow_world_size(texts);
    follow_warmup(texts);
    follow_model(texts, patch);
    if (convert_changed_spec(texts->effective, job->spec, &spec, err)) return (int)err->status;
    if (convert_check_texts(texts->given, spec->lr.n, err) ||
        convert_effective(texts->effective, spec, &effective, err)) {
        spec_free(spec);
        return (int)err->status;
    }
    greedylr__v1__job_spec__free_unpacked(texts->effective, NULL);
    texts->effective = effective;
    *out = spec;
    return 0;
}

/* Names the fields of the patch, for the history. */
static void name_changes(const ProtobufCMessage *patch, const char *prefix, char *out, size_t size)
{
    for (unsigned i = 0; i < patch->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &patch->descriptor->fields[i];
        char path[96];

        if (!message_has(patch, field)) continue;
        snprintf(path, sizeof(path), "%s%s", prefix, field->name);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && field->label != PROTOBUF_C_LABEL_REPEATED) {
            strncat(path, ".", sizeof(path) - strlen(path) - 1);
            name_changes(*(ProtobufCMessage *const *)(const void *)((const char *)patch + field->offset),
                         path, out, size);
            continue;
        }
        if (strlen(out) + strlen(path) + 3 > size) return;
        if (*out) strcat(out, ", ");
        strcat(out, path);
    }
}

static int make_update(struct service *service, struct job *job, const spec_message *patch, const char *actor,
                       struct texts *texts, struct change **out, struct error *err)
{
    struct job_spec *spec = NULL;
    struct change *change = NULL;
    char changed[120] = "";

    if (texts_patch(texts, job, patch, &spec, err)) return (int)err->status;
    if (service_check_ranks(service, spec, err)) {
        spec_free(spec);
        return (int)err->status;
    }
    change = change_new(job, spec);
    if (!change) {
        (void)error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        goto err_change;
    }
    if (service_make_row(job->name, job->uid, texts->given, texts->effective, &change->row, err))
        goto err_change;
    free(change->row->created);
    change->row->created = texts->created;
    texts->created = NULL;
    name_changes(&patch->base, "", changed, sizeof(changed));
    struct job_event event = {.kind = EVENT_UPDATE, .time_us = service_now_us(), .actor = actor};
    event.update.spec = spec;
    event.update.changed = changed;
    if (job_step(job->spec, job->newest, &event, change->state, &change->decision, err)) goto err_change;
    change->op = STORE_JOB_UPDATE;
    change->has_decision = true;
    change->new_spec = true;
    if (service_queue(service, change, err)) goto err_change;
    *out = change;
    return 0;

err_change:
    if (change) change_unref(change);
    spec_free(spec);
    return (int)err->status;
}

void handle_update_job(struct service *service, struct call *call)
{
    const Greedylr__V1__UpdateJobRequest *request = (const void *)call->request;
    struct texts texts = {0};
    struct change *change = NULL;
    char changed[120] = "";
    struct error err;
    struct job *job;

    if (service_find(service, call->token, request->job, &job, &err)) goto fail;
    if ((change = job_find_unsettled(job))) {
        service_again_after(service, call, change);
        return;
    }
    if (!request->spec) {
        (void)error_set(&err, ST_FIELD_REQUIRED, "spec: is required, with the settings to change");
        goto fail;
    }
    name_changes(&request->spec->base, "", changed, sizeof(changed));
    if (!changed[0] || !strcmp(changed, "job")) {
        (void)error_set(
            &err, ST_FIELD_REQUIRED,
            "spec: has nothing to change; give at least one setting (an empty list counts as none)");
        goto fail;
    }
    if (request->spec->job && strcmp(request->spec->job, job->name) != 0) {
        (void)error_set(&err, ST_FIELD_FIXED, "spec.job: cannot change on a live job; :fork it");
        goto fail;
    }
    err.status = ST_OK;
    if (texts_load(service, job, &texts, &err) ||
        make_update(service, job, request->spec, call->peer, &texts, &change, &err)) {
        texts_clear(&texts);
        goto fail;
    }
    texts_clear(&texts);
    answer_job_after(service, call, change);
    return;

fail:
    call_fail(call, &err);
}
