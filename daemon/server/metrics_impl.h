/* What is counted, for those who print it. */
#ifndef GREEDYLRD_SERVER_METRICS_IMPL_H
#define GREEDYLRD_SERVER_METRICS_IMPL_H

#include "server/metrics.h"

#include <stddef.h>

#define LABELS_MAX  96 /* values of a metric's one label */
#define ROUTES_MAX  48
#define BUCKETS_MAX 16
#define STATUS_MAX  600

/* Upper bounds of the buckets, ascending; one more bucket is behind the last. */
struct buckets {
    size_t n;
    double bounds[BUCKETS_MAX];
};
const struct buckets *metrics_buckets(enum metric metric);

struct histogram {
    uint64_t counts[BUCKETS_MAX + 1];
    double sum;
};

extern const char *const metrics_methods[]; /* NULL at the end */
#define METHODS 7

extern struct metrics {
    double cells[METRIC_COUNT][LABELS_MAX];
    uint64_t requests[METHODS][STATUS_MAX]; /* HTTP_REQUESTS */
    struct histogram plain[METRIC_COUNT];   /* those without labels */
    const char *routes[ROUTES_MAX];
    unsigned n_routes;
    struct histogram answers[ROUTES_MAX][METHODS]; /* HTTP_DURATION */
    struct histogram waits[ROUTES_MAX];            /* HTTP_WAIT */
} metrics;

#endif
