/* Streams: a call of the service that goes on, as events or envelopes.
 *
 * Connect tells what goes wrong in the stream's last envelope, whatever it is; REST does so once the stream
 * has begun, and before that with an ordinary error.  A message for many watchers is encoded once for each
 * form. */
#include "server/api_impl.h"

#include "rpc/stream.h"
#include "server/metrics.h"
#include "server/origin.h"

#include <string.h>

static void begin(struct exchange *x)
{
    static const char *const headers[][2] = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
    bool events = x->route.face == FACE_REST;
    char space[256];
    struct buf start = BUF_FIXED(space);

    stream_encode_start(&x->rpc, x->call.after_revision, &start);
    x->streaming = true;
    http_stream_begin(x->http,
                      &(struct http_response){.status = 200,
                                              .content_type = stream_type(&x->rpc),
                                              .headers = headers,
                                              .n_headers = 2,
                                              .body = start.data,
                                              .len = start.len},
                      events ? ": keep-alive\n\n" : NULL);
}

static void finish(struct exchange *x, const struct error *err)
{
    char space[ERROR_BODY_MAX];
    struct buf last = BUF_FIXED(space);

    if (err) {
        metrics_refused(err);
        api_log_refused(x->http, err, 200);
    }
    stream_encode_end(&x->rpc, err, origin_id(x->origin), &last);
    http_stream_end(x->http, last.data, last.len);
}

/* The bytes of a message, borrowed until the next message; NULL without memory. */
static const struct buf *encode(struct exchange *x, const ProtobufCMessage *message, uint64_t serial)
{
    int form = x->route.face == FACE_REST ? 0 : x->rpc.codec == CODEC_PROTO ? 1 : 2;
    struct encoded *e = &x->api->encoded[form];
    struct error err;

    if (e->serial == serial) return &e->bytes;
    e->serial = 0;
    e->bytes.len = 0;
    e->bytes.failed = false;
    if (stream_encode(&x->rpc, message, &e->bytes, &err)) return NULL;
    e->serial = serial;
    return &e->bytes;
}

static enum stream_took on_message(struct call *call, const ProtobufCMessage *message, uint64_t serial)
{
    struct exchange *x = call->arg;
    const struct buf *bytes = encode(x, message, serial);

    if (!bytes) return STREAM_NO_MEMORY;
    if (http_stream_write(x->http, bytes->data, bytes->len)) return STREAM_TOOK;
    return http_stream_waits(x->http) ? STREAM_FULL : STREAM_NO_MEMORY; /* empty it takes any message */
}

static void on_done(struct call *call, const ProtobufCMessage *answer, const struct error *err)
{
    struct exchange *x = call->arg;
    struct error revoked;

    (void)answer;
    x->busy = false;
    err = api_verdict(x, err, &revoked);
    if (!x->http) { /* the peer is gone */
        exchange_free(x);
        return;
    }
    if (err && !x->streaming) {
        stream_refuse(x, err);
        return;
    }
    if (!x->streaming) begin(x); /* HEAD: all was well */
    finish(x, err);
}

void stream_refuse(struct exchange *x, const struct error *err)
{
    if (x->route.face == FACE_REST || err->status == ST_MEDIA_TYPE_UNSUPPORTED) {
        api_send_error(x->http, err, x->route.face, NULL);
        return;
    }
    begin(x);
    finish(x, err);
}

void stream_start(struct exchange *x)
{
    x->call.done = on_done;
    if (strcmp(http_method(x->http), "HEAD") != 0) x->call.message = on_message;
    x->busy = true;
    service_call(x->api->config.service, &x->call);
    if (x->busy) begin(x);
}

void stream_ready(struct exchange *x)
{
    if (x->busy && x->call.ready) x->call.ready(&x->call);
}
