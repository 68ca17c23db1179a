/* Framing of streams.  An envelope's length is filled in once its message is there. */
#include "rpc/stream.h"

#include "rpc/json.h"

#include "greedylr/v1/scheduler.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define ENVELOPE        5
#define FLAG_COMPRESSED 1u
#define FLAG_END        2u

/* How long an EventSource waits before it comes back. */
#define RETRY_MS 1000

const char *stream_type(const struct rpc_call *call)
{
    if (call->route.face == FACE_REST) return "text/event-stream";
    return call->codec == CODEC_PROTO ? "application/connect+proto" : "application/connect+json";
}

int stream_open_envelope(const uint8_t *body, size_t len, const uint8_t **at, size_t *at_len,
                         struct error *err)
{
    if (len < ENVELOPE)
        return error_set(err, ST_BODY_INVALID,
                         "body: must be one enveloped message (a byte of flags, 4 of length), got %zu bytes",
                         len);
    size_t size = (size_t)body[1] << 24 | (size_t)body[2] << 16 | (size_t)body[3] << 8 | body[4];
    if (body[0] == FLAG_COMPRESSED)
        return error_set(err, ST_ENCODING_UNSUPPORTED,
                         "body: the message is compressed, which is not served; send it as it is");
    if (body[0])
        return error_set(err, ST_BODY_INVALID, "body: the envelope's flags must be 0, got %u", body[0]);
    if (size != len - ENVELOPE)
        return error_set(err, ST_BODY_INVALID,
                         "body: must be one enveloped message; its length says %zu, and %zu bytes follow",
                         size, len - ENVELOPE);
    *at = body + ENVELOPE;
    *at_len = size;
    return 0;
}

static size_t begin_envelope(unsigned flags, struct buf *out)
{
    const char head[ENVELOPE] = {(char)flags};

    buf_append(out, head, sizeof(head));
    return out->len;
}

static void end_envelope(size_t start, struct buf *out)
{
    size_t size = out->len - start;

    if (out->failed) return;
    for (int i = 0; i < 4; i++)
        out->data[start - 4 + (size_t)i] = (char)(size >> (24 - 8 * i));
}

void stream_encode_start(const struct rpc_call *call, uint32_t revision, struct buf *out)
{
    if (call->route.face == FACE_CONNECT) return;
    /* An id without data sets the browser's Last-Event-ID and is no event. */
    buf_printf(out, "retry: %d\n: decisions after revision %u follow as they are made\nid: %u\n\n", RETRY_MS,
               revision, revision);
}

static int encode_event(const Greedylr__V1__WatchJobResponse *message, struct buf *out, struct error *err)
{
    buf_printf(out, "id: %u\nevent: decision\ndata: ", message->decision->revision);
    if (json_encode(&message->decision->base, out, err)) return (int)err->status;
    buf_puts(out, "\n\n");
    return 0;
}

int stream_encode(const struct rpc_call *call, const ProtobufCMessage *message, struct buf *out,
                  struct error *err)
{
    int rc = 0;

    if (call->route.face == FACE_REST) {
        rc = encode_event((const void *)message, out, err);
    } else {
        size_t start = begin_envelope(0, out);
        const char *type;
        rc = rpc_encode(call, message, out, &type, err);
        if (!rc) end_envelope(start, out);
    }
    return rc || !out->failed ? rc : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

void stream_encode_end(const struct rpc_call *call, const struct error *error, const char *request_id,
                       struct buf *out)
{
    if (call->route.face == FACE_CONNECT) {
        size_t start = begin_envelope(FLAG_END, out);
        int status;
        buf_puts(out, error ? "{\"error\":" : "{}");
        if (error) {
            rpc_encode_error(error, FACE_CONNECT, request_id, out, &status);
            buf_puts(out, "}");
        }
        end_envelope(start, out);
        return;
    }
    Greedylr__V1__Status status = GREEDYLR__V1__STATUS__INIT;
    const struct status_info *info = error ? status_info(error->status) : NULL;
    if (error) {
        status.code = (char *)(uintptr_t)code_info(info->code)->name;
        status.message = (char *)(uintptr_t)error->message;
        status.reason = (char *)(uintptr_t)info->reason;
    }
    buf_puts(out, "event: end\ndata: ");
    if (json_encode(&status.base, out, NULL)) out->failed = true;
    buf_puts(out, "\n\n");
}
