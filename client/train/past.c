/* Reading past jobs, and replaying them.
 *
 * Happy path: a list of names, for each a CSV whose header says where lr and value are; rows with a value are
 * reports.  Failures: nothing there, a table without those columns, no memory; a sentence on stderr. */
#include "train/past.h"

#include "core/learned.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE 65536
#define FIELDS    64
#define JOBS_MAX  10000

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

/* The token goes to curl by its standard input: a command line can be read by everybody. */
static FILE *fetch(const char *url, const char *path)
{
    char command[4600];

    snprintf(command, sizeof(command),
             "{ [ -z \"$GREEDYLR_TOKEN_FILE\" ] || printf 'header = \"Authorization: Bearer %%s\"\\n' "
             "\"$(head -n 1 "
             "\"$GREEDYLR_TOKEN_FILE\")\"; } | curl -fsS -K - '%.2000s%.2000s'",
             url, path);
    return popen(command, "r");
}

/* The next "job":"NAME" of a list of jobs; a job and its settings say it twice. */
static bool next_name(const char **at, char name[PAST_NAME_MAX + 1])
{
    static const char key[] = "\"job\":\"";
    const char *begin = strstr(*at, key);
    size_t n;

    if (!begin) return false;
    begin += sizeof(key) - 1;
    n = strcspn(begin, "\"");
    snprintf(name, PAST_NAME_MAX + 1, "%.*s", (int)(n < PAST_NAME_MAX ? n : PAST_NAME_MAX), begin);
    *at = begin + n;
    return true;
}

static bool load_job(const char *url, const char *name, struct past *past)
{
    char path[256];

    snprintf(path, sizeof(path), "/v1/jobs/%s/decisions?format=csv&page_size=1000", name);
    FILE *pipe = fetch(url, path);
    bool good = pipe && add_job(past, pipe, name);

    if (pipe && pclose(pipe)) good = false;
    return good;
}

static bool load_page(const char *url, const char *text, struct past *past, char *token, size_t size)
{
    static const char key[] = "\"next_page_token\":\"";
    char name[PAST_NAME_MAX + 1], last[PAST_NAME_MAX + 1] = "";
    const char *more = strstr(text, key);

    for (const char *at = text; next_name(&at, name);) {
        if (strcmp(name, last) == 0) continue;
        snprintf(last, sizeof(last), "%s", name);
        if (past->n + past->skipped >= JOBS_MAX || !load_job(url, name, past)) return false;
    }
    token[0] = '\0';
    if (more)
        snprintf(token, size, "%.*s", (int)strcspn(more + sizeof(key) - 1, "\""), more + sizeof(key) - 1);
    return true;
}

static bool load_daemon(const char *url, struct past *past)
{
    size_t size = 8u << 20;
    char *text = malloc(size), token[512] = "", path[640];
    bool good = text != NULL;

    if (strchr(url, '\'')) {
        fprintf(stderr, "greedylr-train: --from: a URL has no ' in it, got %s\n", url);
        good = false;
    }
    do {
        snprintf(path, sizeof(path), "/v1/jobs?page_size=100%s%s", token[0] ? "&page_token=" : "", token);
        FILE *pipe = good ? fetch(url, path) : NULL;
        size_t n = pipe ? fread(text, 1, size - 1, pipe) : 0;

        if (pipe && pclose(pipe)) n = 0;
        if (good && !n)
            fprintf(stderr, "greedylr-train: --from: %s: no list of jobs; is curl there, and a daemon?\n",
                    url);
        good = good && n > 0;
        if (good) text[n] = '\0';
        good = good && load_page(url, text, past, token, sizeof(token));
    } while (good && token[0]);
    free(text);
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
    static const char *const pilots[] = {"the model", "GreedyLR: bad loss", "GreedyLR: outside the envelope",
                                         "GreedyLR: tripwire"};
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
    if (s->pilot != LEARNED_FLIES) fprintf(out, " from report %u", s->handed_step);
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
