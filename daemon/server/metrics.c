/* One table of cells, a run of them for each metric, and histograms beside it.  Nothing here can fail. */
#include "server/metrics_impl.h"

#include "core/job.h"
#include "core/policy.h"

#include <math.h>
#include <string.h>

_Static_assert(ST_COUNT <= LABELS_MAX, "every status has a cell");
_Static_assert(LIMIT_COUNT <= LABELS_MAX, "every limit has a cell");
_Static_assert(ACTION_COUNT <= LABELS_MAX, "every action has a cell");
_Static_assert(JOB_STATUS_COUNT <= LABELS_MAX, "every state has a cell");

struct metrics metrics = {.cells = {[METRIC_TLS_CERTIFICATE_EXPIRY] = {NAN}, [METRIC_RELOADED] = {1, 1}},
                          .routes = {"other"},
                          .n_routes = 1};

const char *const metrics_methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other", NULL};
_Static_assert(sizeof(metrics_methods) / sizeof(metrics_methods[0]) == METHODS + 1, "METHODS says how many");

#define BUCKETS(...)                                                                                         \
    {                                                                                                        \
        .n = sizeof((double[]){__VA_ARGS__}) / sizeof(double), .bounds = { __VA_ARGS__ }                     \
    }
static const struct buckets all_buckets[METRIC_COUNT] = {
    /* A commit is a sync, 0.1 ms to a stalling disk; most requests are a commit or less. */
    [METRIC_COMMIT_DURATION] =
        BUCKETS(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    [METRIC_HTTP_DURATION] =
        BUCKETS(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    [METRIC_HTTP_WAIT] = BUCKETS(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 3600),
    [METRIC_COMMIT_CHANGES] = BUCKETS(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    [METRIC_LOOP_LAG] = BUCKETS(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
};

const struct buckets *metrics_buckets(enum metric metric)
{
    return &all_buckets[metric];
}

void metrics_add(enum metric metric, int label, double n)
{
    if (label >= 0 && label < LABELS_MAX) metrics.cells[metric][label] += n;
}

void metrics_set(enum metric metric, int label, double value)
{
    if (label >= 0 && label < LABELS_MAX) metrics.cells[metric][label] = value;
}

static void observe(enum metric metric, struct histogram *histogram, double value)
{
    const struct buckets *buckets = &all_buckets[metric];
    size_t i = 0;

    while (i < buckets->n && value > buckets->bounds[i])
        i++;
    histogram->counts[i]++;
    histogram->sum += value;
}

void metrics_observe(enum metric metric, double value)
{
    observe(metric, &metrics.plain[metric], value);
}

void metrics_limit(enum limit limit)
{
    if (limit) metrics_add(METRIC_LIMITS, (int)limit, 1);
}

void metrics_refused(const struct error *err)
{
    metrics_add(METRIC_REFUSALS, (int)err->status, 1);
    metrics_limit(err->limit);
}

unsigned metrics_route(const char *name)
{
    for (unsigned i = 0; i < metrics.n_routes; i++) {
        if (!strcmp(metrics.routes[i], name)) return i;
    }
    if (metrics.n_routes == ROUTES_MAX) return 0;
    metrics.routes[metrics.n_routes] = name;
    return metrics.n_routes++;
}

static size_t method_index(const char *method)
{
    size_t i = 0;

    while (i < METHODS - 1 && strcmp(metrics_methods[i], method))
        i++;
    return i;
}

void metrics_http(const char *method, int status)
{
    if (status >= 0 && status < STATUS_MAX) metrics.requests[method_index(method)][status]++;
}

void metrics_answer(unsigned route, const char *method, double seconds)
{
    observe(METRIC_HTTP_DURATION, &metrics.answers[route][method_index(method)], seconds);
}

void metrics_wait(unsigned route, double seconds)
{
    observe(METRIC_HTTP_WAIT, &metrics.waits[route], seconds);
}
