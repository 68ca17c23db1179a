/* The reference: what greedylrd promises of rounds, rewinds and restarts, as simply as it can be said.
 *
 * A handful of jobs as plain values in memory.  A call is handled at once on the newest state and answered
 * when the change it depends on is durable; what is durable is a copy of the whole value.  A crash or a
 * failed commit goes back to that copy.  Nothing of the daemon's code is used, only its names of errors. */
#ifndef GREEDYLRD_TESTS_MODEL_REFERENCE_H
#define GREEDYLRD_TESTS_MODEL_REFERENCE_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    REF_JOBS = 3,
    REF_RANKS = 5,
    REF_WINDOW = 4,
    REF_HISTORY = 160,
    REF_ROUNDS = 12,
    REF_CALLS = 200,
    REF_CHANGES = 800,
};

#define REF_WAIT_MAX 300000 /* ms: no request waits longer */

/* ---- calls ---- */

enum ref_kind {
    CALL_CREATE,
    CALL_REPORT,
    CALL_REWIND,
    CALL_BEGIN,
    CALL_FORK,
    CALL_SET_LR,
    CALL_PAUSE,
    CALL_RESUME,
    CALL_FINISH,
    CALL_UPDATE,
    CALL_DELETE,
    CALL_GET_LR,
    CALL_GET_JOB,
    CALL_KINDS
};

enum ref_reduce { MEAN, MIN, MAX, MEDIAN, FIRST };

struct ref_settings {
    double lr, factor, min_lr, max_lr, threshold;
    double guard_ratio, guard_factor; /* ratio 0: no guard */
    double fraction;
    uint32_t total_reports;                      /* of the anneal; 0: none */
    uint32_t patience, warmup, cooldown, window; /* window 0: no smoothing */
    bool median;                                 /* else mean */
    uint32_t world_size, quorum, deadline_ms;
    enum ref_reduce reduce;
    bool strict;
};

/* What a call asks; what is not given is absent by its has_. */
struct ref_request {
    enum ref_kind kind;
    uint32_t job, other; /* other: the fork's */
    bool has_step, has_attempt, has_wait, initial;
    uint32_t step, attempt, rank, wait_ms;
    double value, weight, lr_cap; /* weight 0, lr_cap 0: not given */
    uint32_t request_id;          /* 0: none */
    double lr;
    struct ref_settings settings; /* CREATE: all; UPDATE: patience, max_lr, window, world_size, quorum,
                                     guard_ratio, total_reports (0: as it is) */
};

enum ref_shape { SHAPE_NONE, SHAPE_DECISION, SHAPE_JOB, SHAPE_RATES, SHAPE_EMPTY };

/* An answer, as far as the reference knows it; zero where it does not apply.  Compared as memory. */
struct ref_answer {
    enum status status; /* ST_OK, or why not */
    enum ref_shape shape;
    char action[12];
    char job_status[12];
    uint32_t revision, attempt, step, reports, num_good, num_bad, ranks, stage;
    uint32_t has_step, duplicate, conflict, superseded;
    double lr, value, best;
};

enum ref_wait { WAIT_NOTHING, WAIT_CHANGE, WAIT_AGAIN, WAIT_ROUND, WAIT_DECISION };

struct ref_call {
    struct ref_request request;
    bool answered;
    struct ref_answer answer;
    struct ref_answer newer; /* of a read: what is stored but not heard of yet answers as well */
    bool has_newer;

    /* The reference's own. */
    enum ref_wait waits;
    uint32_t change; /* waited for */
    uint64_t since;  /* in the order of waits */
    uint32_t own;    /* the change that holds a report's value, 0: durable before */
    enum status verdict;
    bool is_job; /* the answer is the job as of the change */
    bool duplicate, conflict;
    uint64_t deadline, deadline_order; /* virtual ms; 0: none */
};

/* ---- the reference ---- */

/* An empty store at time 0. */
void ref_begin(void);
extern struct ref_call ref_calls[REF_CALLS];
extern uint32_t ref_n_calls;

/* Handles a new call; returns its number. */
uint32_t ref_call(const struct ref_request *request);
/* The caller left. */
void ref_cancel(uint32_t call);
/* Changes queued so far in all; those the writer has not been given yet. */
uint32_t ref_queued(void);
uint32_t ref_untaken(void);
/* The writer takes everything that is queued as one batch. */
void ref_take(void);
/* The batch is stored, or fails for want of room. */
void ref_commit(bool stored);
/* The loop hears of the batches. */
void ref_deliver(void);
bool ref_full(void);
void ref_room(void);
/* The earliest deadline up to `until` passes, and its time is returned; 0: there is none. */
uint64_t ref_pass_deadline(uint64_t until);
void ref_set_time(uint64_t now);
/* Everything that is not stored is lost; calls are forgotten. */
void ref_crash(void);
/* Whoever waits for others is told that the daemon stops. */
void ref_release(void);

/* ---- looking at it ---- */

/* A job's durable state; false: it does not exist. */
bool ref_stored_job(uint32_t job, struct ref_answer *out);
/* The i-th entry of its durable history; false: there is none. */
bool ref_stored_entry(uint32_t job, uint32_t i, struct ref_answer *out);
/* Whether the decisions that count are those of a run in which the undone ones never happened. */
bool ref_replays(uint32_t job);

/* What the schedules aim at. */
struct ref_hint {
    bool exists, has_step, forked;
    uint32_t step, attempt, world_size, n_rounds, rounds[REF_ROUNDS], n_past, past[8];
    uint32_t reported; /* ranks in the first round */
    struct ref_settings created;
};
void ref_hint(uint32_t job, struct ref_hint *out);

#endif
