/* libmicrohttpd in external epoll mode inside the loop.
 *
 * The way of a request: a connection is accepted here and handed to the library; its request line makes a
 * request, its headers are admitted, its body is collected, handle is called.  An answer that is there by
 * then is queued at once. Otherwise the connection is suspended; http_respond resumes it, and the library is
 * run once before the loop sleeps, for all that were resumed: a resumed connection does not make the epoll
 * descriptor readable.
 *
 * The library's own timeout is an idle timer, so deadlines are kept in http_sweep.c, which looks after
 * suspended connections too: they are out of the library's sight.  Answers that go on are in http_stream.c.
 */
#include "server/http_impl.h"

#include "server/log.h"
#include "server/metrics.h"
#include "server/origin.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* A refused body up to this size is read and dropped, so that the peer sees the answer and not a reset. */
#define DISCARD_MAX (256u * 1024)
#define NO_FDS      64 /* descriptors for everything but connections */

/* ---- requests ---- */

/* At the request line.  Called with a target as it came; NULL if there was none. */
static void *on_request_line(void *arg, const char *target, struct MHD_Connection *mhd)
{
    struct http_server *server = arg;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct conn *conn = info ? info->socket_context : NULL;
    struct http_request *req;

    if (!conn || !target || conn->req || refuse_target(conn, target)) return NULL;
    req = calloc(1, sizeof(*req));
    if (!req) return NULL;
    req->target = strdup(target);
    if (!req->target) {
        free(req);
        return NULL;
    }
    req->conn = conn;
    req->raw = target;
    conn->req = req;
    if (conn->phase != PHASE_HEADERS) conn_phase(conn, PHASE_HEADERS, server->limits.header_timeout_ms);
    return req;
}

static void drop_response(struct http_request *req)
{
    if (req->response && req->response != req->conn->server->standby) MHD_destroy_response(req->response);
    req->response = NULL;
}

static double seconds_of(const struct http_request *req)
{
    return (double)(uv_hrtime() - req->since) / 1e9;
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct http_server *server = arg;
    struct http_request *req = *context;

    (void)mhd;
    (void)code;
    *context = NULL;
    if (!req) return;
    if (req->admitted) {
        server->stats.in_flight--;
        if (req->stream.on) metrics_wait(req->route, seconds_of(req));
        if (!req->gone) server->handlers.closed(server->handlers.arg, req);
    }
    drop_response(req);
    stream_clear(req);
    origin_unref(req->origin);
    req->conn->req = NULL;
    conn_phase(req->conn, PHASE_IDLE, server->limits.keepalive_ms);
    free(req->target);
    free(req->body);
    free(req);
}

static void log_failed(const struct http_request *req)
{
    char path[HTTP_PATH_MAX];

    log_event(LOG_ERROR, "answer_failed",
              (struct log_field[]){log_str("path", http_path(req, path)), log_i64("status", req->status),
                                   log_str("request_id", origin_id(req->origin)),
                                   log_str("trace_id", origin_trace_id(req->origin)), log_end()});
}

/* What waits for other requests is not slow, nor is a stream. */
static bool is_slow(const struct http_request *req)
{
    int limit = req->conn->server->limits.slow_ms;

    return limit && req->arrived && !req->waits && !req->stream.on &&
           uv_hrtime() - req->arrived > (uint64_t)limit * 1000000;
}

static void log_answer(const struct http_request *req)
{
    bool slow = is_slow(req);
    char path[HTTP_PATH_MAX];

    if (!slow && !log_enabled(LOG_DEBUG)) return;
    log_event(slow ? LOG_WARNING : LOG_DEBUG, slow ? "slow_request" : "request",
              (struct log_field[]){log_str("method", req->method), log_str("path", http_path(req, path)),
                                   log_i64("status", req->status), log_f64("seconds", seconds_of(req)),
                                   log_str("peer", http_peer(req)),
                                   log_str("request_id", origin_id(req->origin)),
                                   log_str("trace_id", origin_trace_id(req->origin)), log_end()});
}

static void count_answer(const struct http_request *req)
{
    metrics_http(req->method, req->status);
    if (!req->admitted || req->stream.on) return; /* a stream has ended before its time is known */
    if (req->waits)
        metrics_wait(req->route, seconds_of(req));
    else
        metrics_answer(req->route, req->method, seconds_of(req));
}

static enum MHD_Result send_answer(struct http_request *req)
{
    struct http_server *server = req->conn->server;
    enum MHD_Result rc;

    if (req->failed) return MHD_NO;
    if ((req->close || req->conn->reserve || server->quiescing) && req->response != server->standby)
        (void)MHD_add_response_header(req->response, MHD_HTTP_HEADER_CONNECTION, "close");
    rc = MHD_queue_response(req->conn->mhd, (unsigned)req->status, req->response);
    drop_response(req);
    if (rc != MHD_YES) log_failed(req);
    count_answer(req);
    log_answer(req);
    conn_phase(req->conn, req->stream.on && !req->stream.ended ? PHASE_STREAM : PHASE_ANSWER,
               server->limits.answer_timeout_ms);
    return rc;
}

static bool answered(const struct http_request *req)
{
    return req->response || req->failed;
}

/* Bytes of body to come; UINT64_MAX if unknown. */
static uint64_t announced(const struct http_request *req)
{
    const char *text = http_header(req, "Content-Length");

    if (http_header(req, "Transfer-Encoding")) return UINT64_MAX;
    if (!text) return 0;
    if (strspn(text, "0123456789") != strlen(text) || !*text) return UINT64_MAX;
    return strtoull(text, NULL, 10);
}

/* At the headers.  An answer given here waits for the body's end if that is near, else it ends the
 * connection. */
static enum MHD_Result begin_request(struct http_request *req)
{
    struct http_server *server = req->conn->server;
    bool chunked = http_header(req, "Transfer-Encoding") != NULL, at_once;
    size_t need = refuse_header_memory(req);
    int64_t limit;
    uint64_t size;

    req->origin = origin_new(http_header(req, "X-Request-Id"), http_header(req, "traceparent"));
    if (need > server->limits.connection_memory) {
        req->close = true;
        return refuse_headers(req, need) ? send_answer(req) : MHD_NO;
    }
    req->admitted = true;
    req->since = uv_hrtime();
    server->stats.requests++;
    server->stats.in_flight++;
    conn_phase(req->conn, PHASE_BODY, server->limits.request_timeout_ms);
    limit = server->handlers.admit(server->handlers.arg, req);
    size = announced(req);
    if (limit >= 0) {
        assert(!answered(req));
        req->limit = (size_t)limit;
        req->close = chunked;
        if (size == UINT64_MAX || size <= req->limit) return MHD_YES;
        req->too_large = true;
        req->close = size > DISCARD_MAX;
        refuse_body(req);
    }
    if (!answered(req)) return MHD_NO;
    req->discard = true;
    at_once = req->close || (size > DISCARD_MAX && !chunked) || (size && http_header(req, "Expect"));
    req->close = at_once || chunked;
    return at_once ? send_answer(req) : MHD_YES;
}

static enum MHD_Result take_body(struct http_request *req, const char *data, size_t n)
{
    if (!req->discard && n > req->limit - req->len) { /* only where no length was announced */
        req->discard = req->too_large = req->close = true;
        req->dropped = req->len;
    }
    if (req->discard) {
        req->dropped += n;
        return req->dropped > DISCARD_MAX + 65536 ? MHD_NO : MHD_YES;
    }
    if (req->cap - req->len < n + 1) {
        size_t cap = req->cap ? req->cap : 256;
        uint8_t *grown;
        while (cap - req->len < n + 1)
            cap *= 2;
        grown = realloc(req->body, cap);
        if (!grown) { /* answered at the body's end */
            req->discard = req->starved = req->close = true;
            req->dropped = req->len + n;
            return MHD_YES;
        }
        req->body = grown;
        req->cap = cap;
    }
    memcpy(req->body + req->len, data, n);
    req->len += n;
    req->body[req->len] = '\0';
    return MHD_YES;
}

static enum MHD_Result finish_request(struct http_request *req)
{
    struct http_server *server = req->conn->server;

    if (!answered(req) && (req->too_large || req->starved)) refuse_body(req);
    if (!answered(req) && !req->handled) {
        req->handled = true;
        req->arrived = uv_hrtime();
        conn_phase(req->conn, PHASE_HANDLING, 0);
        req->conn->reserve = sweep_is_over(server);
        server->handlers.handle(server->handlers.arg, req);
    }
    if (answered(req)) return send_answer(req);
    req->suspended = true;
    MHD_suspend_connection(req->conn->mhd);
    return MHD_YES;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, const char *data, size_t *n, void **context)
{
    const struct http_server *server = arg;
    struct http_request *req = *context;
    enum MHD_Result rc;

    (void)mhd;
    (void)url;
    if (!req || req->gone || server->closing) return MHD_NO;
    req->method = method;
    req->version = version;
    if (!req->admitted) return begin_request(req);
    if (!*n) return finish_request(req);
    rc = take_body(req, data, *n);
    *n = 0;
    return rc;
}

void http_resume(struct http_request *req)
{
    if (!req->suspended) return;
    req->suspended = false;
    req->conn->server->run_needed = true;
    MHD_resume_connection(req->conn->mhd);
}

void http_abandon(struct http_request *req)
{
    struct http_server *server = req->conn->server;

    req->gone = true;
    if (!req->stream.on) server->stats.gone++; /* leaving is how a watcher ends */
    server->handlers.closed(server->handlers.arg, req);
    http_resume(req);
}

static bool add_headers(struct MHD_Response *built, const struct http_response *response)
{
    bool ok = true;

    if (response->content_type)
        ok = MHD_add_response_header(built, MHD_HTTP_HEADER_CONTENT_TYPE, response->content_type) == MHD_YES;
    for (size_t i = 0; i < response->n_headers; i++)
        ok =
            MHD_add_response_header(built, response->headers[i][0], response->headers[i][1]) == MHD_YES && ok;
    return ok;
}

static bool add_origin(struct MHD_Response *built, const struct origin *origin)
{
    if (!origin) return true;
    return MHD_add_response_header(built, "X-Request-Id", origin->id) == MHD_YES &&
           (!origin->traceparent ||
            MHD_add_response_header(built, "traceparent", origin->traceparent) == MHD_YES);
}

void http_take_response(struct http_request *req, struct MHD_Response *built,
                        const struct http_response *response)
{
    const struct http_server *server = req->conn->server;

    assert(!answered(req) && !req->gone);
    if (!built || !add_headers(built, response) || !add_origin(built, req->origin)) {
        log_failed(req);
        if (built) MHD_destroy_response(built);
        req->failed = !server->standby || req->stream.on;
        req->response = req->failed ? NULL : server->standby;
        if (req->response) req->status = server->handlers.standby->status;
    } else {
        req->response = built;
        req->status = response->status;
        req->close = req->close || response->close;
    }
    http_resume(req);
}

void http_respond(struct http_request *req, const struct http_response *response)
{
    void *body = (void *)(uintptr_t)(response->len ? response->body : "");
    struct MHD_Response *built =
        response->release
            ? MHD_create_response_from_buffer_with_free_callback_cls(response->len, body, response->release,
                                                                     response->release_arg)
            : MHD_create_response_from_buffer(
                  response->len, body, response->keep ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_COPY);

    if (response->release && !built) response->release(response->release_arg);
    http_take_response(req, built, response);
}

/* ---- the loop ---- */

static void run_library(struct http_server *server)
{
    server->run_needed = false;
    (void)MHD_run(server->mhd);
    if (server->paused && server->stats.connections < server->paused_at) conn_pause_listener(server, false);
}

static void on_epoll(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    run_library(handle->data);
}

static void on_again(uv_timer_t *timer)
{
    run_library(timer->data);
}

/* Before the loop sleeps: run what was resumed, and wake up for what the library still has to do. */
static void on_prepare(uv_prepare_t *handle)
{
    struct http_server *server = handle->data;
    MHD_UNSIGNED_LONG_LONG timeout;

    if (server->run_needed) run_library(server);
    http_tls_sleep(server);
    if (server->run_needed)
        (void)uv_timer_start(&server->again, on_again, 0, 0);
    else if (MHD_get_timeout(server->mhd, &timeout) == MHD_YES)
        (void)uv_timer_start(&server->again, on_again, timeout, 0);
}

/* ---- starting and stopping ---- */

static void on_library_log(void *arg, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));
static void on_library_log(void *arg, const char *fmt, va_list args)
{
    char text[256];

    (void)arg;
    refuse_note_library(fmt, args);
    if (!log_enabled(LOG_DEBUG)) return; /* mostly what peers did wrong */
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    log_event(LOG_DEBUG, "http_library", (struct log_field[]){log_str("message", text), log_end()});
}

/* Where there cannot be enough there are fewer connections: the store must never be the one that goes short.
 */
static void raise_descriptors(struct http_server *server)
{
    struct rlimit limit;
    uint32_t *connections = &server->limits.connections;
    rlim_t want = (rlim_t)*connections + NO_FDS + HTTP_RESERVE;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= want) return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= want ? want : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= want) return;
    *connections = limit.rlim_cur > NO_FDS ? (uint32_t)(limit.rlim_cur - NO_FDS) : 1;
    server->reserve = 0;
    log_event(LOG_WARNING, "few_descriptors",
              (struct log_field[]){log_u64("have", limit.rlim_cur), log_u64("want", want),
                                   log_u64("connections", *connections),
                                   log_str("remedy", "raise LimitNOFILE or lower --max-connections"),
                                   log_end()});
}

static int start_library(struct http_server *server, struct error *err)
{
    struct MHD_OptionItem tls[HTTP_TLS_OPTIONS];

    if (http_tls_start(server, tls, err)) return (int)err->status;
    server->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG |
            (server->tls ? MHD_USE_TLS : 0),
        0, NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, server->limits.connection_memory + ANSWER_ROOM,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)server->limits.connections + HTTP_RESERVE + 8,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP,
        1, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        server, MHD_OPTION_NOTIFY_CONNECTION, conn_on_notify, server, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (server->mhd) return 0;
    return error_set(err, ST_INTERNAL, "the HTTP library does not start: %s", strerror(errno));
}

static void start_handles(struct http_server *server)
{
    int epoll_fd = MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;

    (void)uv_poll_init(server->loop, &server->listener, server->listen_fd);
    (void)uv_poll_init(server->loop, &server->epoll, epoll_fd);
    (void)uv_prepare_init(server->loop, &server->prepare);
    (void)uv_timer_init(server->loop, &server->again);
    server->handles = 5;
    http_tls_watch(server);
    server->listener.data = server->epoll.data = server->prepare.data = server;
    server->again.data = server;
    (void)uv_poll_start(&server->listener, UV_READABLE, conn_on_listener);
    (void)uv_poll_start(&server->epoll, UV_READABLE, on_epoll);
    (void)uv_prepare_start(&server->prepare, on_prepare);
}

static int start_standby(struct http_server *server, struct error *err)
{
    const struct http_response *r = server->handlers.standby;

    if (!r) return 0;
    server->standby =
        MHD_create_response_from_buffer(r->len, (void *)(uintptr_t)r->body, MHD_RESPMEM_MUST_COPY);
    if (server->standby && add_headers(server->standby, r) &&
        MHD_add_response_header(server->standby, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES)
        return 0;
    if (server->standby) MHD_destroy_response(server->standby);
    return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

int http_listen(uv_loop_t *loop, const char *address, int inherited_fd, struct tls *tls,
                const struct http_limits *limits, const struct http_handlers *handlers,
                struct http_server **out, struct error *err)
{
    struct http_server *server = calloc(1, sizeof(*server));
    int rc;

    if (!server) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    server->loop = loop;
    server->limits = *limits;
    server->handlers = *handlers;
    server->reserve = HTTP_RESERVE;
    server->handshakes_fd = -1;
    server->listen_fd = inherited_fd;
    server->inherited = inherited_fd >= 0;
    (void)signal(SIGPIPE, SIG_IGN);
    raise_descriptors(server);
    if (inherited_fd < 0 && (rc = listen_open(address, &server->listen_fd, err))) goto err_open;
    if ((rc = listen_name(server->listen_fd, server->address, err))) goto err_start;
    listen_local(server->listen_fd, server->local);
    server->tls = strncmp(server->address, "unix:", 5) ? tls : NULL;
    if ((rc = start_standby(server, err))) goto err_start;
    if ((rc = start_library(server, err))) goto err_standby;
    if (sweep_start(server)) {
        rc = error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        goto err_library;
    }
    start_handles(server);
    *out = server;
    return 0;

err_library:
    MHD_stop_daemon(server->mhd);
err_standby:
    if (server->handshakes_fd >= 0) close(server->handshakes_fd);
    if (server->standby) MHD_destroy_response(server->standby);
err_start:
    if (inherited_fd < 0) close(server->listen_fd);
err_open:
    free(server);
    return rc;
}

const char *http_server_address(const struct http_server *server)
{
    return server->address;
}

bool http_server_tls(const struct http_server *server)
{
    return server->tls != NULL;
}

const struct http_stats *http_server_stats(const struct http_server *server)
{
    return &server->stats;
}

uint32_t http_server_connections(const struct http_server *server)
{
    return server->limits.connections;
}

size_t http_server_in_flight(const struct http_server *server)
{
    return server->stats.in_flight - server->stats.streams;
}

bool http_server_asked(const struct http_server *server)
{
    for (const struct conn *conn = server->conns; conn; conn = conn->next) {
        if (conn->shut) continue;
        if (conn->phase == PHASE_HEADERS || (conn->phase == PHASE_IDLE && conn_has_events(conn, POLLIN)))
            return true;
    }
    return false;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;

    if (--server->handles) return;
    if (server->done) server->done(server->done_arg);
    free(server->polls);
    free(server);
}

void http_server_quiesce(struct http_server *server)
{
    if (server->quiescing) return;
    server->quiescing = true;
    uv_close((uv_handle_t *)&server->listener, on_handle_closed);
    close(server->listen_fd);
    server->listen_fd = -1;
    if (!server->inherited && !strncmp(server->address, "unix:", 5)) (void)unlink(server->address + 5);
    for (struct conn *conn = server->conns; conn; conn = conn->next) {
        if (conn->phase == PHASE_IDLE && !conn_has_events(conn, POLLIN)) conn_shut(conn);
    }
}

/* The library aborts when it is stopped with suspended connections, so they are resumed and run first. */
static void on_close(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    uv_handle_t *handles[] = {(uv_handle_t *)&server->epoll, (uv_handle_t *)&server->prepare,
                              (uv_handle_t *)&server->again, (uv_handle_t *)&server->sweep};

    for (struct conn *conn = server->conns; conn; conn = conn->next) {
        if (conn->req && conn->req->suspended) http_abandon(conn->req);
    }
    http_tls_wake_all(server);
    (void)MHD_run(server->mhd);
    (void)uv_poll_stop(&server->epoll);
    MHD_stop_daemon(server->mhd);
    if (server->standby) MHD_destroy_response(server->standby);
    assert(!server->conns);
    http_tls_stop(server, on_handle_closed);
    for (int i = 0; i < (int)(sizeof(handles) / sizeof(handles[0])); i++)
        uv_close(handles[i], on_handle_closed);
}

void http_server_close(struct http_server *server, void (*done)(void *arg), void *arg)
{
    if (server->closing) return;
    http_server_quiesce(server);
    server->closing = true;
    server->done = done;
    server->done_arg = arg;
    (void)uv_prepare_stop(&server->prepare);
    (void)uv_timer_start(&server->again, on_close, 0, 0); /* not from within a handler */
}
