/* TLS of the HTTP library's connections: what it does not do well itself.
 *
 * The library runs the handshake whenever its socket is readable.  One that has to wait for its peer stays on
 * the library's list of sockets with something to do, and the loop would spin until the next bytes come.  So
 * reading for the library is done here: a connection that finds nothing to read in the middle of its
 * handshake is suspended before the loop sleeps, and waits in an epoll set of its own until its peer speaks,
 * leaves, or the sweep shuts it down at its deadline.  Which pair of certificate and key a handshake uses is
 * decided when it begins. */
#include "server/http_impl.h"

#include "server/log.h"
#include "server/metrics.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* TLS 1.2 with forward secrecy and authenticated encryption, and TLS 1.3; nothing else.  X25519 comes first:
 * it is what clients send a share of, so that their first flight is not asked for again. */
#define PRIORITIES                                                                                           \
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:"                         \
    "-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:-MAC-ALL:+AEAD:"                               \
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:%SERVER_PRECEDENCE"

#define WAKE_BATCH 64

/* ---- of one connection, called from within the library ---- */

static int on_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                       gnutls_pcert_st **certs, unsigned *n, gnutls_ocsp_data_st **ocsp, unsigned *n_ocsp,
                       gnutls_privkey_t *key, unsigned *flags)
{
    struct conn *conn = gnutls_session_get_ptr(session);

    (void)info;
    if (!conn->identity) conn->identity = tls_take(conn->server->tls);
    *certs = conn->identity->certs;
    *n = conn->identity->n;
    *key = conn->identity->key;
    *ocsp = NULL;
    *n_ocsp = 0;
    *flags = 0; /* nothing of it becomes the session's */
    return 0;
}

static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message)
{
    struct conn *conn = gnutls_session_get_ptr(session);

    (void)type;
    (void)when;
    (void)message;
    if (incoming) conn->shaken = true;
    return 0;
}

static void list_waiting(struct conn *conn)
{
    struct http_server *server = conn->server;

    if (conn->waiting) return;
    conn->waiting = &server->waiting;
    conn->next_waiting = server->waiting;
    if (conn->next_waiting) conn->next_waiting->waiting = &conn->next_waiting;
    server->waiting = conn;
}

static void unlist_waiting(struct conn *conn)
{
    if (!conn->waiting) return;
    *conn->waiting = conn->next_waiting;
    if (conn->next_waiting) conn->next_waiting->waiting = conn->waiting;
    conn->waiting = NULL;
}

static ssize_t on_pull(gnutls_transport_ptr_t arg, void *data, size_t size)
{
    struct conn *conn = arg;
    ssize_t got = recv(conn->fd, data, size, 0);

    if (got < 0 && errno == EAGAIN && !conn->shaken) list_waiting(conn);
    return got;
}

static int on_pull_timeout(gnutls_transport_ptr_t arg, unsigned ms)
{
    (void)ms; /* never waits: the loop does */
    return conn_has_events(arg, POLLIN);
}

void http_tls_begin(struct conn *conn)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    gnutls_session_t session = info ? info->tls_session : NULL;
    gnutls_transport_ptr_t in, out;

    if (!conn->server->tls || !session) return;
    gnutls_session_set_ptr(session, conn);
    gnutls_transport_get_ptr2(session, &in, &out);
    gnutls_transport_set_ptr2(session, conn, out);
    gnutls_transport_set_pull_function(session, on_pull);
    gnutls_transport_set_pull_timeout_function(session, on_pull_timeout);
    gnutls_handshake_set_timeout(session, 0); /* the sweep's deadline is absolute */
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, on_finished);
}

void http_tls_end(struct conn *conn)
{
    if (!conn->server->tls) return;
    unlist_waiting(conn);
    if (!conn->shaken) metrics_add(METRIC_TLS_HANDSHAKES_FAILED, 0, 1);
    tls_release(conn->identity);
}

/* ---- waiting for the peer ---- */

static void wake(struct conn *conn)
{
    if (!conn->asleep) return;
    conn->asleep = false;
    conn->server->run_needed = true;
    MHD_resume_connection(conn->mhd);
}

void http_tls_sleep(struct http_server *server)
{
    struct conn *conn;

    while ((conn = server->waiting)) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = conn};

        unlist_waiting(conn);
        MHD_suspend_connection(conn->mhd);
        conn->asleep = true;
        if (epoll_ctl(server->handshakes_fd, conn->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd,
                      &event)) {
            conn_shut(conn); /* out of memory; the library sees its end */
            wake(conn);
        }
        conn->watched = true;
    }
}

static void on_handshakes(uv_poll_t *handle, int status, int events)
{
    struct http_server *server = handle->data;
    struct epoll_event ready[WAKE_BATCH];
    int n = epoll_wait(server->handshakes_fd, ready, WAKE_BATCH, 0);

    (void)status;
    (void)events;
    for (int i = 0; i < n; i++)
        wake(ready[i].data.ptr);
}

void http_tls_wake_all(struct http_server *server)
{
    for (struct conn *conn = server->conns; conn; conn = conn->next)
        wake(conn);
}

/* ---- of the server ---- */

int http_tls_start(struct http_server *server, struct MHD_OptionItem options[HTTP_TLS_OPTIONS],
                   struct error *err)
{
    static gnutls_certificate_retrieve_function3 *const retrieve = on_retrieve;
    static const char priorities[] = PRIORITIES;
    const struct MHD_OptionItem items[] = {
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)priorities},
        {MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(uintptr_t)retrieve},
        {MHD_OPTION_END, 0, NULL},
    };
    _Static_assert(sizeof(items) / sizeof(*items) == HTTP_TLS_OPTIONS, "there is room");

    if (!server->tls) {
        options[0] = items[HTTP_TLS_OPTIONS - 1];
        return 0;
    }
    if (MHD_is_feature_supported(MHD_FEATURE_HTTPS_CERT_CALLBACK2) != MHD_YES)
        return error_set(err, ST_CONFIG_INVALID,
                         "--tls-cert: the HTTP library was built without TLS; install one with it");
    memcpy(options, items, sizeof(items));
    server->handshakes_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->handshakes_fd < 0) return error_set(err, ST_INTERNAL, "epoll: %s", strerror(errno));
    return 0;
}

void http_tls_watch(struct http_server *server)
{
    if (!server->tls) return;
    (void)uv_poll_init(server->loop, &server->handshakes, server->handshakes_fd);
    server->handshakes.data = server;
    (void)uv_poll_start(&server->handshakes, UV_READABLE, on_handshakes);
    server->handles++;
}

void http_tls_stop(struct http_server *server, void (*closed)(uv_handle_t *handle))
{
    if (!server->tls) return;
    uv_close((uv_handle_t *)&server->handshakes, closed);
    close(server->handshakes_fd);
}
