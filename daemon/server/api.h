/* The glue between HTTP and the service: guards, routing, decoding, answering, and the plain paths (health,
 * metrics, version).  Loop thread only. */
#ifndef GREEDYLRD_SERVER_API_H
#define GREEDYLRD_SERVER_API_H

#include "server/auth.h"
#include "server/guard.h"
#include "server/http.h"
#include "server/options.h"
#include "server/service.h"

struct api;

struct api_config {
    const struct options *options;
    struct service *service;
    struct store *store;
    struct guard_config *guard; /* borrowed */
    struct auth *auth;          /* borrowed; NULL: nobody is asked for a token */
};

struct api *api_new(const struct api_config *config);
void api_free(struct api *api);
struct http_handlers api_handlers(struct api *api);
/* The server that api answers for, for the metrics. */
void api_set_server(struct api *api, struct http_server *server);
/* From now on not ready, and watchers end. */
void api_drain(struct api *api);
/* After a reload: streams and requests that wait end where their token was revoked. */
void api_end_revoked(struct api *api);

#endif
