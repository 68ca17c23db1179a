/* The table of policies and the words of their decisions. */
#include "core/policy.h"

#include <string.h>

/* A line for each, X(name): the file that implements it defines `const struct policy policy_name`.  Of which
 * scheduler a state_dict is depends on their order (DICT_MARK in scheduler_dict.h). */
#define POLICIES(X)                                                                                          \
    X(greedy)                                                                                                \
    X(plateau)                                                                                               \
    X(constant)                                                                                              \
    X(step)                                                                                                  \
    X(multi_step)                                                                                            \
    X(exponential)                                                                                           \
    X(cosine_annealing)                                                                                      \
    X(cosine_annealing_warm_restarts)                                                                        \
    X(polynomial)                                                                                            \
    X(linear)                                                                                                \
    X(one_cycle)                                                                                             \
    X(constant_with_warmup)                                                                                  \
    X(linear_with_warmup)                                                                                    \
    X(cosine_with_warmup)                                                                                    \
    X(cosine_with_hard_restarts)                                                                             \
    X(polynomial_decay_with_warmup)                                                                          \
    X(inverse_sqrt)                                                                                          \
    X(warmup_stable_decay)                                                                                   \
    X(learned)

#define X(name) extern const struct policy policy_##name;
POLICIES(X)
#undef X

static const struct policy *const policies[] = {
#define X(name) &policy_##name,
    POLICIES(X)
#undef X
};

const char *const action_words[] = {
#define X(name, word, report, state, undone) word,
    ACTIONS(X)
#undef X
        NULL,
};

const char *const stage_words[] = {"none", "warmup", "cooldown", NULL};

const struct policy *policy_at(size_t i)
{
    return i < sizeof(policies) / sizeof(policies[0]) ? policies[i] : NULL;
}

const struct policy *policy_find(const char *name)
{
    for (size_t i = 0; policy_at(i); i++) {
        if (strcmp(policy_at(i)->name, name) == 0) return policy_at(i);
    }
    return NULL;
}

const struct policy *policy_default(void)
{
    return &policy_greedy;
}

static const struct {
    bool report, state, undone;
} action_flags[] = {
#define X(name, word, report, state, undone) {report, state, undone},
    ACTIONS(X)
#undef X
};

bool action_is_report(enum action action)
{
    return action_flags[action].report;
}

bool action_is_state(enum action action)
{
    return action_flags[action].state;
}

bool action_is_undone(enum action action)
{
    return action_flags[action].undone;
}
