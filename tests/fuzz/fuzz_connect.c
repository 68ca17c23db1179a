/* The Connect face: a line with the name of a method, then a request as text (request.h) whose target is the
 * query only.  Streams come in an envelope, GET in its query, in base64 or percent-encoded.  An answer in the
 * stream's envelopes can be taken apart again. */
#include "request.h"

#include "greedylr/v1/scheduler.pb-c.h"

/* What was accepted is one envelope and nothing else. */
static void must_be_enveloped(const struct rpc_request *request)
{
    const uint8_t *b = request->body;

    MUST(request->len >= 5 && !b[0], "%zu bytes", request->len);
    size_t says = (size_t)b[1] << 24 | (size_t)b[2] << 16 | (size_t)b[3] << 8 | b[4];
    MUST(says == request->len - 5, "the envelope says %zu of %zu bytes", says, request->len);
}

/* A decision as one message of the stream; then the end. */
static void answer_stream(const struct rpc_call *call)
{
    Greedylr__V1__Decision decision = GREEDYLR__V1__DECISION__INIT;
    Greedylr__V1__WatchJobResponse answer = GREEDYLR__V1__WATCH_JOB_RESPONSE__INIT;
    struct error err = {0};
    struct buf out = {0};
    const uint8_t *at;
    size_t len;

    answer.decision = &decision;
    decision.has_revision = 1;
    decision.revision = 7;
    MUST(!stream_encode(call, &answer.base, &out, &err), "%s", err.message);
    MUST(!stream_open_envelope((const uint8_t *)out.data, out.len, &at, &len, &err), "%s", err.message);
    MUST(len == out.len - 5, "%zu of %zu", len, out.len);
    buf_free(&out);
    stream_encode_end(call, NULL, NULL, &out);
    MUST(out.len >= 5 && out.data[0] == 2, "no end");
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    const struct rpc_method *method = take_method(&in);
    struct rpc_call call;
    struct request request;
    struct error err = {0};

    if (request_take(&in, &request)) {
        char target[256];
        struct rpc_route route;
        const char *allow = NULL;

        snprintf(target, sizeof(target), "/greedylr.v1.SchedulerService/%s", method->name);
        int rc = route_match(request.rpc.method, target, &route, &allow, &err);

        if (!rc) {
            MUST(route.method == method && route.face == FACE_CONNECT, "%s", route.method->name);
            rc = route_decode(&request.rpc, &route, &call, &err);
            if (!rc) {
                must_be_a_call(&call);
                if (method->streaming) {
                    must_be_enveloped(&request.rpc);
                    answer_stream(&call);
                }
                rpc_call_clear(&call);
            }
        }
        if (rc) must_tell(&err, rc);
    }
    request_free(&request);
    return 0;
}
