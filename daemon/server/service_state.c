/* ImportState and ExportState: the state_dict of a scheduler in a training process becomes a job's settings
 * and state, and the other way.
 *
 * Happy path of an import: the dict is checked as a whole, then one change creates the job with that state,
 * or replaces settings and state of the one that is there, as an event of its history.  An export answers
 * with the durable state. Failures: a dict that no scheduler writes, or of another scheduler than the job's;
 * a state that no scheduler has. Nothing is changed then. */
#include "server/service_impl.h"

#include "core/scheduler_dict.h"
#include "rpc/buf.h"
#include "rpc/state_dict.h"

#include <stdio.h>
#include <stdlib.h>

/* The settings as a message: what the message that is there says beside the policy, every parameter of the
 * dict. */
static int settings_message(const spec_message *there, const struct job_spec *spec, spec_message **out,
                            struct error *err)
{
    spec_message shell = *there;

    shell.policy_case = GREEDYLR__V1__JOB_SPEC__POLICY__NOT_SET;
    shell.greedy = NULL;
    shell.on_nonfinite = NULL; /* the dict's scheduler does as Python does */
    shell.lr = spec->lr.v;
    shell.n_lr = spec->lr.n;
    return convert_effective(&shell, spec, out, err);
}

/* Steps the job of the change, which has the dict's spec, on the dict's state. */
static int step_import(const struct scheduler_dict *dict, const struct job_state *before, bool is_new,
                       struct change *change, const char *actor, struct error *err)
{
    struct job_event event = {.kind = EVENT_RESTORE, .time_us = service_now_us(), .actor = actor};
    struct job_state *to = calloc(1, job_state_size(change->spec));
    char why[DECISION_REASON_MAX];

    if (!to) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    int rc = scheduler_dict_state(dict, change->spec, is_new ? NULL : before, to, err);

    if (!rc) {
        /* A dict knows nothing of shadows: they go on as they are. */
        if (!is_new) job_shadows_carry(change->job->spec, before, change->spec, to);
        snprintf(why, sizeof(why), "state of %s after %u reports", scheduler_dict_name(change->spec),
                 to->reports);
        event.restore.action = ACTION_IMPORT;
        event.restore.to = to;
        event.restore.why = why;
        rc = job_step(change->spec, before, &event, change->state, &change->decision, err);
    }
    change->has_decision = !rc;
    free(to);
    return rc;
}

static int import_new(struct service *service, struct call *call, const char *name,
                      const struct scheduler_dict *dict, struct change **out, struct error *err)
{
    spec_message there = GREEDYLR__V1__JOB_SPEC__INIT, *message = NULL;
    struct job_spec *spec = NULL;
    struct change *change = NULL;
    int rc = scheduler_dict_spec(dict, NULL, &spec, err);

    if (rc) return rc;
    there.job = (char *)(uintptr_t)name;
    rc = settings_message(&there, spec, &message, err);
    if (!rc) rc = service_new_job(service, call->token, name, message, message, spec, &change, err);
    if (message) greedylr__v1__job_spec__free_unpacked(message, NULL);
    if (rc) {
        spec_free(spec);
        return rc;
    }
    rc = step_import(dict, change->job->newest, true, change, call->peer, err);
    if (!rc) rc = service_queue(service, change, err);
    if (rc) {
        service_unmake_job(service, change);
        return rc;
    }
    service_created(service, change->job);
    *out = change;
    return 0;
}

/* The job's row with the settings of the dict. */
static int import_row(struct service *service, const struct job *job, const struct job_spec *spec,
                      struct store_job **out, struct error *err)
{
    struct texts texts = {0};
    spec_message *message = NULL;

    err->status = ST_OK;
    int rc = texts_load(service, job, &texts, err);

    if (!rc) rc = settings_message(texts.given, spec, &message, err);
    if (!rc) rc = service_make_row(job->name, job->uid, message, message, out, err);
    if (message) greedylr__v1__job_spec__free_unpacked(message, NULL);
    texts_clear(&texts);
    return rc;
}

static int import_into(struct service *service, struct job *job, const struct scheduler_dict *dict,
                       const char *actor, struct change **out, struct error *err)
{
    struct job_spec *spec = NULL;
    int rc = scheduler_dict_spec(dict, job->spec, &spec, err);

    if (rc) return rc;
    struct change *change = change_new(job, spec);

    if (!change) {
        spec_free(spec);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    change->op = STORE_JOB_UPDATE;
    change->new_spec = true;
    rc = import_row(service, job, spec, &change->row, err);
    if (!rc) rc = step_import(dict, job->newest, false, change, actor, err);
    if (!rc) rc = service_queue(service, change, err);
    if (rc) {
        change_unref(change);
        spec_free(spec);
        return rc;
    }
    *out = change;
    return 0;
}

void handle_import_state(struct service *service, struct call *call)
{
    const Greedylr__V1__ImportStateRequest *request = (const void *)call->request;
    struct state_dict *dict = NULL;
    struct change *change = NULL;
    struct job *job = NULL;
    struct error err;
    int rc = service_find(service, call->token, request->job, &job, &err);

    if (rc && rc != ST_JOB_NOT_FOUND) goto fail;
    if (!rc && (change = job_find_unsettled(job))) {
        service_again_after(service, call, change);
        return;
    }
    if (state_dict_parse(request->state_dict, &dict, &err)) goto fail;
    if (rc)
        rc = import_new(service, call, request->job, state_dict_items(dict), &change, &err);
    else
        rc = import_into(service, job, state_dict_items(dict), call->peer, &change, &err);
    state_dict_free(dict);
    if (rc) goto fail;
    answer_job_after(service, call, change);
    return;

fail:
    call_fail(call, &err);
}

void handle_export_state(struct service *service, struct call *call)
{
    const Greedylr__V1__ExportStateRequest *request = (const void *)call->request;
    Greedylr__V1__ExportStateResponse answer = GREEDYLR__V1__EXPORT_STATE_RESPONSE__INIT;
    struct dict_item items[DICT_ITEMS_MAX];
    struct scheduler_dict dict = {items, 0, DICT_ITEMS_MAX};
    struct buf text = {0};
    struct error err;
    struct job *job;

    if (service_find_durable(service, call->token, request->job, &job, &err) ||
        scheduler_dict_export(job->durable_spec, job->durable, &dict, &err) ||
        state_dict_print(&dict, &text, &err)) {
        buf_free(&text);
        call_fail(call, &err);
        return;
    }
    answer.state_dict = buf_take(&text, NULL);
    if (!answer.state_dict) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        call_fail(call, &err);
        return;
    }
    call->done(call, &answer.base, NULL);
    free(answer.state_dict);
}
