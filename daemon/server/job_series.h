/* What the metrics tell of single jobs, where --job-metrics asks for it: of the jobs that are not finished,
 * those that something was decided for last.  A copy of a few numbers for each, so that a job's stay in
 * memory does not matter.  Loop thread only. */
#ifndef GREEDYLRD_SERVER_JOB_SERIES_H
#define GREEDYLRD_SERVER_JOB_SERIES_H

#include "server/jobs.h"

struct job_series {
    UT_hash_handle hh;
    uint64_t uid;
    struct job_series *older, *newer; /* by when something was decided */
    char name[JOB_ID_MAX + 1];
    bool has_value, has_best, has_step, at_min, paused;
    double value, best;
    uint32_t step;
    int64_t report_us; /* of the last report; 0: none */
    uint32_t groups;
    double *lrs; /* [groups], owned */
};

struct job_series_set;

/* Of at most max jobs.  NULL: out of memory. */
struct job_series_set *job_series_new(uint32_t max);
void job_series_free(struct job_series_set *set);

/* The job's durable state has changed, or is there for the first time.  decision: by which one, or NULL.
 * Without memory the job is left out. */
void job_series_note(struct job_series_set *set, const struct job *job, const struct job_decision *decision);
/* It is gone. */
void job_series_forget(struct job_series_set *set, uint64_t uid);

uint32_t job_series_max(const struct job_series_set *set);
uint32_t job_series_count(const struct job_series_set *set);
/* The one active last first, then older of each. */
const struct job_series *job_series_newest(const struct job_series_set *set);

#endif
