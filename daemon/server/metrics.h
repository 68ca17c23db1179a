/* Counters, gauges and histograms.  Loop thread only.
 *
 * Names follow Prometheus: base units, counters end in _total, times of the clock in _timestamp_seconds. What
 * is here is kept as things happen, so that reading it costs the same however many jobs there are. */
#ifndef GREEDYLRD_SERVER_METRICS_H
#define GREEDYLRD_SERVER_METRICS_H

#include "core/status.h"

#include <stdint.h>

/* Enumerator, name, type, labels (NULL: none), help.  proto/PROTOCOL.md has the same table. */
#define METRICS(X)                                                                                           \
    X(BUILD, "greedylrd_build_info", "info", "version", "Always 1; the version is a label.")                 \
    X(JOBS, "greedylrd_jobs", "gauge", "state", "Jobs in the store, by state.")                              \
    X(RESIDENT_JOBS, "greedylrd_resident_jobs", "gauge", NULL, "Jobs held in memory.")                       \
    X(REPORTS, "greedylrd_reports_total", "counter", "result",                                               \
      "Reports by their answer: decided, duplicate, refused, or waiting: left with their round.")            \
    X(NONFINITE, "greedylrd_nonfinite_reports_total", "counter", NULL,                                       \
      "Reports whose value was NaN or infinite, refused ones too.")                                          \
    X(STEP_CONFLICTS, "greedylrd_step_conflicts_total", "counter", NULL,                                     \
      "Reports of a decided step with another value: ranks or retries that disagree.")                       \
    X(APPLIED_MISMATCH, "greedylrd_applied_mismatch_total", "counter", NULL,                                 \
      "Reports whose applied_lr was not the rate decided before.")                                           \
    X(DECISIONS, "greedylrd_decisions_total", "counter", "action", "Durable decisions by action.")           \
    X(OPEN_ROUNDS, "greedylrd_open_rounds", "gauge", NULL, "Rounds in memory that lack reports of ranks.")   \
    X(WAITING_RANKS, "greedylrd_waiting_ranks", "gauge", NULL, "Reports that wait for their round.")         \
    X(OLDEST_ROUND, "greedylrd_oldest_round_age_seconds", "gauge", NULL,                                     \
      "Time since the oldest open round opened, or was read back after a start; 0 without one.")             \
    X(WATCHERS, "greedylrd_watchers", "gauge", NULL, "Streams of decisions that are open.")                  \
    X(HTTP_REQUESTS, "greedylrd_http_requests_total", "counter", "method,code",                              \
      "HTTP requests answered, by method and status.")                                                       \
    X(HTTP_DURATION, "greedylrd_http_request_duration_seconds", "histogram", "route,method",                 \
      "From a request's headers to its answer; not of those that wait for other requests.")                  \
    X(HTTP_WAIT, "greedylrd_http_wait_duration_seconds", "histogram", "route",                               \
      "The same of requests that waited for a round or a step, and of streams from begin to end.")           \
    X(IN_FLIGHT, "greedylrd_requests_in_flight", "gauge", NULL,                                              \
      "Requests being read or answered, without watchers.")                                                  \
    X(REFUSALS, "greedylrd_refusals_total", "counter", "reason",                                             \
      "Requests refused, by the reason of their error.")                                                     \
    X(LIMITS, "greedylrd_limit_refusals_total", "counter", "limit",                                          \
      "What met a limit, by the flag that sets it.")                                                         \
    X(CONNECTIONS, "greedylrd_connections", "gauge", NULL, "Open connections.")                              \
    X(CONNECTIONS_ACCEPTED, "greedylrd_connections_accepted_total", "counter", NULL, "Connections taken.")   \
    X(EVICTED, "greedylrd_connections_evicted_total", "counter", NULL,                                       \
      "Idle and slow connections that made room for others.")                                                \
    X(DEADLINES, "greedylrd_connection_deadlines_total", "counter", NULL,                                    \
      "Connections shut down at a deadline.")                                                                \
    X(PEERS_GONE, "greedylrd_peers_gone_total", "counter", NULL,                                             \
      "Peers that left while an answer was outstanding.")                                                    \
    X(TLS_HANDSHAKES_FAILED, "greedylrd_tls_handshakes_failed_total", "counter", NULL,                       \
      "Connections that ended before their TLS handshake did.")                                              \
    X(TLS_CERTIFICATE_EXPIRY, "greedylrd_tls_certificate_expiry_timestamp_seconds", "gauge", NULL,           \
      "When the TLS certificate in use expires, in seconds since 1970; absent without TLS.")                 \
    X(RELOADED, "greedylrd_reload_successful", "gauge", "file",                                              \
      "0 if the last SIGHUP could not read it, and what was read before stays in force; else 1.")            \
    X(COMMIT_DURATION, "greedylrd_commit_duration_seconds", "histogram", NULL, "Time of a synced commit.")   \
    X(COMMIT_CHANGES, "greedylrd_commit_changes", "histogram", NULL,                                         \
      "Changes in a commit: how many requests share one sync.")                                              \
    X(UNFOLDED_BYTES, "greedylrd_unfolded_bytes", "gauge", NULL,                                             \
      "Memory of changes that are queued, or not folded into the history yet.")                              \
    X(STORE_BYTES, "greedylrd_store_bytes", "gauge", NULL, "Size of the database and its log.")              \
    X(STORE_WRITABLE, "greedylrd_store_writable", "gauge", NULL,                                             \
      "1 if writes are taken, 0 if the disk is full.")                                                       \
    X(DISK_FREE, "greedylrd_data_dir_free_bytes", "gauge", NULL,                                             \
      "Room for the daemon on the file system of the data directory.")                                       \
    X(DISK_SIZE, "greedylrd_data_dir_size_bytes", "gauge", NULL,                                             \
      "Size of the file system of the data directory.")                                                      \
    X(SHEDDING, "greedylrd_shedding", "gauge", NULL,                                                         \
      "1 while new load is refused: --max-memory is exceeded.")                                              \
    X(LOOP_LAG, "greedylrd_loop_lag_seconds", "histogram", NULL,                                             \
      "How late the event loop is to look at a timer, four times a second.")                                 \
    X(LOG_DROPPED, "greedylrd_log_dropped_total", "counter", NULL,                                           \
      "Log lines that standard error had no room for.")                                                      \
    X(PROCESS_CPU, "process_cpu_seconds_total", "counter", NULL, "User and system CPU time.")                \
    X(PROCESS_RESIDENT, "process_resident_memory_bytes", "gauge", NULL, "Resident memory.")                  \
    X(PROCESS_VIRTUAL, "process_virtual_memory_bytes", "gauge", NULL, "Virtual memory.")                     \
    X(PROCESS_FDS, "process_open_fds", "gauge", NULL, "Open file descriptors.")                              \
    X(PROCESS_MAX_FDS, "process_max_fds", "gauge", NULL, "File descriptors there may be.")                   \
    X(PROCESS_THREADS, "process_threads", "gauge", NULL, "Threads.")                                         \
    X(PROCESS_START, "process_start_time_seconds", "gauge", NULL, "Start, in seconds since 1970.")

/* The same of single jobs, printed behind the others where --job-metrics asks for them. */
#define JOB_METRICS(X)                                                                                       \
    X(JOB_LEARNING_RATE, "greedylrd_job_learning_rate", "gauge", "job_id,group",                             \
      "The rate of a job, by parameter group from 0.")                                                       \
    X(JOB_LOSS, "greedylrd_job_loss", "gauge", "job_id",                                                     \
      "The value that was decided on last, reduced over ranks; absent after a rewind.")                      \
    X(JOB_BEST, "greedylrd_job_best", "gauge", "job_id",                                                     \
      "The best value, as the policy keeps it; absent where it keeps none.")                                 \
    X(JOB_STEP, "greedylrd_job_step", "gauge", "job_id", "The last decided step.")                           \
    X(JOB_LAST_REPORT, "greedylrd_job_last_report_timestamp_seconds", "gauge", "job_id",                     \
      "When the last report was decided, in seconds since 1970.")                                            \
    X(JOB_AT_FLOOR, "greedylrd_job_rate_at_floor", "gauge", "job_id",                                        \
      "1 if no rate of the job can be cut any more.")                                                        \
    X(JOB_PAUSED, "greedylrd_job_paused", "gauge", "job_id", "1 if the job is paused.")                      \
    X(JOB_ROUND_AGE, "greedylrd_job_open_round_age_seconds", "gauge", "job_id",                              \
      "Time since the open round of the job opened, or was read back; 0 without one.")                       \
    X(JOB_SERIES_LEFT_OUT, "greedylrd_job_series_left_out", "gauge", NULL,                                   \
      "Jobs that are not finished and have no series, since --job-metrics allows no more.")

enum metric {
#define X(name, text, type, labels, help) METRIC_##name,
    METRICS(X) JOB_METRICS(X)
#undef X
        METRIC_COUNT
};

/* Label of METRIC_RELOADED. */
enum reloaded_file { RELOADED_TOKENS, RELOADED_CERTIFICATE, RELOADED_COUNT };

/* Label of METRIC_REPORTS. */
enum report_result {
    REPORT_RESULT_DECIDED,
    REPORT_RESULT_WAITING,
    REPORT_RESULT_DUPLICATE,
    REPORT_RESULT_REFUSED,
    REPORT_RESULT_COUNT
};

/* label: enum report_result, reloaded_file, job_status, action, status or limit, as the metric says; 0 for
 * those without. */
void metrics_add(enum metric metric, int label, double n);
void metrics_set(enum metric metric, int label, double value); /* NaN: absent */
/* One value of a histogram that has no labels. */
void metrics_observe(enum metric metric, double value);

void metrics_limit(enum limit limit);
/* The error of a refused request: its reason, and the limit that was met. */
void metrics_refused(const struct error *err);

/* The number of a route, whose name is static; the same name, the same number.  0 is "other". */
unsigned metrics_route(const char *name);
void metrics_http(const char *method, int status);
/* Seconds from a request's headers to its answer; of one that waited for others, or of a stream. */
void metrics_answer(unsigned route, const char *method, double seconds);
void metrics_wait(unsigned route, double seconds);

#endif
