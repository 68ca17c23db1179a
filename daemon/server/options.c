/* The table, and what walks it. */
#include "server/options.h"

#include "rpc/nearest.h"
#include "server/listen.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENV_PREFIX "GREEDYLRD_"
#define STATE_DIR  "/var/lib/greedylrd"

/* KIND_TASK is something to do instead of serving: without an environment variable, with min arguments. */
enum kind {
    KIND_TEXT,
    KIND_LIST,
    KIND_SET,
    KIND_FLAG,
    KIND_SIZE,
    KIND_COUNT,
    KIND_DURATION,
    KIND_CHOICE,
    KIND_TASK
};

/* min and max are bytes, a number or milliseconds; words are those of a choice or a set, by value or by bit.
 */
static const struct row {
    const char *flag, *argument, *preset;
    enum kind kind;
    size_t offset;
    uint64_t min, max;
    const char *const *words;
    const char *help;
} rows[] = {
#define AT(field)  offsetof(struct options, field)
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
    {"listen", "ADDR", "127.0.0.1:8571", KIND_TEXT, AT(listen), 0, 0, NULL,
     "ADDRESS:PORT, [IPV6]:PORT (port 0 picks one and prints it) or unix:/PATH"},
    {"data-dir", "DIR", NULL, KIND_TEXT, AT(data_dir), 0, 0, NULL,
     "where jobs and decisions are kept; $STATE_DIRECTORY if that is set, else " STATE_DIR
     " if it exists, else required"},
    {"tls-cert", "FILE", NULL, KIND_TEXT, AT(tls_cert), 0, 0, NULL,
     "TCP connections speak TLS with this certificate, PEM, its chain behind it; SIGHUP reads it again; "
     "tls.crt in $CREDENTIALS_DIRECTORY if that is there"},
    {"tls-key", "FILE", NULL, KIND_TEXT, AT(tls_key), 0, 0, NULL,
     "its key, PEM, not encrypted, not readable by everybody; tls.key in $CREDENTIALS_DIRECTORY if that is "
     "there"},
    {"allow-host", "NAME", NULL, KIND_LIST, AT(allow_hosts), 0, 0, NULL,
     "a further name under which this daemon may be reached (Host header); repeatable, or separated by "
     "commas"},
    {"insecure", "WHAT", NULL, KIND_SET, AT(insecure), 0, 0, WORDS("no-tokens", "no-tls"),
     "no-tokens,no-tls: accept that other machines reach this daemon without these"},
    {"token-file", "FILE", NULL, KIND_TEXT, AT(token_file), 0, 0, NULL,
     "who may do what: one token a line, read again at SIGHUP; $CREDENTIALS_DIRECTORY/tokens if that exists, "
     "else nobody is asked for one"},
    {"token-jobs", "N", "0", KIND_COUNT, AT(token_jobs), 0, UINT32_MAX, NULL,
     "most jobs with a token's prefix, where its line does not say jobs=N; 0: any number"},
    {"token-requests", "N", "0", KIND_COUNT, AT(token_requests), 0, UINT32_MAX, NULL,
     "most requests a second of a token, twice as many at once; 0: any number"},
    {"token-rounds", "N", "0", KIND_COUNT, AT(token_rounds), 0, UINT32_MAX, NULL,
     "most open rounds that a token began; 0: any number"},
    {"token-watchers", "N", "0", KIND_COUNT, AT(token_watchers), 0, UINT32_MAX, NULL,
     "most watchers of a token at a time; 0: any number"},
    {"learned-weights", "FILE", NULL, KIND_TEXT, AT(learned_weights), 0, 0, NULL,
     "the model of jobs with the policy learned that name none, made by greedylr-train; else the one that is "
     "built in"},
    {"no-auto-create", NULL, NULL, KIND_FLAG, AT(no_auto_create), 0, 0, NULL,
     "a report with lr does not create its job"},
    {"log-level", "LEVEL", "info", KIND_CHOICE, AT(log_level), 0, 0,
     WORDS("debug", "info", "warning", "error"),
     "the least level that is printed: debug, info, warning or error"},
    {"log-format", "FORMAT", "logfmt", KIND_CHOICE, AT(log_format), 0, 0, WORDS("logfmt", "json"),
     "logfmt or json"},
    {"log-decisions", "WHICH", "all", KIND_CHOICE, AT(log_decisions), 0, 0, WORDS("all", "changes", "none"),
     "decisions that are logged, at info: all, changes (what is no hold, ramp or schedule) or none"},
    {"slow-request", "TIME", "1s", KIND_DURATION, AT(slow_request_ms), 0, 3600000, NULL,
     "requests that take longer, without waiting for others, are logged as warnings; 0s: none"},
    {"max-body", "SIZE", "64K", KIND_SIZE, AT(max_body), 1024, 1u << 30, NULL, "largest body of a request"},
    {"max-batch-body", "SIZE", "1M", KIND_SIZE, AT(max_batch_body), 1024, 1u << 30, NULL,
     "largest body of BatchReport and Simulate"},
    {"max-batch-entries", "N", "10000", KIND_COUNT, AT(max_batch_entries), 1, 10000000, NULL,
     "most entries of BatchReport and Simulate"},
    {"max-json-depth", "N", "16", KIND_COUNT, AT(max_json_depth), 8, 64, NULL,
     "levels of nesting that a body in JSON may have"},
    {"max-simulations", "N", "64", KIND_COUNT, AT(max_simulations), 1, 1000000, NULL,
     "most Simulate requests that run or wait at a time"},
    {"max-simulated-rates", "N", "200000", KIND_COUNT, AT(max_simulated_rates), 1, 1000000000, NULL,
     "most losses times parameter groups, those of each shadow too, of a Simulate"},
    {"max-ranks", "N", "65536", KIND_COUNT, AT(max_ranks), 1, 65536, NULL, "largest world_size of a job"},
    {"max-round-memory", "SIZE", "64M", KIND_SIZE, AT(max_round_memory), 1 << 12, UINT64_C(1) << 40, NULL,
     "open rounds, 48 bytes a rank; reports that would open another are refused meanwhile"},
    {"max-unfolded", "N", "131072", KIND_COUNT, AT(max_unfolded), 8192, 1u << 30, NULL,
     "most changes that wait for the disk or are not folded into the history; a quarter of them is folded "
     "between commits; others are refused meanwhile"},
    {"max-unfolded-memory", "SIZE", "512M", KIND_SIZE, AT(max_unfolded_memory), 1 << 20, UINT64_C(1) << 40,
     NULL, "the same in memory; an eighth of it is folded between commits"},
    {"max-answer-memory", "SIZE", "64M", KIND_SIZE, AT(max_answer_memory), 1 << 16, UINT64_C(1) << 40, NULL,
     "large answers that their peers have not read, in all; others are refused meanwhile"},
    {"connection-memory", "SIZE", "8K", KIND_SIZE, AT(connection_memory), 4096, 1u << 20, NULL,
     "memory of a connection; request line and headers have to fit"},
    {"max-connections", "N", "4096", KIND_COUNT, AT(max_connections), 1, 1000000, NULL,
     "most connections at a time"},
    {"max-connections-per-address", "N", "256", KIND_COUNT, AT(max_connections_per_address), 0, 1000000, NULL,
     "most connections of one address (IPv6: /64); loopback and Unix sockets are exempt; 0: any number"},
    {"header-timeout", "TIME", "5s", KIND_DURATION, AT(header_timeout_ms), 100, 3600000, NULL,
     "for the headers of a request to arrive"},
    {"request-timeout", "TIME", "10s", KIND_DURATION, AT(request_timeout_ms), 100, 3600000, NULL,
     "for the rest of a request to arrive"},
    {"answer-timeout", "TIME", "2m", KIND_DURATION, AT(answer_timeout_ms), 100, 3600000, NULL,
     "for the peer to take an answer"},
    {"keepalive-timeout", "TIME", "10m", KIND_DURATION, AT(keepalive_timeout_ms), 100, 86400000, NULL,
     "how long a connection may be idle"},
    {"max-wait", "TIME", "5m", KIND_DURATION, AT(max_wait_ms), 100, 86400000, NULL,
     "the longest that a request may wait for a round or a step"},
    {"max-memory", "SIZE", "0", KIND_SIZE, AT(max_memory), 0, UINT64_C(1) << 44, NULL,
     "resident memory beyond which new load is refused; 0: none"},
    {"max-watchers", "N", "1000", KIND_COUNT, AT(max_watchers), 0, 1000000, NULL,
     "most watchers at a time, each a connection with up to 64K that its peer has not read; 0: any number"},
    {"max-watchers-per-job", "N", "500", KIND_COUNT, AT(max_watchers_per_job), 0, 1000000, NULL,
     "most watchers of one job at a time; 0: any number"},
    {"watch-keepalive", "TIME", "15s", KIND_DURATION, AT(watch_keepalive_ms), 100, 3600000, NULL,
     "a stream of events that is silent for so long is sent a comment"},
    {"max-jobs", "N", "0", KIND_COUNT, AT(max_jobs), 0, UINT32_MAX, NULL,
     "most jobs in the store; 0: any number"},
    {"resident-jobs", "N", "100000", KIND_COUNT, AT(resident_jobs), 1, UINT32_MAX, NULL,
     "jobs kept in memory; others are read from the store when needed"},
    {"history-limit", "N", "0", KIND_COUNT, AT(history_limit), 0, UINT32_MAX, NULL,
     "decisions kept for each job, besides those that a retry or a rewind to the start needs; 0: all"},
    {"job-metrics", "N", "0", KIND_COUNT, AT(job_metrics), 0, 1000, NULL,
     "jobs that have series of their own in /metrics, those active last; 0: none"},
    {"check", "DIR", NULL, KIND_TASK, AT(check), 1, 0, NULL,
     "say how the data directory is, then end; reads only, also while a daemon runs on it"},
    {"backup", "DIR FILE", NULL, KIND_TASK, AT(backup), 2, 0, NULL,
     "copy the data directory's database to a new file, then end; also while a daemon runs on it"},
    {"check-config", NULL, NULL, KIND_TASK, AT(check_config), 0, 0, NULL,
     "check and print the options, then end"},
    {"version", NULL, NULL, KIND_TASK, AT(version), 0, 0, NULL, "print the version, then end"},
    {"help", NULL, NULL, KIND_TASK, AT(help), 0, 0, NULL, "print this, then end"},
#undef AT
#undef WORDS
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct unit {
    const char *text;
    uint64_t factor;
} sizes[] = {{"", 1},          {"K", 1024},    {"KiB", 1024}, {"M", 1 << 20},
             {"MiB", 1 << 20}, {"G", 1 << 30}, {NULL, 0}},
  durations[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {NULL, 0}},
  counts[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum kind kind)
{
    return kind == KIND_SIZE ? sizes : kind == KIND_DURATION ? durations : counts;
}

/* n with the largest unit that divides it. */
static void print_number(char *out, size_t cap, enum kind kind, uint64_t n)
{
    const struct unit *best = units_of(kind);

    for (const struct unit *unit = best; unit->text; unit++) {
        if (n && n % unit->factor == 0 && unit->factor > best->factor) best = unit;
    }
    snprintf(out, cap, "%llu%s", (unsigned long long)(n / best->factor), best->text);
}

static int refuse_number(const struct row *row, const char *source, const char *value, struct error *err)
{
    char min[32], max[32];

    print_number(min, sizeof(min), row->kind, row->min);
    print_number(max, sizeof(max), row->kind, row->max);
    return error_set(err, ST_CONFIG_INVALID, "%s %s: has to be a %s from %s to %s", source, value,
                     row->kind == KIND_DURATION ? "time (500ms, 5s, 10m, 1h)"
                     : row->kind == KIND_SIZE   ? "size (65536, 64K, 1M)"
                                                : "whole number",
                     min, max);
}

static int set_number(struct options *o, const struct row *row, const char *source, const char *value,
                      struct error *err)
{
    const struct unit *unit = units_of(row->kind);
    unsigned long long n;
    char *rest;

    errno = 0;
    n = strtoull(value, &rest, 10);
    while (unit->text && strcmp(unit->text, rest))
        unit++;
    if (!isdigit((unsigned char)*value) || errno || !unit->text || n > row->max / unit->factor ||
        n * unit->factor < row->min)
        return refuse_number(row, source, value, err);
    if (row->kind == KIND_COUNT)
        *(uint32_t *)(void *)((char *)o + row->offset) = (uint32_t)n;
    else
        *(uint64_t *)(void *)((char *)o + row->offset) = n * unit->factor; /* int64_t where it is a time */
    return 0;
}

static int add_host(struct options *o, const char *source, const char *name, size_t len, struct error *err)
{
    char **grown;

    if (len == 0 || memchr(name, '/', len) || memchr(name, ' ', len))
        return error_set(err, ST_CONFIG_INVALID,
                         "%s %.*s: has to be host names, without scheme, port or spaces", source, (int)len,
                         name);
    grown = realloc(o->allow_hosts, (o->n_allow_hosts + 1) * sizeof(*grown));
    if (!grown) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    o->allow_hosts = grown;
    grown[o->n_allow_hosts] = strndup(name, len);
    if (!grown[o->n_allow_hosts]) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    o->n_allow_hosts++;
    return 0;
}

static int word_index(const struct row *row, const char *word, size_t len)
{
    for (int i = 0; row->words[i]; i++) {
        if (strlen(row->words[i]) == len && !memcmp(row->words[i], word, len)) return i;
    }
    return -1;
}

static int refuse_word(const struct row *row, const char *source, const char *value, struct error *err)
{
    char list[128] = "";

    for (int i = 0; row->words[i]; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "", row->words[i]);
    }
    return error_set(err, ST_CONFIG_INVALID, "%s %s: has to be %s: %s", source, value,
                     row->kind == KIND_SET ? "some of these, separated by commas" : "one of", list);
}

/* Lists and sets: the words between commas. */
static int set_words(struct options *o, const struct row *row, const char *source, const char *value,
                     struct error *err)
{
    for (const char *at = value;; at++) {
        size_t len = strcspn(at, ",");

        if (row->kind == KIND_LIST) {
            if (add_host(o, source, at, len, err)) return (int)err->status;
        } else {
            int i = word_index(row, at, len);
            if (i < 0) return refuse_word(row, source, value, err);
            *(unsigned *)(void *)((char *)o + row->offset) |= 1u << i;
        }
        at += len;
        if (!*at) return 0;
    }
}

static int set_text(struct options *o, const struct row *row, const char *source, const char *value,
                    struct error *err)
{
    char **field = (char **)(void *)((char *)o + row->offset);
    char *copy;

    if (!*value)
        return error_set(err, ST_CONFIG_INVALID, "%s: is empty; give it a value or leave it out", source);
    copy = strdup(value);
    if (!copy) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    free(*field);
    *field = copy;
    return 0;
}

static int set_choice(struct options *o, const struct row *row, const char *source, const char *value,
                      struct error *err)
{
    int i = word_index(row, value, strlen(value));

    if (i < 0) return refuse_word(row, source, value, err);
    *(unsigned *)(void *)((char *)o + row->offset) = (unsigned)i; /* an enum counted from 0 */
    return 0;
}

static int set_flag(struct options *o, const struct row *row, const char *source, const char *value,
                    struct error *err)
{
    bool yes = !strcmp(value, "1") || !strcmp(value, "true") || !strcmp(value, "yes");

    if (!yes && strcmp(value, "0") && strcmp(value, "false") && strcmp(value, "no"))
        return error_set(err, ST_CONFIG_INVALID, "%s %s: has to be true or false", source, value);
    *(bool *)((char *)o + row->offset) = yes;
    return 0;
}

static int set_row(struct options *o, const struct row *row, const char *source, const char *value,
                   struct error *err)
{
    switch (row->kind) {
    case KIND_TASK:
        if (!row->min) return set_flag(o, row, source, value, err);
        return set_text(o, row, source, value, err);
    case KIND_TEXT: return set_text(o, row, source, value, err);
    case KIND_LIST:
    case KIND_SET: return set_words(o, row, source, value, err);
    case KIND_FLAG: return set_flag(o, row, source, value, err);
    case KIND_CHOICE: return set_choice(o, row, source, value, err);
    case KIND_SIZE:
    case KIND_COUNT:
    case KIND_DURATION: return set_number(o, row, source, value, err);
    }
    return 0;
}

static void env_name(const struct row *row, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, ENV_PREFIX "%s", row->flag);

    for (size_t i = 0; i < n && i < cap; i++)
        out[i] = (char)(out[i] == '-' ? '_' : toupper((unsigned char)out[i]));
}

static const struct row *find_row(const char *flag, size_t len)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strlen(rows[i].flag) == len && !memcmp(rows[i].flag, flag, len)) return &rows[i];
    }
    return NULL;
}

static const struct row *row_near(const char *flag)
{
    struct nearest nearest = {.word = flag};

    for (size_t i = 0; i < ROWS; i++)
        nearest_offer(&nearest, rows[i].flag);
    return nearest.found ? find_row(nearest.found, strlen(nearest.found)) : NULL;
}

static void drop_text(char **text)
{
    free(*text);
    *text = NULL;
}

/* A list given by a flag replaces the environment's. */
static void forget_list(struct options *o)
{
    for (size_t i = 0; i < o->n_allow_hosts; i++)
        free(o->allow_hosts[i]);
    free(o->allow_hosts);
    o->allow_hosts = NULL;
    o->n_allow_hosts = 0;
}

static int parse_environment(struct options *o, struct error *err)
{
    for (size_t i = 0; i < ROWS; i++) {
        char name[64];
        const char *value;

        if (rows[i].kind == KIND_TASK) continue;
        env_name(&rows[i], name, sizeof(name));
        value = getenv(name);
        if (value && *value && set_row(o, &rows[i], name, value, err)) return (int)err->status;
    }
    return 0;
}

bool options_stray(size_t *at, struct option_stray *out)
{
    const size_t prefix = strlen(ENV_PREFIX);

    for (; environ[*at]; ++*at) {
        const char *name = environ[*at];
        char flag[64];
        size_t n = 0;

        if (strncmp(name, ENV_PREFIX, prefix)) continue;
        for (; name[prefix + n] && name[prefix + n] != '=' && n + 1 < sizeof(flag); n++)
            flag[n] = (char)(name[prefix + n] == '_' ? '-' : tolower((unsigned char)name[prefix + n]));
        flag[n] = '\0';
        const struct row *row = row_near(flag);
        if (row && row->kind != KIND_TASK)
            env_name(row, out->meant, sizeof(out->meant));
        else
            *out->meant = '\0';
        out->name = name;
        out->len = (int)strcspn(name, "=");
        if (!strncmp(name, out->meant, (size_t)out->len) && !out->meant[out->len]) continue;
        ++*at;
        return true;
    }
    return false;
}

static int refuse_flag(const char *flag, size_t len, struct error *err)
{
    char name[64] = "";
    const struct row *row;

    if (len > 2 && len < sizeof(name)) snprintf(name, sizeof(name), "%.*s", (int)len - 2, flag + 2);
    row = !strncmp(flag, "--", 2) ? row_near(name) : NULL;
    if (row)
        return error_set(err, ST_CONFIG_INVALID, "%s: there is no such option; did you mean --%s?", flag,
                         row->flag);
    return error_set(err, ST_CONFIG_INVALID, "%s: there is no such %s", flag,
                     *flag == '-' ? "option" : "argument");
}

/* The value of a flag, and those behind it where it takes several. */
static int set_flagged(struct options *o, const struct row *row, const char *source, const char *value,
                       char **more, int n_more, int *used, struct error *err)
{
    struct row next = *row;
    int rc = set_row(o, row, source, value, err);

    for (*used = 0; !rc && row->kind == KIND_TASK && (uint64_t)*used + 1 < row->min; ++*used) {
        if (*used == n_more)
            return error_set(err, ST_CONFIG_INVALID, "%s %s: needs all of: --%s %s", source, value, row->flag,
                             row->argument);
        next.offset += sizeof(char *);
        rc = set_row(o, &next, source, more[*used], err);
    }
    return rc;
}

static int parse_flags(struct options *o, int argc, char **argv, struct error *err)
{
    bool lists_seen = false, sets_seen = false;

    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i], *value = NULL;
        size_t len = strcspn(flag, "=");
        const struct row *row = !strncmp(flag, "--", 2) && len > 2 ? find_row(flag + 2, len - 2) : NULL;
        char source[64];
        int used;

        if (!strcmp(flag, "-h")) row = find_row("help", 4);
        if (!row) return refuse_flag(flag, len, err);
        snprintf(source, sizeof(source), "--%s", row->flag);
        if (flag[len] == '=') value = flag + len + 1;
        if (!row->argument && !value) value = "true";
        if (!value && i + 1 < argc) value = argv[++i];
        if (!value)
            return error_set(err, ST_CONFIG_INVALID, "%s: needs a value: --%s %s", source, row->flag,
                             row->argument);
        if (row->kind == KIND_LIST && !lists_seen) forget_list(o);
        if (row->kind == KIND_SET && !sets_seen) o->insecure = 0;
        lists_seen = lists_seen || row->kind == KIND_LIST;
        sets_seen = sets_seen || row->kind == KIND_SET;
        if (set_flagged(o, row, source, value, argv + i + 1, argc - i - 1, &used, err))
            return (int)err->status;
        i += used;
    }
    return 0;
}

/* What the service manager hands over, unless a flag or a variable says otherwise. */
static int take_credentials(struct options *o, struct error *err)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");

    if (!o->token_file && directory && *directory) {
        if (asprintf(&o->token_file, "%s/tokens", directory) < 0)
            return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        if (access(o->token_file, F_OK)) drop_text(&o->token_file);
    }
    if (!o->tls_cert && !o->tls_key && directory && *directory) {
        bool whole = asprintf(&o->tls_cert, "%s/tls.crt", directory) > 0 &&
                     asprintf(&o->tls_key, "%s/tls.key", directory) > 0;
        if (!whole) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        if (access(o->tls_cert, F_OK)) drop_text(&o->tls_cert);
        if (access(o->tls_key, F_OK)) drop_text(&o->tls_key);
    }
    if (!o->tls_cert == !o->tls_key) return 0;
    return error_set(err, ST_CONFIG_INVALID, "--tls-%s %s: needs --tls-%s as well",
                     o->tls_cert ? "cert" : "key", o->tls_cert ? o->tls_cert : o->tls_key,
                     o->tls_cert ? "key" : "cert");
}

static int check_together(struct options *o, struct error *err)
{
    struct stat info;
    char host[LISTEN_ADDRESS_MAX];
    uint16_t port;
    const char *state = getenv("STATE_DIRECTORY");

    if (strncmp(o->listen, "unix:", 5) && listen_split(o->listen, host, sizeof(host), &port, err))
        return error_wrap(err, "--listen");
    if (take_credentials(o, err)) return (int)err->status;
    if (!o->data_dir && state && *state) o->data_dir = strndup(state, strcspn(state, ":"));
    if (!o->data_dir && !stat(STATE_DIR, &info) && S_ISDIR(info.st_mode)) o->data_dir = strdup(STATE_DIR);
    if (!o->data_dir && !o->check && !o->backup[0])
        return error_set(
            err, ST_CONFIG_INVALID,
            "--data-dir: say where jobs are kept, for example --data-dir ./greedylrd-data (" STATE_DIR
            " does not exist and STATE_DIRECTORY is not set)");
    if (o->max_batch_body < o->max_body)
        return error_set(err, ST_CONFIG_INVALID,
                         "--max-batch-body %llu: has to be at least --max-body, which is %llu",
                         (unsigned long long)o->max_batch_body, (unsigned long long)o->max_body);
    return 0;
}

int options_parse(struct options *o, int argc, char **argv, struct error *err)
{
    memset(o, 0, sizeof(*o));
    for (int i = 1; i < argc; i++) { /* help always helps */
        o->help = o->help || !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
        o->version = o->version || !strcmp(argv[i], "--version");
    }
    if (o->help || o->version) return 0;
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].preset && set_row(o, &rows[i], rows[i].flag, rows[i].preset, err))
            return (int)err->status;
    }
    if (parse_environment(o, err) || parse_flags(o, argc, argv, err)) return (int)err->status;
    return check_together(o, err);
}

void options_free(struct options *o)
{
    forget_list(o);
    free(o->listen);
    free(o->tls_cert);
    free(o->tls_key);
    free(o->data_dir);
    free(o->check);
    free(o->backup[0]);
    free(o->backup[1]);
    free(o->token_file);
    free(o->learned_weights);
    memset(o, 0, sizeof(*o));
}

void options_help(FILE *out)
{
    fputs("Usage: greedylrd [--FLAG VALUE]...\n"
          "Decides learning rates for training jobs that report losses over HTTP.\n\n"
          "Every flag that takes a value has an environment variable: --max-body is " ENV_PREFIX "MAX_BODY.\n"
          "Flags win over the environment.\n\n",
          out);
    for (size_t i = 0; i < ROWS; i++) {
        fprintf(out, "  --%s%s%s\n      %s", rows[i].flag, rows[i].argument ? " " : "",
                rows[i].argument ? rows[i].argument : "", rows[i].help);
        if (rows[i].preset) fprintf(out, " (default %s)", rows[i].preset);
        fputc('\n', out);
    }
    fputs("\nExit status: 0 clean, 1 runtime failure, 2 usage or a refused configuration, 3 data directory "
          "in use or\n"
          "unreadable, 4 data newer than this program.\n",
          out);
}

static void print_row(const struct options *o, const struct row *row, FILE *out)
{
    const char *at = (const char *)o + row->offset;
    char text[32];

    fprintf(out, "%s =", row->flag);
    switch (row->kind) {
    case KIND_TEXT:
        if (*(char *const *)(const void *)at) fprintf(out, " %s", *(char *const *)(const void *)at);
        break;
    case KIND_LIST:
        for (size_t i = 0; i < o->n_allow_hosts; i++)
            fprintf(out, "%s%s", i ? "," : " ", o->allow_hosts[i]);
        break;
    case KIND_SET:
        for (int i = 0, n = 0; row->words[i]; i++) {
            if (*(const unsigned *)(const void *)at & (1u << i))
                fprintf(out, "%s%s", n++ ? "," : " ", row->words[i]);
        }
        break;
    case KIND_CHOICE: fprintf(out, " %s", row->words[*(const unsigned *)(const void *)at]); break;
    case KIND_TASK: break;
    case KIND_FLAG: fprintf(out, " %s", *(const bool *)at ? "true" : "false"); break;
    case KIND_SIZE:
    case KIND_COUNT:
    case KIND_DURATION:
        print_number(text, sizeof(text), row->kind,
                     row->kind == KIND_COUNT ? *(const uint32_t *)(const void *)at
                                             : *(const uint64_t *)(const void *)at);
        fprintf(out, " %s", text);
        break;
    }
    fputc('\n', out);
}

void options_print(const struct options *o, FILE *out)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].kind != KIND_TASK) print_row(o, &rows[i], out);
    }
}

bool options_listen_is_public(const char *listen)
{
    char host[LISTEN_ADDRESS_MAX];
    struct in6_addr six;
    struct in_addr four;
    struct error ignored;
    uint16_t port;

    if (!strncmp(listen, "unix:", 5)) return false;
    if (listen_split(listen, host, sizeof(host), &port, &ignored)) return true;
    if (!strcmp(host, "localhost")) return false;
    if (inet_pton(AF_INET, host, &four) == 1) return (ntohl(four.s_addr) >> 24) != 127;
    if (inet_pton(AF_INET6, host, &six) == 1) {
        if (IN6_IS_ADDR_V4MAPPED(&six)) return six.s6_addr[12] != 127;
        return !IN6_IS_ADDR_LOOPBACK(&six);
    }
    return true; /* a name may be anything */
}

struct option_doc options_doc(size_t i)
{
    if (i >= ROWS) return (struct option_doc){0};
    return (struct option_doc){rows[i].flag, rows[i].argument, rows[i].preset, rows[i].help};
}
