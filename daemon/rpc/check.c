#include "rpc/check.h"

#include "rpc/time_text.h"
#include "rpc/utf8.h"

#include <stdbool.h>
#include <string.h>

static bool present(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const void *quantifier = (const char *)m + f->quantifier_offset;

    return !(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(const uint32_t *)quantifier == f->id;
}

static int check_value(const ProtobufCFieldDescriptor *f, const void *value, struct error *err)
{
    if (!value) return 0;
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        size_t len = strlen(value);
        return utf8_prefix(value, len) == len
                   ? 0
                   : error_set(err, ST_FIELD_INVALID, "%s: must be UTF-8", f->name);
    }
    const ProtobufCMessage *inner = value;
    if (time_kind(inner->descriptor) == TIME_NONE)
        return message_check(inner, err) ? error_wrap(err, "%s", f->name) : 0;
    return time_valid(inner) ? 0
                             : error_set(err, ST_FIELD_INVALID, "%s: out of the range of its type", f->name);
}

int message_check(const ProtobufCMessage *message, struct error *err)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &message->descriptor->fields[i];
        const char *at = (const char *)message + f->offset;
        if ((f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE) || !present(message, f))
            continue;
        bool list = f->label == PROTOBUF_C_LABEL_REPEATED;
        size_t n = list ? *(const size_t *)(const void *)((const char *)message + f->quantifier_offset) : 1;
        void *const *values =
            list ? *(void *const *const *)(const void *)at : (void *const *)(const void *)at;
        for (size_t k = 0; k < n; k++) {
            int rc = check_value(f, values[k], err);
            if (rc) return rc;
        }
    }
    return 0;
}

/* ---- bytes ---- */

static uint64_t varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;

    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) break;
    }
    return value;
}

static int check_delimited(const ProtobufCFieldDescriptor *f, const uint8_t *bytes, size_t len,
                           struct error *err)
{
    if (f->type == PROTOBUF_C_TYPE_STRING && memchr(bytes, 0, len))
        return error_set(err, ST_FIELD_INVALID, "%s: must not hold a NUL character", f->name);
    if (f->type != PROTOBUF_C_TYPE_MESSAGE || !message_check_bytes(f->descriptor, bytes, len, err)) return 0;
    return error_wrap(err, "%s", f->name);
}

int message_check_bytes(const ProtobufCMessageDescriptor *desc, const uint8_t *bytes, size_t len,
                        struct error *err)
{
    enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2 };
    const uint8_t *at = bytes, *end = bytes + len;

    while (at < end) {
        uint64_t key = varint(&at, end), n = (key & 7) == FIXED64 ? 8 : 4;
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(desc, (unsigned)(key >> 3));

        if ((key & 7) == VARINT) {
            (void)varint(&at, end);
            continue;
        }
        if ((key & 7) == DELIMITED) n = varint(&at, end);
        if (n > (uint64_t)(end - at)) return 0; /* it does not unpack */
        if ((key & 7) == DELIMITED && f && check_delimited(f, at, (size_t)n, err)) return (int)err->status;
        at += n;
    }
    return 0;
}
