/* From a request to an answer.
 *
 * At the headers: guards and routing, so that nonsense is refused before a body is read.  With the body:
 * decode, call the service, answer when it is done, which may be later.  A peer that goes away meanwhile only
 * loses its answer. */
#include "server/api_impl.h"

#include "server/log.h"
#include "server/metrics.h"
#include "server/origin.h"
#include "server/web.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void plain_handler(struct api *api, struct http_request *http);

static void send_text(struct http_request *http, int status, const char *type, const char *text, size_t len)
{
    http_respond(http,
                 &(struct http_response){.status = status, .content_type = type, .body = text, .len = len});
}

/* ---- errors ---- */

/* What a path takes, where a Content-Type was refused. */
static const char *accepted_types(const struct http_request *http)
{
    struct rpc_route route;
    const char *allow;

    if (!route_match("POST", http_target(http), &route, &allow, NULL) && route.method->streaming)
        return "application/connect+json, application/connect+proto";
    return "application/json, application/proto";
}

void api_send_error(struct http_request *http, const struct error *err, enum rpc_face face, const char *allow)
{
    const char *headers[3][2];
    size_t n = 0;
    char space[ERROR_BODY_MAX]; /* that there is no memory can be said without any */
    struct buf body = BUF_FIXED(space);
    int status = 500;

    rpc_encode_error(err, face, origin_id(http_origin(http)), &body, &status);
    if (allow) {
        headers[n][0] = "Allow";
        headers[n++][1] = allow;
    }
    if (status == 503 || status == 429) {
        headers[n][0] = "Retry-After";
        headers[n++][1] = "1";
    }
    if (status == 401) {
        headers[n][0] = "WWW-Authenticate";
        headers[n++][1] = "Bearer realm=\"greedylrd\"";
    }
    if (err->status == ST_MEDIA_TYPE_UNSUPPORTED) {
        headers[n][0] = "Accept-Post";
        headers[n++][1] = accepted_types(http);
    }
    metrics_refused(err);
    api_log_refused(http, err, status);
    http_respond(http, &(struct http_response){.status = status,
                                               .content_type = "application/json",
                                               .headers = (const char *const(*)[2])headers,
                                               .n_headers = n,
                                               .body = body.data,
                                               .len = body.len,
                                               .close = err->status == ST_REQUEST_MALFORMED});
}

/* ---- plain paths ---- */

static void plain_livez(struct api *api, struct http_request *http)
{
    (void)api;
    send_text(http, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

static void plain_readyz(struct api *api, struct http_request *http)
{
    const char *query = strchr(http_target(http), '?');
    bool verbose = query && !strncmp(query + 1, "verbose", 7);
    struct error err = {0};
    bool store_ok = service_writable(api->config.service, &err) == 0;
    bool ready = store_ok && !api->draining;
    char text[ERROR_MESSAGE_MAX + 128];
    int n;

    if (verbose)
        n = snprintf(text, sizeof(text), "[%c] store%s%s\n[%c] serving%s\nreadyz %s\n", store_ok ? '+' : '-',
                     store_ok ? " ok" : ": ", store_ok ? "" : err.message, api->draining ? '-' : '+',
                     api->draining ? ": the daemon is stopping" : " ok", ready ? "ok" : "failed");
    else
        n = snprintf(text, sizeof(text), "%s\n", ready ? "ok" : api->draining ? "stopping" : err.message);
    const char *retry[1][2] = {{"Retry-After", "1"}};
    http_respond(http, &(struct http_response){.status = ready ? 200 : 503,
                                               .content_type = "text/plain; charset=utf-8",
                                               .headers = (const char *const(*)[2])retry,
                                               .n_headers = ready ? 0 : 1,
                                               .body = text,
                                               .len = (size_t)n});
}

static void plain_version(struct api *api, struct http_request *http)
{
    static const char text[] = "{\"name\":\"greedylrd\",\"version\":\"" GREEDYLRD_VERSION "\"}\n";

    (void)api;
    send_text(http, 200, "application/json", text, sizeof(text) - 1);
}

static const struct plain_row {
    const char *path;
    plain_handler *handle;
} plain_paths[] = {
    {"/livez", plain_livez},        {"/readyz", plain_readyz},   {"/healthz", plain_readyz},
    {"/metrics", api_send_metrics}, {"/version", plain_version},
};

static const struct plain_row *find_plain(const char *target)
{
    size_t len = strcspn(target, "?");

    for (size_t i = 0; i < sizeof(plain_paths) / sizeof(plain_paths[0]); i++) {
        if (strlen(plain_paths[i].path) == len && !memcmp(plain_paths[i].path, target, len))
            return &plain_paths[i];
    }
    return NULL;
}

static bool is_read(const char *method)
{
    return !strcmp(method, "GET") || !strcmp(method, "HEAD");
}

/* ---- RPCs ---- */

static enum rpc_face face_of(const char *target)
{
    return strncmp(target, "/greedylr.v1.", 13) ? FACE_REST : FACE_CONNECT;
}

static int64_t admit_read(struct http_request *http)
{
    struct error err;

    if (is_read(http_method(http))) return 0;
    (void)error_set(&err, ST_METHOD_NOT_ALLOWED, "method: %s is not served here; use GET", http_method(http));
    api_send_error(http, &err, FACE_REST, "GET, HEAD");
    return -1;
}

/* Metrics are for this machine, or for who may look. */
static int64_t admit_plain(struct api *api, struct http_request *http, const struct plain_row *plain)
{
    struct auth_token *token;
    struct error err;

    if (admit_read(http)) return -1;
    if (plain->handle != api_send_metrics || http_is_loopback_or_unix(http)) return 0;
    if (api_authorize(api, http, ROLE_OBSERVE, plain->path, &token, &err)) {
        api_send_error(http, &err, FACE_REST, NULL);
        return -1;
    }
    auth_unref(token);
    return 0;
}

static struct exchange *exchange_new(struct api *api, struct http_request *http,
                                     const struct rpc_route *route, struct auth_token *token)
{
    struct exchange *x = calloc(1, sizeof(*x));

    if (!x) return NULL;
    x->api = api;
    x->http = http;
    x->route = *route;
    x->token = token;
    x->origin = origin_ref(http_origin(http));
    x->next = api->exchanges;
    if (x->next) x->next->prev = x;
    api->exchanges = x;
    return x;
}

void exchange_free(struct exchange *x)
{
    if (x->prev)
        x->prev->next = x->next;
    else
        x->api->exchanges = x->next;
    if (x->next) x->next->prev = x->prev;
    if (x->decoded) rpc_call_clear(&x->rpc);
    x->api->held -= x->held;
    buf_free(&x->body);
    auth_unref(x->token);
    origin_unref(x->origin);
    free(x);
}

static int64_t on_admit(void *arg, struct http_request *http)
{
    struct api *api = arg;
    const char *target = http_target(http), *allow = NULL;
    const struct plain_row *plain = find_plain(target);
    struct auth_token *token;
    struct exchange *x;
    struct rpc_route route;
    struct error err;

    if (plain) http_set_route(http, api->plain_routes[plain - plain_paths]);
    if (guard_check(http, api->config.guard, &err)) goto refuse;
    if (plain) return admit_plain(api, http, plain);
    if (web_find(target)) {
        http_set_route(http, api->page_route);
        return admit_read(http);
    }
    if (route_match(http_method(http), target, &route, &allow, &err)) goto refuse;
    http_set_route(http, api->method_routes[route.method - rpc_methods(&(size_t){0})]);
    if (api_authorize(api, http, route.method->role, route.method->name, &token, &err)) goto refuse;
    x = exchange_new(api, http, &route, token);
    if (!x) {
        auth_unref(token);
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        goto refuse;
    }
    http_set_user(http, x);
    return (int64_t)(route.method->large_body ? api->config.options->max_batch_body
                                              : api->config.options->max_body);

refuse:
    api_send_error(http, &err, face_of(target), allow);
    return -1;
}

static int on_encode(struct call *call, const ProtobufCMessage *answer, struct error *err)
{
    struct exchange *x = call->arg;

    return rpc_encode(&x->rpc, answer, &x->body, &x->type, err);
}

/* Answers that are not counted. */
#define SMALL_ANSWER 65536

static int refuse_held(const struct api *api, struct error *err)
{
    return error_limit(err, LIMIT_ANSWER_MEMORY, ST_TOO_MANY_WAITING,
                       "answers of %zu bytes wait for their peers to read them, as many as "
                       "--max-answer-memory allows; repeat the request later",
                       api->held);
}

/* Counts a large answer until it is sent.  One that changed nothing is refused where there is no room. */
static int hold(struct exchange *x, struct error *err)
{
    struct api *api = x->api;
    size_t size = x->body.cap;

    if (size <= SMALL_ANSWER) return 0;
    if (x->route.method->no_side_effects && api->held &&
        api->held + size > api->config.options->max_answer_memory)
        return refuse_held(api, err);
    x->held = size;
    api->held += size;
    return 0;
}

static void send_body(struct exchange *x)
{
    struct http_response response = {.status = 200,
                                     .content_type = x->type,
                                     .body = x->body.data,
                                     .len = x->body.len,
                                     .release = free,
                                     .release_arg = x->body.data};

    x->body = (struct buf){0};
    http_respond(x->http, &response);
}

static void on_call_done(struct call *call, const ProtobufCMessage *answer, const struct error *err)
{
    struct exchange *x = call->arg;
    struct error failed, revoked;

    x->busy = false;
    err = api_verdict(x, err, &revoked);
    if (!x->http) { /* the peer is gone */
        exchange_free(x);
        return;
    }
    if (x->call.waits) http_set_waits(x->http);
    if (!err && ((answer && on_encode(call, answer, &failed)) || hold(x, &failed))) err = &failed;
    if (err)
        api_send_error(x->http, err, x->route.face, NULL);
    else
        send_body(x);
}

static int decode(struct http_request *http, struct exchange *x, struct error *err)
{
    const char *method = http_method(http);
    struct rpc_request request = {.method = strcmp(method, "HEAD") ? method : "GET",
                                  .target = http_target(http),
                                  .content_type = http_header(http, "Content-Type"),
                                  .accept = http_header(http, "Accept"),
                                  .content_encoding = http_header(http, "Content-Encoding"),
                                  .connect_version = http_header(http, "Connect-Protocol-Version"),
                                  .connect_timeout = http_header(http, "Connect-Timeout-Ms"),
                                  .connect_encoding = http_header(http, "Connect-Content-Encoding"),
                                  .last_event_id = http_header(http, "Last-Event-ID")};

    request.body = http_body(http, &request.len);
    request.max_entries = x->api->config.options->max_batch_entries;
    if (route_decode(&request, &x->route, &x->rpc, err)) return (int)err->status;
    x->decoded = true;
    return 0;
}

static void on_handle(void *arg, struct http_request *http)
{
    struct api *api = arg;
    struct exchange *x = http_user(http); /* closed frees it */
    const struct plain_row *plain = x ? NULL : find_plain(http_target(http));
    struct error err;

    if (plain) {
        plain->handle(api, http);
        return;
    }
    if (http_is_reserve(http)) {
        (void)error_limit(&err, LIMIT_CONNECTIONS, ST_OVERLOADED,
                          "there are as many connections as --max-connections allows; repeat the request "
                          "in a moment");
        api_send_error(http, &err, x ? x->route.face : FACE_REST, NULL);
        return;
    }
    if (!x) {
        web_answer(web_find(http_target(http)), http);
        return;
    }
    if (api_check_token(x, &err)) {
        api_send_error(http, &err, x->route.face, NULL);
        return;
    }
    if (decode(http, x, &err)) {
        if (x->route.method->streaming)
            stream_refuse(x, &err);
        else
            api_send_error(http, &err, x->route.face, NULL);
        return;
    }
    if (x->token)
        snprintf(x->peer, sizeof(x->peer), "%s@%s", x->token->id, http_peer(http));
    else
        strncpy(x->peer, http_peer(http), sizeof(x->peer) - 1);
    x->call = (struct call){.method = x->route.method->name,
                            .request = x->rpc.message,
                            .done = on_call_done,
                            .encode = on_encode,
                            .arg = x,
                            .peer = x->peer,
                            .origin = x->origin,
                            .token = x->token,
                            .timeout_ms = x->rpc.timeout_ms};
    if (x->route.method->streaming) {
        stream_start(x);
        return;
    }
    if (x->route.method->large_body && api->held >= api->config.options->max_answer_memory) {
        (void)refuse_held(api, &err);
        api_send_error(http, &err, x->route.face, NULL);
        return;
    }
    x->busy = true;
    service_call(api->config.service, &x->call);
}

static void on_closed(void *arg, struct http_request *http)
{
    struct exchange *x = http_user(http);

    (void)arg;
    http_set_user(http, NULL);
    if (!x) return;
    x->http = NULL;
    if (x->busy)
        service_cancel(&x->call);
    else
        exchange_free(x);
}

/* While memory is short half as many connections are served. */
static uint32_t on_limit(void *arg, uint32_t connections)
{
    const struct api *api = arg;

    return service_is_shedding(api->config.service) ? (connections + 1) / 2 : connections;
}

static void on_drained(void *arg, struct http_request *http)
{
    struct exchange *x = http_user(http);

    (void)arg;
    if (x) stream_ready(x);
}

static void on_refuse(void *arg, struct http_request *http, const struct error *err)
{
    (void)arg;
    api_send_error(http, err, face_of(http_target(http)), NULL);
}

/* For the metrics: an RPC's name, or a plain path. */
static void name_routes(struct api *api)
{
    const struct rpc_method *methods = rpc_methods(&(size_t){0});
    size_t n;

    (void)rpc_methods(&n);
    for (size_t i = 0; i < n && i < ROUTES_NAMED; i++)
        api->method_routes[i] = metrics_route(methods[i].name);
    for (size_t i = 0; i < sizeof(plain_paths) / sizeof(plain_paths[0]); i++)
        api->plain_routes[i] = metrics_route(plain_paths[i].path);
    api->page_route = metrics_route("dashboard");
}

struct api *api_new(const struct api_config *config)
{
    static const char *const headers[][2] = {{"Retry-After", "1"}};
    struct api *api = calloc(1, sizeof(*api));
    struct error err;

    if (!api) return NULL;
    api->config = *config;
    name_routes(api);
    struct buf text = BUF_FIXED(api->standby_text);
    api->standby =
        (struct http_response){.content_type = "application/json", .headers = headers, .n_headers = 1};
    (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
    rpc_encode_error(&err, FACE_REST, NULL, &text, &api->standby.status);
    api->standby.body = text.data;
    api->standby.len = text.len;
    return api;
}

void api_free(struct api *api)
{
    for (int i = 0; api && i < STREAM_FORMS; i++)
        buf_free(&api->encoded[i].bytes);
    if (api) api_forget_metrics(api);
    free(api);
}

void api_set_server(struct api *api, struct http_server *server)
{
    api->server = server;
}

void api_drain(struct api *api)
{
    api->draining = true;
    service_end_watches(api->config.service);
}

struct http_handlers api_handlers(struct api *api)
{
    return (struct http_handlers){.admit = on_admit,
                                  .handle = on_handle,
                                  .closed = on_closed,
                                  .refuse = on_refuse,
                                  .drained = on_drained,
                                  .limit = on_limit,
                                  .standby = &api->standby,
                                  .arg = api};
}
