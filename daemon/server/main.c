/* The process: options, store, service, listener, signals; then the loop.
 *
 * Start: check everything that can be refused, open the store, listen, say so on standard output.  SIGTERM or
 * SIGINT drains: no new connections, what is in flight is answered, the store is folded and closed.  Exit
 * codes: 0 clean, 1 runtime failure, 2 usage or a refused configuration, 3 data directory in use or
 * unreadable, 4 data newer than the binary. */
#include "core/learned_model.h"
#include "rpc/json.h"
#include "server/api.h"
#include "server/convert.h"
#include "server/inspect.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/options.h"
#include "server/origin.h"
#include "server/sd.h"
#include "server/tls.h"
#include "server/weights.h"

#include <protobuf-c/protobuf-c.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EXIT_CLEAN = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2, EXIT_DATA = 3, EXIT_NEWER = 4 };

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define DRAIN_TICK_MS 10
#define DRAIN_MAX_MS  20000
/* For a request that is on its way; a connection that says nothing is not waited for longer. */
#define DRAIN_ASKED_MS 1000
#define STATUS_MS      1000
#define FATAL_MS       100 /* for the answers that say the outcome is unknown */

struct daemon {
    uv_loop_t loop;
    struct options options;
    struct tls *tls; /* NULL: none */
    struct store *store;
    struct service *service;
    struct guard_config *guard;
    struct auth *auth;          /* NULL: no tokens */
    struct learned_model model; /* of --learned-weights */
    struct api *api;
    struct http_server *http;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t drain, watchdog, status;
    uint64_t drain_start;
    bool draining;
    int exit_code;
};

static int exit_code_of(enum status status)
{
    switch (status) {
    case ST_OK: return EXIT_CLEAN;
    case ST_CONFIG_INVALID: return EXIT_USAGE;
    case ST_DATA_DIR_IN_USE:
    case ST_DATA_DIR_UNREADABLE:
    case ST_DATA_DAMAGED: return EXIT_DATA;
    case ST_DATA_NEWER: return EXIT_NEWER;
    default: return EXIT_RUNTIME;
    }
}

static int refuse(const struct error *err)
{
    fprintf(stderr, "%sgreedylrd: %s\n", log_error_prefix(), err->message);
    return exit_code_of(err->status);
}

/* ---- the end ---- */

static void close_timers(struct daemon *d)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&d->term,     (uv_handle_t *)&d->interrupt,
                              (uv_handle_t *)&d->hangup,   (uv_handle_t *)&d->drain,
                              (uv_handle_t *)&d->watchdog, (uv_handle_t *)&d->status};

    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        uv_close(handles[i], NULL);
}

/* What systemctl status shows, looked at as often as it may change. */
static void say_status(const struct daemon *d)
{
    struct error err;

    if (d->draining)
        sd_status("stopping: %zu requests are to be answered", http_server_in_flight(d->http));
    else if (service_writable(d->service, &err))
        sd_status("refusing writes: %s", err.message);
    else if (service_is_shedding(d->service))
        sd_status("refusing new load: more memory in use than --max-memory allows");
    else
        sd_status("serving on %s", http_server_address(d->http));
}

static void on_status(uv_timer_t *timer)
{
    say_status(timer->data);
}

static void on_service_stopped(void *arg)
{
    close_timers(arg);
}

static void on_http_closed(void *arg)
{
    struct daemon *d = arg;

    service_stop(d->service, on_service_stopped, d);
}

static void on_drain_tick(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    uint64_t since = uv_now(&d->loop) - d->drain_start;

    if (http_server_in_flight(d->http) && since < DRAIN_MAX_MS) return;
    if (http_server_asked(d->http) && since < DRAIN_ASKED_MS) return;
    uv_timer_stop(timer);
    uv_timer_stop(&d->status);
    sd_status("stopping: closing the store");
    http_server_close(d->http, on_http_closed, d);
}

static void drain(struct daemon *d)
{
    if (d->draining) return;
    d->draining = true;
    d->drain_start = uv_now(&d->loop);
    sd_stopping();
    log_event(LOG_INFO, "draining", NULL);
    api_drain(d->api);
    service_release(d->service);
    http_server_quiesce(d->http);
    say_status(d);
    uv_timer_start(&d->drain, on_drain_tick, 0, DRAIN_TICK_MS);
}

static void on_stop_signal(uv_signal_t *handle, int number)
{
    (void)number;
    drain(handle->data);
}

/* A file with nothing but comments is in order, and shuts everybody out. */
static void warn_no_tokens(const struct daemon *d)
{
    if (!d->auth || auth_count(d->auth)) return;
    log_event(LOG_WARNING, "no_tokens",
              (struct log_field[]){log_str("file", d->options.token_file),
                                   log_str("note", "nobody can get in; greedylr token create --file makes "
                                                   "tokens, then send SIGHUP"),
                                   log_end()});
}

static void reload_tokens(struct daemon *d)
{
    struct error err;
    size_t revoked;

    int rc = auth_reload(d->auth, &revoked, &err);

    metrics_set(METRIC_RELOADED, RELOADED_TOKENS, !rc);
    if (rc) {
        log_event(LOG_ERROR, "tokens_not_reloaded",
                  (struct log_field[]){log_str("error", err.message),
                                       log_str("note", "the tokens read before stay in force"), log_end()});
        return;
    }
    api_end_revoked(d->api);
    if (service_count_jobs(d->service, &err))
        log_event(LOG_ERROR, "jobs_not_counted",
                  (struct log_field[]){log_str("error", err.message), log_end()});
    log_event(LOG_INFO, "tokens_reloaded",
              (struct log_field[]){log_str("file", d->options.token_file),
                                   log_u64("tokens", auth_count(d->auth)), log_u64("revoked", revoked),
                                   log_end()});
    warn_no_tokens(d);
}

static void reload_certificate(struct daemon *d)
{
    struct error err;

    int rc = tls_reload(d->tls, &err);

    metrics_set(METRIC_RELOADED, RELOADED_CERTIFICATE, !rc);
    if (rc)
        log_event(LOG_ERROR, "tls_reload_failed",
                  (struct log_field[]){log_str("error", err.message),
                                       log_str("note", "the certificate from before stays in force"),
                                       log_end()});
    else
        tls_report(d->tls, "tls_reloaded");
}

static void on_hangup(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;

    (void)number;
    log_event(LOG_INFO, "reload", NULL);
    if (d->auth) reload_tokens(d);
    if (d->tls) reload_certificate(d);
}

static void on_fatal_end(uv_timer_t *timer)
{
    (void)timer;
    _exit(EXIT_RUNTIME); /* the store is not to be touched again */
}

/* The store cannot be trusted any more: answer who waits, then end. */
static void on_fatal(void *arg, const struct error *err)
{
    struct daemon *d = arg;

    log_event(LOG_ERROR, "store_failed", (struct log_field[]){log_str("error", err->message), log_end()});
    uv_timer_stop(&d->status);
    sd_status("failed: %s", err->message);
    uv_timer_start(&d->drain, on_fatal_end, FATAL_MS, 0);
}

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    sd_alive();
}

/* ---- the beginning ---- */

/* What keeps strangers out, each by the word that --insecure has for its absence. */
static const struct protection {
    unsigned bit;
    const char *word, *name, *risk;
} protections[] = {
    {INSECURE_NO_TOKENS, "no-tokens", "tokens (--token-file)",
     "anybody who reaches this address can set learning rates"},
    {INSECURE_NO_TLS, "no-tls", "TLS (--tls-cert, --tls-key)",
     "whoever is on the way can read and change what is sent, tokens too"},
};
#define PROTECTIONS (sizeof(protections) / sizeof(protections[0]))

static unsigned missing_protections(const struct options *o)
{
    return (o->token_file ? 0 : INSECURE_NO_TOKENS) | (o->tls_cert ? 0 : INSECURE_NO_TLS);
}

static int refuse_exposure(const struct options *o, const char *address, unsigned missing, struct error *err)
{
    char names[96] = "", words[64] = "";

    for (size_t i = 0; i < PROTECTIONS; i++) {
        const struct protection *p = &protections[i];
        if (!(missing & p->bit)) continue;
        snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s", *words ? "," : "", p->word);
        if (o->insecure & p->bit) continue;
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
                 *names ? " and without " : "without ", p->name);
    }
    return error_set(err, ST_CONFIG_INVALID,
                     "--listen %s: can be reached from other machines, %s; add what is missing, "
                     "listen on 127.0.0.1 or a Unix socket, or accept the risk by name with --insecure %s",
                     address, names, words);
}

/* Tokens and TLS, or the absence of each accepted by name, where other machines can come in. */
static int check_exposure(const struct options *o, const char *address, struct error *err)
{
    unsigned missing = options_listen_is_public(address) ? missing_protections(o) : 0;

    if (missing & ~o->insecure) return refuse_exposure(o, address, missing, err);
    for (size_t i = 0; i < PROTECTIONS; i++) {
        const struct protection *p = &protections[i];
        if (missing & p->bit)
            log_event(LOG_WARNING, "insecure",
                      (struct log_field[]){log_str("listen", address), log_str("accepted", p->word),
                                           log_str("note", p->risk), log_end()});
    }
    return 0;
}

/* No TLS without --tls-cert. */
static int open_tls(struct daemon *d, struct error *err)
{
    const struct options *o = &d->options;

    if (!o->tls_cert) return 0;
    if (tls_open(o->tls_cert, o->tls_key, &d->tls, err)) return (int)err->status;
    tls_report(d->tls, "tls_certificate");
    return 0;
}

static int open_tokens(const struct options *o, struct auth **out, struct error *err)
{
    const struct auth_limits defaults = {o->token_jobs, o->token_requests, o->token_rounds,
                                         o->token_watchers};

    *out = NULL;
    return o->token_file ? auth_open(o->token_file, &defaults, out, err) : 0;
}

/* The model of learned policies, from a weights file if there is one. */
static int open_model(const struct options *o, struct learned_model *model, struct error *err)
{
    struct learned_origin origin;
    char hash[LEARNED_HASH_LEN + 1], config[9];

    if (!o->learned_weights) return 0;
    if (weights_load(o->learned_weights, model, &origin, err)) return error_wrap(err, "--learned-weights");
    learned_hash(model, hash);
    snprintf(config, sizeof(config), "%08x", origin.config);
    log_event(LOG_INFO, "learned_weights",
              (struct log_field[]){log_str("file", o->learned_weights), log_str("model", hash),
                                   log_u64("seed", origin.seed), log_str("config", config), log_end()});
    convert_use_model(model);
    return 0;
}

static void warn_strays(void)
{
    struct option_stray stray;

    for (size_t at = 0; options_stray(&at, &stray);) {
        char name[128], note[160] = "there is no such option; greedylrd --help lists those that are";

        snprintf(name, sizeof(name), "%.*s", stray.len, stray.name);
        if (*stray.meant)
            snprintf(note, sizeof(note), "there is no such option; did you mean %s?", stray.meant);
        log_event(LOG_WARNING, "variable_ignored",
                  (struct log_field[]){log_str("variable", name), log_str("note", note), log_end()});
    }
}

/* --check-config: what can be refused without touching the data directory. */
static int check_config(struct daemon *d)
{
    struct error err;

    if (check_exposure(&d->options, d->options.listen, &err) || open_tokens(&d->options, &d->auth, &err) ||
        open_tls(d, &err) || open_model(&d->options, &d->model, &err))
        return refuse(&err);
    tls_free(d->tls);
    auth_free(d->auth);
    options_print(&d->options, stdout);
    return EXIT_CLEAN;
}

#define ASKING 64 /* connections that those who wait leave to others */

static int start_parts(struct daemon *d, struct error *err)
{
    const struct options *o = &d->options;
    struct store_options store = {.history_limit = o->history_limit};
    struct service_options service = {.auth = d->auth,
                                      .auto_create = !o->no_auto_create,
                                      .max_jobs = o->max_jobs,
                                      .resident_jobs = o->resident_jobs,
                                      .batch_entries = o->max_batch_entries,
                                      .max_watchers = o->max_watchers,
                                      .max_watchers_per_job = o->max_watchers_per_job,
                                      .max_ranks = o->max_ranks,
                                      .max_wait_ms = (uint64_t)o->max_wait_ms,
                                      .max_memory = o->max_memory,
                                      .max_simulations = o->max_simulations,
                                      .round_memory = o->max_round_memory,
                                      .max_unfolded = o->max_unfolded,
                                      .unfolded_memory = o->max_unfolded_memory,
                                      .simulated_rates = o->max_simulated_rates,
                                      .history_limit = o->history_limit,
                                      .job_metrics = o->job_metrics,
                                      .log_decisions = o->log_decisions};
    struct http_limits limits = {.connections = o->max_connections,
                                 .per_address = o->max_connections_per_address,
                                 .body = o->max_body,
                                 .connection_memory = o->connection_memory,
                                 .header_timeout_ms = (int)o->header_timeout_ms,
                                 .request_timeout_ms = (int)o->request_timeout_ms,
                                 .slow_ms = (int)o->slow_request_ms,
                                 .answer_timeout_ms = (int)o->answer_timeout_ms,
                                 .keepalive_ms = (int)o->keepalive_timeout_ms,
                                 .silence_ms = (int)o->watch_keepalive_ms};
    int fd = -1;

    if (sd_listen_fd(&fd, err) || store_open(o->data_dir, &store, &d->store, err)) return (int)err->status;
    if (service_start(&d->loop, d->store, &service, on_fatal, d, &d->service, err) ||
        service_count_jobs(d->service, err) || service_load_series(d->service, err))
        return (int)err->status;
    if (guard_new(NULL, (const char *const *)o->allow_hosts, o->n_allow_hosts, &d->guard, err))
        return (int)err->status;
    d->api = api_new(&(struct api_config){
        .options = o, .service = d->service, .store = d->store, .guard = d->guard, .auth = d->auth});
    if (!d->api) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    struct http_handlers handlers = api_handlers(d->api);
    if (open_tls(d, err)) return (int)err->status;
    if (http_listen(&d->loop, o->listen, fd, d->tls, &limits, &handlers, &d->http, err))
        return (int)err->status;
    api_set_server(d->api, d->http);
    uint32_t connections = http_server_connections(d->http);
    service_limit_waiting(d->service,
                          connections > 2 * ASKING ? connections - ASKING : (connections + 1) / 2);
    /* An inherited socket listens where the service manager says, not where --listen does. */
    if (fd >= 0 && check_exposure(o, http_server_address(d->http), err)) return (int)err->status;
    return guard_add_address(d->guard, http_server_address(d->http), err);
}

static void start_signals(struct daemon *d)
{
    uv_signal_t *stops[] = {&d->term, &d->interrupt};
    const int numbers[] = {SIGTERM, SIGINT};

    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&d->loop, stops[i]);
        stops[i]->data = d;
        uv_signal_start(stops[i], on_stop_signal, numbers[i]);
    }
    uv_signal_init(&d->loop, &d->hangup);
    d->hangup.data = d;
    uv_signal_start(&d->hangup, on_hangup, SIGHUP);
    uv_timer_init(&d->loop, &d->drain);
    d->drain.data = d;
    uv_timer_init(&d->loop, &d->watchdog);
    uv_timer_init(&d->loop, &d->status);
    d->status.data = d;
    uint64_t interval = sd_watchdog_interval_ms();
    if (interval) uv_timer_start(&d->watchdog, on_watchdog, interval, interval);
}

static void announce(const struct daemon *d)
{
    const char *address = http_server_address(d->http);

    const char *scheme = http_server_tls(d->http) ? "https://" : "http://";

    if (!strncmp(address, "unix:", 5)) scheme = "";
    if (d->tls && !http_server_tls(d->http))
        log_event(LOG_WARNING, "tls_unused",
                  (struct log_field[]){log_str("listen", address),
                                       log_str("note", "a Unix socket is plain; --tls-cert is for TCP"),
                                       log_end()});
    printf("greedylrd listening on %s%s\n", scheme, address);
    fflush(stdout);
    log_event(LOG_INFO, "ready",
              (struct log_field[]){
                  log_str("version", GREEDYLRD_VERSION), log_str("listen", address),
                  log_bool("tls", http_server_tls(d->http)), log_str("data_dir", d->options.data_dir),
                  log_u64("jobs", store_job_count(d->store)), log_bool("tokens", d->auth), log_end()});
    say_status(d);
    sd_ready();
}

/* The first line is for programs. */
static void print_version(void)
{
    printf("greedylrd " GREEDYLRD_VERSION "\nschema %u, state %u\n", store_schema(), job_state_version());
    printf("libmicrohttpd %s, jansson %s, libuv %s, sqlite %s, protobuf-c %s, gnutls %s\n", http_library(),
           json_library(), uv_version_string(), store_library(), protobuf_c_version(), tls_library());
}

static int run(struct daemon *d)
{
    struct error err = {0};

    if (check_exposure(&d->options, d->options.listen, &err) || origin_start(&err) ||
        open_tokens(&d->options, &d->auth, &err) || open_model(&d->options, &d->model, &err))
        return refuse(&err);
    if (uv_loop_init(&d->loop)) return EXIT_RUNTIME;
    start_signals(d);
    sd_status("opening %s", d->options.data_dir);
    if (start_parts(d, &err)) _exit(refuse(&err)); /* threads may run; nothing was promised yet */
    announce(d);
    uv_timer_start(&d->status, on_status, STATUS_MS, STATUS_MS);
    warn_no_tokens(d);
    uv_run(&d->loop, UV_RUN_DEFAULT);

    api_free(d->api);
    guard_free(d->guard);
    tls_free(d->tls);
    auth_free(d->auth);
    int rc = store_close(d->store, &err);
    if (rc == ST_STORE_FULL || rc == ST_STORE_HELD || rc == ST_OUT_OF_MEMORY) {
        log_event(LOG_WARNING,
                  rc == ST_STORE_FULL   ? "disk_full"
                  : rc == ST_STORE_HELD ? "database_held"
                                        : "out_of_memory",
                  (struct log_field[]){log_str("error", err.message),
                                       log_str("note", "nothing is lost; the rest is done at the next start"),
                                       log_end()});
    } else if (rc) {
        log_event(LOG_ERROR, "store_close", (struct log_field[]){log_str("error", err.message), log_end()});
        return EXIT_RUNTIME;
    }
    if (uv_loop_close(&d->loop)) abort(); /* a handle was forgotten */
    sd_status("stopped");
    log_settle(true);
    log_event(LOG_INFO, "stopped", NULL);
    return EXIT_CLEAN;
}

int main(int argc, char **argv)
{
    struct daemon d = {0};
    struct error err;
    int code = EXIT_CLEAN;

    if (options_parse(&d.options, argc, argv, &err)) {
        code = refuse(&err);
        fputs("Try greedylrd --help.\n", stderr);
    } else if (d.options.help) {
        options_help(stdout);
    } else if (d.options.version) {
        print_version();
    } else if (d.options.check) {
        json_init();
        code = exit_code_of((enum status)inspect_check(d.options.check, d.options.history_limit, stdout));
    } else if (d.options.backup[0]) {
        json_init();
        if (inspect_backup(d.options.backup[0], d.options.backup[1], stdout, &err)) code = refuse(&err);
    } else {
        log_open(d.options.log_level, d.options.log_format);
        warn_strays();
        if (d.options.check_config) {
            code = check_config(&d);
        } else {
            signal(SIGPIPE, SIG_IGN);
#if !SANITIZED /* the leak checker needs to look */
            prctl(PR_SET_DUMPABLE, 0);
#endif
            json_init();
            json_limit_depth(d.options.max_json_depth);
            code = run(&d);
        }
    }
    options_free(&d.options);
    return code;
}
