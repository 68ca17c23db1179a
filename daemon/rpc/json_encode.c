/* Messages to JSON, straight into the buffer: no tree, numbers in their shortest form. */
#include "core/spec.h"
#include "rpc/json.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define MEMBER(message, offset) ((const void *)((const char *)(message) + (offset)))

static void put_string(struct buf *out, const char *text)
{
    const char *from = text;

    buf_append(out, "\"", 1);
    for (const char *c = text; *c; c++) {
        unsigned char u = (unsigned char)*c;
        if (u >= 0x20 && u != '"' && u != '\\') continue;
        buf_append(out, from, (size_t)(c - from));
        from = c + 1;
        if (u == '"' || u == '\\')
            buf_printf(out, "\\%c", u);
        else if (u == '\n')
            buf_puts(out, "\\n");
        else
            buf_printf(out, "\\u%04x", u);
    }
    buf_puts(out, from);
    buf_append(out, "\"", 1);
}

static void put_double(struct buf *out, double value)
{
    char text[DOUBLE_TEXT_MAX];
    size_t n = double_text(text, value);

    if (!isfinite(value)) buf_append(out, "\"", 1);
    buf_append(out, text, n);
    if (!isfinite(value)) buf_append(out, "\"", 1);
}

static bool has_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const void *quantifier = MEMBER(m, f->quantifier_offset);

    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)quantifier > 0 || f->type == PROTOBUF_C_TYPE_MESSAGE;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) return *(const uint32_t *)quantifier == f->id;
    if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)MEMBER(m, f->offset) != NULL;
    return f->label == PROTOBUF_C_LABEL_NONE || *(const protobuf_c_boolean *)quantifier;
}

/* Days since 1970 to a civil date (Howard Hinnant, "chrono-compatible low-level date algorithms"). */
static void civil(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = (int64_t)yoe + era * 400 + (*month <= 2);
}

static void put_fraction(struct buf *out, int32_t nanos)
{
    if (nanos < 0) nanos = -nanos;
    if (!nanos) return;
    if (nanos % 1000000 == 0)
        buf_printf(out, ".%03d", (int)(nanos / 1000000));
    else if (nanos % 1000 == 0)
        buf_printf(out, ".%06d", (int)(nanos / 1000));
    else
        buf_printf(out, ".%09d", (int)nanos);
}

/* Timestamp and Duration have the same members: int64 seconds, int32 nanos. */
static bool put_well_known(const ProtobufCMessage *m, struct buf *out)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    bool timestamp = !strcmp(d->name, "google.protobuf.Timestamp");

    if (!timestamp && strcmp(d->name, "google.protobuf.Duration") != 0) return false;
    int64_t seconds = *(const int64_t *)MEMBER(m, d->fields[0].offset);
    int32_t nanos = *(const int32_t *)MEMBER(m, d->fields[1].offset);
    if (!timestamp) {
        buf_printf(out, "\"%s%lld", seconds < 0 || nanos < 0 ? "-" : "", (long long)(seconds < 0 ? -seconds : seconds));
        put_fraction(out, nanos);
        buf_puts(out, "s\"");
        return true;
    }
    int64_t days = seconds / 86400, rest = seconds % 86400, year;
    unsigned month, day;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    civil(days, &year, &month, &day);
    buf_printf(out, "\"%04lld-%02u-%02uT%02d:%02d:%02d", (long long)year, month, day, (int)(rest / 3600),
               (int)(rest / 60 % 60), (int)(rest % 60));
    put_fraction(out, nanos);
    buf_puts(out, "Z\"");
    return true;
}

static void put_message(const ProtobufCMessage *m, struct buf *out);

static void put_value(const ProtobufCFieldDescriptor *f, const void *at, struct buf *out)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE: put_double(out, *(const double *)at); break;
    case PROTOBUF_C_TYPE_UINT32: buf_printf(out, "%u", *(const uint32_t *)at); break;
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

static void put_message(const ProtobufCMessage *m, struct buf *out)
{
    bool first = true;

    if (put_well_known(m, out)) return;
    buf_append(out, "{", 1);
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (!has_value(m, f)) continue;
        buf_puts(out, first ? "\"" : ",\"");
        first = false;
        buf_puts(out, f->name);
        buf_append(out, "\":", 2);
        put_field(m, f, out);
    }
    buf_append(out, "}", 1);
}

int json_encode(const ProtobufCMessage *message, struct buf *out, struct error *err)
{
    put_message(message, out);
    return out->failed ? error_set(err, ST_OUT_OF_MEMORY, "out of memory") : 0;
}
