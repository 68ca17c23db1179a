/* Schedules by report count: policies that take no notice of the values.
 *
 * The rate of a group after t reports is a formula of the settings, times a scale that is 1 until an operator
 * overrides the rate (SetLr): an override is a scale of all later rates.  Values are recorded and ignored,
 * NaN too.  An lr_cap limits the answer and nothing else.
 *
 * A schedule is a file of its own, schedule_NAME.c: a struct of parameters, their table and defaults, and the
 * formula.  What all have in common, the state above all, is here. */
#ifndef GREEDYLRD_CORE_SCHEDULE_H
#define GREEDYLRD_CORE_SCHEDULE_H

#include "core/policy.h"

#include <stddef.h>

struct schedule {
    /* Default parameters: a params struct, for params_fill; NULL: there are no parameters. */
    const void *defaults;
    /* Fills the rows whose default depends on others; or NULL. */
    void (*fill)(struct job_spec *spec);
    /* What ranges cannot say of the filled parameters; or NULL.  ST_FIELD_INVALID, as spec_resolve's. */
    int (*check)(const struct job_spec *spec, struct error *err);
    /* Rate of a group after t reports, without the scale; at least 0 and never NaN. */
    double (*rate)(const struct job_spec *spec, uint32_t group, uint32_t t);
    /* Reports after which its course is over, for reasons; NULL: it has no end. */
    uint64_t (*length)(const struct job_spec *spec);
};

/* The scale of a group is set / formula, kept as two numbers so that the rate that was set is hit exactly. */
struct schedule_state {
    uint32_t t; /* reports that counted: not those of a ramp or a pause */
    uint32_t reserved;
    double data[]; /* set [groups], then formula [groups]: both 1 before an override */
};

/* In the file of a schedule: its parameters are a `struct params`, their table is `rows`, the rest
 * `schedule`. */
#define SCHEDULE_ROW(field, kind, flags, lo, hi)                                                             \
    {                                                                                                        \
#field, kind, flags, offsetof(struct params, field), lo, hi, NULL                                    \
    }
#define SCHEDULE_WORD(field, words)                                                                          \
    {                                                                                                        \
#field, PARAM_WORD, 0, offsetof(struct params, field), 0, 0, words                                   \
    }
#define SCHEDULE_PARAMS                                                                                      \
    .params = rows, .n_params = sizeof(rows) / sizeof(rows[0]), .params_size = sizeof(struct params)

/* The members of a struct policy that all schedules have. */
#define SCHEDULE_COMMON                                                                                      \
    .schedule = &schedule, .resolve = schedule_resolve, .state_size = schedule_state_size,                   \
    .init = schedule_init, .step = schedule_step, .rates = schedule_rates, .set_rates = schedule_set_rates,  \
    .view = schedule_view, .update = schedule_update, .io = schedule_io

int schedule_resolve(struct job_spec *spec, struct error *err) WARN_UNUSED;
size_t schedule_state_size(const struct job_spec *spec);
void schedule_init(const struct job_spec *spec, void *state);
int schedule_step(const struct job_spec *spec, void *state, const struct policy_report *report,
                  struct policy_outcome *out, struct error *err) WARN_UNUSED;
void schedule_rates(const struct job_spec *spec, const void *state, double *lrs);
/* Refused where the formula gives 0, which no scale moves. */
int schedule_set_rates(const struct job_spec *spec, void *state, const double *lrs,
                       struct error *err) WARN_UNUSED;
void schedule_view(const struct job_spec *spec, const void *state, struct policy_view *view);
/* Keeps t and the scales. */
void schedule_update(const struct job_spec *old_spec, const void *old_state, const struct job_spec *new_spec,
                     void *new_state);
void schedule_io(struct state_io *io, const struct job_spec *spec, void *state);

/* ---- what several formulas are made of ---- */

/* 1 at progress 0, down to 0 at 1 and back up to 1 at 2. */
double schedule_cosine(double progress);
/* to + (from - to) * share, at most `from`: exactly `from` at share 1, `to` at 0. */
double schedule_blend(double from, double to, double share);
/* t / n, at most 1; 1 where n is 0. */
double schedule_progress(uint32_t t, uint32_t n);
/* Part of the way from report `warmup` to report `total`: 0 at the one, 1 at the other, more after that.  t
 * is not below warmup.  Where they are one and the same, 0, and 1 from the next on. */
double schedule_progress_after(uint32_t warmup, uint32_t total, uint32_t t);
/* For a check: num_training_steps is not below num_warmup_steps. */
int schedule_check_total(const struct job_spec *spec, uint32_t warmup, uint32_t total,
                         struct error *err) WARN_UNUSED;

#endif
