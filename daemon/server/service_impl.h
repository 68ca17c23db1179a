/* What the files of the service share. */
#ifndef GREEDYLRD_SERVER_SERVICE_IMPL_H
#define GREEDYLRD_SERVER_SERVICE_IMPL_H

#include "server/commit.h"
#include "server/convert.h"
#include "server/jobs.h"
#include "server/service.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX     1000

struct service {
    uv_loop_t *loop;
    struct store *store;
    struct store_reader *reader; /* of the loop thread */
    struct service_options options;
    struct jobs *jobs;
    struct commit *commit;
    uv_timer_t probe_timer;
    struct change *unfolded, *unfolded_last; /* committed decisions, oldest first, linked by next */
    uint64_t committed;                      /* decisions */
    uint64_t creating;                       /* jobs whose creation is queued */
    bool full, draining, failed;
    struct error full_reason;
    void (*fatal)(void *, const struct error *);
    void *fatal_arg;
    void (*stopped)(void *);
    void *stopped_arg;
};

typedef void service_handler(struct service *service, struct call *call);

service_handler handle_create_job, handle_get_job, handle_list_jobs, handle_update_job, handle_delete_job;
service_handler handle_report, handle_batch_report, handle_get_lr, handle_list_decisions, handle_simulate;

void call_fail(struct call *call, const struct error *err);

int64_t service_now_us(void);

/* The job that requests build on: not one that is being deleted.  Errors as jobs_find, ST_JOB_BEING_DELETED,
 * ST_FIELD_REQUIRED and ST_FIELD_INVALID for the id. */
int service_find(struct service *service, const char *name, struct job **out, struct error *err) WARN_UNUSED;
/* The same, but as reads see it: durable.  ST_JOB_NOT_FOUND before the creation is. */
int service_find_durable(struct service *service, const char *name, struct job **out,
                         struct error *err) WARN_UNUSED;

int service_check_id(const char *name, const char *field, struct error *err) WARN_UNUSED;

/* The change that creates a job from its spec message: the job is in memory, the change not queued yet.
 * Errors of convert_spec, ST_TOO_MANY_JOBS. */
int service_make_job(struct service *service, const char *name, const spec_message *message,
                     struct change **out, struct error *err) WARN_UNUSED;
/* Undoes it before it was queued. */
void service_unmake_job(struct service *service, struct change *change);

/* A row for a change of a job with the texts of its specs. */
int service_make_row(const char *name, uint64_t uid, const spec_message *given, const spec_message *effective,
                     struct store_job **out, struct error *err) WARN_UNUSED;
/* Reads back a spec message from a row's text. */
int service_parse_spec(const char *text, spec_message **out, struct error *err) WARN_UNUSED;

/* Answers call with the Job message of a durable job. */
void answer_job(struct service *service, struct call *call, struct job *job);
/* Answers with the Job once the change is durable, or with its failure. */
void answer_job_after(struct service *service, struct call *call, struct change *change);

uint32_t page_limit(bool has, uint32_t size);

#endif
