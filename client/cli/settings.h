/* Settings of a job, changed: --set and --policy. */
#ifndef GREEDYLR_CLI_SETTINGS_H
#define GREEDYLR_CLI_SETTINGS_H

#include "cli/arguments.h"

#include <jansson.h>

/* The policy of a spec: "greedy" where it names none. */
const char *settings_policy(const json_t *spec);

/* A copy of the spec of a job with what decides its rates and nothing else: no name, ranks, labels or
 * shadows. */
json_t *settings_of(const json_t *spec);

/* Another policy in place of the spec's, with nothing set; on_nonfinite goes too, as not every policy has it.
 * 0, or -1 with what is wrong in error (size bytes). */
int settings_set_policy(json_t *spec, const char *policy, char *error, size_t size);

/* One setting.  name: a field of the spec's policy, lr, on_nonfinite, or a path like ramp.reports; text: its
 * value; "none" takes ramp or anneal away; one number stands for every group.  0 or -1 as above. */
int settings_set(json_t *spec, const char *name, const char *text, char *error, size_t size);

/* Calls visit with every policy there is. */
void settings_policies(void (*visit)(void *arg, const char *name), void *arg);

/* Calls visit with the names that settings_set takes for a policy. */
void settings_names(const char *policy, void (*visit)(void *arg, const char *name, const struct field *field),
                    void *arg);

/* --policy and every --set, in this order.  0, or EXIT_USAGE after saying what is wrong. */
int settings_apply(const struct invocation *in, json_t *spec);

/* The name of a --set, and where its value begins. */
const char *settings_split(const char *set, char *name, size_t size);

#endif
