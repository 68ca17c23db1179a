/* The metrics as text.  The two formats differ in little: OpenMetrics names a counter without its _total,
 * says units, writes a bucket's bound as a float, knows info, and has an end, so that a cut answer is seen.
 * Failures: the buffer says that there was no memory. */
#include "server/metrics_print.h"

#include "core/job.h"
#include "core/policy.h"
#include "core/spec.h"
#include "rpc/accept.h"
#include "server/log.h"
#include "server/metrics_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TYPE_TEXT        "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

static const struct metric_row {
    const char *name, *type, *labels, *help;
} rows[] = {
#define X(name, text, type, labels, help) {text, type, labels, help},
    METRICS(X) JOB_METRICS(X)
#undef X
};

const char *metrics_content_type(bool openmetrics)
{
    return openmetrics ? TYPE_OPENMETRICS : TYPE_TEXT;
}

bool metrics_wants_openmetrics(const char *accept)
{
    struct accepted open = accept_quality(accept, "application/openmetrics-text", "1.0.0");
    struct accepted text = accept_quality(accept, "text/plain", "0.0.4");

    return open.q > text.q || (open.q > 0 && open.q == text.q && open.specificity > text.specificity);
}

static bool ends_with(const char *name, size_t len, const char *end)
{
    size_t n = strlen(end);

    return len > n && !memcmp(name + len - n, end, n);
}

void metrics_head(const struct exposition *e, enum metric metric)
{
    static const char *const units[] = {"seconds", "bytes"};
    const struct metric_row *row = &rows[metric];
    bool info = !strcmp(row->type, "info");
    size_t len = strlen(row->name);

    if (!e->openmetrics) {
        buf_printf(e->out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                   info ? "gauge" : row->type);
        return;
    }
    if (!strcmp(row->type, "counter")) len -= strlen("_total");
    if (info) len -= strlen("_info");
    buf_printf(e->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)len, row->name, row->help, (int)len,
               row->name, row->type);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (ends_with(row->name, len, units[i]))
            buf_printf(e->out, "# UNIT %.*s %s\n", (int)len, row->name, units[i]);
    }
}

static void print_number(struct buf *out, double value)
{
    char text[DOUBLE_TEXT_MAX];

    if (isnan(value))
        buf_puts(out, "NaN");
    else if (isinf(value))
        buf_puts(out, value > 0 ? "+Inf" : "-Inf");
    else
        buf_append(out, text, double_text(text, value));
    buf_puts(out, "\n");
}

static void print_sample(const struct exposition *e, const char *name, const char *suffix, const char *labels,
                         double value)
{
    buf_puts(e->out, name);
    buf_puts(e->out, suffix);
    if (*labels) {
        buf_puts(e->out, "{");
        buf_puts(e->out, labels);
        buf_puts(e->out, "} ");
    } else {
        buf_puts(e->out, " ");
    }
    print_number(e->out, value);
}

void metrics_sample(const struct exposition *e, enum metric metric, const char *labels, double value)
{
    print_sample(e, rows[metric].name, "", labels, value);
}

void metrics_label(char *out, size_t size, const char *name, const char *value)
{
    size_t n = (size_t)snprintf(out, size, "%s=\"", name);

    for (; *value && n + 4 < size; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n') out[n++] = '\\';
        out[n++] = *value == '\n' ? 'n' : *value;
    }
    snprintf(out + n, size - n, "\"");
}

static void print_histogram(const struct exposition *e, enum metric metric, const char *labels,
                            const struct histogram *h)
{
    const struct buckets *buckets = metrics_buckets(metric);
    const char *name = rows[metric].name, *comma = *labels ? "," : "";
    char with[256], le[32];
    uint64_t n = 0;

    for (size_t i = 0; i <= buckets->n; i++) {
        n += h->counts[i];
        if (i < buckets->n)
            snprintf(le, sizeof(le), "%g", buckets->bounds[i]);
        else
            snprintf(le, sizeof(le), "+Inf");
        bool whole = e->openmetrics && i < buckets->n && !strpbrk(le, ".e");
        snprintf(with, sizeof(with), "%s%sle=\"%s%s\"", labels, comma, le, whole ? ".0" : "");
        print_sample(e, name, "_bucket", with, (double)n);
    }
    print_sample(e, name, "_sum", labels, h->sum);
    print_sample(e, name, "_count", labels, (double)n);
}

static bool is_empty(const struct histogram *h)
{
    for (size_t i = 0; i <= BUCKETS_MAX; i++) {
        if (h->counts[i]) return false;
    }
    return true;
}

static void print_requests(const struct exposition *e)
{
    char labels[64];

    for (size_t m = 0; m < METHODS; m++) {
        for (int status = 0; status < STATUS_MAX; status++) {
            if (!metrics.requests[m][status]) continue;
            snprintf(labels, sizeof(labels), "method=\"%s\",code=\"%d\"", metrics_methods[m], status);
            metrics_sample(e, METRIC_HTTP_REQUESTS, labels, (double)metrics.requests[m][status]);
        }
    }
}

/* Routes and methods that were never asked for are left out. */
static void print_answers(const struct exposition *e)
{
    char labels[128];

    for (unsigned r = 0; r < metrics.n_routes; r++) {
        for (size_t m = 0; m < METHODS; m++) {
            if (is_empty(&metrics.answers[r][m])) continue;
            snprintf(labels, sizeof(labels), "route=\"%s\",method=\"%s\"", metrics.routes[r],
                     metrics_methods[m]);
            print_histogram(e, METRIC_HTTP_DURATION, labels, &metrics.answers[r][m]);
        }
    }
}

static void print_waits(const struct exposition *e)
{
    char labels[128];

    for (unsigned r = 0; r < metrics.n_routes; r++) {
        if (is_empty(&metrics.waits[r])) continue;
        snprintf(labels, sizeof(labels), "route=\"%s\"", metrics.routes[r]);
        print_histogram(e, METRIC_HTTP_WAIT, labels, &metrics.waits[r]);
    }
}

static void print_build(const struct exposition *e)
{
    metrics_sample(e, METRIC_BUILD, "version=\"" GREEDYLRD_VERSION "\"", 1);
}

/* Those whose labels are not one word of a list. */
static void (*const printers[METRIC_COUNT])(const struct exposition *) = {
    [METRIC_BUILD] = print_build,
    [METRIC_HTTP_REQUESTS] = print_requests,
    [METRIC_HTTP_DURATION] = print_answers,
    [METRIC_HTTP_WAIT] = print_waits,
};

static const char *label_word(enum metric metric, int label)
{
    static const char *const results[] = {"decided", "waiting", "duplicate", "refused"};
    static const char *const files[] = {"tokens", "certificate"};

    switch (metric) {
    case METRIC_REPORTS: return label < REPORT_RESULT_COUNT ? results[label] : NULL;
    case METRIC_RELOADED: return label < RELOADED_COUNT ? files[label] : NULL;
    case METRIC_JOBS: return label < JOB_STATUS_COUNT ? job_status_words[label] : NULL;
    case METRIC_DECISIONS: return label < ACTION_COUNT ? action_words[label] : NULL;
    case METRIC_REFUSALS:
        return label > 0 && label < ST_COUNT ? status_info((enum status)label)->reason : NULL;
    case METRIC_LIMITS: return label > 0 && label < LIMIT_COUNT ? limit_info((enum limit)label)->flag : NULL;
    default: return NULL;
    }
}

static void print_cells(const struct exposition *e, enum metric metric)
{
    const double *cells = metrics.cells[metric];
    char label[128];

    for (int i = 0; i < LABELS_MAX; i++) {
        const char *word = label_word(metric, i);
        bool always = metric != METRIC_REFUSALS; /* many reasons, most never seen */
        if (!word || !(always || cells[i] > 0)) continue;
        metrics_label(label, sizeof(label), rows[metric].labels, word);
        metrics_sample(e, metric, label, cells[i]);
    }
}

void metrics_print(const struct exposition *e)
{
    metrics_set(METRIC_LOG_DROPPED, 0, (double)log_dropped());
    metrics_look_at_process();
    for (int i = 0; i < METRIC_JOB_LEARNING_RATE; i++) {
        enum metric metric = (enum metric)i;
        if (!rows[i].labels && isnan(metrics.cells[i][0])) continue;
        metrics_head(e, metric);
        if (printers[i])
            printers[i](e);
        else if (!strcmp(rows[i].type, "histogram"))
            print_histogram(e, metric, "", &metrics.plain[i]);
        else if (rows[i].labels)
            print_cells(e, metric);
        else
            metrics_sample(e, metric, "", metrics.cells[i][0]);
    }
}

void metrics_end(const struct exposition *e)
{
    if (e->openmetrics) buf_puts(e->out, "# EOF\n");
}
