/* Connections: accepted here, counted by address, handed to the library, kept in a list for the sweep.
 *
 * At the limit a connection makes room (http_sweep.c), or the new one is taken in reserve.  Without either,
 * or without descriptors, accepting pauses and the peers wait in the backlog; the sweep and every closed
 * connection take it up again. */
#include "server/http_impl.h"

#include "server/log.h"
#include "server/metrics.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPT_BATCH 64

bool conn_is_loopback(const union listen_address *address)
{
    if (address->any.sa_family == AF_INET) return (ntohl(address->four.sin_addr.s_addr) >> 24) == 127;
    if (address->any.sa_family == AF_INET6) {
        const struct in6_addr *six = &address->six.sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
    }
    return address->any.sa_family == AF_UNIX;
}

/* IPv6 peers count by /64: whoever has one address has all of those. */
static const uint8_t *address_key(const union listen_address *address, size_t *len)
{
    const struct in6_addr *six = &address->six.sin6_addr;

    if (address->any.sa_family == AF_INET) {
        *len = 4;
        return (const uint8_t *)&address->four.sin_addr;
    }
    *len = IN6_IS_ADDR_V4MAPPED(six) ? 16 : 8;
    return six->s6_addr;
}

/* Takes the peer into the counts; false if it has as many connections as it may. */
static bool count_peer(struct http_server *server, struct conn *conn)
{
    size_t len, other_len;
    const uint8_t *key, *other;
    uint32_t hash = 2166136261u, n = 0;

    if (!server->limits.per_address || conn_is_loopback(&conn->address)) return true;
    key = address_key(&conn->address, &len);
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ key[i]) * 16777619u;
    conn->bucket = hash % CONN_BUCKETS;
    for (const struct conn *c = server->buckets[conn->bucket]; c; c = c->peers) {
        other = address_key(&c->address, &other_len);
        n += other_len == len && !memcmp(other, key, len);
    }
    if (n >= server->limits.per_address) return false;
    conn->peers = server->buckets[conn->bucket];
    server->buckets[conn->bucket] = conn;
    conn->counted = true;
    return true;
}

static bool is_asking(enum phase phase)
{
    return phase == PHASE_HEADERS || phase == PHASE_BODY;
}

static void conn_free(struct conn *conn)
{
    struct http_server *server = conn->server;

    if (conn->counted) {
        struct conn **at = &server->buckets[conn->bucket];
        while (*at != conn)
            at = &(*at)->peers;
        *at = conn->peers;
    }
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next) conn->next->prev = conn->prev;
    server->asking -= is_asking(conn->phase);
    http_tls_end(conn);
    server->stats.connections--;
    free(conn->peer);
    free(conn);
}

void conn_shut(struct conn *conn)
{
    if (conn->shut) return;
    conn->shut = true;
    (void)shutdown(conn->fd, SHUT_RDWR);
}

void conn_phase(struct conn *conn, enum phase phase, int timeout_ms)
{
    conn->server->asking -= is_asking(conn->phase);
    conn->server->asking += is_asking(phase);
    conn->phase = phase;
    conn->since = uv_now(conn->server->loop);
    conn->deadline = timeout_ms > 0 ? conn->since + (uint64_t)timeout_ms : 0;
}

/* Hands an accepted socket to the library, which closes it in any case. */
static void conn_start(struct http_server *server, int fd, const union listen_address *address, socklen_t len)
{
    struct conn *conn = calloc(1, sizeof(*conn));

    if (!conn) {
        close(fd);
        return;
    }
    conn->server = server;
    conn->fd = fd;
    conn->address = *address;
    if (!count_peer(server, conn)) {
        metrics_limit(LIMIT_PER_ADDRESS);
        close(fd);
        free(conn);
        return;
    }
    uv_update_time(server->loop); /* not the time before a long turn */
    conn_phase(conn, PHASE_HEADERS, server->limits.header_timeout_ms);
    conn->next = server->conns;
    if (conn->next) conn->next->prev = conn;
    server->conns = conn;
    server->stats.connections++;
    server->stats.accepted++;
    server->run_needed = true;
    if (MHD_add_connection(server->mhd, fd, &address->any, len) != MHD_YES && !conn->mhd) conn_free(conn);
}

void conn_on_notify(void *arg, struct MHD_Connection *mhd, void **context,
                    enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = arg;
    struct conn *conn = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        for (conn = server->conns; conn && (conn->mhd || conn->fd != fd);)
            conn = conn->next;
        *context = conn;
        if (conn) {
            conn->mhd = mhd;
            http_tls_begin(conn);
        }
    } else if (conn) {
        *context = NULL;
        assert(!conn->req);
        conn_free(conn);
    }
}

bool conn_has_events(const struct conn *conn, short events)
{
    struct pollfd poller = {.fd = conn->fd, .events = events};

    return poll(&poller, 1, 0) > 0;
}

void conn_pause_listener(struct http_server *server, bool pause)
{
    if (server->paused == pause || server->listen_fd < 0) return;
    server->paused = pause;
    server->paused_at = server->stats.connections;
    if (pause)
        (void)uv_poll_stop(&server->listener);
    else
        (void)uv_poll_start(&server->listener, UV_READABLE, conn_on_listener);
}

/* For now: at the limit a connection makes room; where none can, there is the reserve. */
static bool is_full(struct http_server *server)
{
    uint32_t limit = sweep_limit(server);

    if (server->stats.connections < limit) return false;
    if (sweep_evict(server)) return true;
    if (server->stats.connections < limit + server->reserve) return false;
    sweep_soon(server);
    return true;
}

void conn_on_listener(uv_poll_t *handle, int status, int events)
{
    struct http_server *server = handle->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        union listen_address address = {0};
        socklen_t len = sizeof(address); /* the name of a Unix peer may not fit: nobody asks for it */
        int fd;

        if (is_full(server)) {
            conn_pause_listener(server, true);
            return;
        }
        fd = accept4(server->listen_fd, &address.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            conn_start(server, fd, &address, len < sizeof(address) ? len : sizeof(address));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_event(LOG_WARNING, "accept_failed",
                      (struct log_field[]){log_str("error", strerror(errno)), log_end()});
            conn_pause_listener(server, true); /* the sweep tries again */
            /* One that made room may have made it for somebody else: not all have to follow at once. */
            if (!i) server->paused_at = 0;
            (void)sweep_evict(server);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}
