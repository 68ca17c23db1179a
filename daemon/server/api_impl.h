/* What api.c, api_auth.c, api_metrics.c and api_stream.c share. */
#ifndef GREEDYLRD_SERVER_API_IMPL_H
#define GREEDYLRD_SERVER_API_IMPL_H

#include "server/api.h"

#include "rpc/buf.h"
#include "rpc/route.h"

/* The last message of each form that a stream was given. */
#define STREAM_FORMS 3
struct encoded {
    uint64_t serial; /* 0: none */
    struct buf bytes;
};

/* Metrics that took long to print; one of each kind of text. */
#define EXPOSITIONS 4
struct exposed {
    struct exposed_text *text; /* NULL: none */
    bool openmetrics, of_jobs;
    char prefix[JOB_ID_MAX + 1]; /* of the jobs */
    uint64_t until;              /* uv_hrtime(): it is printed anew from then on */
};

#define ROUTES_NAMED 32 /* of RPCs, and of plain paths */

struct api {
    struct api_config config;
    struct http_server *server;
    bool draining;
    struct exchange *exchanges; /* linked by next */
    size_t held;                /* bytes of large answers that their peers have not taken */
    struct encoded encoded[STREAM_FORMS];
    struct exposed exposed[EXPOSITIONS];
    struct http_response standby; /* that there is no memory */
    char standby_text[ERROR_BODY_MAX];
    unsigned method_routes[ROUTES_NAMED], plain_routes[ROUTES_NAMED]; /* for the metrics, by row */
    unsigned page_route;                                              /* of the dashboard's files */
};

/* One request of a method, from its headers on; outlives the peer until the service is done. */
struct exchange {
    struct exchange *next, *prev;
    struct api *api;
    struct auth_token *token;  /* referenced; NULL: tokens are off */
    struct http_request *http; /* NULL once the peer is gone */
    struct origin *origin;     /* referenced; NULL: out of memory */
    struct rpc_route route;
    struct rpc_call rpc;
    struct call call;
    char peer[112];  /* and who: "ci@127.0.0.1:50412" */
    struct buf body; /* the answer, until it is sent */
    const char *type;
    size_t held;                   /* of api->held */
    bool decoded, busy, streaming; /* streaming: the stream has begun */
    bool revoked;                  /* the token was, and the call is ended for it */
};

void api_send_error(struct http_request *http, const struct error *err, enum rpc_face face,
                    const char *allow);
/* A request is refused, with this HTTP status or in a stream. */
void api_log_refused(struct http_request *http, const struct error *err, int status);
void exchange_free(struct exchange *x);

/* GET /metrics, who may look has been decided. */
void api_send_metrics(struct api *api, struct http_request *http);
void api_forget_metrics(struct api *api);

/* Who sends the request, as far as the role allows it: the token, referenced, or NULL where tokens are off.
 * ST_TOKEN_REQUIRED, ST_TOKEN_INVALID, ST_QUOTA_EXCEEDED, ST_ROLE_INSUFFICIENT. */
int api_authorize(const struct api *api, struct http_request *http, enum rpc_role role, const char *what,
                  struct auth_token **out, struct error *err) WARN_UNUSED;
/* The token that the request names, without a look at what it may; tokens are on.  Borrowed.
 * ST_TOKEN_REQUIRED, ST_TOKEN_INVALID. */
int api_find_token(const struct api *api, struct http_request *http, struct auth_token **out,
                   struct error *err) WARN_UNUSED;
/* The body has come: ST_TOKEN_INVALID if the token was revoked meanwhile. */
int api_check_token(const struct exchange *x, struct error *err) WARN_UNUSED;
/* What a call is answered with once its token was revoked, else err. */
const struct error *api_verdict(const struct exchange *x, const struct error *err, struct error *revoked);

/* A streaming method: to be called in place of service_call; answers, or begins the stream. */
void stream_start(struct exchange *x);
/* The request of a streaming method could not be read. */
void stream_refuse(struct exchange *x, const struct error *err);
/* The stream has room. */
void stream_ready(struct exchange *x);

#endif
