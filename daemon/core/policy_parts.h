/* What several policies are made of: comparing with the best value, bounds per group, caps, reasons. */
#ifndef GREEDYLRD_CORE_POLICY_PARTS_H
#define GREEDYLRD_CORE_POLICY_PARTS_H

#include "core/params.h"
#include "core/policy.h"
#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

enum best_mode { MODE_MIN, MODE_MAX };
extern const char *const mode_words[]; /* "min", "max", NULL */
enum threshold_mode { THRESHOLD_REL, THRESHOLD_ABS };
extern const char *const threshold_mode_words[]; /* "rel", "abs", NULL */

/* Whether x is better than best as PyTorch has it: a NaN on either side is not. */
bool policy_is_better(enum best_mode mode, enum threshold_mode threshold_mode, double threshold, double x,
                      double best);
/* What the best value is before the first: +inf (min) or -inf (max). */
double policy_best_at_start(enum best_mode mode);

/* What was compared, for a reason: "worse than best 1.8 (step 400)".  best as it was before; best_step NULL:
 * not known. */
void policy_say_compared(struct policy_outcome *out, enum best_mode mode, double value, double compared,
                         bool better, double best, const uint32_t *best_step);

/* Appends to the reason; what does not fit is cut. */
void policy_say(struct policy_outcome *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Makes a list of one value a list for every group.  ST_FIELD_INVALID naming "policy.name", ST_OUT_OF_MEMORY.
 */
int policy_broadcast(const char *policy, const char *name, struct f64_list *list, uint32_t groups,
                     struct error *err) WARN_UNUSED;

/* Refuses a rate that must be "above 0 and at most" or the like the initial rate of its group:
 * ST_FIELD_INVALID, "greedy.max_lr[1]: must be finite and at least lr[1] 0.1, got 0.05". */
int policy_refuse_rate(const struct job_spec *spec, const char *name, uint32_t group, const char *allowed,
                       double got, struct error *err);

/* What a resolve does with every row of the table: params_fill, and then each F64_LIST is one for every
 * group, as policy_broadcast makes it.  Errors: theirs, naming "policy.name". */
int policy_fill(struct job_spec *spec, const void *defaults, struct error *err) WARN_UNUSED;

/* Every rate at or below its bound; at or above it. */
bool policy_all_at_or_below(const double *lrs, const struct f64_list *bounds);
bool policy_all_at_or_above(const double *lrs, const struct f64_list *bounds);

/* Cuts: new = max(lr * factor, its bound), made where it lowers the rate by more than eps. */
void policy_lower(double *lrs, double factor, const struct f64_list *bounds, double eps);

/* Lowers what is above cap; whether anything was. */
bool policy_clamp_to_cap(double *lrs, uint32_t groups, double cap);

#endif
