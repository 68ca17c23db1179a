/* Counters, gauges and histograms, printed as Prometheus text.  Loop thread only. */
#ifndef GREEDYLRD_SERVER_METRICS_H
#define GREEDYLRD_SERVER_METRICS_H

#include "core/status.h"
#include "rpc/buf.h"

#include <stdint.h>

/* name after "greedylrd_", type, label name or NULL, help */
#define METRICS(X)                                                                                           \
    X(REPORTS, "reports_total", "counter", "result",                                                         \
      "Reports by their answer: decided, duplicate, refused, or waiting: left with their round.")            \
    X(DECISIONS, "decisions_total", "counter", "action", "Durable decisions by action.")                     \
    X(STEP_CONFLICTS, "step_conflicts_total", "counter", NULL,                                               \
      "Reports of a decided step with another value: ranks or retries that disagree.")                       \
    X(APPLIED_MISMATCH, "applied_mismatch_total", "counter", NULL,                                           \
      "Reports whose applied_lr was not the rate decided before.")                                           \
    X(COMMITS, "commits_total", "counter", NULL, "Synced commits.")                                          \
    X(COMMIT_CHANGES, "commit_changes_total", "counter", NULL,                                               \
      "Changes in all commits; divided by commits_total, the mean batch.")                                   \
    X(REFUSALS, "refusals_total", "counter", "reason", "Requests refused, by the error's reason.")           \
    X(LIMITS, "limit_refusals_total", "counter", "limit", "What met a limit, by the flag that sets it.")     \
    X(EVICTED, "connections_evicted_total", "counter", NULL,                                                 \
      "Idle and slow connections that made room for others.")                                                \
    X(CONNECTIONS_ACCEPTED, "connections_accepted_total", "counter", NULL, "Connections taken.")             \
    X(DEADLINES, "connection_deadlines_total", "counter", NULL, "Connections shut down at a deadline.")      \
    X(PEERS_GONE, "peers_gone_total", "counter", NULL, "Peers that left while an answer was outstanding.")   \
    X(TLS_HANDSHAKES_FAILED, "tls_handshakes_failed_total", "counter", NULL,                                 \
      "Connections that ended before their TLS handshake did.")                                              \
    X(LOG_DROPPED, "log_dropped_total", "counter", NULL, "Log lines that standard error had no room for.")   \
    X(CONNECTIONS, "connections", "gauge", NULL, "Open connections.")                                        \
    X(IN_FLIGHT, "requests_in_flight", "gauge", NULL, "Requests being read or answered, without watchers.")  \
    X(WATCHERS, "watchers", "gauge", NULL, "Streams of decisions that are open.")                            \
    X(JOBS, "jobs", "gauge", NULL, "Jobs in the store.")                                                     \
    X(RESIDENT_JOBS, "resident_jobs", "gauge", NULL, "Jobs held in memory.")                                 \
    X(UNFOLDED_BYTES, "unfolded_bytes", "gauge", NULL,                                                       \
      "Memory of changes that are queued, or not folded into the history yet.")                              \
    X(SHEDDING, "shedding", "gauge", NULL, "1 while new load is refused: --max-memory is exceeded.")         \
    X(STORE_BYTES, "store_bytes", "gauge", NULL, "Size of the database and its log.")                        \
    X(STORE_WRITABLE, "store_writable", "gauge", NULL, "1 if writes are taken, 0 if the disk is full.")      \
    X(TLS_CERTIFICATE_EXPIRY, "tls_certificate_expiry_seconds", "gauge", NULL,                               \
      "When the TLS certificate in use expires, in seconds since 1970; absent without TLS.")

enum metric {
#define X(name, text, type, label, help) METRIC_##name,
    METRICS(X)
#undef X
        METRIC_COUNT
};

/* Label of METRIC_REPORTS. */
enum report_result {
    REPORT_RESULT_DECIDED,
    REPORT_RESULT_WAITING,
    REPORT_RESULT_DUPLICATE,
    REPORT_RESULT_REFUSED,
    REPORT_RESULT_COUNT
};

/* label: enum report_result, enum action, enum status or enum limit, as the metric says; 0 for those without.
 */
void metrics_add(enum metric metric, int label, double n);
void metrics_set(enum metric metric, double value); /* of those without a label */

void metrics_commit(size_t changes, double seconds);
void metrics_limit(enum limit limit);
/* The error of a refused request: its reason, and the limit that was met. */
void metrics_refused(const struct error *err);
void metrics_http(const char *method, int status);

/* Everything, with build_info and process_*; also reads /proc/self. */
void metrics_print(struct buf *out);

#endif
