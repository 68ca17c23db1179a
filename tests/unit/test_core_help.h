/* What the tests of the core share: specs from text, and a job to step. */
#ifndef GREEDYLRD_TESTS_TEST_CORE_HELP_H
#define GREEDYLRD_TESTS_TEST_CORE_HELP_H

#include "core/greedy.h"
#include "core/job.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "1,2,3" */
static inline uint32_t help_list(const char *text, double *list)
{
    uint32_t n = 0;

    for (char *end = (char *)(uintptr_t)text; *text; text = end) {
        list[n++] = strtod(text, &end);
        if (*end == ',') end++;
    }
    return n;
}

/* Sets "factor=0.5" or whatever the policy's table has. */
static inline int help_set(struct job_spec *spec, const char *key, const char *text, struct error *err)
{
    int row = param_find(spec->policy->params, spec->policy->n_params, key);

    cr_assert(row >= 0, "no parameter %s", key);
    struct param_value value = {.kind = spec->policy->params[row].kind};
    double list[GROUPS_MAX];
    uint32_t u32s[GROUPS_MAX];

    switch (value.kind) {
    case PARAM_F64: value.f64 = strtod(text, NULL); break;
    case PARAM_U32: value.u32 = (uint32_t)strtoul(text, NULL, 10); break;
    case PARAM_BOOL: value.boolean = strcmp(text, "true") == 0; break;
    case PARAM_WORD:
    case PARAM_HASH: value.word = text; break;
    case PARAM_F64_LIST:
    case PARAM_F64_VECTOR:
        value.n = help_list(text, list);
        value.list = list;
        break;
    case PARAM_U32_LIST:
        value.n = help_list(text, list);
        for (uint32_t i = 0; i < value.n; i++)
            u32s[i] = (uint32_t)list[i];
        value.u32s = u32s;
        break;
    }
    return spec_set_param(spec, (size_t)row, &value, err);
}

/* "factor=0.5 patience=1", on top of what the spec has; the first failure. */
static inline int help_set_all(struct job_spec *spec, const char *settings, struct error *err)
{
    char copy[512], *save = NULL;

    cr_assert(strlen(settings) < sizeof(copy));
    strcpy(copy, settings);
    for (char *key = strtok_r(copy, " ", &save); key; key = strtok_r(NULL, " ", &save)) {
        char *text = strchr(key, '=');

        *text++ = '\0';
        int rc = help_set(spec, key, text, err);

        if (rc) return rc;
    }
    return ST_OK;
}

/* An unresolved spec: lr "0.1" or "0.1,0.2". */
static inline struct job_spec *help_raw_spec_of(const char *policy, const char *lr, const char *settings)
{
    struct job_spec *spec = spec_new(policy_find(policy));
    double list[GROUPS_MAX];
    struct error err = {0};

    cr_assert_not_null(spec);
    cr_assert_eq(f64_list_set(&spec->lr, list, help_list(lr, list)), ST_OK);
    cr_assert_eq(help_set_all(spec, settings, &err), ST_OK, "%s: %s", settings, err.message);
    return spec;
}

static inline struct job_spec *help_raw_spec(const char *lr, const char *settings)
{
    return help_raw_spec_of("greedy", lr, settings);
}

static inline struct job_spec *help_spec_of(const char *policy, const char *lr, const char *settings)
{
    struct job_spec *spec = help_raw_spec_of(policy, lr, settings);
    struct error err = {0};

    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s: %s", settings, err.message);
    return spec;
}

static inline struct job_spec *help_spec(const char *lr, const char *settings)
{
    return help_spec_of("greedy", lr, settings);
}

/* A job on the table. */
struct help_job {
    struct job_spec *spec;
    struct job_state *state, *next;
    struct job_decision d;
    struct error err;
};

static inline struct help_job help_job_take(struct job_spec *spec)
{
    struct help_job job = {.spec = spec};

    job.state = malloc(job_state_size(spec));
    job.next = malloc(job_state_size(spec));
    cr_assert(job.state && job.next);
    job_init(spec, job.state);
    return job;
}

static inline struct help_job help_job(const char *lr, const char *settings)
{
    return help_job_take(help_spec(lr, settings));
}

static inline void help_job_free(struct help_job *job)
{
    spec_free(job->spec);
    free(job->state);
    free(job->next);
}

static inline struct greedy_state *help_greedy(struct help_job *job)
{
    return (struct greedy_state *)(uintptr_t)job_policy_state(job->state);
}

static inline struct job_event help_event(double value)
{
    return (struct job_event){.kind = EVENT_REPORT,
                              .time_us = 1700000000000000,
                              .report = {.value = value, .lr_cap = INFINITY, .applied_lr = NAN}};
}

/* One event; on success the job goes on from there. */
static inline int help_step(struct help_job *job, const struct job_event *event)
{
    int rc = job_step(job->spec, job->state, event, job->next, &job->d, &job->err);

    if (rc) return rc;
    struct job_state *swap = job->state;

    job->state = job->next;
    job->next = swap;
    cr_assert_eq(job->state->revision, job->next->revision + 1);
    cr_assert_eq(job->d.revision, job->state->revision);
    cr_assert_eq(job->d.lrs, job_lrs(job->state));
    cr_assert_gt(strlen(job->d.reason), 0);
    return ST_OK;
}

static inline void help_report(struct help_job *job, double value)
{
    struct job_event event = help_event(value);

    cr_assert_eq(help_step(job, &event), ST_OK, "%s", job->err.message);
}

static inline double help_lr(const struct help_job *job)
{
    return job_lrs(job->state)[0];
}

#endif
