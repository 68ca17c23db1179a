/* GreedyLR in the place of the model: the policy's own code, on a state of its own behind the learned one's
 * rates.
 *
 * Happy path: on trial it runs along from the first report, as a shadow does, and is dropped after it.
 * learned_hand_over starts it at the rates of now with the best loss so far, learned_greedy_take_over takes
 * the one that ran along, and every later report is a step of it, with the defaults of the greedylr dialect
 * within the bounds of the learned policy, under its ceiling.  It never gives back but by a rewind.
 * Failures: those of greedy_step. */
#include "core/learned.h"

#include "core/exact_math.h"
#include "core/greedy.h"

#include <math.h>
#include <string.h>

/* A spec for GreedyLR, made of what the learned one has; borrows from it and from itself. */
struct stand_in {
    struct job_spec spec;
    struct greedy_params params;
    double max_lr[GROUPS_MAX];
};

static void stand_in(const struct job_spec *spec, const struct learned_state *s, struct stand_in *out)
{
    const struct learned_params *p = spec->params;
    double most = s && !isinf(s->ceiling) ? exact_exp(s->ceiling) : INFINITY;

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double top = spec->lr.v[i] * most;

        if (top > p->max_lr.v[i]) top = p->max_lr.v[i];
        out->max_lr[i] = top < p->min_lr.v[i] ? p->min_lr.v[i] : top;
    }
    out->params = *greedy_defaults();
    out->params.min_lr = p->min_lr;
    out->params.max_lr = (struct f64_list){out->max_lr, spec->lr.n};
    out->spec = *spec;
    out->spec.policy = &policy_greedy;
    out->spec.params = &out->params;
    out->spec.shadows = NULL;
    out->spec.n_shadows = 0;
}

size_t learned_greedy_size(const struct job_spec *spec)
{
    struct greedy_params params = *greedy_defaults();
    struct job_spec of = *spec;

    of.params = &params;
    return greedy_state_size(&of);
}

void *learned_greedy_block(const struct job_spec *spec, struct learned_state *s)
{
    return s->data + spec->lr.n;
}

void learned_greedy_init(const struct job_spec *spec, struct learned_state *s)
{
    struct greedy_state *greedy = learned_greedy_block(spec, s);
    struct stand_in in;

    stand_in(spec, s, &in);
    memset(greedy, 0, learned_greedy_size(spec));
    greedy_init(&in.spec, greedy);
    memcpy(greedy->data, s->data, spec->lr.n * sizeof(double));
}

void learned_hand_over(const struct job_spec *spec, struct learned_state *s, enum learned_pilot why,
                       const struct policy_report *report)
{
    struct greedy_state *greedy = learned_greedy_block(spec, s);

    learned_greedy_init(spec, s);
    greedy->best = s->best;
    greedy->best_step = s->best_step;
    greedy->has_best_step = s->has_best_step;
    s->pilot = (uint8_t)why;
    s->handed_step = report->step;
}

int learned_greedy_step(const struct job_spec *spec, struct learned_state *s,
                        const struct policy_report *report, struct policy_outcome *out, struct error *err)
{
    struct greedy_state *greedy = learned_greedy_block(spec, s);
    struct stand_in in;

    stand_in(spec, s, &in);
    int rc = greedy_step(&in.spec, greedy, report, out, err);

    if (rc == ST_OK) greedy_rates(&in.spec, greedy, s->data);
    return rc;
}

int learned_greedy_along(const struct job_spec *spec, struct learned_state *s,
                         const struct policy_report *report, struct policy_outcome *out, struct error *err)
{
    struct stand_in in;

    stand_in(spec, s, &in);
    return greedy_step(&in.spec, learned_greedy_block(spec, s), report, out, err);
}

void learned_greedy_take_over(const struct job_spec *spec, struct learned_state *s, uint32_t step)
{
    struct greedy_state *greedy = learned_greedy_block(spec, s);
    struct stand_in in;

    stand_in(spec, s, &in);
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        if (greedy->data[i] > in.max_lr[i]) greedy->data[i] = in.max_lr[i];
        s->data[i] = greedy->data[i];
    }
    s->pilot = LEARNED_ASTRAY;
    s->handed_step = step;
}

void learned_greedy_set_rates(const struct job_spec *spec, struct learned_state *s, const double *lrs)
{
    struct stand_in in;

    stand_in(spec, s, &in);
    (void)!greedy_set_rates(&in.spec, learned_greedy_block(spec, s), lrs, NULL); /* it takes any */
}

void learned_greedy_view(const struct job_spec *spec, const struct learned_state *s, struct policy_view *view)
{
    struct stand_in in;

    stand_in(spec, s, &in);
    greedy_view(&in.spec, s->data + spec->lr.n, view);
}

void learned_greedy_update(const struct job_spec *old_spec, const struct learned_state *old,
                           const struct job_spec *new_spec, struct learned_state *s)
{
    struct stand_in from, to;

    stand_in(old_spec, old, &from);
    stand_in(new_spec, s, &to);
    greedy_update(&from.spec, old->data + old_spec->lr.n, &to.spec, learned_greedy_block(new_spec, s));
}

void learned_greedy_io(struct state_io *io, const struct job_spec *spec, struct learned_state *s)
{
    struct stand_in in;

    stand_in(spec, s, &in);
    greedy_io(io, &in.spec, learned_greedy_block(spec, s));
}
