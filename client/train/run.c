/* One run.
 *
 * Happy path: `steps` of SGD, a report with the noise and the offset of the problem, the schedule's next
 * rate, until all reports are made.  A loss that is not finite or beyond 100 times the first ends the run as
 * diverged; the reports that are missing count with that. */
#include "train/run.h"

#include "core/exact_math.h"
#include "core/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIVERGED  100.0 /* first losses */
#define LOG_FLOOR (-12.0)

/* A run on its way. */
struct running {
    const struct problem *p;
    const struct schedule *schedule;
    double x[DIM_MAX], g[DIM_MAX], before[DIM_MAX], each[DIM_MAX];
    double lr, first;
    uint64_t step; /* of SGD */
    bool has_before;
    struct job_spec *spec; /* BY_POLICY and BY_WEIGHTS */
    struct job_spec own;   /* of BY_WEIGHTS, with what it borrows */
    struct learned_params params;
    double initial, min_lr, max_lr, feature_lo[LEARNED_FEATURES], feature_hi[LEARNED_FEATURES];
    double room[200 + WINDOW_MAX];
    double *lo, *hi;
    double noise;
};

/* ---- settings ---- */

/* "T" is the number of reports, "T*0.3" a part of it, "E" the factor that makes a hundredth of it all. */
static double number(const char *text, double reports)
{
    if (text[0] == 'T') return ceil(reports * (text[1] == '*' ? strtod(text + 2, NULL) : 1));
    return text[0] == 'E' ? pow(0.01, 1 / reports) : strtod(text, NULL);
}

static bool set_row(struct job_spec *spec, const char *name, const char *text, double reports)
{
    int row = param_find(spec->policy->params, spec->policy->n_params, name);
    double v = number(text, reports);
    struct param_value value = {.f64 = v, .u32 = (uint32_t)v, .word = text, .list = &v, .n = 1};

    if (row < 0) return false;
    value.kind = spec->policy->params[row].kind;
    value.boolean = strcmp(text, "true") == 0;
    if (value.kind == PARAM_F64_LIST) v *= spec->lr.v[0]; /* bounds are given in initial rates */
    return spec_set_param(spec, (size_t)row, &value, NULL) == ST_OK;
}

static struct job_spec *spec_for(const struct schedule *schedule, double lr, double reports, bool known)
{
    struct job_spec *spec = spec_new(policy_find(schedule->policy));
    char settings[256], *save = NULL;
    struct error err;

    if (!spec || f64_list_set(&spec->lr, &lr, 1)) abort();
    spec->learned = schedule->model;
    snprintf(settings, sizeof(settings), "%s", schedule->settings ? schedule->settings : "");
    for (char *word = strtok_r(settings, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *equals = strchr(word, '=');

        *equals = '\0';
        /* Only the learned policy is ever not told; the others would not exist without. */
        if (!known && strcmp(word, "total_reports") == 0) continue;
        if (!set_row(spec, word, equals + 1, reports)) {
            fprintf(stderr, "greedylr-train: %s: no such setting: %s\n", schedule->policy, word);
            abort();
        }
    }
    if (spec_resolve(spec, &err)) {
        fprintf(stderr, "greedylr-train: %s: %s\n", schedule->policy, err.message);
        abort();
    }
    return spec;
}

/* The learned policy in memory of our own, without an envelope; begin() takes the watch off. */
static void borrow_spec(struct running *r, const struct learned_model *model)
{
    for (int i = 0; i < LEARNED_FEATURES; i++) {
        r->feature_lo[i] = -1e6;
        r->feature_hi[i] = 1e6;
    }
    r->initial = r->lr;
    r->min_lr = r->lr * 1e-4;
    r->max_lr = r->lr * 1e3;
    r->params = (struct learned_params){
        .total_reports = r->p->known ? r->p->reports : 0,
        .feature_set = LEARNED_FEATURE_SET,
        .up = model->up,
        .down = model->down,
        .min_lr = {&r->min_lr, 1},
        .max_lr = {&r->max_lr, 1},
        .weights = {(double *)(uintptr_t)model->weights, LEARNED_WEIGHTS},
        .feature_lo = {r->feature_lo, LEARNED_FEATURES},
        .feature_hi = {r->feature_hi, LEARNED_FEATURES},
    };
    r->own = (struct job_spec){.lr = {&r->initial, 1}, .policy = &policy_learned, .params = &r->params};
    r->spec = &r->own;
}

static void begin(struct running *r)
{
    const struct schedule *schedule = r->schedule;

    r->lr = schedule->factor < 0 ? -schedule->factor * r->p->reference
                                 : r->p->lr * (schedule->factor > 0 ? schedule->factor : 1);
    if (schedule->kind == BY_POLICY)
        r->spec = spec_for(schedule, r->lr, r->p->reports, r->p->known);
    else if (schedule->kind == BY_WEIGHTS)
        borrow_spec(r, schedule->model);
    if (r->spec) {
        if (r->spec->policy->state_size(r->spec) > sizeof(r->room)) abort();
        r->spec->policy->init(r->spec, r->room);
        if (schedule->kind == BY_WEIGHTS) ((struct learned_state *)(void *)r->room)->pilot = LEARNED_FLIES;
    }
    for (size_t i = 0; i < r->p->dim; i++)
        r->each[i] = r->lr;
}

/* ---- steps ---- */

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Multiplicative, so that its own rate has no unit: Baydin et al., Online learning rate adaptation with
 * hypergradient descent, arXiv 1703.04782. */
static void adapt(struct running *r)
{
    size_t n = r->p->dim;

    if (r->has_before && r->schedule->kind == HYPERGRADIENT) {
        double size = sqrt(dot(r->g, r->g, n) * dot(r->before, r->before, n));

        if (size > 0) r->lr *= 1 + r->schedule->rate * dot(r->g, r->before, n) / size;
    }
    for (size_t i = 0; r->has_before && r->schedule->kind == HYPERGRADIENT_EACH && i < n; i++) {
        double by = r->g[i] * r->before[i];

        r->each[i] *= 1 + r->schedule->rate * (by > 0 ? 1 : by < 0 ? -1 : 0);
    }
    memcpy(r->before, r->g, n * sizeof(double));
    r->has_before = true;
}

/* Vaswani et al., Painless stochastic gradient, arXiv 1905.09997: starts at twice the last rate. */
static void search(struct running *r, uint64_t seed, double value)
{
    double square = dot(r->g, r->g, r->p->dim), trial[DIM_MAX];

    r->lr = fmin(2 * r->lr, r->p->lr * 1e3);
    for (int tries = 0; tries < 30; tries++) {
        for (size_t i = 0; i < r->p->dim; i++)
            trial[i] = r->x[i] - r->lr * r->g[i];
        if (r->p->class->project) r->p->class->project(r->p, trial);
        if (r->p->class->batch(r->p, trial, seed, NULL) <= value - 0.1 * r->lr * square) return;
        r->lr /= 2;
    }
}

static void sgd(struct running *r)
{
    const struct problem *p = r->p;

    for (uint32_t k = 0; k < p->steps; k++) {
        uint64_t seed = 100 + r->step++;
        double value = p->class->batch(p, r->x, seed, r->g);

        if (r->schedule->kind == HYPERGRADIENT || r->schedule->kind == HYPERGRADIENT_EACH) adapt(r);
        if (r->schedule->kind == ARMIJO) search(r, seed, value);
        for (size_t i = 0; i < p->dim; i++)
            r->x[i] -= (r->schedule->kind == HYPERGRADIENT_EACH ? r->each[i] : r->lr) * r->g[i];
        if (p->class->project) p->class->project(p, r->x);
    }
}

/* ---- reports ---- */

static void widen(struct running *r, const struct learned_move *move)
{
    for (int i = 0; r->lo && i < LEARNED_FEATURES; i++) {
        r->lo[i] = fmin(r->lo[i], move->features[i]);
        r->hi[i] = fmax(r->hi[i], move->features[i]);
    }
}

static void decide(struct running *r, const struct policy_report *report)
{
    struct policy_outcome out;
    struct learned_state *s = (void *)r->room;
    struct learned_move move;

    if (r->schedule->kind == BY_POLICY) {
        (void)!r->spec->policy->step(r->spec, r->room, report, &out, NULL);
        r->spec->policy->rates(r->spec, r->room, &r->lr);
        if (r->lr > report->lr_cap) r->lr = report->lr_cap;
        return;
    }
    if (s->pilot != LEARNED_FLIES) {
        (void)!learned_greedy_step(r->spec, s, report, &out, NULL);
    } else {
        learned_move(r->spec, s, report, &move);
        if (s->data[0] > report->lr_cap) s->data[0] = report->lr_cap;
        widen(r, &move);
        r->noise += s->noise;
    }
    r->lr = s->data[0];
}

static void report(struct running *r, uint32_t t, double loss)
{
    const struct problem *p = r->p;
    struct rng rng = rng_of(p->seed, 90000 + t);
    double factor = 1 + p->noise * rng_normal(&rng);
    struct policy_report said = {
        .value = (loss + p->offset * r->first) * fmax(factor, 0.05), .step = t + 1, .lr_cap = INFINITY};

    if (r->schedule->capped && p->class->cap) said.lr_cap = p->class->cap(p, r->x);
    if (r->spec) decide(r, &said);
}

static double log_loss(double loss, double first)
{
    double v = log(loss / first);

    return v > LOG_FLOOR ? v : LOG_FLOOR;
}

struct result run_schedule(const struct problem *p, const struct schedule *schedule, double *lo, double *hi)
{
    struct running *r = calloc(1, sizeof(*r));
    struct result result = {0};
    uint32_t t = 0;
    double sum = 0, last = 0;

    if (!r) abort();
    r->p = p;
    r->schedule = schedule;
    r->lo = lo;
    r->hi = hi;
    p->class->start(p, r->x);
    r->first = p->class->loss(p, r->x);
    begin(r);
    for (; t < p->reports; t++) {
        sgd(r);
        double loss = p->class->loss(p, r->x);

        if (!isfinite(loss) || loss > DIVERGED * r->first) {
            result.diverged = true;
            break;
        }
        sum += last = log_loss(loss, r->first);
        report(r, t, loss);
    }
    if (result.diverged) last = log(DIVERGED);
    sum += (p->reports - t) * last;
    result.j = sum / p->reports / 2 + last / 2;
    result.final = last;
    result.noise = r->noise / p->reports;
    if (schedule->kind == BY_POLICY) spec_free(r->spec);
    free(r);
    return result;
}
