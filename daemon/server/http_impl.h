/* What the files of the HTTP server share. */
#ifndef GREEDYLRD_SERVER_HTTP_IMPL_H
#define GREEDYLRD_SERVER_HTTP_IMPL_H

#include "server/http.h"

#include "server/listen.h"
#include "server/tls.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <sys/socket.h>

enum phase {
    PHASE_NONE,
    PHASE_HEADERS, /* accepted, or in the middle of headers */
    PHASE_BODY,
    PHASE_HANDLING, /* the service has it; no deadline */
    PHASE_ANSWER,
    PHASE_STREAM, /* the deadline is the peer's for taking more; none while there is nothing to take */
    PHASE_IDLE,
};

struct conn {
    struct http_server *server;
    struct conn *next, *prev;   /* of the server */
    struct conn *peers;         /* of the bucket; only if counted */
    struct MHD_Connection *mhd; /* NULL until the library has taken it */
    struct http_request *req;
    int fd;
    enum phase phase;
    bool counted, shut;
    bool reserve;             /* its request came when there were as many as may be */
    bool left;                /* the peer has said all it will say */
    uint64_t since, deadline; /* of the phase; loop time, ms; deadline 0: none */
    unsigned bucket;
    union listen_address address;
    char *peer; /* made when asked for; owned */
    /* TLS: the handshake is over; it waits for the peer, outside of the library (watched: in the epoll set).
     */
    bool shaken, asleep, watched;
    struct tls_identity *identity;        /* what the handshake showed; NULL before */
    struct conn *next_waiting, **waiting; /* to be put to sleep; waiting NULL: not listed */
};

/* Bytes [at, len) of data are for the peer. */
struct stream {
    char *data;
    size_t at, len, cap;
    const char *keepalive;
    uint64_t last; /* loop time of the last write, ms */
    bool on, ended;
};

struct http_request {
    struct conn *conn;
    void *user;
    uint64_t arrived;      /* uv_hrtime of the whole request, 0 before */
    struct origin *origin; /* NULL before its headers, and without memory */
    const char *method, *version;
    char local[INET6_ADDRSTRLEN]; /* made when asked for, where it is not the server's */
    const char *raw;              /* the target where the library had it; for comparison only */
    char *target;
    uint8_t *body;
    size_t len, cap, limit, dropped;
    struct MHD_Response *response;
    struct stream stream;
    int status;
    unsigned route;
    uint64_t since; /* its headers were there; monotonic, ns */
    bool waits;
    bool admitted, discard, too_large, starved, handled, suspended, gone, failed, close;
};

#define CONN_BUCKETS 1024

struct http_server {
    uv_loop_t *loop;
    struct http_limits limits;
    struct http_handlers handlers;
    struct http_stats stats;
    struct MHD_Daemon *mhd;
    struct MHD_Response *standby; /* handlers.standby, shared by those that it answers */
    struct conn *conns;
    struct pollfd *polls; /* the sweep's, one for each connection */
    struct conn *buckets[CONN_BUCKETS];
    struct tls *tls;      /* borrowed; NULL: plain HTTP */
    struct conn *waiting; /* in the middle of a handshake, with nothing to read */
    uv_poll_t handshakes;
    int handshakes_fd;
    uv_poll_t listener, epoll;
    uv_prepare_t prepare;
    uv_timer_t again, sweep;
    int listen_fd, handles;
    uint32_t asking;    /* connections whose request is not complete */
    uint32_t reserve;   /* HTTP_RESERVE; 0 where descriptors are few */
    uint32_t paused_at; /* connections there were; fewer, and the listener goes on */
    bool inherited, run_needed, paused, quiescing, closing;
    char address[LISTEN_ADDRESS_MAX];
    char local[INET6_ADDRSTRLEN]; /* http_local of every connection; "": any address, each has its own */
    void (*done)(void *arg);
    void *done_arg;
};

/* Lets the library go on with a suspended request. */
void http_resume(struct http_request *req);

/* The peer of a suspended request left, or has to. */
void http_abandon(struct http_request *req);

/* Makes `built`, which may be NULL, the answer: headers, status and what else `response` says of it. */
void http_take_response(struct http_request *req, struct MHD_Response *built,
                        const struct http_response *response);

/* The sweep's look at a stream. */
void stream_sweep(struct http_request *req);
/* Before the request goes. */
void stream_clear(struct http_request *req);

bool conn_is_loopback(const union listen_address *address);

/* timeout_ms 0: no deadline. */
void conn_phase(struct conn *conn, enum phase phase, int timeout_ms);

/* Makes the library see the connection's end. */
void conn_shut(struct conn *conn);

/* Whether it has one of the events of poll() now. */
bool conn_has_events(const struct conn *conn, short events);

/* ---- http_sweep.c ---- */

/* From now on deadlines are kept, and peers that leave are noticed.  -1: out of memory. */
int sweep_start(struct http_server *server);

/* How many connections with a complete request there may be now. */
uint32_t sweep_limit(const struct http_server *server);
/* A connection makes room now, if one can. */
bool sweep_evict(struct http_server *server);
/* Looks again before long: who is slow is known by then. */
void sweep_soon(struct http_server *server);
/* Whether a request that has just come is over the limit: no connection makes room for it. */
bool sweep_is_over(struct http_server *server);

/* ---- http_refuse.c ---- */

/* What a connection's memory has beyond its limit: answers whose headers have to fit there. */
#define ANSWER_ROOM 768

/* Answers that the body is too large, or that there is no memory for it. */
void refuse_body(struct http_request *req);
/* What request line and headers take of the connection's memory. */
size_t refuse_header_memory(const struct http_request *req);
/* Whether a request line is one that the library would drop without an answer; the peer has been told then.
 */
bool refuse_target(struct conn *conn, const char *target);
/* Answers that `need` bytes of it are too many; false if there is not even room for that: the peer has been
 * told, and the connection has to end. */
bool refuse_headers(struct http_request *req, size_t need);
/* What the library logs tells which requests it refused itself; they are counted. */
void refuse_note_library(const char *fmt, va_list args) __attribute__((format(printf, 1, 0)));

void conn_on_listener(uv_poll_t *handle, int status, int events);
void conn_pause_listener(struct http_server *server, bool pause);

/* The library's notice of a connection's beginning and end. */
void conn_on_notify(void *arg, struct MHD_Connection *mhd, void **context,
                    enum MHD_ConnectionNotificationCode code);

/* Room for what http_tls_start adds to the library's options. */
#define HTTP_TLS_OPTIONS 3

/* The server's part of TLS: before the library starts, with the handles, at the end.  Nothing without TLS. */
int http_tls_start(struct http_server *server, struct MHD_OptionItem options[HTTP_TLS_OPTIONS],
                   struct error *err) WARN_UNUSED;
void http_tls_watch(struct http_server *server);
void http_tls_stop(struct http_server *server, void (*closed)(uv_handle_t *handle));

/* Before the loop sleeps: handshakes that wait for their peer wait outside of the library. */
void http_tls_sleep(struct http_server *server);
/* Before the library stops. */
void http_tls_wake_all(struct http_server *server);

/* A connection's beginning and end. */
void http_tls_begin(struct conn *conn);
void http_tls_end(struct conn *conn);

#endif
