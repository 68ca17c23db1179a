/* Helpers of the tests of daemon/rpc: random messages by descriptor, equality, one-line decoding. */
#ifndef TEST_RPC_HELP_H
#define TEST_RPC_HELP_H

#include "core/status.h"
#include "rpc/json.h"

#include "greedylr/v1/scheduler.pb-c.h"
#include "test_random.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Any finite bits, and now and then a special value. */
static inline double random_double(void)
{
    static const double special[] = {0.0, -0.0, INFINITY, -INFINITY, 5e-324, 1.7976931348623157e308,
                                     0.1, 1e22, 1e23};
    union {
        uint64_t bits;
        double value;
    } u = {.bits = rng()};

    if (rng() % 4 == 0) return special[rng() % (sizeof(special) / sizeof(special[0]))];
    if (rng() % 16 == 0) return NAN;
    return isfinite(u.value) ? u.value : 1.0;
}

static inline char *random_string(void)
{
    static const char *const pieces[] = {"a",    "Z", "\"", "\\", "\n", "\t", "\x01",
                                         "\x7f", "ä", "€",  "😀",  ",",  "/"};
    char *out = calloc(1, 64);

    for (unsigned n = (unsigned)(rng() % 12); n; n--)
        strcat(out, pieces[rng() % 13]);
    return out;
}

static inline ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *desc);

static inline ProtobufCMessage *random_time(const ProtobufCMessageDescriptor *desc)
{
    ProtobufCMessage *m = malloc(desc->sizeof_message);
    bool stamp = strstr(desc->name, "Timestamp") != NULL;
    static const int32_t units[] = {0, 1000000, 1000, 1};

    protobuf_c_message_init(desc, m);
    int64_t seconds = stamp ? (int64_t)(rng() % 315537897600u) - 62135596800
                            : (int64_t)(rng() % 631152000001u) - 315576000000;
    int32_t nanos = (int32_t)(rng() % 1000) * units[rng() % 4];
    *(int64_t *)(void *)((char *)m + desc->fields[0].offset) = seconds;
    *(int32_t *)(void *)((char *)m + desc->fields[1].offset) = !stamp && seconds < 0 ? -nanos : nanos;
    return m;
}

static inline void random_value(const ProtobufCFieldDescriptor *f, void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE: *(double *)at = random_double(); break;
    case PROTOBUF_C_TYPE_UINT32: *(uint32_t *)at = rng() % 3 ? (uint32_t)rng() : UINT32_MAX; break;
    case PROTOBUF_C_TYPE_INT32: *(int32_t *)at = rng() % 3 ? (int32_t)(uint32_t)rng() : INT32_MIN; break;
    case PROTOBUF_C_TYPE_BOOL: *(protobuf_c_boolean *)at = rng() % 2; break;
    case PROTOBUF_C_TYPE_STRING: *(char **)at = random_string(); break;
    default:
        *(ProtobufCMessage **)at =
            !strncmp(((const ProtobufCMessageDescriptor *)f->descriptor)->name, "google.", 7)
                ? random_time(f->descriptor)
                : random_message(f->descriptor);
    }
}

static inline size_t test_value_size(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_DOUBLE || f->type == PROTOBUF_C_TYPE_STRING ||
                   f->type == PROTOBUF_C_TYPE_MESSAGE
               ? 8
               : 4;
}

static inline void random_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    void *at = (char *)m + f->offset, *quantifier = (char *)m + f->quantifier_offset;

    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = rng() % 4, size = test_value_size(f);
        if (!n) return;
        char *items = calloc(n, size);
        for (size_t i = 0; i < n; i++)
            random_value(f, items + i * size);
        *(void **)at = items;
        *(size_t *)quantifier = n;
    } else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        if (*(uint32_t *)quantifier) return;
        memset(at, 0, test_value_size(f));
        random_value(f, at);
        *(uint32_t *)quantifier = f->id;
    } else {
        random_value(f, at);
        if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
            *(protobuf_c_boolean *)quantifier = 1;
    }
}

static inline ProtobufCMessage *random_message(const ProtobufCMessageDescriptor *desc)
{
    static unsigned depth; /* a message may hold messages of its own type */
    ProtobufCMessage *m = malloc(desc->sizeof_message);

    protobuf_c_message_init(desc, m);
    depth++;
    for (unsigned i = 0; i < desc->n_fields; i++) {
        if (depth < 6 && rng() % 3) random_field(m, &desc->fields[i]);
    }
    depth--;
    return m;
}

/* Equal in protobuf's binary format; NaNs are one NaN. */
static inline bool message_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t na = protobuf_c_message_get_packed_size(a), nb = protobuf_c_message_get_packed_size(b);
    uint8_t *pa = calloc(1, na + 1), *pb = calloc(1, nb + 1);

    protobuf_c_message_pack(a, pa);
    protobuf_c_message_pack(b, pb);
    bool equal = na == nb && !memcmp(pa, pb, na);
    free(pa);
    free(pb);
    return equal;
}

static inline int decode_text(const ProtobufCMessageDescriptor *desc, const char *text,
                              ProtobufCMessage **out, struct error *err)
{
    *out = NULL;
    err->message[0] = '\0';
    return json_decode(desc, text, strlen(text), "", out, err);
}

#endif
