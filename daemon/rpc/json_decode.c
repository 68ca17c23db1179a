/* JSON to messages.
 *
 * A string-aware pass wraps bare NaN and Infinity and limits the depth; the JSON library parses; then the
 * descriptor says what each member must be.  Every failure names the path of the field and what was expected.
 */
#include "core/spec.h"
#include "rpc/json.h"
#include "rpc/json_load.h"
#include "rpc/nearest.h"
#include "rpc/json_prepare.h"
#include "rpc/time_text.h"
#include "rpc/utf8.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_LEN 200

struct path {
    char text[PATH_MAX_LEN];
    size_t len;
};

/* Appends ".name" or "[i]"; the caller restores len afterwards. */
static void path_push(struct path *path, const char *name, size_t index)
{
    size_t room = sizeof(path->text) - path->len;

    if (name) {
        size_t n = strnlen(name, 60);

        if (path->len && room > 1) path->text[path->len++] = '.';
        room = sizeof(path->text) - path->len;
        if (n >= room) n = room - 1;
        memcpy(path->text + path->len, name, n);
        path->text[path->len += n] = '\0';
        return;
    }
    int n = snprintf(path->text + path->len, room, "[%zu]", index);

    if (n > 0) path->len += (size_t)n < room ? (size_t)n : room - 1;
}

static void path_pop(struct path *path, size_t len)
{
    path->len = len;
    path->text[len] = '\0';
}

void json_init(void)
{
    json_object_seed(0);
}

/* ---- values ---- */

/* What json_prepare found bare in the text; NULL for every other value. */
static const char *bare_text(const json_t *value)
{
    return json_string_value(json_object_get(value, json_bare_key()));
}

/* What was given, short: "two", 1e400, an object. */
static void describe(const json_t *value, char *out, size_t size)
{
    const char *text = json_string_value(value), *bare = bare_text(value);
    char number[DOUBLE_TEXT_MAX];

    if (bare) {
        snprintf(out, size, "%.80s", bare);
    } else if (text) {
        snprintf(out, size, "\"%.80s\"%s", text, strlen(text) > 80 ? "..." : "");
    } else if (json_is_real(value)) {
        double_text(number, json_real_value(value));
        snprintf(out, size, "%s", number);
    } else {
        snprintf(out, size, "%s",
                 json_is_object(value)  ? "an object"
                 : json_is_array(value) ? "a list"
                 : json_is_null(value)  ? "null"
                 : json_is_true(value)  ? "true"
                                        : "false");
    }
}

static int wrong(const struct path *path, const char *expected, const json_t *value, struct error *err)
{
    char got[100];

    describe(value, got, sizeof(got));
    return error_set(err, ST_FIELD_INVALID, "%s: must be %s, got %s", path->text, expected, got);
}

enum number { NUMBER_OK, NUMBER_NONE, NUMBER_TOO_LARGE };

static enum number text_to_double(const char *text, double *out)
{
    char *end;

    if (!strcmp(text, "NaN")) {
        *out = NAN;
        return NUMBER_OK;
    }
    if (!strcmp(text, "Infinity") || !strcmp(text, "-Infinity")) {
        *out = text[0] == '-' ? -INFINITY : INFINITY;
        return NUMBER_OK;
    }
    if (!*text || strspn(text, "+-0123456789.eE") != strlen(text)) return NUMBER_NONE;
    /* The daemon never leaves the C locale: the point is a point. */
    *out = strtod(text, &end);
    if (*end) return NUMBER_NONE;
    return isfinite(*out) ? NUMBER_OK : NUMBER_TOO_LARGE;
}

static enum number to_double(const json_t *value, double *out)
{
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return NUMBER_OK;
    }
    const char *text = json_is_string(value) ? json_string_value(value) : bare_text(value);
    return text ? text_to_double(text, out) : NUMBER_NONE;
}

static int set_double(const json_t *value, double *out, const struct path *path, struct error *err)
{
    double number;
    enum number kind = to_double(value, &number);

    if (kind == NUMBER_TOO_LARGE)
        return wrong(path, "within the range of a double, -1.7976931348623157e308 to 1.7976931348623157e308",
                     value, err);
    if (kind != NUMBER_OK) return wrong(path, "a number", value, err);
    *out = number;
    return 0;
}

static int set_integer(const ProtobufCFieldDescriptor *f, const json_t *value, void *at,
                       const struct path *path, struct error *err)
{
    bool is_signed = f->type == PROTOBUF_C_TYPE_INT32;
    double lo = is_signed ? INT32_MIN : 0, hi = is_signed ? INT32_MAX : UINT32_MAX, number;

    if (to_double(value, &number) != NUMBER_OK || !(number >= lo && number <= hi) || number != floor(number))
        return wrong(
            path, is_signed ? "an integer from -2147483648 to 2147483647" : "an integer from 0 to 4294967295",
            value, err);
    if (is_signed)
        *(int32_t *)at = (int32_t)number;
    else
        *(uint32_t *)at = (uint32_t)number;
    return 0;
}

static int set_object(ProtobufCMessage *message, json_t *object, struct path *path, struct error *err);

static int set_message(const ProtobufCFieldDescriptor *f, json_t *value, void *at, struct path *path,
                       struct error *err)
{
    const ProtobufCMessageDescriptor *desc = f->descriptor;
    ProtobufCMessage *message = malloc(desc->sizeof_message);

    if (!message) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    protobuf_c_message_init(desc, message);
    *(ProtobufCMessage **)at = message; /* owned by the parent from here on */
    enum time_kind time = time_kind(desc);
    if (time != TIME_NONE) {
        if (json_is_string(value) && time_parse(message, json_string_value(value))) return 0;
        return wrong(path,
                     time == TIME_DURATION ? "a duration like \"30s\" or \"500ms\""
                                           : "a time like \"2026-01-31T12:00:00Z\"",
                     value, err);
    }
    if (!json_is_object(value) || bare_text(value)) return wrong(path, "an object", value, err);
    return set_object(message, value, path, err);
}

static int set_value(const ProtobufCFieldDescriptor *f, json_t *value, void *at, struct path *path,
                     struct error *err)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE: return set_double(value, at, path, err);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_INT32: return set_integer(f, value, at, path, err);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(value)) return wrong(path, "true or false", value, err);
        *(protobuf_c_boolean *)at = json_is_true(value);
        return 0;
    case PROTOBUF_C_TYPE_STRING:
        if (!json_is_string(value)) return wrong(path, "a string", value, err);
        *(char **)at = strdup(json_string_value(value));
        return *(char **)at ? 0 : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    case PROTOBUF_C_TYPE_MESSAGE: return set_message(f, value, at, path, err);
    default: return error_set(err, ST_INTERNAL, "%s: a type the codec does not know", path->text);
    }
}

static size_t value_size(const ProtobufCFieldDescriptor *f)
{
    if (f->type == PROTOBUF_C_TYPE_DOUBLE) return sizeof(double);
    return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE ? sizeof(void *) : 4;
}

static int set_list(ProtobufCMessage *message, const ProtobufCFieldDescriptor *f, json_t *value,
                    struct path *path, struct error *err)
{
    bool list = json_is_array(value);
    size_t n = list ? json_array_size(value) : 1, size = value_size(f), len = path->len;

    if (!list && f->type != PROTOBUF_C_TYPE_DOUBLE) return wrong(path, "a list", value, err);
    if (!n) return 0;
    char *items = calloc(n, size);
    if (!items) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    *(void **)(void *)((char *)message + f->offset) = items;
    for (size_t i = 0; i < n; i++) {
        if (list) path_push(path, NULL, i);
        int rc = set_value(f, list ? json_array_get(value, i) : value, items + i * size, path, err);
        /* A failed element counts if it holds memory, so that freeing the message frees it. */
        bool holds = f->type == PROTOBUF_C_TYPE_MESSAGE && *(void **)(void *)(items + i * size);
        *(size_t *)(void *)((char *)message + f->quantifier_offset) = i + (!rc || holds);
        if (rc) return rc;
        path_pop(path, len);
    }
    return 0;
}

/* The member of f's oneof that is set already, or NULL. */
static const char *oneof_taken(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *f)
{
    uint32_t id = *(const uint32_t *)(const void *)((const char *)message + f->quantifier_offset);

    for (unsigned i = 0; id && i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &message->descriptor->fields[i];
        if (other->id == id && other->quantifier_offset == f->quantifier_offset) return other->name;
    }
    return NULL;
}

/* "loss and metric: give one of the two", with the path of the message in front. */
static int both_given(const struct path *path, const char *taken, const char *name, struct error *err)
{
    const char *dot = strrchr(path->text, '.');
    int parent = dot ? (int)(dot - path->text) : 0;

    return error_set(err, ST_FIELD_INVALID, "%.*s%s%s and %s: give one of the two", parent, path->text,
                     parent ? ": " : "", taken, name);
}

static int set_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *f, json_t *value,
                     struct path *path, struct error *err)
{
    void *at = (char *)message + f->offset, *quantifier = (char *)message + f->quantifier_offset;
    int rc;

    if (f->label == PROTOBUF_C_LABEL_REPEATED) return set_list(message, f, value, path, err);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        const char *taken = oneof_taken(message, f);
        if (taken) return both_given(path, taken, f->name, err);
        memset(at, 0, value_size(f));
        rc = set_value(f, value, at, path, err);
        if (!rc || (f->type == PROTOBUF_C_TYPE_MESSAGE && *(void **)at)) *(uint32_t *)quantifier = f->id;
        return rc;
    }
    rc = set_value(f, value, at, path, err);
    if (!rc && f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
        *(protobuf_c_boolean *)quantifier = 1;
    return rc;
}

/* ---- objects ---- */

/* job_name and jobName are the same field. */
static bool same_name(const char *field, const char *name)
{
    while (*field && *name) {
        if (*field == '_' && *name != '_') {
            if (toupper((unsigned char)field[1]) != *name) return false;
            field++;
        } else if (*field != *name) {
            return false;
        }
        field++;
        name++;
    }
    return !*field && !*name;
}

const ProtobufCFieldDescriptor *json_field(const ProtobufCMessageDescriptor *desc, const char *name)
{
    for (unsigned i = 0; i < desc->n_fields; i++) {
        if (same_name(desc->fields[i].name, name)) return &desc->fields[i];
    }
    return NULL;
}

static int unknown_field(const ProtobufCMessageDescriptor *desc, const char *key, const struct path *path,
                         struct error *err)
{
    struct nearest nearest = {.word = key};
    struct buf known = {0};

    for (unsigned i = 0; i < desc->n_fields; i++) {
        const char *name = desc->fields[i].name;
        nearest_offer(&nearest, name);
        buf_printf(&known, "%s%s", i ? ", " : "", name);
    }
    char *list = buf_take(&known, NULL);
    int rc = nearest.found ? error_set(err, ST_FIELD_UNKNOWN, "%s: unknown field; did you mean %s?",
                                       path->text, nearest.found)
             : list        ? error_set(err, ST_FIELD_UNKNOWN, "%s: unknown field; known here: %s", path->text,
                                *list ? list : "none")
                           : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    free(list);
    return rc;
}

static int set_object(ProtobufCMessage *message, json_t *object, struct path *path, struct error *err)
{
    uint64_t seen[4] = {0};
    size_t len = path->len;
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        const ProtobufCFieldDescriptor *f = json_field(message->descriptor, key);
        path_push(path, key, 0);
        if (!f) return unknown_field(message->descriptor, key, path, err);
        size_t i = (size_t)(f - message->descriptor->fields);
        if (seen[i / 64 & 3] >> (i % 64) & 1)
            return error_set(err, ST_FIELD_INVALID, "%s: given twice, in two spellings", path->text);
        seen[i / 64 & 3] |= (uint64_t)1 << (i % 64);
        if (!json_is_null(value)) {
            int rc = set_field(message, f, value, path, err);
            if (rc) return rc;
        }
        path_pop(path, len);
    }
    return 0;
}

static bool blank(const char *text, size_t len)
{
    while (len && *text && strchr(" \t\r\n", *text))
        text++, len--;
    return !len;
}

static int parse(const char *text, size_t len, struct json_loaded *out, struct error *err)
{
    struct buf prepared = {0};
    json_error_t why;
    int rc = json_prepare(text, len, &prepared, err);

    *out = (struct json_loaded){0};
    if (!rc && !blank(text, len)) {
        rc = json_load_text(prepared.data, prepared.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL,
                            out, &why);
        if (rc == ST_OUT_OF_MEMORY)
            rc = error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        else if (rc)
            rc = error_set(err, ST_BODY_INVALID, "body: not valid JSON: %s (line %d, column %d)", why.text,
                           why.line, why.column);
        else if (!json_is_object(out->root) || bare_text(out->root))
            rc = error_set(err, ST_BODY_INVALID, "body: must be a JSON object");
    }
    buf_free(&prepared);
    if (rc) json_loaded_free(out);
    return rc;
}

int json_decode(const ProtobufCMessageDescriptor *desc, const char *text, size_t len, const char *path,
                ProtobufCMessage **out, struct error *err)
{
    struct path at = {.text = ""};
    struct json_loaded loaded;
    int rc = parse(text ? text : "", text ? len : 0, &loaded, err);

    if (rc) return rc;
    if (path && *path) path_push(&at, path, 0);
    ProtobufCMessage *message = malloc(desc->sizeof_message);
    if (!message) {
        json_loaded_free(&loaded);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    protobuf_c_message_init(desc, message);
    if (loaded.root) rc = set_object(message, loaded.root, &at, err);
    json_loaded_free(&loaded);
    if (rc) {
        protobuf_c_message_free_unpacked(message, NULL);
        return rc;
    }
    *out = message;
    return 0;
}

int json_set_text(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, const char *text,
                  struct error *err)
{
    struct path path = {.text = ""};
    bool boolean = field->type == PROTOBUF_C_TYPE_BOOL;

    if (utf8_prefix(text, strlen(text)) != strlen(text))
        return error_set(err, ST_FIELD_INVALID, "%s: must be UTF-8 text", field->name);
    json_t *value = boolean && !strcmp(text, "true")    ? json_true()
                    : boolean && !strcmp(text, "false") ? json_false()
                                                        : json_string(text);

    if (!value) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    path_push(&path, field->name, 0);
    int rc = set_field(message, field, value, &path, err);
    json_decref(value);
    return rc;
}

const char *json_library(void)
{
    return jansson_version_str();
}
