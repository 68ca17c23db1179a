/* The metrics as text: Prometheus' own format or OpenMetrics. */
#ifndef GREEDYLRD_SERVER_METRICS_PRINT_H
#define GREEDYLRD_SERVER_METRICS_PRINT_H

#include "rpc/buf.h"
#include "server/metrics.h"

struct exposition {
    struct buf *out;
    bool openmetrics;
};

/* The content types of the two, and which of them an Accept header (NULL: none) likes better; where it has no
 * opinion, Prometheus' own. */
const char *metrics_content_type(bool openmetrics);
bool metrics_wants_openmetrics(const char *accept);

/* HELP, TYPE and UNIT of a metric, before its samples. */
void metrics_head(const struct exposition *e, enum metric metric);
/* A sample of it; labels: as metrics_label writes them, separated by commas, or "". */
void metrics_sample(const struct exposition *e, enum metric metric, const char *labels, double value);
/* name="value", with what a label's value may not have escaped; cut where it does not fit. */
void metrics_label(char *out, size_t size, const char *name, const char *value);

/* Everything that is counted for all jobs, and process_*, which is read from /proc/self. */
void metrics_print(const struct exposition *e);
/* Behind the last metric. */
void metrics_end(const struct exposition *e);

/* Sets what is said of the process (metrics_process.c). */
void metrics_look_at_process(void);

#endif
