/* What the server refuses without asking its handlers: bodies and headers that are too large.
 *
 * Headers share the connection's memory with those of the answer.  So that there is room for the latter the
 * memory is larger than the limit, and what is beyond the limit is refused before the request is handled; far
 * beyond, the library refuses by itself, in HTML. */
#include "server/http_impl.h"

#include "server/metrics.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

/* Answers that are refusals need no more than this. */
#define REFUSAL_ROOM 512
/* The library's note of a header, beside its text. */
#define HEADER_NOTE 64

static void refuse_as(struct http_request *req, const struct error *err, const char *text)
{
    const struct http_handlers *handlers = &req->conn->server->handlers;

    if (handlers->refuse)
        handlers->refuse(handlers->arg, req, err);
    else
        http_respond(req, &(struct http_response){.status = status_info(err->status)->http,
                                                  .content_type = "text/plain; charset=utf-8",
                                                  .body = text,
                                                  .len = strlen(text)});
    assert(req->response || req->failed);
}

void refuse_body(struct http_request *req)
{
    const struct http_server *server = req->conn->server;
    struct error err;

    if (req->starved)
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
    else
        (void)error_limit(
            &err, req->limit > server->limits.body ? LIMIT_BATCH_BODY : LIMIT_BODY, ST_BODY_TOO_LARGE,
            "the body is larger than the %zu bytes accepted here; split it, or raise --max-body "
            "or --max-batch-body",
            req->limit);
    refuse_as(req, &err, req->starved ? "Out of memory.\n" : "The body is too large.\n");
}

size_t refuse_header_memory(const struct http_request *req)
{
    struct MHD_Connection *mhd = req->conn->mhd;
    const enum MHD_ValueKind kinds = MHD_HEADER_KIND | MHD_COOKIE_KIND | MHD_GET_ARGUMENT_KIND;
    const char *cookies = http_header(req, "Cookie"); /* which the library copies */
    int n = MHD_get_connection_values(mhd, kinds, NULL, NULL);

    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size +
           (size_t)(n > 0 ? n : 0) * HEADER_NOTE + (cookies ? strlen(cookies) : 0);
}

/* Past the library, which has written nothing that it could get into; that is not possible under TLS. */
static void say_too_large(struct conn *conn)
{
    static const char canned[] = "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
                                 "Content-Length: 26\r\n\r\nThe headers are too large.";

    metrics_limit(LIMIT_CONNECTION_MEMORY);
    metrics_http("other", MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE);
    if (!conn->server->tls) (void)!send(conn->fd, canned, sizeof(canned) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool refuse_target(struct conn *conn, const char *target)
{
    const struct http_server *server = conn->server;
    const char *at = strchr(target, '?');
    size_t need = strlen(target) + REFUSAL_ROOM;

    while (at && (at = strpbrk(at + 1, "&")))
        need += HEADER_NOTE;
    if (need <= server->limits.connection_memory + ANSWER_ROOM) return false;
    say_too_large(conn);
    conn_shut(conn);
    return true;
}

bool refuse_headers(struct http_request *req, size_t need)
{
    const struct http_server *server = req->conn->server;
    struct error err;

    if (need + REFUSAL_ROOM > server->limits.connection_memory + ANSWER_ROOM) {
        say_too_large(req->conn);
        return false;
    }
    (void)error_limit(&err, LIMIT_CONNECTION_MEMORY, ST_HEADERS_TOO_LARGE,
                      "the request line and the headers take %zu bytes with what is noted of each header; "
                      "--connection-memory allows %zu",
                      need, server->limits.connection_memory);
    refuse_as(req, &err, "The headers are too large.\n");
    return true;
}

void refuse_note_library(const char *fmt, va_list args)
{
    va_list copy;

    if (!strstr(fmt, "HTTP response code is %u")) return;
    va_copy(copy, args);
    unsigned status = va_arg(copy, unsigned);
    va_end(copy);
    metrics_http("other", (int)status);
    if (status == MHD_HTTP_URI_TOO_LONG || status == MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE)
        metrics_limit(LIMIT_CONNECTION_MEMORY);
}
