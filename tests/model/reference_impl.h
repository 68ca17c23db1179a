/* What the files of the reference share: its jobs as plain values, and the steps that calls are made of. */
#ifndef GREEDYLRD_TESTS_MODEL_REFERENCE_IMPL_H
#define GREEDYLRD_TESTS_MODEL_REFERENCE_IMPL_H

#include "policy.h"
#include "reference.h"

enum { ACTIVE, PAUSED, FINISHED };

struct entry {
    struct ref_answer a;
    bool report, state, undone; /* answers a report; may be gone back to; is taken back by a rewind */
    bool paused;
    double cap, set;                     /* set: what an override wanted */
    uint32_t request_id, change, serial; /* serial: of the settings */
    bool in[REF_RANKS];
    double values[REF_RANKS];
    struct ref_state after;
};

struct round {
    uint32_t step, n;
    uint32_t world_size, quorum;
    enum ref_reduce reduce;
    struct ref_value by[REF_RANKS];
    bool overdue; /* this and the deadline are lost in a crash */
    uint64_t deadline, deadline_order;
};

struct job {
    bool exists, deleting, forked;
    struct ref_settings created, settings;
    struct ref_state s;
    uint32_t serial, revision, attempt, status, rewound;
    bool has_rewound;
    uint32_t n_rounds;
    struct round rounds[REF_ROUNDS]; /* by step */
    uint32_t n;
    struct entry entries[REF_HISTORY];
};

struct world {
    struct job jobs[REF_JOBS];
};

enum change_state { QUEUED, TAKEN, STORED, TOLD, FAILED };

struct change {
    enum change_state state;
    uint32_t job;
    bool unsettled, whole_row, deletes, decides;
    struct ref_answer view, decision;
};

extern struct reference {
    struct world newest, disk, told;    /* what calls build on; what is stored; what the loop has heard of */
    struct change changes[REF_CHANGES]; /* from 1 */
    uint32_t n_changes;
    uint64_t now, order; /* order: of deadlines and waits */
    bool full, releasing;
} ref;

/* ---- changes ---- */

uint32_t ref_number_of(const struct job *j);
void ref_view_of(const struct job *j, struct ref_answer *a);
/* Queues a change of the job as it is now. */
struct change *ref_push(struct job *j);
bool ref_is_durable(uint32_t change);
bool ref_is_pending(uint32_t change);
/* The newest change of the job that is on its way; unsettled: of those that others wait for. 0: none. */
uint32_t ref_last_pending(const struct job *j, bool unsettled);

/* ---- answers ---- */

void ref_answer(struct ref_call *c, const struct ref_answer *a);
void ref_fail(struct ref_call *c, enum status status);
void ref_wait_for(struct ref_call *c, enum ref_wait kind, uint32_t change);
/* With the change: *a. */
void ref_answer_with(struct ref_call *c, uint32_t change, const struct ref_answer *a);
/* With the change: the job as it is then. */
void ref_answer_job_with(struct ref_call *c, uint32_t change);
/* With whatever is on its way for the job. */
void ref_answer_job_settled(struct ref_call *c, const struct job *j);
void ref_answer_decision(struct ref_call *c, const struct entry *e);
void ref_answer_rates(struct ref_call *c, double lr, bool has_step, uint32_t step, uint32_t revision);
/* The change that the call waited for is durable. */
void ref_change_is_told(struct ref_call *c);

/* ---- history ---- */

struct entry *ref_add_entry(struct job *j, const char *action);
struct entry *ref_find_report(struct job *j, uint32_t step);
struct entry *ref_find_request(struct job *j, uint32_t id);
/* A state to go back to: that of the step, or of the largest step below it. */
struct entry *ref_find_state(struct job *j, uint32_t step, bool below);
/* The state the job began with; NULL: none but its settings'. */
struct entry *ref_find_initial(struct job *j);
/* Under the settings of now; e NULL: at the start. */
struct ref_state ref_state_of(const struct job *j, const struct entry *e);
void ref_go_back(struct job *j, const struct entry *to, bool has_attempt, uint32_t attempt);

/* ---- rounds ---- */

bool ref_is_ready(const struct round *r);
struct round *ref_find_round(struct job *j, uint32_t step);
struct round *ref_open_round(struct job *j, uint32_t step);
void ref_fail_waiters(const struct job *j, uint32_t step, enum status status);
/* All rounds end with the newest change. */
void ref_end_rounds(struct job *j, enum status verdict);
struct entry *ref_decide_value(struct job *j, uint32_t step, double value, double cap);
bool ref_can_advance(const struct job *j);
/* Decides and passes over what can be, in order. */
void ref_advance(struct job *j);

/* Handles the call on the newest jobs: it is answered, or waits. */
void ref_handle(struct ref_call *c);

#endif
