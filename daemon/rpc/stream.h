/* Streams of answers as bytes: server-sent events on the REST face, enveloped messages on Connect's.
 *
 * An envelope is a byte of flags, the length (4 bytes, big-endian) and that many bytes. */
#ifndef GREEDYLRD_RPC_STREAM_H
#define GREEDYLRD_RPC_STREAM_H

#include "rpc/route.h"

/* "text/event-stream", "application/connect+json", "application/connect+proto". */
const char *stream_type(const struct rpc_call *call);

/* The body of a request of a streaming method: exactly one enveloped message, in *at and *at_len.
 * ST_BODY_INVALID; ST_ENCODING_UNSUPPORTED for a compressed one. */
int stream_open_envelope(const uint8_t *body, size_t len, const uint8_t **at, size_t *at_len,
                         struct error *err) WARN_UNUSED;

/* The beginning of a stream of events that follows on revision: what a browser needs to come back from there,
 * even before the first decision.  Nothing for Connect. */
void stream_encode_start(const struct rpc_call *call, uint32_t revision, struct buf *out);

/* One message of the stream; an event carries its decision alone.  ST_OUT_OF_MEMORY. */
int stream_encode(const struct rpc_call *call, const ProtobufCMessage *message, struct buf *out,
                  struct error *err) WARN_UNUSED;

/* The end: an event "end" with the error's code, message and reason, or the last envelope.  error NULL: it
 * ended well. */
void stream_encode_end(const struct rpc_call *call, const struct error *error, const char *request_id,
                       struct buf *out);

#endif
