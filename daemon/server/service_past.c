/* The past: states that the history holds, and the way back to them.
 *
 * Happy path: the newest matching state among the changes that are not folded yet and the folded history,
 * read under the settings that were in force then and carried over to those of now, so that a rewind restores
 * what reports did and leaves what operators set.  Failure modes: the step is not in the history (or not any
 * more). */
#include "server/service_impl.h"

#include "server/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct found {
    uint32_t revision, step;
    bool has_step;
    const uint8_t *bytes; /* borrowed from the change, or owned */
    size_t len;
    uint8_t *owned;
};

static void take_change(const struct change *change, struct found *out)
{
    *out = (struct found){.revision = change->decision.revision,
                          .step = change->decision.step,
                          .has_step = change->decision.has_step,
                          .bytes = change->encoded,
                          .len = change->encoded_len};
}

/* Of two states, whether b is the one to go back to. */
static bool better(const struct found *a, const struct found *b)
{
    return b->step != a->step ? b->step > a->step : b->revision > a->revision;
}

static int find(struct service *service, const struct job *job, enum store_state_match match, uint32_t step,
                struct found *out, struct error *err)
{
    const struct change *change = job_find_state(job, match, step);
    struct store_state stored;
    struct found kept;

    if (change) take_change(change, out);
    int rc = store_find_state(service->reader, job->uid, match, step, &stored, err);
    if (rc == ST_STEP_NOT_FOUND && change) {
        err->status = ST_OK;
        return 0;
    }
    if (rc) return rc;
    kept = (struct found){.revision = stored.revision,
                          .step = stored.step,
                          .has_step = stored.has_step,
                          .bytes = stored.bytes,
                          .len = stored.len,
                          .owned = stored.bytes};
    if (change && !better(out, &kept))
        free(stored.bytes);
    else
        *out = kept;
    return 0;
}

/* The settings that were in force at the revision, or NULL in *out if they still are. */
static int settings_then(struct service *service, const struct job *job, uint32_t revision,
                         struct job_spec **out, struct error *err)
{
    spec_message *message = NULL;
    char *text = NULL;
    bool newest = true;
    int rc = store_get_settings(service->reader, job->uid, revision, &text, &newest, err);

    *out = NULL;
    if (rc) return rc;
    if (!newest) {
        rc = service_parse_spec(text, &message, err);
        if (!rc) rc = convert_live_spec(message, out, err);
        if (message) greedylr__v1__job_spec__free_unpacked(message, NULL);
    }
    free(text);
    return rc;
}

static int decode(const struct job *job, const struct job_spec *then, const struct found *found,
                  struct job_state **out, struct error *err)
{
    const struct job_spec *spec = then ? then : job->spec;
    struct job_state *state = calloc(1, job_state_size(spec)), *carried = NULL;
    int rc = state ? job_state_decode(spec, found->bytes, found->len, state, err)
                   : error_set(err, ST_OUT_OF_MEMORY, "out of memory");

    if (!rc && then) {
        carried = calloc(1, job_state_size(job->spec));
        if (carried)
            job_state_carry(then, state, job->spec, carried);
        else
            rc = error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    *out = carried;
    if (!rc && !then)
        *out = state;
    else
        free(state);
    return rc;
}

static int not_found(struct service *service, struct job *job, uint32_t step, struct error *err)
{
    struct found below;

    if (find(service, job, STORE_STATE_BELOW, step, &below, err)) {
        if (err->status != ST_STEP_NOT_FOUND) return (int)err->status;
        return error_set(err, ST_STEP_NOT_FOUND,
                         "step: %u is not in the history of job %s, and no step below it is; the "
                         "start is :rewind {\"initial\": true}",
                         step, job->name);
    }
    free(below.owned);
    return error_set(err, ST_STEP_NOT_FOUND,
                     "step: %u is not in the history of job %s; the nearest one below is %u", step, job->name,
                     below.step);
}

int past_find(struct service *service, struct job *job, enum store_state_match match, uint32_t step,
              struct past *out, struct error *err)
{
    struct job_spec *then = NULL;
    struct found found;
    int rc = find(service, job, match, step, &found, err);

    if (rc == ST_STEP_NOT_FOUND && match == STORE_STATE_AT) return not_found(service, job, step, err);
    if (rc) return rc;
    rc = settings_then(service, job, found.revision, &then, err);
    if (!rc) rc = decode(job, then, &found, &out->state, err);
    spec_free(then);
    free(found.owned);
    out->revision = found.revision;
    out->step = found.step;
    out->has_step = found.has_step;
    return rc ? error_wrap(err, "the state of job %s at revision %u", job->name, found.revision) : 0;
}

/* Whether the job began with a state: a fork or an import. */
static bool began_with_state(const struct job_decision *first)
{
    return first->action == ACTION_FORK || first->action == ACTION_IMPORT;
}

int past_initial(struct service *service, struct job *job, struct past *out, struct error *err)
{
    const struct change *change = job_find_state(job, STORE_STATE_FIRST, 0);
    struct store_state stored = {0};
    int rc = change ? 0 : store_find_state(service->reader, job->uid, STORE_STATE_FIRST, 0, &stored, err);
    struct job_decision first = {.action = change ? change->decision.action : stored.action};

    free(stored.bytes);
    if (rc && rc != ST_STEP_NOT_FOUND) return rc;
    if (!rc && began_with_state(&first)) return past_find(service, job, STORE_STATE_FIRST, 0, out, err);
    *out = (struct past){.state = calloc(1, job_state_size(job->spec))};
    if (!out->state) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    job_init(job->spec, out->state);
    return 0;
}

int past_return(struct service *service, struct job *job, const struct past *to, const char *actor,
                const uint32_t *attempt, struct change **out, struct error *err)
{
    const struct change make = {
        .supersedes = true, .superseded_after = to->revision, .drops_contributions = true};
    struct job_event event = {.kind = EVENT_RESTORE, .time_us = service_now_us(), .actor = actor};
    struct error verdict;
    char why[DECISION_REASON_MAX], from[32] = "";

    if (job->newest->has_step) snprintf(from, sizeof(from), " from step %u", job->newest->step);
    if (to->has_step)
        snprintf(why, sizeof(why), "back%s to step %u (revision %u)", from, to->step, to->revision);
    else
        snprintf(why, sizeof(why), "back%s to the start", from);
    if (attempt) snprintf(why + strlen(why), sizeof(why) - strlen(why), "; attempt %u begins", *attempt);
    event.restore.action = ACTION_REWIND;
    event.restore.to = to->state;
    event.restore.why = why;
    event.restore.has_attempt = attempt != NULL;
    event.restore.attempt = attempt ? *attempt : 0;
    if (service_event(service, job, &event, &make, out, err)) return (int)err->status;
    (void)error_set(&verdict, ST_REWOUND, "job %s went %s; start again from there", job->name, why);
    rounds_end(job, *out, &verdict);
    return 0;
}
