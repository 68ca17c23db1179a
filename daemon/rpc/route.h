/* From HTTP to a request message and back, for both faces: which RPC a request means, its message, and the
 * answer's or the error's bytes.  Nothing here knows of sockets or of the service. */
#ifndef GREEDYLRD_RPC_ROUTE_H
#define GREEDYLRD_RPC_ROUTE_H

#include "core/status.h"
#include "rpc/buf.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rpc_face { FACE_REST, FACE_CONNECT };
enum rpc_codec { CODEC_JSON, CODEC_PROTO, CODEC_TEXT, CODEC_CSV, CODEC_NDJSON };

/* One request, borrowed; a header that is absent is NULL. */
struct rpc_request {
    const char *method;
    const char *target; /* as received, query included */
    const char *content_type, *accept, *content_encoding, *connect_version, *connect_timeout;
    const char *connect_encoding; /* Connect-Content-Encoding, of a stream's messages */
    const char *last_event_id;
    const uint8_t *body;
    size_t len;
    size_t max_entries; /* of a method with large_body; 0: any number */
};

/* What a token may do; each includes those before it. */
enum rpc_role { ROLE_OBSERVE, ROLE_REPORT, ROLE_ADMIN };
extern const char *const rpc_role_words[]; /* ends with NULL */

/* One row for each RPC of the contract. */
struct rpc_method {
    const char *name;        /* "Report" */
    enum rpc_role role;      /* the least that may call it */
    const char *rest_method; /* "POST" */
    const char *rest_path;   /* "/v1/jobs/{job}:report" */
    const char *body_field;  /* NULL: the body is the message; "": no body; else the body is this field */
    const char *query;       /* the one field that a method with a body takes from the query too, or NULL */
    bool no_side_effects;    /* Connect serves it by GET too */
    bool large_body;         /* takes --max-batch-body instead of --max-body */
    bool streaming;          /* a stream of answers */
    const ProtobufCMessageDescriptor *input, *output;
};

const struct rpc_method *rpc_methods(size_t *n);

struct rpc_route {
    const struct rpc_method *method;
    enum rpc_face face;
    char job[129]; /* REST: from the path; "" if it has none */
};

/* Finds the RPC; HEAD counts as GET.  Needs no body, so that nonsense is refused at the headers.  Errors:
 * ST_PATH_UNKNOWN; ST_METHOD_NOT_ALLOWED with *allow set to a static list for the Allow header;
 * ST_FIELD_INVALID for a job in the path that is no id. */
int route_match(const char *http_method, const char *target, struct rpc_route *out, const char **allow,
                struct error *err) WARN_UNUSED;

struct rpc_call {
    struct rpc_route route;
    ProtobufCMessage *message; /* owned: rpc_call_clear */
    enum rpc_codec codec;      /* of the answer */
    int64_t timeout_ms;        /* Connect-Timeout-Ms; -1: none */
};

/* Reads the request's message and negotiates the answer's codec.  At an error there is nothing to clear; a
 * streaming method's route and codec are there nevertheless, unless it is ST_MEDIA_TYPE_UNSUPPORTED, since
 * Connect tells every other error in the stream's end.
 * Errors: ST_MEDIA_TYPE_UNSUPPORTED, ST_ENCODING_UNSUPPORTED, ST_QUERY_INVALID, ST_BODY_INVALID,
 * ST_FIELD_UNKNOWN, ST_FIELD_INVALID, ST_OUT_OF_MEMORY. */
int route_decode(const struct rpc_request *request, const struct rpc_route *route, struct rpc_call *out,
                 struct error *err) WARN_UNUSED;
void rpc_call_clear(struct rpc_call *call);

/* Appends the answer's body; *content_type is static.  ST_OUT_OF_MEMORY. */
int rpc_encode(const struct rpc_call *call, const ProtobufCMessage *answer, struct buf *out,
               const char **content_type, struct error *err) WARN_UNUSED;

/* Appends the error's body, application/json whatever the call's codec was, and says its HTTP status.
 * request_id: plain ASCII, at most 128 bytes; NULL leaves it out.  At most ERROR_BODY_MAX bytes, so that a
 * fixed buffer does. */
#define ERROR_BODY_MAX 5120
void rpc_encode_error(const struct error *error, enum rpc_face face, const char *request_id, struct buf *out,
                      int *http_status);

#endif
