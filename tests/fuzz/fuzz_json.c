/* The JSON codec: a line with the name of a method, then the JSON of its request.  What is accepted reads
 * back from its own text as the same message, is written the same again, and passes the checks that the
 * binary format has to pass; a refusal names a field or what is wrong with the body. */
#include "message.h"
#include "rpc/check.h"

#include <math.h>

/* The same message by way of the binary format. */
static void by_binary(const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(len + 1);
    struct error err = {0};

    MUST(bytes, "out of memory");
    protobuf_c_message_pack(message, bytes);
    MUST(!message_check_bytes(message->descriptor, bytes, len, &err), "%s", err.message);
    ProtobufCMessage *back = protobuf_c_message_unpack(message->descriptor, NULL, len, bytes);
    MUST(back, "does not unpack");
    MUST(!message_check(back, &err), "%s", err.message);
    MUST(same_message(message, back), "changed by the binary format");
    protobuf_c_message_free_unpacked(back, NULL);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    const struct rpc_method *method = take_method(&in);
    ProtobufCMessage *message = NULL, *back = NULL;
    struct error err = {0};
    size_t len;
    char *text = (char *)take_bytes(&in, &len);
    int rc = json_decode(method->input, text, len, "", &message, &err);

    if (rc) {
        must_tell(&err, rc);
        MUST(rc == ST_BODY_INVALID || rc == ST_FIELD_UNKNOWN || rc == ST_FIELD_INVALID, "%s", err.message);
    } else {
        char *own = must_round_trip(message, &len);

        MUST(!json_decode(method->input, own, len, "", &back, &err), "%s", err.message);
        MUST(same_message(message, back), "changed by its own text %s", own);
        by_binary(message);
        protobuf_c_message_free_unpacked(message, NULL);
        protobuf_c_message_free_unpacked(back, NULL);
        free(own);
    }
    free(text);
    return 0;
}
