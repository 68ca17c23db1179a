/* Answers that go on.
 *
 * What is written waits in the request's buffer; the library asks for it whenever it has room.  Asked with
 * nothing there the connection is suspended, and the next write resumes it.  The buffer is bounded: a peer
 * that does not read makes writes fail, and the sweep cuts it off when it has taken nothing for STALL_MS.  A
 * peer that dies without a word is the kernel's to notice. */
#include "server/http_impl.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#define STALL_MS 60000
/* For a peer to take the rest of a stream that has ended; a drain waits as long. */
#define END_MS 5000
/* Of memory that the library may ask for at a time. */
#define BLOCK 1024
/* Buffers above this size are given back when they are empty. */
#define KEEP 4096

static size_t pending(const struct stream *s)
{
    return s->len - s->at;
}

static void forget(struct stream *s)
{
    s->at = s->len = 0;
    if (s->cap <= KEEP) return;
    free(s->data);
    s->data = NULL;
    s->cap = 0;
}

static bool append(struct stream *s, const void *bytes, size_t len)
{
    if (!len) return true;
    if (s->cap - s->len < len && s->at) {
        memmove(s->data, s->data + s->at, pending(s));
        s->len -= s->at;
        s->at = 0;
    }
    if (s->cap - s->len < len) {
        size_t cap = s->cap ? s->cap : 1024;
        while (cap - s->len < len)
            cap *= 2;
        char *grown = realloc(s->data, cap);
        if (!grown) return false;
        s->data = grown;
        s->cap = cap;
    }
    memcpy(s->data + s->len, bytes, len);
    s->len += len;
    return true;
}

/* The library wants at most max bytes. */
static ssize_t on_read(void *arg, uint64_t position, char *out, size_t max)
{
    struct http_request *req = arg;
    struct http_server *server = req->conn->server;
    struct stream *s = &req->stream;

    (void)position;
    if (req->gone || server->closing) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!pending(s)) {
        forget(s);
        if (!s->ended && server->handlers.drained) server->handlers.drained(server->handlers.arg, req);
    }
    size_t n = pending(s) < max ? pending(s) : max;
    if (n) {
        memcpy(out, s->data + s->at, n);
        s->at += n;
        if (!s->ended) conn_phase(req->conn, PHASE_STREAM, STALL_MS);
        return (ssize_t)n;
    }
    if (s->ended) return MHD_CONTENT_READER_END_OF_STREAM;
    conn_phase(req->conn, PHASE_STREAM, 0);
    req->suspended = true;
    MHD_suspend_connection(req->conn->mhd);
    return 0;
}

/* A peer that vanished is found within a minute, whether bytes are on their way or not; and the kernel holds
 * no more for a slow one than the daemon does.  Not for Unix sockets, whose peers cannot vanish. */
static void tune(const struct conn *conn)
{
    const int yes = 1, idle = 30, interval = 10, probes = 3, unsent_ms = STALL_MS,
              buffer = HTTP_STREAM_BUFFER;

    (void)setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    if (conn->address.any.sa_family == AF_UNIX) return;
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unsent_ms, sizeof(unsent_ms));
}

void http_stream_begin(struct http_request *req, const struct http_response *response, const char *keepalive)
{
    struct http_server *server = req->conn->server;
    struct stream *s = &req->stream;

    assert(!s->on);
    s->on = true;
    s->keepalive = keepalive;
    s->last = uv_now(server->loop);
    server->stats.streams++;
    tune(req->conn);
    bool ok = append(s, response->body, response->len); /* else the connection closes */
    struct MHD_Response *built =
        ok ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, req, NULL) : NULL;
    /* The library ends a chunked body even where there is none. */
    if (built && !strcmp(req->method, "HEAD"))
        (void)MHD_set_response_options(built, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    http_take_response(req, built, response);
}

bool http_stream_write(struct http_request *req, const void *bytes, size_t len)
{
    struct stream *s = &req->stream;

    assert(s->on && !s->ended && !req->gone);
    if (len > HTTP_STREAM_BUFFER - pending(s) || !append(s, bytes, len)) return false;
    s->last = uv_now(req->conn->server->loop);
    http_resume(req);
    return true;
}

bool http_stream_waits(const struct http_request *req)
{
    return pending(&req->stream) > 0;
}

void http_stream_end(struct http_request *req, const void *last, size_t len)
{
    struct stream *s = &req->stream;

    assert(s->on && !s->ended && !req->gone);
    (void)append(s, last, len); /* without memory the peer misses the reason */
    s->ended = true;
    req->conn->server->stats.streams--;
    if (req->conn->phase == PHASE_STREAM) conn_phase(req->conn, PHASE_ANSWER, END_MS);
    http_resume(req);
}

void stream_sweep(struct http_request *req)
{
    const struct http_server *server = req->conn->server;
    const struct stream *s = &req->stream;

    if (!s->on || s->ended || !s->keepalive || !server->limits.silence_ms) return;
    if (uv_now(server->loop) - s->last >= (uint64_t)server->limits.silence_ms)
        (void)!http_stream_write(req, s->keepalive, strlen(s->keepalive));
}

void stream_clear(struct http_request *req)
{
    if (req->stream.on && !req->stream.ended) req->conn->server->stats.streams--;
    free(req->stream.data);
}
