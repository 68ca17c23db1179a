/* What the targets share that deal in messages of the contract. */
#ifndef GREEDYLRD_TESTS_FUZZ_MESSAGE_H
#define GREEDYLRD_TESTS_FUZZ_MESSAGE_H

#include "core/status.h"
#include "fuzz.h"
#include "rpc/json.h"
#include "rpc/route.h"

#include <jansson.h>

/* The method named by a line of the input; what names none means one of them all the same, so that no input
 * is wasted. */
static inline const struct rpc_method *take_method(struct input *in)
{
    size_t n, sum = 0;
    const struct rpc_method *methods = rpc_methods(&n), *found = NULL;
    char *name = take_line(in);

    for (size_t i = 0; i < n && !found; i++) {
        if (!strcmp(methods[i].name, name)) found = &methods[i];
    }
    for (const char *c = name; *c; c++)
        sum += (unsigned char)*c;
    free(name);
    return found ? found : &methods[sum % n];
}

/* An error says its reason and something to read, and can be written down for a client: JSON that any parser
 * takes, with a status of HTTP. */
static inline void must_tell(const struct error *err, int rc)
{
    struct buf out = {0};
    json_error_t why;
    int status = 0;

    MUST(rc > 0 && rc < ST_COUNT, "status %d", rc);
    MUST((int)err->status == rc, "returned %d, the error says %d", rc, (int)err->status);
    MUST(err->message[0], "an error without a message");
    rpc_encode_error(err, FACE_REST, NULL, &out, &status);
    MUST(status >= 400 && status <= 599, "HTTP status %d", status);
    json_t *body = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &why);
    MUST(body, "%s: %.*s", why.text, (int)out.len, out.data);
    const json_t *debug = json_object_get(json_array_get(json_object_get(body, "details"), 0), "debug");
    MUST(!strcmp(json_string_value(json_object_get(debug, "reason")), status_info(err->status)->reason),
         "%.*s", (int)out.len, out.data);
    MUST(*json_string_value(json_object_get(body, "message")), "%.*s", (int)out.len, out.data);
    json_decref(body);
    buf_free(&out);
}

/* Equal in protobuf's binary format, where all NaNs are one once JSON was their way. */
static inline bool same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t na = protobuf_c_message_get_packed_size(a), nb = protobuf_c_message_get_packed_size(b);
    uint8_t *pa = malloc(na + 1), *pb = malloc(nb + 1);

    MUST(pa && pb, "out of memory");
    MUST(protobuf_c_message_pack(a, pa) == na && protobuf_c_message_pack(b, pb) == nb, "wrong size");
    bool same = na == nb && !memcmp(pa, pb, na);
    free(pa);
    free(pb);
    return same;
}

/* The message as JSON, which reads back as an equal one and is written the same again.  The caller frees. */
static inline char *must_round_trip(const ProtobufCMessage *message, size_t *len)
{
    struct buf text = {0}, again = {0};
    ProtobufCMessage *back = NULL;
    struct error err = {0};

    MUST(!json_encode(message, &text, &err), "%s", err.message);
    MUST(!json_decode(message->descriptor, text.data, text.len, "", &back, &err), "%s: %.*s", err.message,
         (int)text.len, text.data);
    MUST(!json_encode(back, &again, &err), "%s", err.message);
    MUST(text.len == again.len && !memcmp(text.data, again.data, text.len), "%.*s became %.*s", (int)text.len,
         text.data, (int)again.len, again.data);
    protobuf_c_message_free_unpacked(back, NULL);
    buf_free(&again);
    return buf_take(&text, len);
}

#endif
