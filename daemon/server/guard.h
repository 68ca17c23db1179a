/* Who may talk to the daemon at all: request shapes that smuggle, Host names that are not ours (DNS
 * rebinding), and web pages of other origins.  A chunked body is let through on the Connect face only, whose
 * clients cannot send another.  Called by api's admit, before routing and before a body is
 * read.
 *
 * Not seen here, because libmicrohttpd takes them apart first: lines that end in a bare LF, folded header
 * lines. */
#ifndef GREEDYLRD_SERVER_GUARD_H
#define GREEDYLRD_SERVER_GUARD_H

#include "core/status.h"
#include "server/http.h"

#include <stdbool.h>
#include <stddef.h>

struct guard_config;

/* address: what the server listens on (http_server_address), NULL if not known yet (guard_add_address adds
 * it); hosts: further names (--allow-host), exact, without a port.  localhost and the loopback addresses are
 * always ours. At a failure ST_CONFIG_INVALID (a name that is none) or ST_OUT_OF_MEMORY. */
int guard_new(const char *address, const char *const *hosts, size_t n_hosts, struct guard_config **out,
              struct error *err) WARN_UNUSED;
int guard_add_address(struct guard_config *config, const char *address, struct error *err) WARN_UNUSED;
void guard_free(struct guard_config *config);

/* 0, or ST_REQUEST_MALFORMED (answer and close the connection), ST_HOST_NOT_ALLOWED, ST_ORIGIN_NOT_ALLOWED.
 */
int guard_check(struct http_request *req, const struct guard_config *config, struct error *err) WARN_UNUSED;

/* What a judgement rests on; the strings are borrowed. */
struct guard_facts {
    const char *method, *version, *target;
    bool target_has_nul;
    const char *local;                      /* the connection's local IP address, or "unix" */
    const char *host, *origin, *fetch_site; /* NULL: absent */
    const char *fetch_mode;
    const char *content_length, *transfer_encoding;
    unsigned hosts, origins, content_lengths, transfer_encodings; /* header lines of that name */
    bool bad_name, bad_value;
    bool tls; /* the connection speaks TLS */
};

void guard_note_header(struct guard_facts *facts, const char *name, size_t name_len, const char *value,
                       size_t value_len);
int guard_judge(const struct guard_facts *facts, const struct guard_config *config,
                struct error *err) WARN_UNUSED;

#endif
