/* One table of cells; a metric owns a run of them, one for each value of its label. */
#include "server/metrics.h"

#include "core/policy.h"
#include "server/log.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LABELS_MAX 96
_Static_assert(ST_COUNT <= LABELS_MAX, "every status has a cell");
_Static_assert(LIMIT_COUNT <= LABELS_MAX, "every limit has a cell");
_Static_assert(ACTION_COUNT <= LABELS_MAX, "every action has a cell");

static const struct metric_row {
    const char *name, *type, *label, *help;
} rows[] = {
#define X(name, text, type, label, help) {"greedylrd_" text, type, label, help},
    METRICS(X)
#undef X
};

static double cells[METRIC_COUNT][LABELS_MAX];

/* Seconds; a commit is a sync, 0.1 ms to a stalling disk. */
static const double commit_bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                       0.05,   0.1,     0.25,   0.5,   1,      2.5,   5};
#define COMMIT_BOUNDS (sizeof(commit_bounds) / sizeof(commit_bounds[0]))
static uint64_t commit_buckets[COMMIT_BOUNDS + 1];
static double commit_seconds;

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"};
#define METHODS (sizeof(methods) / sizeof(methods[0]))
static uint64_t http_counts[METHODS][600];

static const char *label_word(enum metric metric, int label)
{
    static const char *const results[] = {"decided", "waiting", "duplicate", "refused"};

    switch (metric) {
    case METRIC_REPORTS: return label < REPORT_RESULT_COUNT ? results[label] : NULL;
    case METRIC_DECISIONS: return label < ACTION_COUNT ? action_words[label] : NULL;
    case METRIC_REFUSALS:
        return label > 0 && label < ST_COUNT ? status_info((enum status)label)->reason : NULL;
    case METRIC_LIMITS: return label > 0 && label < LIMIT_COUNT ? limit_info((enum limit)label)->flag : NULL;
    default: return NULL;
    }
}

void metrics_add(enum metric metric, int label, double n)
{
    if (label >= 0 && label < LABELS_MAX) cells[metric][label] += n;
}

void metrics_set(enum metric metric, double value)
{
    cells[metric][0] = value;
}

void metrics_commit(size_t changes, double seconds)
{
    size_t i = 0;

    while (i < COMMIT_BOUNDS && seconds > commit_bounds[i])
        i++;
    commit_buckets[i]++;
    commit_seconds += seconds;
    cells[METRIC_COMMITS][0]++;
    cells[METRIC_COMMIT_CHANGES][0] += (double)changes;
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

void metrics_http(const char *method, int status)
{
    size_t i = 0;

    while (i < METHODS - 1 && strcmp(methods[i], method))
        i++;
    if (status >= 0 && status < 600) http_counts[i][status]++;
}

static void print_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_value(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    print_head(out, name, type, help);
    buf_printf(out, "%s %.17g\n", name, value);
}

static void print_rows(struct buf *out)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &rows[i];

        if (i == METRIC_TLS_CERTIFICATE_EXPIRY && cells[i][0] == 0) continue;
        if (!row->label) {
            print_value(out, row->name, row->type, row->help, cells[i][0]);
            continue;
        }
        print_head(out, row->name, row->type, row->help);
        for (int label = 0; label < LABELS_MAX; label++) {
            const char *word = label_word((enum metric)i, label);
            bool always = i != METRIC_REFUSALS; /* many reasons, most never seen */
            if (word && (always || cells[i][label] > 0))
                buf_printf(out, "%s{%s=\"%s\"} %.17g\n", row->name, row->label, word, cells[i][label]);
        }
    }
}

static void print_http(struct buf *out)
{
    print_head(out, "greedylrd_http_requests_total", "counter",
               "HTTP requests answered, by method and status.");
    for (size_t m = 0; m < METHODS; m++) {
        for (int status = 0; status < 600; status++) {
            if (http_counts[m][status])
                buf_printf(out, "greedylrd_http_requests_total{method=\"%s\",code=\"%d\"} %llu\n", methods[m],
                           status, (unsigned long long)http_counts[m][status]);
        }
    }
}

static void print_commits(struct buf *out)
{
    uint64_t n = 0;

    print_head(out, "greedylrd_commit_duration_seconds", "histogram", "Time of a synced commit.");
    for (size_t i = 0; i < COMMIT_BOUNDS; i++) {
        n += commit_buckets[i];
        buf_printf(out, "greedylrd_commit_duration_seconds_bucket{le=\"%g\"} %llu\n", commit_bounds[i],
                   (unsigned long long)n);
    }
    n += commit_buckets[COMMIT_BOUNDS];
    buf_printf(out, "greedylrd_commit_duration_seconds_bucket{le=\"+Inf\"} %llu\n", (unsigned long long)n);
    buf_printf(out, "greedylrd_commit_duration_seconds_sum %.17g\n", commit_seconds);
    buf_printf(out, "greedylrd_commit_duration_seconds_count %llu\n", (unsigned long long)n);
}

static double open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double n = -3; /* "." and ".." and the directory itself */

    if (!dir) return -1;
    while (readdir(dir)) // cppcheck-suppress readdirCalled ; nobody else has this directory
        n++;
    closedir(dir);
    return n;
}

/* Seconds after boot at which the process started, and the boot's time. */
static double start_time(unsigned long long ticks)
{
    struct timespec wall, boot;

    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)clock_gettime(CLOCK_BOOTTIME, &boot);
    return (double)(wall.tv_sec - boot.tv_sec) + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void print_process(struct buf *out)
{
    unsigned long long user = 0, sys = 0, start = 0, vsize = 0;
    long resident = 0;
    char text[1024] = "";
    double descriptors = open_descriptors();
    FILE *file = fopen("/proc/self/stat", "r");
    const char *after;
    size_t n;

    if (!file) return;
    n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    after = strrchr(text, ')'); /* the name before it may hold anything */
    if (!after ||
        sscanf(after + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu %llu %ld",
               &user, &sys, &start, &vsize, &resident) != 5)
        return;
    print_value(out, "process_cpu_seconds_total", "counter", "User and system CPU time.",
                (double)(user + sys) / (double)sysconf(_SC_CLK_TCK));
    print_value(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
                (double)resident * (double)sysconf(_SC_PAGESIZE));
    print_value(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.", (double)vsize);
    if (descriptors >= 0) /* to count them takes one */
        print_value(out, "process_open_fds", "gauge", "Open file descriptors.", descriptors);
    print_value(out, "process_start_time_seconds", "gauge", "Start, in seconds since 1970.",
                start_time(start));
}

void metrics_print(struct buf *out)
{
    print_head(out, "greedylrd_build_info", "gauge", "Always 1; the version is a label.");
    buf_printf(out, "greedylrd_build_info{version=\"%s\"} 1\n", GREEDYLRD_VERSION);
    metrics_set(METRIC_LOG_DROPPED, (double)log_dropped());
    print_rows(out);
    print_http(out);
    print_commits(out);
    print_process(out);
}
