/* The series of single jobs: what a start reads back of them.
 *
 * The jobs that were active last, by the time in their rows, and of each its last report.  A job that cannot
 * be read is left out; whoever uses it is told. */
#include "server/service_impl.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_BACK 64 /* decisions of a job in which its last report is looked for */

struct names {
    char (*at)[JOB_ID_MAX + 1];
    uint32_t n;
};

static void take_name(void *arg, const char *name)
{
    struct names *names = arg;

    snprintf(names->at[names->n++], sizeof(names->at[0]), "%s", name);
}

struct last_report {
    bool found;
    struct job_decision decision; /* what it borrows is gone */
};

static int note_report(void *arg, const struct store_entry *entry)
{
    struct last_report *last = arg;

    if (!action_is_report(entry->decision.action)) return 0;
    last->found = true;
    last->decision = entry->decision;
    return 0;
}

static void load_one(struct service *service, const char *name)
{
    struct last_report last = {0};
    struct error err;
    struct job *job;

    if (jobs_find(service->jobs, service->reader, name, &job, &err)) return;
    uint32_t revision = job->durable->revision;
    struct store_decisions_query query = {.uid = job->uid,
                                          .after_revision = revision > LOOK_BACK ? revision - LOOK_BACK : 0,
                                          .limit = LOOK_BACK};
    if (store_list_decisions(service->reader, &query, note_report, &last, &err)) return;
    job_series_note(service->series, job, last.found ? &last.decision : NULL);
}

int service_load_series(struct service *service, struct error *err)
{
    uint32_t max = service->options.job_metrics;
    struct names names = {.at = calloc(max ? max : 1, sizeof(names.at[0]))};
    int rc = 0;

    if (!names.at) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (max) rc = store_recent_jobs(service->reader, max, take_name, &names, err);
    while (!rc && names.n)
        load_one(service, names.at[--names.n]);
    free(names.at);
    return rc;
}
