/* The binary codec: a line with the name of a method, then its request in protobuf's binary format, as the
 * Connect face takes it.  What is accepted can be written as JSON, which reads back as the same message, less
 * unknown fields and all but one of the NaNs. */
#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct rpc_route route = {.method = take_method(&in), .face = FACE_CONNECT};
    struct rpc_call call;
    struct error err = {0};
    size_t len;
    uint8_t *bytes = take_bytes(&in, &len);
    struct rpc_request request = {.method = "POST",
                                  .target = "/",
                                  .content_type = "application/proto",
                                  .body = bytes,
                                  .len = len,
                                  .max_entries = 100};

    if (route.method->streaming) route.method--; /* its message comes in an envelope: fuzz_connect */
    int rc = route_decode(&request, &route, &call, &err);

    if (rc) {
        must_tell(&err, rc);
        MUST(rc == ST_BODY_INVALID || rc == ST_FIELD_INVALID, "%s", err.message);
    } else {
        MUST(call.message->descriptor == route.method->input, "another message");
        MUST(call.codec == CODEC_PROTO && call.timeout_ms == -1, "codec %d", (int)call.codec);
        free(must_round_trip(call.message, &len));
        rpc_call_clear(&call);
    }
    free(bytes);
    return 0;
}
