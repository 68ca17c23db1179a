/* Jobs: the one function that decides.
 *
 * job_step(spec, state, event) is the only place where a job changes.  It is pure: time arrives inside the
 * event, the next state goes into the caller's memory, and applying an update never computes.  The daemon,
 * the simulator, the tests and replays all call it, so they cannot disagree. */
#ifndef GREEDYLRD_CORE_JOB_H
#define GREEDYLRD_CORE_JOB_H

#include "core/policy.h"
#include "core/spec.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACTOR_MAX 63 /* bytes of a decision's actor */

enum job_status { JOB_ACTIVE, JOB_PAUSED, JOB_FINISHED, JOB_STATUS_COUNT };
extern const char *const job_status_words[]; /* "active", "paused", "finished", NULL */

/* The whole state of a job as one flat block of job_state_size() bytes: copy it with memcpy. */
struct job_state {
    uint32_t revision; /* grows by one with each decision or change of settings; 0 at creation */
    uint32_t attempt;  /* 0 at creation */
    uint32_t step;     /* last decided step, if has_step */
    uint32_t reports;  /* reports decided so far */
    uint32_t groups;
    uint8_t has_step;
    uint8_t status; /* enum job_status */
    uint8_t has_rewound;
    uint8_t reserved;
    uint32_t ramp_done;   /* reports of the ramp so far; those of a pause do not count */
    uint32_t rewound;     /* attempt that the last rewind with an attempt began, if has_rewound */
    uint32_t anneal_done; /* reports that counted so far: not those of a pause, nor skipped ones */
    uint32_t padding;     /* 0, so that states compare as memory */
    double told_lr;       /* first group's rate in the last answer to a report; the initial one before */
    /* Answered rates [groups], the policy's block, then of each shadow its state (a block like this one; its
     * step is that of its own last decision, its revision and attempt mean nothing), then room for the record
     * of what the shadows decided last, which is no part of the state as bytes. */
    double data[];
};

/* Rates to answer with, [state->groups]. */
const double *job_lrs(const struct job_state *state);
const void *job_policy_state(const struct job_state *state);
/* The state of a shadow, under spec->shadows[i].spec. */
const struct job_state *job_shadow_state(const struct job_spec *spec, const struct job_state *state,
                                         uint32_t i);

size_t job_state_size(const struct job_spec *spec);
/* The state at creation, into job_state_size(spec) bytes. */
void job_init(const struct job_spec *spec, struct job_state *state);

/* What people see: the policy's view, with the flags of the answered rates. */
void job_view(const struct job_spec *spec, const struct job_state *state, struct policy_view *view);

enum event_kind {
    EVENT_REPORT,  /* one value, after the ranks were reduced */
    EVENT_UPDATE,  /* new settings */
    EVENT_SET_LR,  /* an operator's rates; counters stay, a ramp ends, an anneal lowers them from there */
    EVENT_STATUS,  /* pause, resume, finish */
    EVENT_BEGIN,   /* the next attempt, where the job is */
    EVENT_RESTORE, /* a whole state: rewind, fork, import */
};

struct job_event {
    enum event_kind kind;
    int64_t time_us;   /* wall clock, microseconds since 1970 */
    const char *actor; /* who did it, for the history; NULL: a training run */
    struct {
        double value;
        bool has_step; /* false: the last step + 1, the first is 1 */
        uint32_t step;
        bool has_attempt; /* false: the current one */
        uint32_t attempt;
        double lr_cap;     /* INFINITY: none */
        double applied_lr; /* NAN: not given */
        uint32_t ranks;    /* reports that value was reduced from; 0: it is one report */
    } report;
    struct {
        const struct job_spec *spec; /* resolved, same policy and groups */
        const char *changed;         /* for the reason: "greedy.patience 2 -> 5" */
    } update;
    struct {
        const double *lrs; /* [groups] */
    } set_lr;
    struct {
        enum action action; /* ACTION_PAUSE, ACTION_RESUME, ACTION_FINISH */
    } status;
    struct {
        bool has_attempt; /* false: the next one */
        uint32_t attempt; /* above the current one */
    } begin;
    struct {
        enum action action;         /* ACTION_REWIND, ACTION_FORK, ACTION_IMPORT */
        const struct job_state *to; /* under the job's spec */
        bool has_attempt;           /* a rewind that begins an attempt */
        uint32_t attempt;
        const char *why; /* the reason */
    } restore;
};

/* One entry of the history.  lrs and shadow are borrowed: from the next state in an update, from the row when
 * read back. */
struct job_decision {
    uint32_t revision, attempt, step;
    bool has_step; /* false only for events before the first report */
    enum action action;
    int64_t time_us;
    double value, smoothed;
    bool has_value, has_smoothed;
    double best;
    bool has_best;
    uint32_t num_good, num_bad;
    enum stage stage;
    bool at_min, at_max, plateaued, applied_mismatch;
    bool superseded;
    uint32_t ranks; /* 0: not a round */
    uint32_t groups;
    const double *lrs;
    const uint8_t *shadow; /* what the shadows decided, a record of core/shadow.h; NULL: there are none */
    size_t shadow_len;
    char reason[DECISION_REASON_MAX];
    char actor[ACTOR_MAX + 1]; /* "": none */
};

/* How a report relates to what the job has decided. */
enum report_relation {
    REPORT_NEW,      /* to be decided */
    REPORT_RECORDED, /* at or below the last step: look it up, answer what is recorded or ST_STEP_IN_PAST */
    REPORT_STALE,    /* from an older attempt: ST_STALE_ATTEMPT */
    REPORT_NEEDS_REWIND, /* from a newer attempt and not beyond the last step */
};
enum report_relation job_relation(const struct job_state *state, const struct job_event *event);

/* Whether the job takes this report at all: to decide it, to let it wait for a round, or to rewind for it.
 * Errors: ST_STALE_ATTEMPT, ST_JOB_FINISHED, ST_NONFINITE_REJECTED, ST_FIELD_INVALID (a step beyond uint32).
 */
int job_admit(const struct job_spec *spec, const struct job_state *state, const struct job_event *event,
              struct error *err) WARN_UNUSED;

/* Whether the rate that an optimizer really used (NAN: it did not say) is neither the job's nor the one that
 * the last report was answered with: a training run learns of an override by its next report. */
bool job_applied_differs(const struct job_state *state, double applied);

/* What ACTION_PAUSE, ACTION_RESUME or ACTION_FINISH makes of a job's status; the same status means that there
 * is nothing to do.  ST_JOB_FINISHED: a finished job cannot be paused. */
int job_status_after(const struct job_state *state, enum action action, enum job_status *out,
                     struct error *err) WARN_UNUSED;

/* Decides.  `state` is the job before the event, `next` the caller's memory for the job after it:
 * job_state_size(spec) bytes, or of event->update.spec for EVENT_UPDATE.  A report must be REPORT_NEW.
 * On success *next and *decision are whole (decision->lrs and decision->shadow point into next) and
 * next->revision is state->revision + 1; on failure neither may be used and nothing has changed. Errors:
 * those of job_admit and job_status_after; ST_FIELD_INVALID for rates out of bounds and for an attempt that
 * is not above the current one; ST_JOB_FINISHED for an event that a finished job does not take.
 */
int job_step(const struct job_spec *spec, const struct job_state *state, const struct job_event *event,
             struct job_state *next, struct job_decision *decision, struct error *err) WARN_UNUSED;

/* The state under other settings (same policy and groups): bounds clamp, a smaller window keeps its newest
 * values.  `to` has job_state_size(new_spec) bytes. */
void job_state_carry(const struct job_spec *old_spec, const struct job_state *from,
                     const struct job_spec *new_spec, struct job_state *to);
/* That of the shadows alone, which are part of it: those of new_spec that spec_same_shadow finds in old_spec
 * go on, others start fresh.  The rest of `to` is there already. */
void job_shadows_carry(const struct job_spec *old_spec, const struct job_state *from,
                       const struct job_spec *new_spec, struct job_state *to);

/* States as bytes (see job_state.c).  Encoding writes job_state_encoded_size() bytes.  Decoding fails
 * with ST_DATA_DAMAGED on anything this spec cannot have. */
unsigned job_state_version(void); /* of what is encoded; older ones are read */
size_t job_state_encoded_size(const struct job_spec *spec, const struct job_state *state);
void job_state_encode(const struct job_spec *spec, const struct job_state *state, uint8_t *out);
int job_state_decode(const struct job_spec *spec, const uint8_t *in, size_t len, struct job_state *state,
                     struct error *err) WARN_UNUSED;

#endif
