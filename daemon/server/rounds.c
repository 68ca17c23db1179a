/* Rounds and waiters as lists.  Failures here are out of memory. */
#include "server/rounds.h"

#include "server/service_impl.h"

#include <assert.h>
#include <stdlib.h>

struct open_round *rounds_find(const struct job *job, uint32_t step)
{
    struct open_round *open = job->rounds;

    while (open && open->round->step < step)
        open = open->next;
    return open && open->round->step == step ? open : NULL;
}

uint32_t rounds_count(const struct job *job)
{
    uint32_t n = 0;

    for (const struct open_round *open = job->rounds; open; open = open->next)
        n++;
    return n;
}

double round_age(const struct open_round *open)
{
    return (double)(uv_hrtime() - open->opened) / 1e9;
}

static void age_link(struct service *service, struct open_round *open)
{
    open->opened = uv_hrtime();
    open->older = service->youngest;
    *(open->older ? &open->older->younger : &service->oldest) = open;
    service->youngest = open;
    service->numbers.open_rounds++;
}

static void age_unlink(struct service *service, struct open_round *open)
{
    *(open->older ? &open->older->younger : &service->oldest) = open->younger;
    *(open->younger ? &open->younger->older : &service->youngest) = open->older;
    service->numbers.open_rounds--;
}

struct open_round *rounds_open(struct service *service, struct job *job, uint32_t attempt, uint32_t step,
                               const struct ranks *ranks)
{
    static uint64_t opened;
    struct open_round *open = calloc(1, sizeof(*open)), **at = &job->rounds;
    struct round *round = malloc(round_size(ranks->world_size));

    if (!open || !round) {
        free(open);
        free(round);
        return NULL;
    }
    round_open(round, attempt, step, ranks);
    open->serial = ++opened;
    open->round = round;
    open->job = job;
    open->service = service;
    service->round_memory += round_size(ranks->world_size);
    while (*at && (*at)->round->step < step)
        at = &(*at)->next;
    open->next = *at;
    *at = open;
    age_link(service, open);
    return open;
}

void rounds_own(struct open_round *open, struct auth_token *token)
{
    if (!token) return;
    auth_ref(token);
    token->rounds++;
    open->token = token;
}

void rounds_close(struct open_round *open)
{
    struct open_round **at = &open->job->rounds;

    assert(!open->waiters);
    while (*at != open)
        at = &(*at)->next;
    *at = open->next;
    age_unlink(open->service, open);
    if (open->deadline) open->job->holds--;
    deadline_drop(open->deadline);
    open->service->round_memory -= round_size(open->round->ranks.world_size);
    if (open->token) open->token->rounds--;
    auth_unref(open->token);
    free(open->round);
    free(open);
}

void rounds_drop(struct job *job)
{
    while (job->rounds)
        rounds_close(job->rounds);
}

/* Rounds that nobody waits for, and that no deadline runs for, are as well in the store. */
static void forget_idle(void *arg, struct job *job)
{
    (void)arg;
    if (!job->rounds || job->holds || job->pending) return;
    rounds_drop(job);
    job->rounds_loaded = false;
}

int rounds_reserve(struct service *service, uint32_t world_size, struct error *err)
{
    size_t size = round_size(world_size);

    if (service_check_load(service, err)) return (int)err->status;
    if (service->round_memory + size > service->options.round_memory)
        jobs_each(service->jobs, forget_idle, NULL);
    if (service->round_memory + size <= service->options.round_memory) return 0;
    return error_limit(
        err, LIMIT_ROUND_MEMORY, ST_TOO_MANY_WAITING,
        "open rounds take as much memory as --max-round-memory allows; repeat the report later");
}

void waiter_add(struct waiter *waiter, struct waiter **list)
{
    waiter->next = *list;
    waiter->at = list;
    if (waiter->next) waiter->next->at = &waiter->next;
    *list = waiter;
    waiter->job->holds++;
    waiter->service->waiting++;
    if (waiter->round) waiter->service->numbers.waiting_ranks++;
    waiter->call->waits = true;
}

bool service_may_wait(const struct service *service)
{
    return !service->max_waiting || service->waiting + service->watchers < service->max_waiting;
}

/* Whether the report's value is durable, or what makes it so. */
static void note_recorded(struct waiter *waiter)
{
    struct change *c = waiter->job->last;

    if (!waiter->round) return;
    waiter->recorded = waiter->round->reports[waiter->rank].recorded;
    while (!waiter->recorded && c && !c->committed &&
           !(c->has_contribution && c->contribution.step == waiter->step &&
             c->contribution.rank == waiter->rank))
        c = c->job_before;
    if (waiter->recorded || !c || c->committed) return;
    waiter->own = c;
    change_ref(c);
}

void waiter_take(struct waiter *waiter)
{
    note_recorded(waiter);
    *waiter->at = waiter->next;
    if (waiter->next) waiter->next->at = waiter->at;
    waiter->job->holds--;
    waiter->service->waiting--;
    if (waiter->round) waiter->service->numbers.waiting_ranks--;
    waiter->job = NULL;
    waiter->round = NULL;
    deadline_drop(waiter->deadline);
    waiter->deadline = NULL;
}

static void drop_own(struct waiter *waiter)
{
    if (!waiter->own) return;
    waiter->recorded = waiter->own->committed;
    change_unref(waiter->own);
    waiter->own = NULL;
}

static void on_settled(void *arg, struct change *change, const struct error *err)
{
    struct waiter *waiter = arg;

    drop_own(waiter);
    if (!err && waiter->verdict.status) err = &waiter->verdict;
    waiter->answer(waiter, change, err);
    change_unref(change);
}

void waiter_settle(struct waiter *waiter, struct change *change, const struct error *verdict)
{
    waiter_take(waiter);
    waiter->verdict.status = ST_OK;
    if (verdict) waiter->verdict = *verdict;
    waiter->change = change;
    change_ref(change);
    waiter->on_change = (struct change_waiter){NULL, on_settled, waiter};
    change_wait(change, &waiter->on_change);
}

void waiter_fail(struct waiter *waiter, const struct error *err)
{
    waiter_take(waiter);
    drop_own(waiter);
    waiter->answer(waiter, NULL, err);
}
