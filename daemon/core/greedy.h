/* GreedyLR: the policy "greedy".
 *
 * Subramanian, Krishnamoorthy, Murthy, "Dynamic Learning Rate Scheduling based on Loss Changes Leads to
 * Faster Convergence", arXiv 2512.14527.  The rate is divided by `factor` after more than `patience` better
 * values in a row and multiplied by it after more than `patience` worse ones.  Two dialects: greedylr, the
 * article made safe, and transformers, bit-identical to the scheduler in Hugging Face Transformers.
 *
 * The structs are open for the files of this policy and for tests; nothing else looks inside. */
#ifndef GREEDYLRD_CORE_GREEDY_H
#define GREEDYLRD_CORE_GREEDY_H

#include "core/policy.h"
#include "core/policy_parts.h"
#include "core/smooth.h"

enum greedy_dialect { GREEDY_GREEDYLR, GREEDY_TRANSFORMERS };
enum greedy_stage_mode {
    GREEDY_CONTINUE, /* each report of a stage raises or cuts once more */
    GREEDY_HOLD,     /* nothing is compared, the rate rests */
    GREEDY_IGNORE,   /* comparing goes on, the counter of the other direction rests */
};
enum greedy_smoothing { GREEDY_MEAN, GREEDY_MEDIAN, GREEDY_EMA };

struct greedy_params {
    double factor, threshold, eps;
    double guard_ratio; /* above 1; 0: no guard */
    double guard_factor;
    struct f64_list min_lr, max_lr;
    uint32_t patience, cooldown, warmup, window_size, reset_start;
    uint8_t dialect, mode, threshold_mode, stage_mode, smoothing;
    bool smooth;
};

struct greedy_state {
    double best; /* starts at +inf (min) or -inf (max) */
    uint32_t best_step, num_good, num_bad, stage_left;
    int32_t resets_left; /* cuts at the floor before a reset; of no meaning where resets are off */
    uint8_t stage;       /* enum stage; STAGE_NONE if and only if stage_left is 0 */
    uint8_t has_best_step, plateaued, reserved;
    double data[]; /* rates [groups], then a struct smooth */
};

extern const struct policy policy_greedy;

/* greedy_spec.c: the parameters. */
#define GREEDY_PARAMS 18
extern const struct param_def greedy_param_defs[GREEDY_PARAMS];
int greedy_resolve(struct job_spec *spec, struct error *err) WARN_UNUSED;
/* The defaults of the greedylr dialect, without the bounds, which follow from the rates. */
const struct greedy_params *greedy_defaults(void);
struct smooth_config greedy_smooth_config(const struct job_spec *spec);
/* Whether cuts at the floor lead to a reset: always in the transformers dialect. */
bool greedy_resets(const struct greedy_params *p);

/* greedy_state.c: the state, apart from stepping. */
size_t greedy_state_size(const struct job_spec *spec);
void greedy_init(const struct job_spec *spec, void *state);
void greedy_rates(const struct job_spec *spec, const void *state, double *lrs);
int greedy_set_rates(const struct job_spec *spec, void *state, const double *lrs,
                     struct error *err) WARN_UNUSED;
void greedy_view(const struct job_spec *spec, const void *state, struct policy_view *view);
void greedy_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                   void *new_state);
void greedy_io(struct state_io *io, const struct job_spec *spec, void *state);
/* Back to the state before the first report. */
void greedy_start_over(const struct job_spec *spec, struct greedy_state *s);
struct smooth *greedy_smooth(const struct job_spec *spec, struct greedy_state *s);
/* Every rate at (or below) its min_lr; at (or above) its max_lr. */
bool greedy_at_min(const struct job_spec *spec, const double *lrs);
bool greedy_at_max(const struct job_spec *spec, const double *lrs);

/* greedy_dict.c: its state_dict in Transformers. */
extern const struct scheduler_form greedy_form;

/* greedy.c: one report. */
int greedy_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                struct policy_outcome *out, struct error *err) WARN_UNUSED;

#endif
