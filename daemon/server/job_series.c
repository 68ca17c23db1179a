/* A hash by uid and a list by activity; the list's old end makes room.  Failures here are out of memory. */
#include "server/job_series.h"

#include "core/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job_series_set {
    struct job_series *by_uid, *oldest, *newest;
    uint32_t max;
};

struct job_series_set *job_series_new(uint32_t max)
{
    struct job_series_set *set = calloc(1, sizeof(*set));

    if (set) set->max = max;
    return set;
}

static void link_newest(struct job_series_set *set, struct job_series *s)
{
    s->newer = NULL;
    s->older = set->newest;
    *(s->older ? &s->older->newer : &set->oldest) = s;
    set->newest = s;
}

static void unlink_series(struct job_series_set *set, struct job_series *s)
{
    *(s->older ? &s->older->newer : &set->oldest) = s->newer;
    *(s->newer ? &s->newer->older : &set->newest) = s->older;
}

static void drop(struct job_series_set *set, struct job_series *s)
{
    HASH_DEL(set->by_uid, s);
    unlink_series(set, s);
    free(s->lrs);
    free(s);
}

void job_series_free(struct job_series_set *set)
{
    if (!set) return;
    while (set->oldest)
        drop(set, set->oldest);
    free(set);
}

static struct job_series *find(const struct job_series_set *set, uint64_t uid)
{
    struct job_series *s;

    HASH_FIND(hh, set->by_uid, &uid, sizeof(uid), s);
    return s;
}

static struct job_series *add(struct job_series_set *set, const struct job *job)
{
    struct job_series *s = calloc(1, sizeof(*s));

    if (!s) return NULL;
    s->uid = job->uid;
    memcpy(s->name, job->name, strlen(job->name) + 1);
    HASH_ADD(hh, set->by_uid, uid, sizeof(s->uid), s);
    if (!s->hh.tbl) {
        free(s);
        return NULL;
    }
    link_newest(set, s);
    if (HASH_COUNT(set->by_uid) > set->max) drop(set, set->oldest);
    return s;
}

/* False without memory. */
static bool copy_state(struct job_series *s, const struct job *job)
{
    const struct job_state *state = job->durable;
    struct policy_view view;

    if (s->groups != state->groups) {
        double *lrs = realloc(s->lrs, state->groups * sizeof(*lrs));
        if (!lrs) return false;
        s->lrs = lrs;
        s->groups = state->groups;
    }
    memcpy(s->lrs, job_lrs(state), state->groups * sizeof(*s->lrs));
    job_view(job->durable_spec, state, &view);
    s->has_best = view.has_best;
    s->best = view.best;
    s->at_min = view.at_min;
    s->has_step = state->has_step;
    s->step = state->step;
    s->paused = state->status == JOB_PAUSED;
    return true;
}

void job_series_note(struct job_series_set *set, const struct job *job, const struct job_decision *decision)
{
    struct job_series *s = find(set, job->uid);

    if (job->durable->status == JOB_FINISHED) {
        if (s) drop(set, s);
        return;
    }
    if (s) {
        unlink_series(set, s);
        link_newest(set, s);
    } else if (!(s = add(set, job))) {
        return;
    }
    if (!copy_state(s, job)) {
        drop(set, s);
        return;
    }
    if (!decision) return;
    if (action_is_report(decision->action)) {
        s->has_value = decision->has_value;
        s->value = decision->value;
        s->report_us = decision->time_us;
    } else if (decision->action == ACTION_REWIND || decision->action == ACTION_IMPORT) {
        s->has_value = false; /* that of a step which is no longer the last */
    }
}

void job_series_forget(struct job_series_set *set, uint64_t uid)
{
    struct job_series *s = find(set, uid);

    if (s) drop(set, s);
}

uint32_t job_series_max(const struct job_series_set *set)
{
    return set->max;
}

uint32_t job_series_count(const struct job_series_set *set)
{
    return HASH_COUNT(set->by_uid);
}

const struct job_series *job_series_newest(const struct job_series_set *set)
{
    return set->newest;
}
