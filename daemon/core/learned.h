/* The policy "learned": a trained function of the reported losses, the policy's own past rates and the number
 * of reports decides how much the rate moves.
 *
 * action = tanh(w . f + b); the rate is multiplied by up^action where it is positive, by down^action where it
 * is not (limits 1.5 and 4 in the model that ships).  Around it, in this order: a loss that is not above 0,
 * or three reports in a row outside of the envelope, hand over to GreedyLR for the rest of the run; the
 * tripwire cuts at a divergence and lowers a ceiling, and hands over after its fifth time; the watch holds a
 * rate that the model drives away, and hands over after three such reports in a row; the noise gate makes no
 * raises; bounds; lr_cap.
 *
 * The structs are open for the files of this policy, for the trainer and for tests. */
#ifndef GREEDYLRD_CORE_LEARNED_H
#define GREEDYLRD_CORE_LEARNED_H

#include "core/learned_model.h"
#include "core/policy.h"

#define LEARNED_TRIPS   5  /* of the tripwire, then GreedyLR takes over */
#define LEARNED_OUTSIDE 3  /* reports in a row outside of the envelope, or astray, then too */
#define LEARNED_TRIAL   10 /* first reports, in which GreedyLR runs along */

struct learned_params {
    uint32_t total_reports; /* 0: not known */
    uint32_t feature_set;
    double noise_gate; /* 0: none */
    double up, down;
    struct f64_list min_lr, max_lr;
    struct f64_list weights, feature_lo, feature_hi;
    char model[LEARNED_HASH_LEN + 1];
};

enum learned_pilot {
    LEARNED_FLIES,       /* the model decides, without the watch: in training */
    LEARNED_BAD_LOSS,    /* GreedyLR does: a loss was not above 0, or not finite */
    LEARNED_STRANGE,     /* ... the features left the envelope */
    LEARNED_TRIPPED_OUT, /* ... the tripwire had its last time */
    LEARNED_WATCHED,     /* the model decides */
    LEARNED_ASTRAY,      /* GreedyLR does: the model drove the rate away */
};

/* What the watch says of a report. */
enum learned_course {
    LEARNED_STEADY,
    LEARNED_EXCUSED, /* a cut on trial, but the loss rose: neither counts nor ends the count */
    LEARNED_CUTS,    /* a cut on trial that nothing asked for */
    LEARNED_LOST,    /* far down, and the loss hardly moves */
};

/* Logarithms are natural; those of rates are of the first group's rate against its initial one. */
struct learned_state {
    double best;               /* the value; infinite before the first */
    double first, last, least; /* log of the losses */
    double ratio;              /* log of the last two losses' ratio */
    double fast, mid, slow;    /* moving averages of it */
    double noise;              /* moving average of its distance from mid */
    double swing;              /* share of reports at which its sign changed, moving */
    double action, acted;      /* the last action, and their moving average */
    double echo;               /* moving average of action times response in units of noise */
    double top, at_best;       /* log rate: the highest so far, that of the best loss */
    double ceiling;            /* log rate that no raise passes; infinite: none */
    uint32_t t;                /* reports seen */
    uint32_t best_step, since_best;
    uint32_t trips, since_trip, outside; /* outside of the envelope, or astray, in a row */
    uint32_t handed_step;
    uint8_t pilot; /* enum learned_pilot */
    uint8_t has_best_step, reserved, reserved2;
    double data[]; /* rates [groups], then GreedyLR's state, all zero between the trial and its turn */
};

/* What the model did with a report, for the reason. */
struct learned_move {
    double features[LEARNED_FEATURES];
    double action;
    int outside; /* the feature that is outside of the envelope, -1: none */
    enum learned_course course;
    bool tripped, gated;
};

extern const struct policy policy_learned;

/* learned_spec.c: the parameters. */
#define LEARNED_PARAMS 11
extern const struct param_def learned_param_defs[LEARNED_PARAMS];
int learned_resolve(struct job_spec *spec, struct error *err) WARN_UNUSED;

/* learned_features.c: takes a loss above 0 into the state, and reads the features off it. */
void learned_observe(struct learned_state *s, double loss, uint32_t step, double log_rate);
void learned_features(const struct learned_state *s, uint32_t total_reports, double log_rate,
                      double out[LEARNED_FEATURES]);
double learned_action(const double *weights, const double features[LEARNED_FEATURES]);

/* learned_watch.c: whether the model drives the rate away; action is what it wants.  After a report the trial
 * may be over. */
bool learned_decides(const struct learned_state *s);
bool learned_on_trial(const struct learned_state *s);
enum learned_course learned_watch(const struct learned_state *s, double log_rate, double action);
void learned_watch_end(const struct job_spec *spec, struct learned_state *s);

/* learned_greedy.c: GreedyLR in its place, or along with it. */
size_t learned_greedy_size(const struct job_spec *spec);
void *learned_greedy_block(const struct job_spec *spec, struct learned_state *s);
void learned_greedy_init(const struct job_spec *spec, struct learned_state *s);
void learned_hand_over(const struct job_spec *spec, struct learned_state *s, enum learned_pilot why,
                       const struct policy_report *report);
int learned_greedy_step(const struct job_spec *spec, struct learned_state *s,
                        const struct policy_report *report, struct policy_outcome *out,
                        struct error *err) WARN_UNUSED;
/* The same, on trial: the rates stay the model's. */
int learned_greedy_along(const struct job_spec *spec, struct learned_state *s,
                         const struct policy_report *report, struct policy_outcome *out,
                         struct error *err) WARN_UNUSED;
/* From along to in place: its rates are taken, under the ceiling. */
void learned_greedy_take_over(const struct job_spec *spec, struct learned_state *s, uint32_t step);
void learned_greedy_set_rates(const struct job_spec *spec, struct learned_state *s, const double *lrs);
void learned_greedy_view(const struct job_spec *spec, const struct learned_state *s,
                         struct policy_view *view);
void learned_greedy_update(const struct job_spec *old_spec, const struct learned_state *old,
                           const struct job_spec *new_spec, struct learned_state *s);
void learned_greedy_io(struct state_io *io, const struct job_spec *spec, struct learned_state *s);

/* learned_state.c: the state, apart from stepping. */
size_t learned_state_size(const struct job_spec *spec);
void learned_init(const struct job_spec *spec, void *state);
void learned_rates(const struct job_spec *spec, const void *state, double *lrs);
int learned_set_rates(const struct job_spec *spec, void *state, const double *lrs,
                      struct error *err) WARN_UNUSED;
void learned_view(const struct job_spec *spec, const void *state, struct policy_view *view);
void learned_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                    void *new_state);
void learned_io(struct state_io *io, const struct job_spec *spec, void *state);
double learned_log_rate(const struct job_spec *spec, const struct learned_state *s);

/* learned.c: one report.  learned_move is the part without words, for the trainer, of a loss above 0 while
 * the model decides; afterwards s->pilot may say that GreedyLR has to. */
void learned_move(const struct job_spec *spec, struct learned_state *s, const struct policy_report *report,
                  struct learned_move *move);
int learned_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                 struct policy_outcome *out, struct error *err) WARN_UNUSED;

#endif
