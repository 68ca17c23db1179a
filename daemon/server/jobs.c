/* The registry of jobs and the life of a change.
 *
 * A change is made, stepped, queued (its state becomes the newest), committed (its state becomes the durable
 * one) and folded (forgotten).  If its commit fails the job goes back to the durable state, so that nothing
 * of a failed batch survives in memory.  Failures here are out of memory and a row that cannot be read. */
#include "server/jobs.h"

#include "rpc/json.h"
#include "server/convert.h"
#include "server/origin.h"
#include "server/rounds.h"
#include "server/specs.h"

#include <stdlib.h>
#include <string.h>

struct jobs {
    struct job *table;         /* by name */
    struct specs *specs;       /* what is durable of them */
    struct job *idlest, *used; /* both ends of the order of use, which takes no memory to change */
    uint32_t resident_max;
    uint64_t snapshots; /* begun so far */
    uint64_t oldest;    /* of those in use; 0: none is */
};

struct jobs *jobs_new(uint32_t resident_max)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));

    if (!jobs) return NULL;
    jobs->resident_max = resident_max;
    jobs->specs = specs_new();
    if (jobs->specs) return jobs;
    free(jobs);
    return NULL;
}

static void job_free(struct jobs *jobs, struct job *job)
{
    rounds_drop(job);
    change_index_free(job->index);
    if (job->newest != job->durable) free(job->newest);
    free(job->durable);
    if (job->spec != job->durable_spec) spec_free(job->spec);
    specs_release(jobs->specs, job->durable_spec);
    free(job);
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs) return;
    while (jobs->idlest)
        jobs_remove(jobs, jobs->idlest);
    specs_free(jobs->specs);
    free(jobs);
}

uint32_t jobs_count(const struct jobs *jobs)
{
    return HASH_COUNT(jobs->table);
}

static void use_append(struct jobs *jobs, struct job *job)
{
    job->used_before = jobs->used;
    job->used_after = NULL;
    *(jobs->used ? &jobs->used->used_after : &jobs->idlest) = job;
    jobs->used = job;
}

static void use_unlink(struct jobs *jobs, struct job *job)
{
    *(job->used_before ? &job->used_before->used_after : &jobs->idlest) = job->used_after;
    *(job->used_after ? &job->used_after->used_before : &jobs->used) = job->used_before;
}

/* False without memory. */
static bool job_insert(struct jobs *jobs, struct job *job)
{
    HASH_ADD_STR(jobs->table, name, job);
    if (!job->hh.tbl) return false;
    use_append(jobs, job);
    return true;
}

struct job *jobs_peek(struct jobs *jobs, const char *name)
{
    struct job *job;

    HASH_FIND_STR(jobs->table, name, job);
    return job;
}

static struct job *job_new(const char *name)
{
    size_t len = strlen(name);
    struct job *job = calloc(1, sizeof(*job) + len + 1);

    if (job) memcpy(job->name, name, len);
    return job;
}

struct job *jobs_add(struct jobs *jobs, const char *name, uint64_t uid, struct job_spec *spec)
{
    struct job *job = job_new(name);

    if (!job) return NULL;
    job->newest = calloc(1, job_state_size(spec));
    if (!job->newest) {
        free(job);
        return NULL;
    }
    job->uid = uid;
    job->spec = spec;
    job_init(spec, job->newest);
    job->rounds_loaded = true; /* the store has none */
    if (job_insert(jobs, job)) return job;
    free(job->newest);
    free(job);
    return NULL;
}

void jobs_remove(struct jobs *jobs, struct job *job)
{
    HASH_DEL(jobs->table, job);
    use_unlink(jobs, job);
    while (job->oldest) {
        struct change *change = job->oldest;
        job->oldest = change->job_next;
        change->job = NULL;
    }
    job_free(jobs, job);
}

/* A job from its row. */
static int job_read(struct jobs *jobs, const struct store_job *row, struct job **out, struct error *err)
{
    struct job *job = job_new(row->name);
    ProtobufCMessage *effective = NULL;
    int rc;

    if (!job) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    rc = json_decode(&greedylr__v1__job_spec__descriptor, row->effective, strlen(row->effective), "effective",
                     &effective, err);
    if (!rc) {
        rc = convert_live_spec((spec_message *)(void *)effective, &job->spec, err);
        protobuf_c_message_free_unpacked(effective, NULL);
    }
    if (rc) goto err_damaged;
    job->durable_spec = job->spec = specs_share(jobs->specs, job->spec);
    job->durable = job->newest = calloc(1, job_state_size(job->spec));
    if (!job->newest) {
        job_free(jobs, job);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    rc = job_state_decode(job->spec, row->state, row->state_len, job->newest, err);
    if (rc) goto err_damaged;
    job->uid = row->uid;
    job->create_us = row->create_us;
    job->update_us = row->update_us;
    *out = job;
    return 0;

err_damaged:
    job_free(jobs, job);
    if (rc == ST_OUT_OF_MEMORY) return rc;
    err->status = ST_DATA_DAMAGED;
    return error_wrap(err, "job %s in the store", row->name);
}

int jobs_find(struct jobs *jobs, struct store_reader *reader, const char *name, struct job **out,
              struct error *err)
{
    struct job *job = jobs_peek(jobs, name);
    struct store_job row = {0};
    int rc;

    if (job) {
        use_unlink(jobs, job);
        use_append(jobs, job);
        *out = job;
        return 0;
    }
    rc = store_get_job(reader, name, &row, err);
    if (!rc) {
        rc = job_read(jobs, &row, &job, err);
        store_job_clear(&row);
    }
    if (rc == ST_JOB_NOT_FOUND) return error_set(err, ST_JOB_NOT_FOUND, "job %s does not exist", name);
    if (rc) return rc;
    if (!job_insert(jobs, job)) {
        job_free(jobs, job);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    jobs_evict(jobs);
    *out = job;
    return 0;
}

uint64_t jobs_begin_snapshot(struct jobs *jobs)
{
    return ++jobs->snapshots;
}

void jobs_keep_for(struct jobs *jobs, uint64_t oldest)
{
    jobs->oldest = oldest;
}

/* It is wholly in the store, and in every view of the store that is in use. */
static bool may_forget(const struct jobs *jobs, const struct job *job)
{
    bool behind = jobs->oldest && job->settled >= jobs->oldest;

    return !job->oldest && !job->pending && !job->holds && !behind;
}

void jobs_evict(struct jobs *jobs)
{
    struct job *next;
    int looked = 0;

    for (struct job *job = jobs->idlest; job; job = next) {
        next = job->used_after;
        if (HASH_COUNT(jobs->table) <= jobs->resident_max || ++looked > 64) return;
        if (!next) return; /* the one just used */
        if (may_forget(jobs, job)) jobs_remove(jobs, job);
    }
}

uint32_t jobs_forget(struct jobs *jobs, uint32_t n)
{
    struct job *job, *tmp;
    uint32_t forgotten = 0;

    HASH_ITER(hh, jobs->table, job, tmp)
    {
        if (!n-- || !job->hh.next) break; /* not the one just used */
        if (!may_forget(jobs, job)) continue;
        jobs_remove(jobs, job);
        forgotten++;
    }
    return forgotten;
}

void jobs_each(struct jobs *jobs, void (*each)(void *arg, struct job *job), void *arg)
{
    struct job *next;

    for (struct job *job = jobs->idlest; job; job = next) {
        next = job->used_after;
        each(arg, job);
    }
}

struct change *change_new(struct job *job, struct job_spec *spec)
{
    struct change *change = calloc(1, sizeof(*change));

    if (!change) return NULL;
    change->state = calloc(1, job_state_size(spec));
    if (!change->state) {
        free(change);
        return NULL;
    }
    change->job = job;
    change->spec = spec;
    change->refs = 1;
    return change;
}

struct change *change_new_contribution(struct job *job)
{
    struct change *change = calloc(1, sizeof(*change));

    if (!change) return NULL;
    change->job = job;
    change->spec = job->spec;
    change->has_contribution = true;
    change->refs = 1;
    return change;
}

static int change_encode(struct change *change)
{
    if (!change->state) return 0;
    change->encoded_len = job_state_encoded_size(change->spec, change->state);
    change->encoded = malloc(change->encoded_len);
    if (!change->encoded) return -1;
    job_state_encode(change->spec, change->state, change->encoded);
    if (!change->has_decision) return 0;
    change->lrs = decision_hold(&change->decision);
    return change->lrs ? 0 : -1;
}

/* Takes back, in memory, what a rewind goes behind; or, with it gone, gives it back. */
static void mark_superseded(struct job *job, const struct change *by, bool superseded)
{
    uint32_t revision = by->decision.revision;

    for (struct change *c = job->last; c; c = c->job_before) {
        struct job_decision *d = &c->decision;

        if (!c->has_decision) continue;
        if (d->revision <= by->superseded_after) return; /* and so are all before it */
        if (superseded && !d->superseded && action_is_undone(d->action)) {
            d->superseded = true;
            c->superseded_by = revision;
        } else if (!superseded && c->superseded_by == revision) {
            d->superseded = false;
            c->superseded_by = 0;
        }
    }
}

static bool is_settings(const struct change *c)
{
    return c->op == STORE_JOB_CREATE || c->op == STORE_JOB_UPDATE || c->op == STORE_JOB_DELETE;
}

/* At the end of its job's line. */
static void job_link(struct job *job, struct change *change)
{
    change->job_before = job->last;
    if (job->last)
        job->last->job_next = change;
    else
        job->oldest = change;
    job->last = change;
    job->unfolded++;
    if (is_settings(change) || change->supersedes) job->unsettled = change;
    if (change_index_grow(&job->index, job->unfolded)) {
        for (struct change *c = job->oldest; c; c = c->job_next)
            change_index_add(job->index, c);
    } else if (job->index) {
        change_index_add(job->index, change);
    }
}

int change_queue(struct change *change, struct error *err)
{
    struct job *job = change->job;

    change->expected_revision = job->newest->revision;
    if (change_encode(change)) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (change->row) {
        change->row->state = change->encoded;
        change->row->state_len = change->encoded_len;
        change->row->revision = change->state->revision;
        change->row->status = (enum job_status)change->state->status;
    }
    if (change->supersedes) mark_superseded(job, change, true);
    if (change->state) {
        /* The state queued before belongs to its own change until that is committed. */
        if (!job->durable && !job->pending) free(job->newest); /* the initial one of jobs_add */
        job->newest = change->state;
        job->spec = change->spec;
    }
    change->bytes = sizeof(*change) + (change->state ? job_state_size(change->spec) : 0) +
                    change->encoded_len + change->round_len + change->decision.groups * sizeof(double) +
                    change->decision.shadow_len;
    job->pending++;
    if (change->op == STORE_JOB_DELETE) job->deleting = true;
    job_link(job, change);
    return 0;
}

/* Does nothing to a change that was never queued. */
static void job_unlink(struct job *job, struct change *change)
{
    if (!change->job_before && job->oldest != change) return;
    *(change->job_before ? &change->job_before->job_next : &job->oldest) = change->job_next;
    *(change->job_next ? &change->job_next->job_before : &job->last) = change->job_before;
    change->job_next = change->job_before = NULL;
    change_index_remove(change);
    if (job->unsettled == change) job->unsettled = NULL;
    if (--job->unfolded) return;
    change_index_free(job->index);
    job->index = NULL;
}

static void change_drop_row(struct change *change)
{
    if (change->row) {
        change->row->state = NULL;
        store_job_clear(change->row);
        free(change->row);
        change->row = NULL;
    }
}

/* Makes the change's spec the durable one, or an equal one that other jobs have. */
static void keep_spec(struct jobs *jobs, struct change *change)
{
    struct job_spec *given = change->spec, *kept = specs_share(jobs->specs, given);
    struct job *job = change->job;

    specs_release(jobs->specs, job->durable_spec);
    job->durable_spec = kept;
    if (job->spec == given) job->spec = kept;
    for (; change; change = change->job_next) /* and what was queued on it */
        if (change->spec == given) change->spec = kept;
}

void change_committed(struct jobs *jobs, struct change *change)
{
    struct job *job = change->job;

    job->pending--;
    if (change->op == STORE_JOB_CREATE) job->create_us = change->row->create_us;
    change->committed = true;
    if (job->unsettled == change) job->unsettled = NULL; /* those before it are durable, too */
    if (!change->state) return;
    job->update_us = change->row ? change->row->update_us : change->decision.time_us;
    free(job->durable);
    job->durable = change->state;
    change->state = NULL;
    if (job->durable_spec != change->spec) keep_spec(jobs, change);
}

void change_failed(struct change *change)
{
    struct job *job = change->job;

    job->pending--;
    job->deleting = false;
    job_unlink(job, change);
    if (change->supersedes) mark_superseded(job, change, false);
    job->newest = job->durable;
    job->spec = job->durable_spec;
    if (change->new_spec) spec_free(change->spec); /* whatever was queued on it fails as well */
    free(change->state);
    change->state = NULL;
    change->spec = NULL;
    change_drop_row(change);
}

void change_wait(struct change *change, struct change_waiter *waiter)
{
    waiter->next = NULL;
    if (!change->waiters) change->waiters_end = &change->waiters;
    *change->waiters_end = waiter;
    change->waiters_end = &waiter->next;
}

void change_tell(struct change *change, const struct error *err)
{
    struct change_waiter *waiter = change->waiters;

    change->waiters = NULL;
    while (waiter) {
        struct change_waiter *next = waiter->next;
        waiter->done(waiter->arg, change, err);
        waiter = next;
    }
    change_drop_row(change);
}

void change_ref(struct change *change)
{
    change->refs++;
}

void change_unref(struct change *change)
{
    if (--change->refs) return;
    free(change->state);
    change_drop_row(change);
    free(change->encoded);
    free(change->round);
    free(change->lrs);
    free(change->request_id);
    origin_unref(change->origin);
    free(change);
}

void change_folded(struct jobs *jobs, struct change *change)
{
    if (change->job) {
        job_unlink(change->job, change);
        change->job->settled = jobs->snapshots;
    }
    change->job = NULL;
    change_unref(change);
}

static bool is_live(const struct change *c)
{
    return c->has_decision && !c->decision.superseded;
}

static bool is_live_report(const struct change *c)
{
    return is_live(c) && action_is_report(c->decision.action);
}

struct change *job_find_step(const struct job *job, uint32_t step)
{
    struct change *c = job->last;

    if (job->index) return change_index_step(job->index, step, is_live_report);
    while (c && !(is_live_report(c) && c->decision.step == step))
        c = c->job_before;
    return c;
}

bool job_is_undone(const struct job *job, const struct job_decision *stored)
{
    if (!action_is_undone(stored->action)) return false;
    for (const struct change *c = job->last; c && !c->committed; c = c->job_before) {
        if (c->supersedes && stored->revision > c->superseded_after) return true;
    }
    return false;
}

/* As is_live_report, before what supersedes it is durable, too. */
static bool is_durable_report(const struct change *c)
{
    const struct job_decision *d = &c->decision;

    return c->has_decision && c->committed && action_is_report(d->action) &&
           (!d->superseded || c->superseded_by > c->job->durable->revision);
}

struct change *job_find_durable_step(const struct job *job, uint32_t step)
{
    struct change *c = job->last;

    if (job->index) return change_index_step(job->index, step, is_durable_report);
    while (c && !(is_durable_report(c) && c->decision.step == step))
        c = c->job_before;
    return c;
}

struct change *job_find_request(const struct job *job, const char *request_id)
{
    struct change *c = job->last;

    if (job->index) return change_index_request(job->index, request_id, is_live);
    while (c && !(is_live(c) && c->request_id && !strcmp(c->request_id, request_id)))
        c = c->job_before;
    return c;
}

static bool state_matches(const struct job_decision *d, enum store_state_match match, uint32_t step)
{
    if (!action_is_state(d->action)) return false;
    switch (match) {
    case STORE_STATE_AT: return !d->superseded && d->has_step && d->step == step;
    case STORE_STATE_BELOW: return !d->superseded && d->has_step && d->step < step;
    case STORE_STATE_FIRST: return d->revision == 1;
    }
    return false;
}

struct change *job_find_state(const struct job *job, enum store_state_match match, uint32_t step)
{
    struct change *found = NULL;

    for (struct change *c = job->last; c; c = c->job_before) {
        if (!c->has_decision || !state_matches(&c->decision, match, step)) continue;
        if (!found || c->decision.step > found->decision.step) found = c;
    }
    return found;
}

struct change *job_find_unsettled(const struct job *job)
{
    return job->unsettled;
}
