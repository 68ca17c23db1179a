/* ReduceLROnPlateau: the policy "plateau", bit-identical to PyTorch's.
 *
 * The rate is multiplied by `factor` after more than `patience` values in a row that were not better than the
 * best; in the `cooldown` reports after a cut such values do not count.
 *
 * The structs are open for the files of this policy and for tests; nothing else looks inside. */
#ifndef GREEDYLRD_CORE_PLATEAU_H
#define GREEDYLRD_CORE_PLATEAU_H

#include "core/policy.h"
#include "core/policy_parts.h"

struct plateau_params {
    double factor, threshold, eps;
    struct f64_list min_lr;
    uint32_t patience, cooldown;
    uint8_t mode, threshold_mode;
};

struct plateau_state {
    double best; /* starts at +inf (min) or -inf (max) */
    uint32_t best_step, num_bad, cooldown_left;
    uint8_t has_best_step, plateaued, reserved[2];
    double lrs[]; /* [groups] */
};

extern const struct policy policy_plateau;

/* plateau_spec.c: the parameters. */
#define PLATEAU_PARAMS 8
extern const struct param_def plateau_param_defs[PLATEAU_PARAMS];
int plateau_resolve(struct job_spec *spec, struct error *err) WARN_UNUSED;

/* plateau_state.c: the state, apart from stepping. */
size_t plateau_state_size(const struct job_spec *spec);
void plateau_init(const struct job_spec *spec, void *state);
void plateau_rates(const struct job_spec *spec, const void *state, double *lrs);
int plateau_set_rates(const struct job_spec *spec, void *state, const double *lrs,
                      struct error *err) WARN_UNUSED;
void plateau_view(const struct job_spec *spec, const void *state, struct policy_view *view);
void plateau_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                    void *new_state);
void plateau_io(struct state_io *io, const struct job_spec *spec, void *state);
/* Every rate at (or below) its min_lr. */
bool plateau_at_min(const struct job_spec *spec, const double *lrs);

/* plateau_dict.c: its state_dict in PyTorch. */
extern const struct scheduler_form plateau_form;

/* plateau.c: one report.  Cannot fail. */
int plateau_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                 struct policy_outcome *out, struct error *err) WARN_UNUSED;

#endif
