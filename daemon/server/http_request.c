/* What a handler may ask of a request.
 *
 * Everything is borrowed from the library, the connection or the server and lives as long as the request;
 * addresses are printed when somebody asks for the first time. */
#include "server/http_impl.h"

#include <stdio.h>
#include <string.h>

const char *http_library(void)
{
    return MHD_get_version();
}

const char *http_method(const struct http_request *req)
{
    return req->method;
}

const char *http_target(const struct http_request *req)
{
    return req->target;
}

const char *http_version(const struct http_request *req)
{
    return req->version;
}

const char *http_header(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->conn->mhd, MHD_HEADER_KIND, name);
}

const uint8_t *http_body(const struct http_request *req, size_t *len)
{
    *len = req->len;
    return req->body ? req->body : (const uint8_t *)"";
}

const char *http_peer(const struct http_request *req)
{
    struct conn *conn = req->conn;
    char text[INET6_ADDRSTRLEN + sizeof("[]:65535")];

    if (!conn->peer) {
        listen_print(&conn->address, 1, text, sizeof(text));
        conn->peer = strdup(text);
    }
    return conn->peer ? conn->peer : "?";
}

const char *http_local(struct http_request *req)
{
    if (*req->conn->server->local) return req->conn->server->local;
    if (!*req->local) listen_local(req->conn->fd, req->local);
    return req->local;
}

bool http_is_loopback_or_unix(const struct http_request *req)
{
    return conn_is_loopback(&req->conn->address);
}

bool http_is_tls(const struct http_request *req)
{
    return req->conn->server->tls != NULL;
}

struct each {
    void (*call)(void *arg, const char *name, size_t name_len, const char *value, size_t value_len);
    void *arg;
};

static enum MHD_Result on_each(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len,
                               const char *value, size_t value_len)
{
    struct each *each = arg;

    (void)kind;
    each->call(each->arg, name, name_len, value ? value : "", value ? value_len : 0);
    return MHD_YES;
}

void http_each_header(const struct http_request *req,
                      void (*call)(void *arg, const char *name, size_t name_len, const char *value,
                                   size_t value_len),
                      void *arg)
{
    struct each each = {call, arg};

    (void)MHD_get_connection_values_n(req->conn->mhd, MHD_HEADER_KIND, on_each, &each);
}

/* The library cuts the request line in place: method, target and version lie one after the other, one byte
 * apart. */
bool http_target_has_nul(const struct http_request *req)
{
    const char *encoded = strstr(req->target, "%00");

    if (encoded) return true;
    return (uintptr_t)req->version != (uintptr_t)req->raw + strlen(req->target) + 1;
}

bool http_is_reserve(const struct http_request *req)
{
    return req->conn->reserve;
}

void http_set_route(struct http_request *req, unsigned route)
{
    req->route = route;
}

void http_set_waits(struct http_request *req)
{
    req->waits = true;
}

/* The query is where people put what is not for a log. */
const char *http_path(const struct http_request *req, char out[HTTP_PATH_MAX])
{
    snprintf(out, HTTP_PATH_MAX, "%.*s", (int)strcspn(req->target, "?"), req->target);
    return out;
}

struct origin *http_origin(const struct http_request *req)
{
    return req->origin;
}

void http_set_user(struct http_request *req, void *user)
{
    req->user = user;
}

void *http_user(const struct http_request *req)
{
    return req->user;
}
