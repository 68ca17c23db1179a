/* What takes too long, and what has to make room.
 *
 * Twice a second every connection is looked at: one that is past its phase's deadline, or whose peer has
 * left, is shut down, and the library sees a peer that went away.  The library itself misses a peer that
 * leaves with its last bytes: its epoll is edge-triggered, and tells of both at once.
 *
 * At the limit of connections the one that has been idle for longest makes room, or else the one whose peer
 * has been slow for longest.  The limit is of connections with a complete request; the others share the
 * reserve.  Never one whose next bytes are there already: those who are slow because the daemon is stay. */
#include "server/http_impl.h"

#include "server/metrics.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define SWEEP_MS 500
/* Of those that could make room, so many are asked whether bytes are there. */
#define TRIES 8
/* To look again for one that may make room soon. */
#define AGAIN_MS 100

/* ---- deadlines ---- */

static enum limit limit_of(enum phase phase)
{
    switch (phase) {
    case PHASE_HEADERS: return LIMIT_HEADER_TIMEOUT;
    case PHASE_BODY: return LIMIT_REQUEST_TIMEOUT;
    case PHASE_ANSWER: return LIMIT_ANSWER_TIMEOUT;
    case PHASE_STREAM: return LIMIT_STREAM_STALL;
    case PHASE_IDLE: return LIMIT_KEEPALIVE_TIMEOUT;
    case PHASE_NONE:
    case PHASE_HANDLING: break;
    }
    return LIMIT_NONE;
}

/* Nothing more will come of it: half a request, or the end of a connection that is kept alive.  The library
 * has until the next sweep for what it may still have to do. */
static bool is_over(struct conn *conn)
{
    int unread = 0;

    if (conn->phase != PHASE_HEADERS && conn->phase != PHASE_BODY && conn->phase != PHASE_IDLE) return false;
    if (ioctl(conn->fd, FIONREAD, &unread) || unread) return false;
    if (conn->left) return true;
    conn->left = true;
    return false;
}

static void look(struct conn *conn, short events)
{
    struct http_server *server = conn->server;

    if (conn->req && conn->req->suspended) {
        if (events)
            http_abandon(conn->req);
        else
            stream_sweep(conn->req);
    } else if (conn->shut) {
        return;
    } else if (conn->deadline && uv_now(server->loop) >= conn->deadline) {
        server->stats.deadlines++;
        metrics_limit(limit_of(conn->phase));
        conn_shut(conn);
    } else if (events ? is_over(conn)
                      : server->quiescing && conn->phase == PHASE_IDLE && !conn_has_events(conn, POLLIN)) {
        conn_shut(conn);
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    size_t n = 0;

    for (const struct conn *conn = server->conns; conn; conn = conn->next)
        server->polls[n++] = (struct pollfd){.fd = conn->fd, .events = POLLRDHUP};
    (void)poll(server->polls, n, 0);
    n = 0;
    for (struct conn *conn = server->conns; conn; conn = conn->next)
        look(conn, server->polls[n++].revents);
    conn_pause_listener(server, false); /* which pauses again if it has to */
}

int sweep_start(struct http_server *server)
{
    server->polls = calloc((size_t)server->limits.connections + HTTP_RESERVE, sizeof(*server->polls));
    if (!server->polls) return -1;
    (void)uv_timer_init(server->loop, &server->sweep);
    server->sweep.data = server;
    (void)uv_timer_start(&server->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    return 0;
}

/* ---- making room ---- */

/* How long a connection may be in a phase before it makes room for others; -1: it need not. */
static int patience_ms(enum phase phase)
{
    switch (phase) {
    case PHASE_IDLE: return 0;
    case PHASE_HEADERS: return 250;
    case PHASE_BODY: return 500;
    case PHASE_ANSWER: return 5000;
    case PHASE_NONE:
    case PHASE_HANDLING:
    case PHASE_STREAM: break;
    }
    return -1;
}

static bool may_go(const struct conn *conn)
{
    int patience = patience_ms(conn->phase);

    return patience >= 0 && !conn->shut && !(conn->req && conn->req->suspended) &&
           uv_now(conn->server->loop) - conn->since >= (uint64_t)patience;
}

/* A strict order: idle ones first, then by age. */
static bool goes_before(const struct conn *a, const struct conn *b)
{
    bool idle = a->phase == PHASE_IDLE, other_idle = b->phase == PHASE_IDLE;

    if (idle != other_idle) return idle;
    if (a->since != b->since) return a->since < b->since;
    return (uintptr_t)a < (uintptr_t)b;
}

uint32_t sweep_limit(const struct http_server *server)
{
    const struct http_handlers *handlers = &server->handlers;

    return handlers->limit ? handlers->limit(handlers->arg, server->limits.connections)
                           : server->limits.connections;
}

void sweep_soon(struct http_server *server)
{
    (void)uv_timer_start(&server->sweep, on_sweep, AGAIN_MS, SWEEP_MS);
}

bool sweep_evict(struct http_server *server)
{
    struct conn *last = NULL;

    for (int i = 0; i < TRIES; i++) {
        struct conn *first = NULL;

        for (struct conn *conn = server->conns; conn; conn = conn->next) {
            if (may_go(conn) && (!last || goes_before(last, conn)) && (!first || goes_before(conn, first)))
                first = conn;
        }
        if (!first) return false;
        if (!conn_has_events(first, POLLIN)) {
            server->stats.evicted++;
            conn_shut(first);
            return true;
        }
        last = first;
    }
    return false;
}

bool sweep_is_over(struct http_server *server)
{
    /* Its own phase is another by now. */
    return server->stats.connections - server->asking > sweep_limit(server) && !sweep_evict(server);
}
