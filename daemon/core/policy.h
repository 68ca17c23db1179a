/* What a scheduler is to the rest of the core: a `const struct policy`.  Adding one takes a file that defines
 * it, a line in policies.c and a message in the contract; README, "How to extend it", walks through one. */
#ifndef GREEDYLRD_CORE_POLICY_H
#define GREEDYLRD_CORE_POLICY_H

#include "core/params.h"
#include "core/scheduler_dict.h"
#include "core/spec.h"
#include "core/state_io.h"

#include <stdbool.h>
#include <stdint.h>

/* What a decision did: name, word, and three flags: it answers a report (and not an operator); it says what
 * the state at a step is, so that a rewind may go back to it; a rewind behind it takes it back (settings,
 * pauses and the trail of rewinds stay).  Those that answer a report come first. */
#define ACTIONS(X)                                                                                           \
    X(RAISE, "raise", 1, 1, 1)                                                                               \
    X(CUT, "cut", 1, 1, 1)                                                                                   \
    X(HOLD, "hold", 1, 1, 1)                                                                                 \
    X(RESET, "reset", 1, 1, 1)                                                                               \
    X(RAMP, "ramp", 1, 1, 1)                                                                                 \
    X(SCHEDULE, "schedule", 1, 1, 1)                                                                         \
    X(SKIP, "skip", 1, 1, 1)                                                                                 \
    X(OVERRIDE, "override", 0, 0, 1)                                                                         \
    X(BEGIN, "begin", 0, 0, 0)                                                                               \
    X(REWIND, "rewind", 0, 0, 0)                                                                             \
    X(FORK, "fork", 0, 1, 0)                                                                                 \
    X(IMPORT, "import", 0, 1, 1)                                                                             \
    X(UPDATE, "update", 0, 0, 0)                                                                             \
    X(PAUSE, "pause", 0, 0, 0)                                                                               \
    X(RESUME, "resume", 0, 0, 0)                                                                             \
    X(FINISH, "finish", 0, 0, 0)

enum action {
#define X(name, word, report, state, undone) ACTION_##name,
    ACTIONS(X)
#undef X
        ACTION_COUNT
};
extern const char *const action_words[]; /* by enum action, NULL at the end */

bool action_is_report(enum action action);
bool action_is_state(enum action action);
bool action_is_undone(enum action action);

enum stage { STAGE_NONE, STAGE_WARMUP, STAGE_COOLDOWN };
extern const char *const stage_words[];

#define DECISION_REASON_MAX 192

/* One value for a policy to step on. */
struct policy_report {
    double value;
    uint32_t step;
    double lr_cap; /* INFINITY: none */
};

/* What stepping did; the policy fills all of it. */
struct policy_outcome {
    enum action action;
    double smoothed; /* what was compared */
    bool has_smoothed;
    char reason[DECISION_REASON_MAX];
};

/* What people and decisions see of a policy's state. */
struct policy_view {
    double best;
    uint32_t best_step;
    uint32_t num_good, num_bad;
    enum stage stage;
    uint32_t stage_left;
    int32_t resets_left;
    bool has_best; /* the policy keeps a best value (it may still be infinite) */
    bool has_best_step, has_resets_left;
    bool at_min, at_max, plateaued;
};

struct schedule;

/* A policy's state is one flat block of state_size(spec) bytes, 8-aligned, that may be copied with memcpy. */
struct policy {
    const char *name; /* the field of JobSpec */
    const struct param_def *params;
    size_t n_params; /* at most 64 */
    size_t params_size;

    /* Fills the defaults of rows not given and checks what ranges cannot say.  Messages as spec_resolve's. */
    int (*resolve)(struct job_spec *spec, struct error *err);

    size_t (*state_size)(const struct job_spec *spec);
    /* State before the first report. */
    void (*init)(const struct job_spec *spec, void *state);
    /* Steps on one value.  ST_NONFINITE_REJECTED leaves the state as it was; nothing else can fail. */
    int (*step)(const struct job_spec *spec, void *state, const struct policy_report *report,
                struct policy_outcome *out, struct error *err);
    /* Rates to answer with, [groups]. */
    void (*rates)(const struct job_spec *spec, const void *state, double *lrs);
    /* An operator's override: lrs, [groups], within the bounds, are the current rates from now on.  Counters,
     * best and stage stay; what the override contradicts (plateaued, where a rate leaves its floor) does not.
     * ST_FIELD_INVALID where the policy cannot have them, naming lr[i] and the remedy; the state may have
     * changed then. */
    int (*set_rates)(const struct job_spec *spec, void *state, const double *lrs, struct error *err);
    void (*view)(const struct job_spec *spec, const void *state, struct policy_view *view);
    /* Carries a state over to changed settings (bounds clamp, a smaller window keeps its newest values). */
    void (*update)(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                   void *new_state);
    /* Writes or reads the state (one function, so that both directions agree).  Reading takes any window
     * length. */
    void (*io)(struct state_io *io, const struct job_spec *spec, void *state);
    /* The scheduler in a training process that decides as this policy can; NULL: there is none. */
    const struct scheduler_form *form;
    /* What a NaN or an infinity does is the job's on_nonfinite (of greedy, in its greedylr dialect). */
    bool own_nonfinite;
    /* What a policy that only counts reports computes (core/schedule.h); NULL: it looks at values. */
    const struct schedule *schedule;
};

/* By name, or NULL. */
const struct policy *policy_find(const char *name);
/* By index, or NULL past the end. */
const struct policy *policy_at(size_t i);
/* The one a spec without a policy means: greedy. */
const struct policy *policy_default(void);

#endif
