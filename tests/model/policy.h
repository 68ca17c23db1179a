/* GreedyLR and the reduction of rounds, once more: from the page that describes them, for the reference. */
#ifndef GREEDYLRD_TESTS_MODEL_POLICY_H
#define GREEDYLRD_TESTS_MODEL_POLICY_H

#include "reference.h"

/* Everything that a rewind restores. */
struct ref_state {
    double rate;     /* the policy's */
    double answered; /* below it under an anneal, or an lr_cap of a pause */
    double best, window[REF_WINDOW];
    uint32_t values; /* in the window, oldest first */
    uint32_t good, bad, stage, left;
    uint32_t reports, step;
    uint32_t counted; /* reports, but for those of a pause */
    bool has_step;
};

struct ref_value {
    bool there;
    double value, weight, cap;
    uint32_t order;  /* of arrival */
    uint32_t change; /* that stores it */
};

void ref_start(const struct ref_settings *settings, struct ref_state *state);
/* One value; returns the word of what it did. */
const char *ref_decide(const struct ref_settings *settings, struct ref_state *state, bool paused,
                       double value, double cap);
/* An operator's rate; false where there is none that would be answered as it. */
bool ref_override(const struct ref_settings *settings, struct ref_state *state, double lr);
/* Under other settings: within the bounds, with the newest values of the window. */
void ref_settle(const struct ref_settings *settings, struct ref_state *state);
/* values: by rank, [REF_RANKS]. */
double ref_reduce(enum ref_reduce reduce, const struct ref_value *values);

#endif
