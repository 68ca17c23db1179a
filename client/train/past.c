/* Reading past jobs, and replaying them.
 *
 * Happy path: a list of names, for each a CSV whose header says where lr and value are; rows with a value are
 * reports.  Failures: nothing there, a table without those columns, no memory; a sentence on stderr. */
#include "train/past.h"

#include "core/learned.h"
#include "lib/transport.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE  65536
#define FIELDS     64
#define JOBS_MAX   10000
#define TIMEOUT_MS 60000L

/* ---- one table ---- */

/* Takes a CSV line apart in place; how many fields there are. */
static int split(char *line, char *fields[FIELDS])
{
    int n = 0;

    for (char *at = line; at && n < FIELDS;) {
        char *to = at, *from = at;
        bool quoted = *from == '"';

        fields[n++] = at;
        for (from += quoted; *from && (quoted || (*from != ',' && *from != '\r' && *from != '\n')); from++) {
            if (quoted && *from == '"' && from[1] != '"') break;
            if (quoted && *from == '"') from++;
            *to++ = *from;
        }
        if (quoted && *from == '"') from++;
        at = *from == ',' ? from + 1 : NULL;
        *to = '\0';
    }
    return n;
}

static int column(char *const fields[FIELDS], int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(fields[i], name) == 0) return i;
    }
    return -1;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of independent noise s, second differences of the logarithms have the variance 6 s^2; their median
 * deviation takes no notice of jumps. */
static double noise_of(const double *losses, size_t n)
{
    double *second = malloc(n * sizeof(*second)), noise = 0;

    for (size_t i = 2; second && i < n; i++)
        second[i - 2] = fabs(log(losses[i]) - 2 * log(losses[i - 1]) + log(losses[i - 2]));
    if (second && n > 2) {
        qsort(second, n - 2, sizeof(*second), compare);
        noise = second[(n - 2) / 2] / (0.6745 * sqrt(6));
    }
    free(second);
    return noise;
}

static void describe(struct past_job *job)
{
    double least = job->losses[0];

    for (size_t i = 0; i < job->n; i++)
        least = fmin(least, job->losses[i]);
    job->noise = noise_of(job->losses, job->n);
    job->fall = log(job->losses[0] / least);
    job->offset = job->fall > 0 ? 1 / (exp(job->fall) - 1) : INFINITY;
}

/* Appends one loss; false: no memory. */
static bool add_loss(struct past_job *job, double loss)
{
    if ((job->n & (job->n - 1)) == 0) {
        double *grown = realloc(job->losses, (job->n ? 2 * job->n : 1) * sizeof(*grown));

        if (!grown) return false;
        job->losses = grown;
    }
    job->losses[job->n++] = loss;
    return true;
}

static bool read_rows(FILE *file, const char *name, char *line, struct past_job *job)
{
    char *fields[FIELDS];
    int n = fgets(line, LINE_SIZE, file) ? split(line, fields) : 0, lr = column(fields, n, "lr"),
        value = column(fields, n, "value");

    if (lr < 0 || value < 0) {
        fprintf(stderr,
                "greedylr-train: --from: %s: no table of decisions: its first line has no lr and value; "
                "export with "
                "?format=csv\n",
                name);
        return false;
    }
    while (fgets(line, LINE_SIZE, file)) {
        n = split(line, fields);
        double loss = value < n && fields[value][0] ? strtod(fields[value], NULL) : NAN;

        if (lr >= n || !isfinite(loss) || loss <= 0) continue;
        job->last_lr = strtod(fields[lr], NULL);
        if (!job->n) job->first_lr = job->last_lr;
        if (!add_loss(job, loss)) return false;
    }
    return true;
}

static bool add_job(struct past *past, FILE *file, const char *name)
{
    struct past_job job = {.n = 0};
    struct past_job *grown = realloc(past->jobs, (past->n + 1) * sizeof(*grown));
    char *line = malloc(LINE_SIZE);
    bool good = grown && line && read_rows(file, name, line, &job);

    free(line);
    if (grown) past->jobs = grown;
    if (!good || job.n < PAST_LEAST) {
        past->skipped += good;
        free(job.losses);
        return good;
    }
    snprintf(job.name, sizeof(job.name), "%s", name);
    describe(&job);
    past->jobs[past->n++] = job;
    return true;
}

/* ---- a folder ---- */

static bool load_folder(const char *path, struct past *past)
{
    DIR *folder = opendir(path);
    bool good = true;

    if (!folder) {
        fprintf(stderr, "greedylr-train: --from: %s: %s; give the URL of a daemon or a folder of CSV files\n",
                path, strerror(errno));
        return false;
    }
    // cppcheck-suppress readdirCalled ; nobody else has this directory
    for (struct dirent *entry; good && (entry = readdir(folder));) {
        const char *end = strrchr(entry->d_name, '.');
        char name[4600];

        if (!end || strcmp(end, ".csv") != 0) continue;
        snprintf(name, sizeof(name), "%.4000s/%s", path, entry->d_name);
        FILE *file = fopen(name, "r");

        good = file && add_job(past, file, entry->d_name);
        if (file) fclose(file);
    }
    closedir(folder);
    return good;
}

/* ---- a daemon ---- */

struct source {
    const char *url;
    struct transport *transport;
    struct past *past;
};

/* A request answered with 200; else said why not. */
static bool fetch(const struct source *from, const char *path, const char *what,
                  struct transport_reply *reply)
{
    if (transport_call(from->transport, "GET", path, NULL, NULL, TIMEOUT_MS, reply)) {
        fprintf(stderr, "greedylr-train: --from: %s: no %s: %s\n", from->url, what,
                transport_error(from->transport));
        return false;
    }
    if (reply->status == 200) return true;
    fprintf(stderr, "greedylr-train: --from: %s: no %s: HTTP status %d: %.200s\n", from->url, what,
            reply->status, reply->body);
    transport_reply_clear(reply);
    return false;
}

/* What may become a part of a path: an id of a job, which a page token is, too. */
static bool is_job_id(const char *text)
{
    size_t n = text ? strlen(text) : 0;

    return n && n <= PAST_NAME_MAX &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool load_job(const struct source *from, const char *name)
{
    char path[PAST_NAME_MAX + 64];
    struct transport_reply reply;

    snprintf(path, sizeof(path), "/v1/jobs/%s/decisions?format=csv&page_size=1000", name);
    if (!fetch(from, path, "history", &reply)) return false;
    FILE *file = fmemopen(reply.body, reply.len + 1, "r");
    bool good = file && add_job(from->past, file, name);

    if (file) fclose(file);
    transport_reply_clear(&reply);
    return good;
}

/* The jobs of one page, and in *after the name to go on behind, "" at the end. */
static bool load_page(const struct source *from, const json_t *page, char after[PAST_NAME_MAX + 1])
{
    const json_t *jobs = json_object_get(page, "jobs"), *more = json_object_get(page, "next_page_token"),
                 *job;
    const char *token = json_string_value(more);
    bool good = json_is_object(page) && (!jobs || json_is_array(jobs)) && (!more || is_job_id(token));
    size_t i;

    json_array_foreach(jobs, i, job) good = good && is_job_id(json_string_value(json_object_get(job, "job")));
    if (!good) {
        fprintf(stderr, "greedylr-train: --from: %s: no list of jobs: is a greedylrd there?\n", from->url);
        return false;
    }
    snprintf(after, PAST_NAME_MAX + 1, "%s", token ? token : "");
    json_array_foreach(jobs, i, job)
    {
        if (from->past->n + from->past->skipped >= JOBS_MAX) {
            fprintf(stderr, "greedylr-train: --from: %s: more than %d jobs\n", from->url, JOBS_MAX);
            return false;
        }
        if (!load_job(from, json_string_value(json_object_get(job, "job")))) return false;
    }
    return true;
}

static bool load_pages(const struct source *from)
{
    char path[PAST_NAME_MAX + 64], after[PAST_NAME_MAX + 1] = "";
    struct transport_reply reply;
    bool good;

    do {
        snprintf(path, sizeof(path), "/v1/jobs?page_size=100%s%s", *after ? "&page_token=" : "", after);
        if (!fetch(from, path, "list of jobs", &reply)) return false;
        json_t *page = json_loadb(reply.body, reply.len, 0, NULL);

        good = load_page(from, page, after);
        json_decref(page);
        transport_reply_clear(&reply);
    } while (good && *after);
    return good;
}

static bool load_daemon(const char *url, struct past *past)
{
    struct source from = {.url = url, .past = past};
    char error[700];

    if (strchr(url, '\'')) {
        fprintf(stderr, "greedylr-train: --from: a URL has no ' in it, got %s\n", url);
        return false;
    }
    if (transport_new(url, NULL, &from.transport, error, sizeof(error))) {
        fprintf(stderr, "greedylr-train: --from: %s\n", error);
        return false;
    }
    bool good = load_pages(&from);

    transport_free(from.transport);
    return good;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct past_job *)a)->name, ((const struct past_job *)b)->name);
}

bool past_load(const char *where, struct past *past)
{
    *past = (struct past){0};
    bool good = strncmp(where, "http", 4) == 0 ? load_daemon(where, past) : load_folder(where, past);

    if (good && !past->n)
        fprintf(stderr, "greedylr-train: --from: %s: no job with %d losses above 0 (%zu with fewer)\n", where,
                PAST_LEAST, past->skipped);
    if (good && past->n) {
        /* A folder has no order, and a training must not depend on one. */
        qsort(past->jobs, past->n, sizeof(*past->jobs), by_name);
        return true;
    }
    past_free(past);
    return false;
}

void past_free(struct past *past)
{
    for (size_t i = 0; i < past->n; i++)
        free(past->jobs[i].losses);
    free(past->jobs);
    *past = (struct past){0};
}

uint32_t past_hash(const struct past *past)
{
    uint32_t hash = 0;

    for (size_t i = 0; past && i < past->n; i++) {
        const double numbers[] = {(double)past->jobs[i].n, past->jobs[i].noise, past->jobs[i].fall};
        uint64_t bits[3];

        memcpy(bits, numbers, sizeof(bits));
        for (int k = 0; k < 3; k++)
            hash = (hash ^ (uint32_t)(bits[k] >> 32) ^ (uint32_t)bits[k]) * UINT32_C(16777619) + 1;
    }
    return hash;
}

/* ---- replay ---- */

static void replay_job(const struct past_job *job, const struct learned_model *model, FILE *out)
{
    static const char *const pilots[] = {
        [LEARNED_BAD_LOSS] = "GreedyLR: bad loss",       [LEARNED_STRANGE] = "GreedyLR: outside the envelope",
        [LEARNED_TRIPPED_OUT] = "GreedyLR: tripwire",    [LEARNED_WATCHED] = "the model",
        [LEARNED_ASTRAY] = "GreedyLR: rate driven away",
    };
    struct job_spec *spec = spec_new(&policy_learned);
    double lr = job->first_lr > 0 ? job->first_lr : 0.1;
    struct learned_state *s = NULL;
    struct policy_outcome outcome;
    struct error err;

    spec->learned = model;
    ((struct learned_params *)spec->params)->total_reports = job->n < UINT32_MAX ? (uint32_t)job->n : 0;
    spec->params_given = 1; /* total_reports, the first row */
    if (f64_list_fill(&spec->lr, lr, 1) || spec_resolve(spec, &err) ||
        !(s = calloc(1, learned_state_size(spec))))
        abort();
    learned_init(spec, s);
    for (size_t i = 0; i < job->n; i++) {
        const struct policy_report report = {job->losses[i], (uint32_t)i + 1, INFINITY};

        if (learned_step(spec, s, &report, &outcome, &err)) abort();
    }
    fprintf(out, "| %s | %zu | %.1f %% | %.2f | x%.3g | x%.3g | %s", job->name, job->n, 100 * job->noise,
            job->fall, job->first_lr > 0 ? job->last_lr / job->first_lr : NAN, s->data[0] / lr,
            pilots[s->pilot]);
    if (!learned_decides(s)) fprintf(out, " from report %u", s->handed_step);
    fprintf(out, " |\n");
    free(s);
    spec_free(spec);
}

bool past_replay(const struct past *past, const struct learned_model *model, FILE *out)
{
    fprintf(out, "\nPast jobs, replayed: the rates that the model would have asked for on these losses (with "
                 "other rates the\n"
                 "losses would have been others)\n\n| job | reports | noise | ln(first / least) | rate, "
                 "recorded | rate, model "
                 "| decides at the end |\n|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < past->n; i++)
        replay_job(&past->jobs[i], model, out);
    if (past->skipped)
        fprintf(out, "%zu jobs have fewer than %d losses above 0.\n", past->skipped, PAST_LEAST);
    return true;
}
