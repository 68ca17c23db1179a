/* What the files of the job share. */
#ifndef GREEDYLRD_CORE_JOB_IMPL_H
#define GREEDYLRD_CORE_JOB_IMPL_H

#include "core/job.h"

/* The policy's part of a state. */
void *job_policy_block(struct job_state *state);
/* Lets a state that takes the report step on it, the job's or a shadow's: `next`, a copy of the state before.
 */
int job_take_report(const struct job_spec *spec, struct job_state *next, const struct job_event *event,
                    struct policy_outcome *out, struct error *err) WARN_UNUSED;

/* Bytes of a state up to its shadows. */
size_t job_own_size(const struct job_spec *spec);
/* What comes after them: of a job without shadows nothing. */
size_t job_shadows_size(const struct job_spec *spec);
void job_shadows_init(const struct job_spec *spec, struct job_state *state);
/* After the job itself has taken the report: its shadows do, and the decision says what they decided. */
int job_shadows_step(const struct job_spec *spec, struct job_state *next, const struct job_event *event,
                     struct job_decision *decision, struct error *err) WARN_UNUSED;

/* Whether the ramp still leads up to the initial rates. */
bool job_ramping(const struct job_spec *spec, const struct job_state *state);
/* What the anneal multiplies the policy's rate by once `done` reports have counted: 1 before it and without
 * one, 0 at its end. */
double job_anneal_factor(const struct job_spec *spec, uint32_t done);
/* Rates before any lr_cap, [groups]. */
void job_rates_now(const struct job_spec *spec, const struct job_state *state, double *lrs);
/* The bounds "min_lr" or "max_lr" of a policy that has them, [groups]; NULL for one that has not. */
const double *job_bounds(const struct job_spec *spec, const char *name);

#endif
