/* Jobs as the library holds them: what is known of one, and what the daemon has yet to hear. */
#ifndef GREEDYLR_LIB_JOB_H
#define GREEDYLR_LIB_JOB_H

#include "lib/answer.h"
#include "lib/client.h"
#include "lib/greedylr.h"

#include <jansson.h>

struct glr_job {
    struct glr_client *client;
    char *id;
    json_t *spec; /* to create it with; NULL once that is done */
    json_t *held; /* array of reports, oldest first */
    size_t lost;  /* held ones that never counted */
    bool has_attempt;
    uint32_t attempt;              /* of the last begin or rewind */
    struct answer decision, rates; /* what was handed out last */
};

/* Calls a method of the job: path "/v1/jobs/{id}" with suffix behind it.  Creates the job first if that is
 * outstanding. */
enum glr_code job_call(struct glr_job *job, const char *method, const char *suffix, json_t *body, bool waits,
                       int64_t deadline_ms, json_t **out) __attribute__((warn_unused_result));

/* Hands in what is held.  GLR_UNAVAILABLE: some still is. */
enum glr_code job_flush(struct glr_job *job, int64_t deadline_ms) __attribute__((warn_unused_result));
/* What is held no longer counts. */
void job_forget_held(struct glr_job *job);

#endif
