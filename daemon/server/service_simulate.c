/* Simulate: what would be decided, computed by the pool; stores nothing. */
#include "server/service_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct simulation {
    struct offload base;
    struct job_spec *spec;
    struct job_decision *decisions; /* [n] */
    double **held;                  /* [n]: what they borrow */
    double *initial;                /* [groups] */
    size_t n;
};

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
        s->held[i] = decision_hold(&s->decisions[i]);
        if (!s->held[i]) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        s->n++;
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
    s->held = calloc(request->n_losses + 1, sizeof(*s->held));
    s->decisions = calloc(request->n_losses + 1, sizeof(*s->decisions));
    if (now && next && s->initial && s->held && s->decisions) {
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
    size_t made = 0;

    if (messages && list) {
        while (made < s->n &&
               !convert_decision(&s->decisions[made], NULL, &messages[made], &unused, &o->err)) {
            list[made] = &messages[made];
            made++;
        }
    }
    if (messages && list && made == s->n) {
        response.initial_lrs = s->initial;
        response.n_initial_lrs = s->spec->lr.n;
        response.decisions = list;
        response.n_decisions = s->n;
        offload_answer(o, &response.base);
    } else {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
    }
    while (made)
        convert_decision_clear(&messages[--made]);
    free(list);
    free(messages);
}

static void clear(struct offload *o)
{
    struct simulation *s = (struct simulation *)(void *)o;

    for (size_t i = 0; i < s->n; i++)
        free(s->held[i]);
    free(s->held);
    free(s->decisions);
    free(s->initial);
    spec_free(s->spec);
}

static const struct offload_kind simulate = {
    .lane = LANE_SIMULATIONS, .run = run, .answer = answer, .clear = clear};

static int check(const struct service *service, const Greedylr__V1__SimulateRequest *request,
                 struct error *err)
{
    const struct service_options *options = &service->options;

    if (!request->spec) return error_set(err, ST_FIELD_REQUIRED, "spec: is required, with at least lr");
    if (request->n_losses > options->batch_entries)
        return error_limit(err, LIMIT_BATCH_ENTRIES, ST_FIELD_INVALID,
                           "losses: must be at most %u, got %zu; send fewer, or raise --max-batch-entries",
                           options->batch_entries, request->n_losses);
    size_t rates = request->spec->n_lr * (1 + request->spec->n_shadow); /* of a decision */

    if (rates && request->n_losses > options->simulated_rates / rates) {
        char shadows[40] = "";
        if (request->spec->n_shadow)
            snprintf(shadows, sizeof(shadows), " and %zu shadow%s", request->spec->n_shadow,
                     request->spec->n_shadow > 1 ? "s" : "");
        return error_limit(
            err, LIMIT_SIMULATED_RATES, ST_FIELD_INVALID,
            "losses: must be at most %zu for %zu groups%s, got %zu; simulate fewer groups%s or losses, "
            "or raise --max-simulated-rates",
            options->simulated_rates / rates, request->spec->n_lr, shadows, request->n_losses,
            *shadows ? ", shadows" : "");
    }
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
