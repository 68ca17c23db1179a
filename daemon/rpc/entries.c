/* One look at each byte, and nothing is kept: a body of a megabyte that becomes a hundred of them in memory
 * is refused for the price of a copy. */
#include "rpc/entries.h"

#include <stdbool.h>

#define NODES_MORE 64 /* the settings of a job have as many */

static int too_many(const char *name, size_t name_len, size_t n, size_t max, struct error *err)
{
    return error_limit(err, LIMIT_BATCH_ENTRIES, ST_FIELD_INVALID,
                       "%.*s: must be at most %zu, got %zu; send fewer in one request, or raise "
                       "--max-batch-entries",
                       (int)(name_len > 40 ? 40 : name_len), name, max, n);
}

int entries_check_json(const char *text, size_t len, size_t max, struct error *err)
{
    const char *end = text + len, *key = text;
    size_t key_len = 0, depth = 0, nodes = 0, n = 1;
    bool list = false;

    for (const char *c = text; c < end; c++) {
        if (*c == '"') {
            const char *start = ++c;
            while (c < end && *c != '"')
                c += *c == '\\' ? 2 : 1;
            if (depth != 1) continue;
            key = start;
            key_len = (size_t)((c < end ? c : end) - start);
        } else if (*c == '{' || *c == '[') {
            nodes++;
            if (++depth != 2) continue;
            list = *c == '[';
            n = 1;
        } else if (*c == '}' || *c == ']') {
            if (depth == 2 && list && n > max) return too_many(key, key_len, n, max, err);
            if (depth) depth--;
        } else if (*c == ',') {
            n += depth == 2;
        }
    }
    if (nodes <= 4 * max + NODES_MORE) return 0;
    return error_set(err, ST_BODY_INVALID, "body: %zu objects and lists, at most %zu are taken", nodes,
                     4 * max + NODES_MORE);
}

/* Takes a varint; false: there is none. */
static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

/* Passes over a field's value; false where there is not all of it. */
static bool skip_value(const uint8_t **at, const uint8_t *end, unsigned wire_type)
{
    uint64_t n = wire_type == 1 ? 8 : wire_type == 5 ? 4 : 0;

    if (wire_type == 0) return take_varint(at, end, &n);
    if (wire_type == 2 ? !take_varint(at, end, &n) : !n) return false;
    if (n > (uint64_t)(end - *at)) return false;
    *at += n;
    return true;
}

int entries_check_proto(const ProtobufCMessageDescriptor *desc, const uint8_t *bytes, size_t len, size_t max,
                        struct error *err)
{
    const ProtobufCFieldDescriptor *f = NULL;
    const uint8_t *at = bytes, *end = bytes + len;
    uint64_t tag;
    size_t n = 0, name_len = 0;

    for (unsigned i = 0; i < desc->n_fields && !f; i++) {
        if (desc->fields[i].label == PROTOBUF_C_LABEL_REPEATED &&
            desc->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            f = &desc->fields[i];
    }
    if (!f) return 0;
    while (take_varint(&at, end, &tag) && skip_value(&at, end, tag & 7))
        n += tag >> 3 == f->id;
    while (f->name[name_len])
        name_len++;
    return n > max ? too_many(f->name, name_len, n, max, err) : 0;
}
