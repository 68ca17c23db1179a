/* How many jobs a token has: those of the store, and what is on its way there.
 *
 * Counted when a token first has a quota of jobs, kept up with every creation and deletion after that.  At a
 * reload a commit may lie between the look at the store and the look at a job of it: then the count is off by
 * that job until the daemon starts again. */
#include "server/service_impl.h"

struct counting {
    struct service *service;
    struct auth_token *token;
    struct error *err;
    uint64_t n;
    int rc;
};

/* A job whose creation or deletion the loop has not seen done counts, and the store may or may not have it.
 */
static void add_unsettled(void *arg, struct job *job)
{
    struct counting *c = arg;
    struct store_job row = {0};

    if (c->rc || (job->durable && !job->deleting) || !auth_sees(c->token, job->name)) return;
    c->rc = store_get_job(c->service->reader, job->name, &row, c->err);
    if (!c->rc) store_job_clear(&row);
    if (c->rc != ST_JOB_NOT_FOUND) return;
    c->n++;
    c->rc = 0;
}

static void count(void *arg, struct auth_token *token)
{
    struct counting *c = arg;

    if (c->rc || token->counted || !token->limits.jobs) return;
    c->token = token;
    c->rc = store_count_jobs(c->service->reader, token->prefix, &c->n, c->err);
    if (!c->rc) jobs_each(c->service->jobs, add_unsettled, c);
    if (c->rc) return;
    token->jobs = c->n < UINT32_MAX ? (uint32_t)c->n : UINT32_MAX;
    token->counted = true;
}

int service_count_jobs(struct service *service, struct error *err)
{
    struct counting c = {.service = service, .err = err};

    if (service->options.auth) auth_each(service->options.auth, count, &c);
    return c.rc;
}
