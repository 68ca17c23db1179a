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
