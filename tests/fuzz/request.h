/* A request of HTTP as text, for the targets of the router: "METHOD TARGET", then lines "Name: value" of the
 * headers that the router looks at, an empty line, the body. */
#ifndef GREEDYLRD_TESTS_FUZZ_REQUEST_H
#define GREEDYLRD_TESTS_FUZZ_REQUEST_H

#include "core/spec.h"
#include "message.h"
#include "rpc/percent.h"
#include "rpc/stream.h"

#include <strings.h>

#define REQUEST_LINES 12

struct request {
    struct rpc_request rpc;
    char *lines[REQUEST_LINES]; /* owned; the first is the method and the target */
    size_t n;
    uint8_t *body;
};

static inline void request_header(struct rpc_request *rpc, char *line)
{
    static const struct {
        const char *name;
        size_t offset;
    } known[] = {
        {"Content-Type", offsetof(struct rpc_request, content_type)},
        {"Accept", offsetof(struct rpc_request, accept)},
        {"Content-Encoding", offsetof(struct rpc_request, content_encoding)},
        {"Connect-Protocol-Version", offsetof(struct rpc_request, connect_version)},
        {"Connect-Timeout-Ms", offsetof(struct rpc_request, connect_timeout)},
        {"Connect-Content-Encoding", offsetof(struct rpc_request, connect_encoding)},
        {"Last-Event-ID", offsetof(struct rpc_request, last_event_id)},
    };
    char *colon = strchr(line, ':');

    if (!colon) return;
    *colon = '\0';
    const char *value = colon + 1 + (colon[1] == ' ');
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!strcasecmp(line, known[i].name)) memcpy((char *)rpc + known[i].offset, &value, sizeof(value));
    }
}

/* What guard lets through: a method it knows, a target without control characters. */
static inline bool request_take(struct input *in, struct request *out)
{
    static const char *const methods[] = {"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE"};
    char *space;

    memset(out, 0, sizeof(*out));
    out->lines[out->n++] = take_line(in);
    space = strchr(out->lines[0], ' ');
    if (space) *space = '\0';
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if (!strcmp(out->lines[0], methods[i])) out->rpc.method = methods[i];
    }
    if (!space || !out->rpc.method) return false;
    out->rpc.target = space + 1;
    for (const char *c = out->rpc.target; *c; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) return false;
    }
    while (out->n < REQUEST_LINES) {
        char *line = out->lines[out->n++] = take_line(in);

        if (!*line) break;
        request_header(&out->rpc, line);
    }
    out->body = take_bytes(in, &out->rpc.len);
    out->rpc.body = out->body;
    out->rpc.max_entries = 100;
    return true;
}

static inline void request_free(struct request *request)
{
    for (size_t i = 0; i < request->n; i++)
        free(request->lines[i]);
    free(request->body);
}

static inline void must_read_as(const struct rpc_request *request, const struct rpc_method *m,
                                const char *text)
{
    struct rpc_route route = {.method = m, .face = FACE_CONNECT};
    struct rpc_call call;
    struct error err = {0};
    size_t len;

    MUST(!route_decode(request, &route, &call, &err), "%s: %s", err.message, text);
    char *own = must_round_trip(call.message, &len);
    MUST(!strcmp(own, text), "%s by %s is %s", text, request->method, own);
    free(own);
    rpc_call_clear(&call);
}

/* Whatever face a message came by, Connect takes it as JSON, and as the query of a GET where there is one. */
static inline void same_by_connect(const struct rpc_call *call)
{
    const struct rpc_method *m = call->route.method;
    size_t len;
    char *text = must_round_trip(call->message, &len);
    struct rpc_request post = {.method = "POST",
                               .content_type = "application/json; charset=utf-8",
                               .target = "/",
                               .body = (const uint8_t *)text,
                               .len = len};

    if (!m->streaming) must_read_as(&post, m, text);
    if (m->no_side_effects && !m->streaming) {
        char *code = malloc(4 * ((len + 2) / 3) + 1), *target;
        struct buf query = {0};

        MUST(code, "out of memory");
        base64_encode((const uint8_t *)text, len, code);
        for (char *c = code; *c; c++) /* to base64url, which needs no escapes */
            *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
        buf_printf(&query, "/?base64=1&encoding=json&message=%s", code);
        target = buf_take(&query, NULL);
        MUST(target, "out of memory");
        struct rpc_request get = {.method = "GET", .target = target, .body = (const uint8_t *)""};
        must_read_as(&get, m, text);
        free(target);
        free(code);
    }
    free(text);
}

static inline void must_be_a_call(const struct rpc_call *call)
{
    MUST(call->message && call->message->descriptor == call->route.method->input, "another message");
    MUST(call->codec <= CODEC_NDJSON, "codec %d", (int)call->codec);
    MUST(call->timeout_ms >= -1 && call->timeout_ms <= 9999999999, "timeout");
    same_by_connect(call);
}

/* The way of a request to its message. */
static inline void request_follow(const struct request *request)
{
    struct rpc_route route;
    struct rpc_call call;
    struct error err = {0};
    const char *allow = NULL;
    int rc = route_match(request->rpc.method, request->rpc.target, &route, &allow, &err);

    if (rc) {
        must_tell(&err, rc);
        MUST((rc == ST_METHOD_NOT_ALLOWED) == (allow != NULL), "%s", err.message);
        return;
    }
    MUST(!route.job[0] || job_id_valid(route.job), "job %s", route.job);
    MUST(!!route.job[0] == (route.face == FACE_REST && strstr(route.method->rest_path, "{job}")),
         "job %s of %s", route.job, route.method->rest_path);
    rc = route_decode(&request->rpc, &route, &call, &err);
    if (rc) {
        must_tell(&err, rc);
        MUST(!call.message, "a message beside an error");
        return;
    }
    must_be_a_call(&call);
    rpc_call_clear(&call);
}

#endif
