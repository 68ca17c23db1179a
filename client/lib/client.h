/* Clients: requests with a budget, repeated where it is safe, and not sent at all while the daemon is known
 * to be away. */
#ifndef GREEDYLR_LIB_CLIENT_H
#define GREEDYLR_LIB_CLIENT_H

#include "lib/greedylr.h"
#include "lib/transport.h"

#include <jansson.h>
#include <stdint.h>

struct glr_client {
    struct transport *transport;
    /* NULL: defaults; what a watch opens a transport of its own with. */
    char *url, *token, *token_file, *ca_file;
    int64_t budget_ms;
    int64_t away_until_ms; /* clock_ms() before which nothing is sent; 0: the daemon is not away */
};

/* When a call that begins now has to be over, by clock_ms(). */
int64_t client_deadline(const struct glr_client *client);

struct client_request {
    const char *method;
    const char *path; /* from the slash on, percent-encoded */
    json_t *body;     /* borrowed, or NULL; gets a field "wait" if waits */
    bool waits; /* the daemon may wait for other ranks: it is told how long; without a body in the query */
};

/* Sends a request that is safe to repeat until it is answered or the deadline is near.  *out: the answer's
 * JSON object, for the caller to decref; NULL on failure, with the thread's error set. */
enum glr_code client_call(struct glr_client *client, const struct client_request *request,
                          int64_t deadline_ms, json_t **out) __attribute__((warn_unused_result));

/* A transport of its own with what the client was opened with; as transport_new. */
int client_transport(const struct glr_client *client, struct transport **out, char *error, size_t size)
    __attribute__((warn_unused_result));

/* Whether id can be a job's; if not, the thread's error is set. */
enum glr_code client_check_id(const char *id) __attribute__((warn_unused_result));

#endif
