/* From the text of a flag to the JSON of a request, by the field's type.
 *
 * Numbers are turned into doubles here and written by the JSON library with 17 digits, which read back to the
 * same bits.  A wrong type is the only thing refused. */
#include "cli/fields.h"

#include "cli/file.h"
#include "cli/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TRANSPARENT "spec."

/* ---- which there are ---- */

struct walk {
    const ProtobufCMessageDescriptor *request;
    int (*visit)(void *arg, const struct field *field);
    void *arg;
    struct field field;
};

static bool is_duration(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *message = f->descriptor;

    return f->type == PROTOBUF_C_TYPE_MESSAGE && !strcmp(message->name, "google.protobuf.Duration");
}

static bool is_object_field(const struct field *field)
{
    return field->desc->type == PROTOBUF_C_TYPE_MESSAGE && !is_duration(field->desc);
}

static bool is_list_field(const struct field *field)
{
    return field->desc->label == PROTOBUF_C_LABEL_REPEATED;
}

bool field_is_message(const struct field *field)
{
    return is_object_field(field) && !is_list_field(field);
}

bool field_is_flag(const struct field *field)
{
    return field->desc->type == PROTOBUF_C_TYPE_BOOL;
}

static size_t flag_start(const struct walk *w)
{
    size_t n = strlen(TRANSPARENT);
    const char *path = w->field.path;

    if (strncmp(path, TRANSPARENT, n) ||
        protobuf_c_message_descriptor_get_field_by_name(w->request, path + n))
        return 0;
    return n;
}

static int walk_message(struct walk *w, const ProtobufCMessageDescriptor *message, size_t len)
{
    int rc = 0;

    for (unsigned i = 0; i < message->n_fields && !rc; i++) {
        const ProtobufCFieldDescriptor *f = &message->fields[i];
        int n = snprintf(w->field.path + len, FIELD_PATH_MAX - len, "%s%s", len ? "." : "", f->name);
        w->field.message = message;
        w->field.desc = f;
        w->field.flag = flag_start(w);
        rc = w->visit(w->arg, &w->field);
        w->field.desc = f;
        if (!rc && field_is_message(&w->field)) rc = walk_message(w, f->descriptor, len + (size_t)n);
        w->field.path[len] = '\0';
    }
    return rc;
}

int fields_walk(const ProtobufCMessageDescriptor *request, int (*visit)(void *arg, const struct field *field),
                void *arg)
{
    struct walk w = {.request = request, .visit = visit, .arg = arg};

    return request ? walk_message(&w, request, 0) : 0;
}

struct search {
    const char *flag;
    struct field *out;
};

static int match(void *arg, const struct field *field)
{
    struct search *s = arg;

    if (!same_flag(s->flag, field->path) && !same_flag(s->flag, field->path + field->flag)) return 0;
    *s->out = *field;
    return 1;
}

bool fields_find(const ProtobufCMessageDescriptor *request, const char *flag, struct field *out)
{
    return fields_walk(request, match, &(struct search){flag, out});
}

const char *field_type(const struct field *field)
{
    bool list = is_list_field(field);

    if (is_duration(field->desc)) return "TIME";
    switch (field->desc->type) {
    case PROTOBUF_C_TYPE_DOUBLE: return list ? "NUMBER,..." : "NUMBER";
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_INT32: return list ? "N,..." : "N";
    case PROTOBUF_C_TYPE_BOOL: return "[true|false]";
    case PROTOBUF_C_TYPE_STRING: return list ? "TEXT,..." : "TEXT";
    default: return list ? "JSON" : "[JSON]";
    }
}

/* ---- values ---- */

struct sink {
    const struct field *field;
    char *error;
    size_t size;
};

static json_t *wrong(const struct sink *s, const char *expected, const char *got)
{
    snprintf(s->error, s->size, "--%s %.80s: must be %s", s->field->path + s->field->flag, got, expected);
    return NULL;
}

static json_t *number(const struct sink *s, const char *text)
{
    double value;
    const char *special = nonfinite_name(text);

    if (special) return json_string(special);
    if (!number_parse(text, &value)) return wrong(s, "a number", text);
    return isfinite(value) ? json_real(value) : wrong(s, "within the range of a double", text);
}

static json_t *integer(const struct sink *s, const char *text)
{
    bool is_signed = s->field->desc->type == PROTOBUF_C_TYPE_INT32;
    long long lo = is_signed ? INT32_MIN : 0, hi = is_signed ? INT32_MAX : UINT32_MAX, value;
    char *end;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (!*text || isspace((unsigned char)*text) || *end || errno || value < lo || value > hi)
        return wrong(s, is_signed ? "an integer" : "an integer from 0 to 4294967295", text);
    return json_integer(value);
}

static json_t *boolean(const struct sink *s, const char *text)
{
    if (text && strcmp(text, "true") && strcmp(text, "false")) return wrong(s, "true or false", text);
    return json_boolean(!text || *text == 't');
}

static json_t *parsed(const struct sink *s, const char *text, const char *what, bool (*is)(const json_t *))
{
    json_error_t why;
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, &why);

    if (value && is(value)) return value;
    snprintf(s->error, s->size, "--%s: must be %s as JSON%s%s", s->field->path + s->field->flag, what,
             value ? "" : ": ", value ? "" : why.text);
    json_decref(value);
    return NULL;
}

static bool is_object(const json_t *value)
{
    return json_is_object(value);
}

static bool is_list(const json_t *value)
{
    return json_is_array(value);
}

static bool is_either(const json_t *value)
{
    return is_object(value) || is_list(value);
}

/* JSON, or @ and the name of a file that has it. */
static json_t *structured(const struct sink *s, const char *text, const char *what,
                          bool (*is)(const json_t *))
{
    if (*text != '@') return parsed(s, text, what, is);
    char *content = file_read(text + 1, s->error, s->size);
    json_t *value = content ? parsed(s, content, what, is) : NULL;
    free(content);
    return value;
}

static json_t *scalar(const struct sink *s, const char *text)
{
    json_t *value;

    if (is_duration(s->field->desc)) return json_string(text);
    switch (s->field->desc->type) {
    case PROTOBUF_C_TYPE_DOUBLE: return number(s, text);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_INT32: return integer(s, text);
    case PROTOBUF_C_TYPE_BOOL: return boolean(s, text);
    default:
        if (is_object_field(s->field))
            return text ? structured(s, text, "an object", is_object) : json_object();
        value = json_string(text);
        return value ? value : wrong(s, "UTF-8", "(bytes)");
    }
}

static int add_items(json_t *list, const struct sink *s, const char *text)
{
    char *copy, *rest;
    int rc = 0;

    if (is_object_field(s->field) || *text == '[') {
        json_t *more = is_object_field(s->field)
                           ? structured(s, text, "an object, or a list of them,", is_either)
                           : parsed(s, text, "a list", is_list);
        if (!more) return -1;
        rc = json_is_array(more) ? json_array_extend(list, more) : json_array_append(list, more);
        json_decref(more);
        return rc;
    }
    copy = rest = need(strdup(text));
    while (!rc && rest) {
        char *item = strsep(&rest, ",");
        json_t *value = scalar(s, item);
        rc = value ? json_array_append_new(list, value) : -1;
    }
    free(copy);
    return rc;
}

/* The object that holds the last name of path; made where it is missing.  NULL: something else is in the way.
 */
static json_t *holder(json_t *request, const char *path, const char **name)
{
    const char *dot;

    for (; (dot = strchr(path, '.')); path = dot + 1) {
        char part[FIELD_PATH_MAX];
        snprintf(part, sizeof(part), "%.*s", (int)(dot - path), path);
        json_t *inner = json_object_get(request, part);
        if (!inner) {
            inner = need(json_object());
            if (json_object_set_new(request, part, inner)) need(NULL);
        }
        if (!json_is_object(inner)) return NULL;
        request = inner;
    }
    *name = path;
    return request;
}

int field_set(json_t *request, const struct field *field, const char *text, char *error, size_t size)
{
    struct sink s = {field, error, size};
    const char *name;
    json_t *at = holder(request, field->path, &name), *old = at ? json_object_get(at, name) : NULL, *value;

    if (!at) {
        wrong(&s, "in an object", text ? text : "");
        return -1;
    }
    if (is_list_field(field)) {
        value = old ? json_incref(old) : need(json_array());
        if (add_items(value, &s, text)) {
            json_decref(value);
            return -1;
        }
        return json_object_set_new(at, name, value);
    }
    if (old && !field_is_message(field)) {
        snprintf(error, size, "--%s: given twice, as an argument or as a flag", field->path + field->flag);
        return -1;
    }
    value = scalar(&s, text);
    if (!value) return -1;
    if (!old) return json_object_set_new(at, name, value);
    int rc = json_object_update_recursive(old, value);
    json_decref(value);
    return rc;
}
