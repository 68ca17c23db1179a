/* Between the contract's messages and the core's structs.  Policies are converted through their parameter
 * tables, so that a new one needs nothing here. */
#ifndef GREEDYLRD_SERVER_CONVERT_H
#define GREEDYLRD_SERVER_CONVERT_H

#include "core/job.h"
#include "core/spec.h"
#include "core/status.h"

#include "greedylr/v1/scheduler.pb-c.h"

#include <stdint.h>

typedef Greedylr__V1__JobSpec spec_message;
typedef Greedylr__V1__Decision decision_message;

/* From now on the model of learned policies that name none; kept, not copied.  To be called before there is a
 * second thread. */
void convert_use_model(const struct learned_model *model);

/* Builds and resolves the core's spec of a message.  Messages of errors begin with "spec.".  The caller frees
 * *out with spec_free. */
int convert_spec(const spec_message *message, struct job_spec **out, struct error *err) WARN_UNUSED;
/* The same of the effective settings of a job that exists, whose bounds an update may have moved. */
int convert_live_spec(const spec_message *message, struct job_spec **out, struct error *err) WARN_UNUSED;

/* The same of settings that an update makes of those of `before`: shadows that start with it are checked as
 * those of a new job. */
int convert_changed_spec(const spec_message *message, const struct job_spec *before, struct job_spec **out,
                         struct error *err) WARN_UNUSED;

/* A copy of `given` with every default of the resolved spec filled in; freed with
 * greedylr__v1__job_spec__free_unpacked. */
int convert_effective(const spec_message *given, const struct job_spec *spec, spec_message **out,
                      struct error *err) WARN_UNUSED;

/* Checks what the core does not see of a spec: group names, labels. */
int convert_check_texts(const spec_message *message, uint32_t groups, struct error *err) WARN_UNUSED;

/* A decision as a message that borrows everything (job may be NULL) but what its shadows decided, which
 * convert_decision_clear frees.  `time` is the caller's storage for the timestamp.  ST_OUT_OF_MEMORY: there
 * is nothing to clear. */
int convert_decision(const struct job_decision *decision, const char *job, decision_message *out,
                     Google__Protobuf__Timestamp *time, struct error *err) WARN_UNUSED;
void convert_decision_clear(decision_message *message);
/* The part of it that is of the shadows. */
int convert_said(const struct job_decision *decision, decision_message *out, struct error *err) WARN_UNUSED;

/* A decision that owns what it borrows: one block with copies of the rates and of the shadows' record, which
 * decision points into afterwards.  The caller frees it; NULL: out of memory. */
double *decision_hold(struct job_decision *decision);

/* A state as a message that borrows from `state` but for its shadows, which convert_state_clear frees. */
int convert_state(const struct job_spec *spec, const struct job_state *state, Greedylr__V1__JobState *out,
                  struct error *err) WARN_UNUSED;
void convert_state_clear(Greedylr__V1__JobState *message);
/* Without shadows. */
void convert_own_state(const struct job_spec *spec, const struct job_state *state,
                       Greedylr__V1__JobState *out);

void convert_time(int64_t time_us, Google__Protobuf__Timestamp *out);

#endif
