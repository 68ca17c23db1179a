/* What is not folded yet is found as the service promises, whatever was rewound, failed or folded. */
#include "server/jobs.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS    40
#define REQUESTS 25

static struct jobs *jobs;
static struct job *job;
static struct error err;
static uint32_t seed = 1;

static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static void setup(void)
{
    struct job_spec *spec = spec_new(policy_default());
    double lr = 0.1;

    cr_assert_eq(f64_list_set(&spec->lr, &lr, 1), 0);
    cr_assert_eq(spec_resolve(spec, &err), 0, "%s", err.message);
    jobs = jobs_new(10);
    job = jobs_add(jobs, "j", 1, spec);
    cr_assert_not_null(job);
}

static void forget(struct change *c)
{
    change_folded(jobs, c);
}

static void teardown(void)
{
    while (job->oldest) {
        struct change *c = job->oldest;
        if (!c->committed) change_committed(jobs, c);
        forget(c);
    }
    job->durable_spec = job->spec;
    jobs_free(jobs);
}

/* A decision of the step, as if the job had made it. */
static struct change *queue(enum action action, uint32_t step, const char *request_id)
{
    struct change *c = change_new(job, job->spec);

    memcpy(c->state, job->newest, job_state_size(job->spec));
    c->state->revision = job->newest->revision + 1;
    c->decision = (struct job_decision){.action = action,
                                        .revision = c->state->revision,
                                        .has_step = true,
                                        .step = step,
                                        .lrs = (const double[]){0.1},
                                        .groups = 1};
    c->has_decision = true;
    c->request_id = request_id ? strdup(request_id) : NULL;
    cr_assert_eq(change_queue(c, &err), 0, "%s", err.message);
    return c;
}

static struct change *queue_rewind(uint32_t to_step, uint32_t after)
{
    struct change *c = change_new(job, job->spec);

    memcpy(c->state, job->newest, job_state_size(job->spec));
    c->state->revision = job->newest->revision + 1;
    c->decision = (struct job_decision){.action = ACTION_REWIND,
                                        .revision = c->state->revision,
                                        .has_step = true,
                                        .step = to_step,
                                        .lrs = (const double[]){0.1},
                                        .groups = 1};
    c->has_decision = c->supersedes = true;
    c->superseded_after = after;
    cr_assert_eq(change_queue(c, &err), 0, "%s", err.message);
    return c;
}

/* ---- the promises, looked up one by one ---- */

static struct change *plain_step(uint32_t step)
{
    struct change *found = NULL;

    for (struct change *c = job->oldest; c; c = c->job_next) {
        if (!c->decision.superseded && action_is_report(c->decision.action) && c->decision.step == step)
            found = c;
    }
    return found;
}

static struct change *plain_request(const char *id)
{
    struct change *found = NULL;

    for (struct change *c = job->oldest; c; c = c->job_next) {
        if (!c->decision.superseded && c->request_id && !strcmp(c->request_id, id)) found = c;
    }
    return found;
}

static struct change *plain_state(bool at, uint32_t step)
{
    struct change *found = NULL;

    for (struct change *c = job->oldest; c; c = c->job_next) {
        const struct job_decision *d = &c->decision;

        if (d->superseded || !action_is_state(d->action) || (at ? d->step != step : d->step >= step))
            continue;
        if (!found || d->step >= found->decision.step) found = c;
    }
    return found;
}

static struct change *plain_unsettled(void)
{
    struct change *found = NULL;

    for (struct change *c = job->oldest; c; c = c->job_next) {
        if (!c->committed && c->supersedes) found = c;
    }
    return found;
}

static void compare(void)
{
    char id[16];

    for (uint32_t i = 0; i < STEPS + 2; i++) {
        cr_assert_eq(job_find_step(job, i), plain_step(i), "step %u", i);
        cr_assert_eq(job_find_state(job, STORE_STATE_AT, i), plain_state(true, i), "state at %u", i);
        cr_assert_eq(job_find_state(job, STORE_STATE_BELOW, i), plain_state(false, i), "below %u", i);
    }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        snprintf(id, sizeof(id), "r%u", i);
        cr_assert_eq(job_find_request(job, id), plain_request(id), "%s", id);
    }
    cr_assert_eq(job_find_unsettled(job), plain_unsettled());
}

/* ---- a life ---- */

static struct change *first_pending(void)
{
    struct change *c = job->oldest;

    while (c && c->committed)
        c = c->job_next;
    return c;
}

static void fail_all(void)
{
    struct change *c, *next;

    for (c = first_pending(); c; c = next) {
        next = c->job_next;
        change_failed(c);
        c->job = NULL;
        change_unref(c);
    }
}

static void commit_some(void)
{
    for (uint32_t n = draw(30); n; n--) {
        struct change *c = first_pending();
        if (c) change_committed(jobs, c);
    }
}

static void fold_some(void)
{
    for (uint32_t n = draw(60); n && job->oldest && job->oldest->committed; n--)
        forget(job->oldest);
}

static void one_turn(void)
{
    uint32_t what = draw(100), newest = job->newest->revision;
    char id[16];

    snprintf(id, sizeof(id), "r%u", draw(REQUESTS));
    if (what < 70)
        (void)queue(draw(9) ? ACTION_HOLD : ACTION_IMPORT, draw(STEPS), draw(2) ? id : NULL);
    else if (what < 80)
        (void)queue_rewind(draw(STEPS), newest - draw(newest < 50 ? newest + 1 : 50));
    else if (what < 92)
        commit_some();
    else if (what < 97)
        fold_some();
    else if (job->durable)
        fail_all();
}

Test(server_jobs, finds_the_newest_that_is_not_superseded, .init = setup, .fini = teardown, .timeout = 60)
{
    uint32_t longest = 0;

    for (int i = 0; i < 20000; i++) {
        one_turn();
        if (job->unfolded > longest) longest = job->unfolded;
        if (i % 5 == 0) compare();
    }
    cr_expect_gt(longest, 100, "lines were too short for an index: %u", longest);
}

/* A batch of retries: at 100,000 unfolded changes, looking through them for each takes minutes. */
Test(server_jobs, retries_do_not_look_through_everything, .init = setup, .fini = teardown, .timeout = 60)
{
    char id[16];

    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(id, sizeof(id), "r%u", i);
        (void)queue(ACTION_HOLD, i, id);
    }
    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(id, sizeof(id), "r%u", i);
        struct change *c = job_find_step(job, i);
        cr_assert(c && c->decision.step == i);
        cr_assert_eq(job_find_request(job, id), c);
        cr_assert_null(job_find_unsettled(job));
    }
}
