/* HTTP/1.1 over TCP, TLS or a Unix socket, inside a libuv loop.  The only user of libmicrohttpd.
 *
 * Everything happens on the loop thread.  A request's life: admit (at the headers), handle (all of it has
 * arrived), exactly one http_respond (from within handle, or later), closed.  A peer that goes away while an
 * answer is outstanding ends it early: closed is called, and http_respond must not be called any more. */
#ifndef GREEDYLRD_SERVER_HTTP_H
#define GREEDYLRD_SERVER_HTTP_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_server;
struct http_request;
struct origin;
struct tls;

struct http_limits {
    uint32_t connections;
    uint32_t per_address;     /* 0: any number; loopback and Unix sockets are exempt */
    size_t connection_memory; /* bytes a connection; request line and headers have to fit */
    int header_timeout_ms;    /* to the headers' end, from accept, the handshake of TLS included; for a later
                                 request from its request line */
    int request_timeout_ms;   /* from there to the whole request */
    int keepalive_ms;         /* from an answer to the next request's line */
    int silence_ms;           /* of a stream, then its keepalive text is sent; 0: never */
    int answer_timeout_ms;    /* for the peer to take an answer; 0: none */
    size_t body;              /* what most requests may have; for the counts of refusals */
    int slow_ms;              /* answers that take longer are logged; 0: none */
};

/* Beyond the limit of connections so many more are taken: those whose request is not complete, and those who
 * ask how the server is. */
#define HTTP_RESERVE 32

/* What a stream holds for a peer that does not read, besides about twice as much in the kernel. */
#define HTTP_STREAM_BUFFER 65536

struct http_response;

struct http_handlers {
    /* At the headers: the largest body to accept (bytes), or -1 after http_respond, which refuses at once. */
    int64_t (*admit)(void *arg, struct http_request *req);
    /* The whole request has arrived: exactly one http_respond, now or later. */
    void (*handle)(void *arg, struct http_request *req);
    /* The request goes away, answered or not: drop the user pointer.  Called exactly once for each request
     * that admit has seen, never from within admit, handle or http_respond. */
    void (*closed)(void *arg, struct http_request *req);
    void *arg;
    /* Answers a request that the server itself refuses (a body over admit's limit; before admit, headers that
     * do not fit) with http_respond.  NULL: a plain text. */
    void (*refuse)(void *arg, struct http_request *req, const struct error *err);
    /* Everything written to the stream has gone out: http_stream_write has room again, and may be called from
     * within.  NULL: nobody needs to know. */
    void (*drained)(void *arg, struct http_request *req);
    /* How many connections may be there now, of at most so many.  NULL: all of them. */
    uint32_t (*limit)(void *arg, uint32_t connections);
    /* What is answered where there is no memory to make an answer; copied when listening begins.  NULL: the
     * connection closes. */
    const struct http_response *standby;
};

/* Everything is copied, but for a body that is kept or released. */
struct http_response {
    int status;               /* 200 to 599 */
    const char *content_type; /* NULL: none */
    const char *const (*headers)[2];
    size_t n_headers;
    const char *body; /* not sent for HEAD */
    size_t len;
    bool keep; /* the body outlives the server: not copied */
    /* If set, the body is not copied, and this is called once nobody needs it any more: free, say. */
    void (*release)(void *arg);
    void *release_arg;
    bool close; /* the connection closes after this answer */
};

struct http_stats {
    uint64_t accepted;               /* connections taken */
    uint64_t requests;               /* that admit has seen */
    uint64_t deadlines;              /* connections shut down at a deadline */
    uint64_t evicted;                /* connections shut down for others */
    uint64_t gone;                   /* peers that left an outstanding answer */
    uint32_t connections, in_flight; /* now */
    uint32_t streams;                /* of in_flight, those begun and not ended */
};

/* address: "127.0.0.1:8571", "[::1]:0", "localhost:8571", "unix:/path" (mode 0660).  A stale socket file is
 * replaced only if it is a socket that nobody answers on.  inherited_fd: a listening socket to take over
 * instead, or -1; address is ignored then.  tls: TCP connections speak TLS with its certificate, and nothing
 * else; NULL: none do; borrowed until the server has closed.  Unix sockets are plain in any case.  Raises
 * RLIMIT_NOFILE to fit limits->connections.  limits and handlers are copied.  At a failure ST_CONFIG_INVALID
 * (address malformed, in use, not ours) or ST_INTERNAL, and nothing is left behind. */
int http_listen(uv_loop_t *loop, const char *address, int inherited_fd, struct tls *tls,
                const struct http_limits *limits, const struct http_handlers *handlers,
                struct http_server **out, struct error *err) WARN_UNUSED;

/* Version of the HTTP library at run time. */
const char *http_library(void);

/* Resolved, with the real port: "127.0.0.1:40123", "[::1]:8571", "unix:/path". */
const char *http_server_address(const struct http_server *server);
/* Whether it speaks TLS. */
bool http_server_tls(const struct http_server *server);

/* Stops accepting; idle keep-alive connections close; what is in flight goes on and its answer closes its
 * connection.  Streams are the caller's to end. */
void http_server_quiesce(struct http_server *server);

/* Connections it takes at most: the limit, or what the descriptors allow. */
uint32_t http_server_connections(const struct http_server *server);

/* Requests between admit and closed, without the streams that are not ended. */
size_t http_server_in_flight(const struct http_server *server);

/* Whether a request is on its way: a connection is new or in the middle of its headers, or has sent what was
 * not read yet. */
bool http_server_asked(const struct http_server *server);

/* Closes everything, then calls done; the handle is gone then.  Requests whose answer is outstanding are cut
 * off: closed is called for each. */
void http_server_close(struct http_server *server, void (*done)(void *arg), void *arg);

/* Counted up to now; valid until the server closes. */
const struct http_stats *http_server_stats(const struct http_server *server);

/* ---- of a request; all borrowed and valid until closed ---- */

const char *http_method(const struct http_request *req);
const char *http_target(const struct http_request *req);                   /* raw, query included */
const char *http_version(const struct http_request *req);                  /* "HTTP/1.1" */
const char *http_header(const struct http_request *req, const char *name); /* the first, any case; or NULL */
const uint8_t *http_body(const struct http_request *req, size_t *len);     /* from handle on; never NULL */
const char *http_peer(const struct http_request *req);                     /* "127.0.0.1:50412", "unix" */
const char *http_local(struct http_request *req); /* local IP address, no port; "unix" */
bool http_is_loopback_or_unix(const struct http_request *req);
/* From handle on: whether it came when there were as many connections as may be; its answer closes its own.
 */
bool http_is_reserve(const struct http_request *req);
bool http_is_tls(const struct http_request *req);
/* Calls each for every header line in order; name_len and value_len may cover NULs. */
void http_each_header(const struct http_request *req,
                      void (*each)(void *arg, const char *name, size_t name_len, const char *value,
                                   size_t value_len),
                      void *arg);
/* Length of the target as received; more than strlen(http_target(req)) if it has a NUL, or one encoded as
 * %00. */
bool http_target_has_nul(const struct http_request *req);

#define HTTP_PATH_MAX 192
/* For the log: the target without its query, cut. */
const char *http_path(const struct http_request *req, char out[HTTP_PATH_MAX]);
/* Its names; every answer carries them, as X-Request-Id and traceparent.  NULL: out of memory. */
struct origin *http_origin(const struct http_request *req);

void http_set_user(struct http_request *req, void *user);
void *http_user(const struct http_request *req);

/* For the metrics, before the answer: what metrics_route gave; and that it had to wait for other requests, so
 * that its time says nothing of the daemon's. */
void http_set_route(struct http_request *req, unsigned route);
void http_set_waits(struct http_request *req);

void http_respond(struct http_request *req, const struct http_response *response);

/* ---- an answer that goes on, instead of http_respond: one begin, any number of writes, one end ----
 *
 * The headers leave at once.  Chunked for HTTP/1.1; for HTTP/1.0 the connection's end is the stream's.  A
 * peer that takes nothing of what there is for a minute is cut off, and so is one that the kernel finds dead
 * (TCP keep-alive). */

/* response->body is the stream's beginning.  keepalive: written after limits->silence_ms without any other
 * bytes; static, or NULL.  For HEAD the answer is only headers, closes the connection, and what is written is
 * dropped. */
void http_stream_begin(struct http_request *req, const struct http_response *response, const char *keepalive);

/* Takes all of the bytes or, if they do not fit HTTP_STREAM_BUFFER or there is no memory, none and returns
 * false. */
bool http_stream_write(struct http_request *req, const void *bytes, size_t len) WARN_UNUSED;
/* Whether it holds bytes that the peer has not taken; handlers.drained follows then. */
bool http_stream_waits(const struct http_request *req);

/* The stream ends after what was written and these last bytes, which may exceed the buffer by their length.
 * The peer has 5 s to take it all. */
void http_stream_end(struct http_request *req, const void *last, size_t len);

#endif
