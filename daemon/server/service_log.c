/* What the log says of jobs: a line for each durable decision, and for each job that comes or goes.
 *
 * After the commit, never before: a line is as true as an answer. */
#include "server/service_impl.h"

#include "server/log.h"
#include "server/origin.h"

#include <math.h>

#define FIELDS 20

static bool did_something(enum action action)
{
    return action != ACTION_HOLD && action != ACTION_SCHEDULE && action != ACTION_RAMP;
}

static bool wanted(const struct service *service, const struct job_decision *d)
{
    switch (service->options.log_decisions) {
    case LOG_DECISIONS_ALL: return true;
    case LOG_DECISIONS_CHANGES: return did_something(d->action);
    case LOG_DECISIONS_NONE: return false;
    }
    return true;
}

/* The rates that held before: nobody was told any before a job's first report if that created it. */
static double rate_before(const struct change *change)
{
    return change->job->durable ? job_lrs(change->job->durable)[0] : NAN;
}

static void log_decision(const struct service *service, const struct change *change)
{
    const struct job_decision *d = &change->decision;
    double before = rate_before(change);
    struct log_field fields[FIELDS];
    size_t n = 0;

    if (!log_enabled(LOG_INFO) || !wanted(service, d)) return;
    fields[n++] = log_str("job", change->job->name);
    if (d->has_step) fields[n++] = log_u64("step", d->step);
    if (d->has_value) fields[n++] = log_f64("value", d->value);
    if (!isnan(before)) fields[n++] = log_f64("lr_from", before);
    fields[n++] = log_f64("lr", d->lrs[0]);
    if (d->groups > 1) fields[n++] = log_u64("groups", d->groups);
    fields[n++] = log_str("action", action_words[d->action]);
    fields[n++] = log_str("reason", d->reason);
    fields[n++] = log_u64("revision", d->revision);
    if (d->attempt) fields[n++] = log_u64("attempt", d->attempt);
    if (d->ranks) fields[n++] = log_u64("ranks", d->ranks);
    if (d->applied_mismatch) fields[n++] = log_bool("applied_mismatch", true);
    fields[n++] = log_str("actor", d->actor[0] ? d->actor : NULL);
    fields[n++] = log_str("request_id", origin_id(change->origin));
    fields[n++] = log_str("trace_id", origin_trace_id(change->origin));
    fields[n] = log_end();
    log_event(LOG_INFO, "decision", fields);
}

static void log_job(const struct change *change, const char *event)
{
    log_event(LOG_INFO, event,
              (struct log_field[]){log_str("job", change->job->name),
                                   log_str("request_id", origin_id(change->origin)),
                                   log_str("trace_id", origin_trace_id(change->origin)), log_end()});
}

void log_change(const struct service *service, const struct change *change)
{
    if (change->op == STORE_JOB_CREATE) log_job(change, "job_created");
    if (change->op == STORE_JOB_DELETE) log_job(change, "job_deleted");
    if (change->has_decision) log_decision(service, change);
}
