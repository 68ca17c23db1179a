/* JSON to messages.
 *
 * A string-aware pass turns bare NaN and Infinity into strings and limits the depth; the JSON library parses; then the
 * descriptor says what each member must be.  Every failure names the path of the field and what was expected. */
#include "core/spec.h"
#include "rpc/json.h"

#include <ctype.h>
#include <errno.h>
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
    int n = name ? snprintf(path->text + path->len, room, "%s%.60s", path->len ? "." : "", name)
                 : snprintf(path->text + path->len, room, "[%zu]", index);

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

/* ---- before the parser ---- */

static const char *const bare_words[] = {"-Infinity", "Infinity", "NaN"};

static size_t bare_word(const char *at, const char *end)
{
    for (size_t i = 0; i < sizeof(bare_words) / sizeof(bare_words[0]); i++) {
        size_t n = strlen(bare_words[i]);
        if ((size_t)(end - at) >= n && !memcmp(at, bare_words[i], n) &&
            (at + n == end || !isalnum((unsigned char)at[n])))
            return n;
    }
    return 0;
}

static int prepare(const char *text, size_t len, struct buf *out, struct error *err)
{
    const char *end = text + len, *from = text;
    bool in_string = false;
    int depth = 0;

    for (const char *c = text; c < end; c++) {
        if (in_string) {
            if (*c == '\\')
                c++;
            else if (*c == '"')
                in_string = false;
            continue;
        }
        if (*c == '"') in_string = true;
        if (*c == '{' || *c == '[') depth++;
        if (*c == '}' || *c == ']') depth--;
        if (depth > JSON_DEPTH_MAX)
            return error_set(err, ST_BODY_INVALID, "body: nested deeper than %d levels at byte %zu", JSON_DEPTH_MAX,
                             (size_t)(c - text) + 1);
        size_t n = *c == '-' || *c == 'I' || *c == 'N' ? bare_word(c, end) : 0;
        if (!n) continue;
        buf_append(out, from, (size_t)(c - from));
        buf_append(out, "\"", 1);
        buf_append(out, c, n);
        buf_append(out, "\"", 1);
        from = c + n;
        c += n - 1;
    }
    buf_append(out, from, (size_t)(end - from));
    return out->failed ? error_set(err, ST_OUT_OF_MEMORY, "out of memory") : 0;
}

/* ---- values ---- */

static int wrong(const struct path *path, const char *expected, const json_t *value, struct error *err)
{
    char *got = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
    int rc = error_set(err, ST_FIELD_INVALID, "%s: must be %s, got %.80s", path->text, expected, got ? got : "?");

    free(got);
    return rc;
}

static bool text_to_double(const char *text, double *out)
{
    char *end;

    if (!strcmp(text, "NaN")) {
        *out = NAN;
        return true;
    }
    if (!strcmp(text, "Infinity") || !strcmp(text, "-Infinity")) {
        *out = text[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (!*text || strspn(text, "+-0123456789.eE") != strlen(text)) return false;
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

static bool to_double(const json_t *value, double *out)
{
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    return json_is_string(value) && text_to_double(json_string_value(value), out);
}

static int set_integer(const ProtobufCFieldDescriptor *f, const json_t *value, void *at, const struct path *path,
                       struct error *err)
{
    bool is_signed = f->type == PROTOBUF_C_TYPE_INT32;
    double lo = is_signed ? INT32_MIN : 0, hi = is_signed ? INT32_MAX : UINT32_MAX, number;

    if (!to_double(value, &number) || !(number >= lo && number <= hi) || number != floor(number))
        return wrong(path, is_signed ? "an integer from -2147483648 to 2147483647" : "an integer from 0 to 4294967295",
                     value, err);
    if (is_signed)
        *(int32_t *)at = (int32_t)number;
    else
        *(uint32_t *)at = (uint32_t)number;
    return 0;
}

/* "30s", "1.5s", "500ms"; false if it is not. */
static bool parse_duration(const char *text, int64_t *seconds, int32_t *nanos)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || !(fabs(value) <= 3e11) || !strpbrk(text, "0123456789")) return false;
    if (!strcmp(end, "ms"))
        value /= 1000;
    else if (strcmp(end, "s") != 0)
        return false;
    *seconds = (int64_t)value;
    *nanos = (int32_t)lround((value - (double)*seconds) * 1e9);
    return true;
}

static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

static bool parse_timestamp(const char *text, int64_t *seconds, int32_t *nanos)
{
    int y, mo, d, h, mi, s, n = 0;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &s, &n) != 6 || n != 19) return false;
    if (y < 1 || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || s > 59) return false;
    text += n;
    *nanos = 0;
    if (*text == '.') {
        int32_t unit = 100000000;
        for (text++; isdigit((unsigned char)*text); text++, unit /= 10) *nanos += (*text - '0') * unit;
    }
    int offset = 0;
    if (*text == '+' || *text == '-') {
        int oh, om;
        if (sscanf(text + 1, "%2d:%2d%n", &oh, &om, &n) != 2 || n != 5 || text[6]) return false;
        offset = (oh * 60 + om) * (*text == '-' ? -60 : 60);
    } else if (strcmp(text, "Z") != 0) {
        return false;
    }
    *seconds = days_from_civil(y, (unsigned)mo, (unsigned)d) * 86400 + h * 3600 + mi * 60 + s - offset;
    return true;
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
    bool duration = !strcmp(desc->name, "google.protobuf.Duration");
    if (duration || !strcmp(desc->name, "google.protobuf.Timestamp")) {
        int64_t *seconds = (void *)((char *)message + desc->fields[0].offset);
        int32_t *nanos = (void *)((char *)message + desc->fields[1].offset);
        const char *text = json_is_string(value) ? json_string_value(value) : "";
        if (duration ? parse_duration(text, seconds, nanos) : parse_timestamp(text, seconds, nanos)) return 0;
        return wrong(path, duration ? "a duration like \"30s\" or \"500ms\"" : "a time like \"2026-01-31T12:00:00Z\"",
                     value, err);
    }
    if (!json_is_object(value)) return wrong(path, "an object", value, err);
    return set_object(message, value, path, err);
}

static int set_value(const ProtobufCFieldDescriptor *f, json_t *value, void *at, struct path *path, struct error *err)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        return to_double(value, at) ? 0 : wrong(path, "a number", value, err);
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

static int set_list(ProtobufCMessage *message, const ProtobufCFieldDescriptor *f, json_t *value, struct path *path,
                    struct error *err)
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

static int set_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *f, json_t *value, struct path *path,
                     struct error *err)
{
    void *at = (char *)message + f->offset, *quantifier = (char *)message + f->quantifier_offset;
    int rc;

    if (f->label == PROTOBUF_C_LABEL_REPEATED) return set_list(message, f, value, path, err);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        const char *taken = oneof_taken(message, f);
        if (taken)
            return error_set(err, ST_FIELD_INVALID, "%s: %s and %s: give one of the two", path->text, taken, f->name);
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

static int unknown_field(const ProtobufCMessage *message, const struct path *path, struct error *err)
{
    struct buf known = {0};

    for (unsigned i = 0; i < message->descriptor->n_fields; i++)
        buf_printf(&known, "%s%s", i ? ", " : "", message->descriptor->fields[i].name);
    char *list = buf_take(&known, NULL);
    int rc = error_set(err, ST_FIELD_UNKNOWN, "%s: unknown field; known here: %s", path->text, list ? list : "");
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
        if (!f) return unknown_field(message, path, err);
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

static int parse(const char *text, size_t len, json_t **out, struct error *err)
{
    struct buf prepared = {0};
    json_error_t why;
    int rc = prepare(text, len, &prepared, err);

    *out = NULL;
    if (!rc && strspn(text, " \t\r\n") < len) {
        *out = json_loadb(prepared.data, prepared.len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
        if (!*out)
            rc = error_set(err, ST_BODY_INVALID, "body: not valid JSON: %s (line %d, column %d)", why.text, why.line,
                           why.column);
        else if (!json_is_object(*out))
            rc = error_set(err, ST_BODY_INVALID, "body: must be a JSON object");
    }
    buf_free(&prepared);
    if (rc) json_decref(*out);
    return rc;
}

int json_decode(const ProtobufCMessageDescriptor *desc, const char *text, size_t len, const char *path,
                ProtobufCMessage **out, struct error *err)
{
    struct path at = {.text = ""};
    json_t *object;
    int rc = parse(text ? text : "", text ? len : 0, &object, err);

    if (rc) return rc;
    if (path && *path) path_push(&at, path, 0);
    ProtobufCMessage *message = malloc(desc->sizeof_message);
    if (!message) {
        json_decref(object);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    protobuf_c_message_init(desc, message);
    if (object) rc = set_object(message, object, &at, err);
    json_decref(object);
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
    json_t *value = boolean && !strcmp(text, "true")    ? json_true()
                    : boolean && !strcmp(text, "false") ? json_false()
                                                        : json_string(text);

    if (!value) return error_set(err, ST_FIELD_INVALID, "%s: must be UTF-8 text", field->name);
    path_push(&path, field->name, 0);
    int rc = set_field(message, field, value, &path, err);
    json_decref(value);
    return rc;
}
