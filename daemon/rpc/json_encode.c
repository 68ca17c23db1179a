/* Messages to JSON, straight into the buffer: no tree, numbers in their shortest form. */
#include "core/spec.h"
#include "rpc/json.h"
#include "rpc/time_text.h"
#include "rpc/utf8.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define MEMBER(message, offset) ((const void *)((const char *)(message) + (offset)))

static void put_escape(struct buf *out, unsigned char c)
{
    const char *letters = "\"\"\\\\\nn\tt\rr", *at = letters;

    while (*at && (unsigned char)*at != c)
        at += 2;
    if (*at) {
        char escape[2] = {'\\', at[1]};
        buf_append(out, escape, 2);
    } else {
        buf_printf(out, "\\u%04x", c);
    }
}

/* Bytes that are no UTF-8 (a message cut in the middle of a character) become U+FFFD, so that the JSON stays
 * JSON. */
static void put_string(struct buf *out, const char *text)
{
    const char *from = text, *c = text;

    buf_append(out, "\"", 1);
    while (*c) {
        unsigned char u = (unsigned char)*c;
        size_t n = u < 0x80 ? 1 : utf8_char(c, strnlen(c, 4));
        if (n && u >= 0x20 && u != '"' && u != '\\') {
            c += n;
            continue;
        }
        buf_append(out, from, (size_t)(c - from));
        if (n)
            put_escape(out, u);
        else
            buf_puts(out, "\xef\xbf\xbd");
        from = ++c;
    }
    buf_append(out, from, (size_t)(c - from));
    buf_append(out, "\"", 1);
}

static void put_uint(struct buf *out, uint32_t value)
{
    char digits[10], *at = digits + sizeof(digits);

    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    buf_append(out, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_double(struct buf *out, double value)
{
    char text[DOUBLE_TEXT_MAX];
    size_t n = double_text(text, value);

    if (isfinite(value))
        buf_append(out, text, n);
    else
        put_string(out, text);
}

/* The list that a call answers with (jobs, decisions, results) is there even when it is empty. */
static bool is_answer(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    static const char suffix[] = "Response";
    const char *name = m->descriptor->short_name;
    size_t n = strlen(name), len = sizeof(suffix) - 1;

    return f->type == PROTOBUF_C_TYPE_MESSAGE && n > len && !strcmp(name + n - len, suffix);
}

static bool has_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const void *quantifier = MEMBER(m, f->quantifier_offset);

    if (f->label == PROTOBUF_C_LABEL_REPEATED) return *(const size_t *)quantifier > 0 || is_answer(m, f);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) return *(const uint32_t *)quantifier == f->id;
    if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)MEMBER(m, f->offset) != NULL;
    return f->label == PROTOBUF_C_LABEL_NONE || *(const protobuf_c_boolean *)quantifier;
}

static void put_time(const ProtobufCMessage *m, struct buf *out)
{
    char text[TIME_TEXT_MAX];
    size_t n = time_print(m, text);

    buf_append(out, "\"", 1);
    buf_append(out, text, n);
    buf_append(out, "\"", 1);
}

static void put_message(const ProtobufCMessage *m, struct buf *out);

static void put_value(const ProtobufCFieldDescriptor *f, const void *at, struct buf *out)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE: put_double(out, *(const double *)at); break;
    case PROTOBUF_C_TYPE_UINT32: put_uint(out, *(const uint32_t *)at); break;
    case PROTOBUF_C_TYPE_INT32: buf_printf(out, "%d", *(const int32_t *)at); break;
    case PROTOBUF_C_TYPE_BOOL: buf_puts(out, *(const protobuf_c_boolean *)at ? "true" : "false"); break;
    case PROTOBUF_C_TYPE_STRING: put_string(out, *(char *const *)at); break;
    case PROTOBUF_C_TYPE_MESSAGE: put_message(*(ProtobufCMessage *const *)at, out); break;
    default: out->failed = true; /* the contract has no other types */
    }
}

static size_t value_size(const ProtobufCFieldDescriptor *f)
{
    if (f->type == PROTOBUF_C_TYPE_DOUBLE) return sizeof(double);
    return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE ? sizeof(void *) : 4;
}

static void put_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct buf *out)
{
    const char *at = MEMBER(m, f->offset);

    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        put_value(f, at, out);
        return;
    }
    size_t n = *(const size_t *)MEMBER(m, f->quantifier_offset);
    at = *(char *const *)(const void *)at;
    buf_append(out, "[", 1);
    for (size_t i = 0; i < n; i++) {
        if (i) buf_append(out, ",", 1);
        put_value(f, at + i * value_size(f), out);
    }
    buf_append(out, "]", 1);
}

/* {"name":  or  ,"name": */
static void put_name(char before, const char *name, struct buf *out)
{
    size_t n = strlen(name);
    char *at = buf_extend(out, n + 4);

    if (!at) return;
    *at++ = before;
    *at++ = '"';
    memcpy(at, name, n);
    at[n] = '"';
    at[n + 1] = ':';
}

static void put_message(const ProtobufCMessage *m, struct buf *out)
{
    char before = '{';

    if (time_kind(m->descriptor) != TIME_NONE) {
        put_time(m, out);
        return;
    }
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (!has_value(m, f)) continue;
        put_name(before, f->name, out);
        before = ',';
        put_field(m, f, out);
    }
    buf_append(out, before == '{' ? "{}" : "}", before == '{' ? 2 : 1);
}

int json_encode(const ProtobufCMessage *message, struct buf *out, struct error *err)
{
    put_message(message, out);
    return out->failed ? error_set(err, ST_OUT_OF_MEMORY, "out of memory") : 0;
}
