/* Simulate: what would be decided, computed by the pool; stores nothing. */
#include "server/service_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct simulation {
    struct offload base;
    struct job_spec *spec;
    struct job_decision *decisions; /* [n]; their lrs are in lrs */
    double *initial, *lrs;          /* [groups], [n * groups] */
    size_t n;
};

static void keep(struct simulation *s, struct job_decision *decision)
{
    double *lrs = s->lrs + s->n * s->spec->lr.n;

    memcpy(lrs, decision->lrs, s->spec->lr.n * sizeof(double));
    decision->lrs = lrs;
    s->n++;
}

static int simulate_losses(struct simulation *s, const Greedylr__V1__SimulateRequest *request,
                           struct job_state *now, struct job_state *next, struct error *err)
{
    for (size_t i = 0; i < request->n_losses && !offload_unwanted(&s->base); i++) {
        struct job_event event = {.kind = EVENT_REPORT};
        event.report.value = request->losses[i];
        event.report.lr_cap = INFINITY;
        event.report.applied_lr = NAN;

        if (job_step(s->spec, now, &event, next, &s->decisions[i], err))
            return error_wrap(err, "losses[%zu]", i);
        keep(s, &s->decisions[i]);
        struct job_state *swap = now;
        now = next;
        next = swap;
    }
    return 0;
}

static void run(struct offload *o)
{
    struct simulation *s = (struct simulation *)(void *)o;
    const Greedylr__V1__SimulateRequest *request = (const void *)o->call->request;
    struct job_state *now, *next;

    if (convert_spec(request->spec, &s->spec, &o->err)) return;
    size_t rates = s->spec->lr.n;
    now = calloc(1, job_state_size(s->spec));
    next = calloc(1, job_state_size(s->spec));
    s->initial = malloc(rates * sizeof(double));
    s->lrs = calloc(request->n_losses + 1, rates * sizeof(double));
    s->decisions = calloc(request->n_losses + 1, sizeof(*s->decisions));
    if (now && next && s->initial && s->lrs && s->decisions) {
        job_init(s->spec, now);
        memcpy(s->initial, job_lrs(now), rates * sizeof(double));
        (void)!simulate_losses(s, request, now, next, &o->err);
    } else {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
    }
    free(now);
    free(next);
}

static void answer(struct offload *o)
{
    struct simulation *s = (struct simulation *)(void *)o;
    Greedylr__V1__SimulateResponse response = GREEDYLR__V1__SIMULATE_RESPONSE__INIT;
    decision_message *messages = calloc(s->n + 1, sizeof(*messages));
    decision_message **list = calloc(s->n + 1, sizeof(*list));
    Google__Protobuf__Timestamp unused;

    if (messages && list) {
        for (size_t i = 0; i < s->n; i++) {
            convert_decision(&s->decisions[i], NULL, &messages[i], &unused);
            list[i] = &messages[i];
        }
        response.initial_lrs = s->initial;
        response.n_initial_lrs = s->spec->lr.n;
        response.decisions = list;
        response.n_decisions = s->n;
        offload_answer(o, &response.base);
    } else {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
    }
    free(list);
    free(messages);
}

static void clear(struct offload *o)
{
    struct simulation *s = (struct simulation *)(void *)o;

    free(s->decisions);
    free(s->lrs);
    free(s->initial);
    spec_free(s->spec);
}

static const struct offload_kind simulate = {.simulates = true, .run = run, .answer = answer, .clear = clear};

static int check(const struct service *service, const Greedylr__V1__SimulateRequest *request,
                 struct error *err)
{
    const struct service_options *options = &service->options;

    if (!request->spec) return error_set(err, ST_FIELD_REQUIRED, "spec: is required, with at least lr");
    if (request->n_losses > options->batch_entries)
        return error_set(err, ST_FIELD_INVALID, "losses: must be at most %u, got %zu", options->batch_entries,
                         request->n_losses);
    if (request->spec->n_lr && request->n_losses > options->simulated_rates / request->spec->n_lr)
        return error_set(
            err, ST_FIELD_INVALID,
            "losses: must be at most %u for %zu groups, got %zu; simulate fewer groups or losses "
            "(--max-simulated-rates)",
            options->simulated_rates / (uint32_t)request->spec->n_lr, request->spec->n_lr, request->n_losses);
    return 0;
}

void handle_simulate(struct service *service, struct call *call)
{
    struct error err;

    if (check(service, (const void *)call->request, &err)) {
        call_fail(call, &err);
        return;
    }
    offload_start(service, call, &simulate, calloc(1, sizeof(struct simulation)));
}
