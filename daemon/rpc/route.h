/* From an HTTP request to a message of the contract and back: the two faces, REST and Connect. */
#ifndef GREEDYLRD_RPC_ROUTE_H
#define GREEDYLRD_RPC_ROUTE_H

#include "core/status.h"
#include "rpc/buf.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

enum rpc_face { FACE_REST, FACE_CONNECT };
enum rpc_codec { CODEC_JSON, CODEC_PROTO, CODEC_TEXT, CODEC_CSV, CODEC_NDJSON };

/* A request as it came; absent headers are NULL.  Borrowed. */
struct rpc_request {
    const char *method, *target; /* target: raw, query included */
    const char *content_type, *accept, *content_encoding, *connect_version, *connect_timeout;
    const uint8_t *body;
    size_t len;
};

struct rpc_method {
    const char *name;                    /* in the contract */
    const char *rest_method, *rest_path; /* "/v1/jobs/{job}:report" */
    const char *body_field;              /* NULL: the whole message; "": no body; else the body is this field */
    bool no_side_effects, large_body, streaming;
    const ProtobufCMessageDescriptor *input, *output;
};

/* The table of routes: one row per RPC of the service. */
const struct rpc_method *rpc_methods(size_t *n);

struct rpc_route {
    const struct rpc_method *method;
    enum rpc_face face;
    char job[129]; /* from the path; "" if it has none */
};

/* Finds the row.  ST_PATH_UNKNOWN; ST_METHOD_NOT_ALLOWED (*allow is set to a static list); ST_FIELD_INVALID for a bad
 * job id in the path. */
int route_match(const char *http_method, const char *target, struct rpc_route *out, const char **allow,
                struct error *err) WARN_UNUSED;

struct rpc_call {
    struct rpc_route route;
    ProtobufCMessage *message; /* owned */
    enum rpc_codec codec;      /* of the answer */
    int64_t timeout_ms;        /* Connect-Timeout-Ms; -1: none */
};

/* Decodes the request of a matched route; on success out is cleared with rpc_call_clear.
 * Errors: those of json_decode, ST_QUERY_INVALID, ST_MEDIA_TYPE_UNSUPPORTED, ST_ENCODING_UNSUPPORTED. */
int route_decode(const struct rpc_request *request, const struct rpc_route *route, struct rpc_call *out,
                 struct error *err) WARN_UNUSED;
void rpc_call_clear(struct rpc_call *call);

/* Appends the answer in the call's codec; *content_type is static. */
int rpc_encode(const struct rpc_call *call, const ProtobufCMessage *answer, struct buf *out,
               const char **content_type, struct error *err) WARN_UNUSED;
/* Appends the error as JSON and gives its HTTP status on this face. */
void rpc_encode_error(const struct error *error, enum rpc_face face, struct buf *out, int *http_status);

#endif
