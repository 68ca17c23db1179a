/* A job's rounds in memory, and who waits: reports for their round, readers for the decision of a step.
 *
 * A waiter is one call that is answered later.  It leaves in one of three ways: settled (its answer follows a
 * queued change: told when that is durable), failed at once, or gone (its peer left, or its own time is
 * over). Nothing here is durable: what rounds hold is in the store as contributions, and is read back from
 * there. Loop thread only. */
#ifndef GREEDYLRD_SERVER_ROUNDS_H
#define GREEDYLRD_SERVER_ROUNDS_H

#include "core/round.h"
#include "server/deadline.h"
#include "server/jobs.h"

struct auth_token;
struct call;
struct service;

struct waiter {
    struct waiter *next, **at; /* in its list; at: what points to it */
    struct service *service;
    struct job *job;
    struct call *call;
    struct deadline *deadline; /* the call's own */
    /* Answers the call and frees what it needs: err, or the decision of change. */
    void (*answer)(struct waiter *waiter, const struct change *change, const struct error *err);
    struct round *round; /* a report's; NULL once settled */
    bool recorded;       /* once it leaves: the report's value is durable */
    struct change *own;  /* settled, not recorded: what stores the value, referenced; or NULL */
    uint32_t step, rank;
    bool duplicate, conflict;
    /* Settled. */
    struct change *change; /* referenced */
    struct change_waiter on_change;
    struct error verdict; /* .status 0: the change's decision answers */
};

/* One step whose ranks are awaited. */
struct open_round {
    struct open_round *next;
    uint64_t
        serial; /* no other has it: a step may be opened again while an earlier round's values are stored */
    struct round *round;
    struct job *job;
    struct service *service;
    struct deadline *deadline; /* running from a report to the ranks' deadline; NULL: none is */
    struct waiter *waiters;
    struct auth_token *token;           /* who began it, referenced; NULL: nobody, or it was read back */
    struct open_round *older, *younger; /* of all jobs */
    uint64_t opened;                    /* or read back; monotonic, ns */
};
/* Seconds since then. */
double round_age(const struct open_round *open);

/* The job's round of this step, or NULL. */
struct open_round *rounds_find(const struct job *job, uint32_t step);
uint32_t rounds_count(const struct job *job);
/* Opens a round in its place; NULL when out of memory. */
struct open_round *rounds_open(struct service *service, struct job *job, uint32_t attempt, uint32_t step,
                               const struct ranks *ranks);
/* It counts for this token (NULL: for none) until it closes. */
void rounds_own(struct open_round *open, struct auth_token *token);
/* Makes sure of room for a round's memory.  ST_TOO_MANY_WAITING; ST_OVERLOADED. */
int rounds_reserve(struct service *service, uint32_t world_size, struct error *err) WARN_UNUSED;
/* Takes a round without waiters out and frees it. */
void rounds_close(struct open_round *open);
/* Frees all of them; nobody waits.  For a job that leaves memory. */
void rounds_drop(struct job *job);

void waiter_add(struct waiter *waiter, struct waiter **list);
/* Out of its list, without its deadline; it can still be answered. */
void waiter_take(struct waiter *waiter);
/* The answer comes with the change: verdict, or its decision if verdict is NULL. */
void waiter_settle(struct waiter *waiter, struct change *change, const struct error *verdict);
void waiter_fail(struct waiter *waiter, const struct error *err);

#endif
