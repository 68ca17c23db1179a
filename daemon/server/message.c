/* Generic message operations.  A merge works on a private copy of the patch and moves its members into the
 * destination, so that nothing can fail half-way. */
#include "server/message.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER(message, offset)       ((void *)((char *)(message) + (offset)))
#define MEMBER_CONST(message, offset) ((const void *)((const char *)(message) + (offset)))

ProtobufCMessage *message_clone(const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(len ? len : 1);
    ProtobufCMessage *copy;

    if (!bytes) return NULL;
    protobuf_c_message_pack(message, bytes);
    copy = protobuf_c_message_unpack(message->descriptor, NULL, len, bytes);
    free(bytes);
    return copy;
}

static bool is_pointer(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
}

static size_t element_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_INT64: return 8;
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    default: return 4;
    }
}

static bool in_oneof(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

bool message_has(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const void *quantifier = MEMBER_CONST(message, field->quantifier_offset);

    if (field->label == PROTOBUF_C_LABEL_REPEATED) return *(const size_t *)quantifier > 0;
    if (in_oneof(field)) return *(const uint32_t *)quantifier == field->id;
    if (is_pointer(field)) {
        const void *p = *(void *const *)MEMBER_CONST(message, field->offset);
        return p && p != field->default_value;
    }
    if (field->label == PROTOBUF_C_LABEL_NONE) return true; /* proto3 scalars of the well-known types */
    return *(const protobuf_c_boolean *)quantifier != 0;
}

static void clear_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if (!message_has(message, field)) return;
    void *member = MEMBER(message, field->offset);
    size_t n = 1;
    void **items = member;

    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        n = *(size_t *)MEMBER(message, field->quantifier_offset);
        items = *(void ***)member;
    }
    if (is_pointer(field)) {
        for (size_t i = 0; i < n; i++) {
            if (field->type == PROTOBUF_C_TYPE_MESSAGE)
                protobuf_c_message_free_unpacked(items[i], NULL);
            else
                free(items[i]);
        }
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        free(items);
        *(void **)member = NULL;
        *(size_t *)MEMBER(message, field->quantifier_offset) = 0;
    } else if (is_pointer(field)) {
        *(void **)member = NULL;
    }
}

/* Moves one field that src has into dst; src no longer owns it. */
static void move_field(ProtobufCMessage *dst, ProtobufCMessage *src, const ProtobufCFieldDescriptor *field)
{
    void *to = MEMBER(dst, field->offset), *from = MEMBER(src, field->offset);

    if (in_oneof(field)) {
        uint32_t id = *(uint32_t *)MEMBER(dst, field->quantifier_offset);
        for (unsigned i = 0; i < dst->descriptor->n_fields; i++) {
            if (dst->descriptor->fields[i].id == id && in_oneof(&dst->descriptor->fields[i]))
                clear_field(dst, &dst->descriptor->fields[i]);
        }
        *(uint32_t *)MEMBER(dst, field->quantifier_offset) = field->id;
        *(uint32_t *)MEMBER(src, field->quantifier_offset) = 0;
    } else {
        clear_field(dst, field);
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *(size_t *)MEMBER(dst, field->quantifier_offset) = *(size_t *)MEMBER(src, field->quantifier_offset);
        *(void **)to = *(void **)from;
        *(void **)from = NULL;
        *(size_t *)MEMBER(src, field->quantifier_offset) = 0;
        return;
    }
    memcpy(to, from, element_size(field));
    if (is_pointer(field))
        *(void **)from = NULL;
    else if (!in_oneof(field) && field->label != PROTOBUF_C_LABEL_NONE)
        *(protobuf_c_boolean *)MEMBER(dst, field->quantifier_offset) = 1;
}

static void move_fields(ProtobufCMessage *dst, ProtobufCMessage *src)
{
    for (unsigned i = 0; i < src->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &src->descriptor->fields[i];

        if (!message_has(src, field)) continue;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && field->label != PROTOBUF_C_LABEL_REPEATED &&
            message_has(dst, field))
            move_fields(*(ProtobufCMessage **)MEMBER(dst, field->offset),
                        *(ProtobufCMessage **)MEMBER(src, field->offset));
        else
            move_field(dst, src, field);
    }
}

int message_merge(ProtobufCMessage *dst, const ProtobufCMessage *patch, struct error *err)
{
    ProtobufCMessage *copy = message_clone(patch);

    if (!copy) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    move_fields(dst, copy);
    protobuf_c_message_free_unpacked(copy, NULL);
    return 0;
}

static bool element_difference(const ProtobufCFieldDescriptor *field, const void *a, const void *b,
                               char *path, size_t size)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) return strcmp(*(char *const *)a, *(char *const *)b) != 0;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) return memcmp(a, b, element_size(field)) != 0;

    char inner[128] = "";
    if (!message_difference(*(ProtobufCMessage *const *)a, *(ProtobufCMessage *const *)b, NULL, inner,
                            sizeof(inner)))
        return false;
    snprintf(path, size, "%s.%s", field->name, inner);
    return true;
}

/* Of lists of messages it is the element that is named: "shadow[1].greedy.factor". */
static bool list_difference(const ProtobufCMessage *a, const ProtobufCMessage *b,
                            const ProtobufCFieldDescriptor *field, char *path, size_t size)
{
    size_t n = *(const size_t *)MEMBER_CONST(a, field->quantifier_offset);
    const char *left = *(char *const *)MEMBER_CONST(a, field->offset);
    const char *right = *(char *const *)MEMBER_CONST(b, field->offset);
    size_t name = strlen(field->name);

    if (n != *(const size_t *)MEMBER_CONST(b, field->quantifier_offset)) return true;
    for (size_t i = 0; i < n; i++) {
        size_t at = i * element_size(field);
        char inner[160];

        if (!element_difference(field, left + at, right + at, inner, sizeof(inner))) continue;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            snprintf(path, size, "%s[%zu]%s", field->name, i, inner + name);
        return true;
    }
    return false;
}

static bool field_difference(const ProtobufCMessage *a, const ProtobufCMessage *b,
                             const ProtobufCFieldDescriptor *field, char *path, size_t size)
{
    bool has = message_has(a, field);

    snprintf(path, size, "%s", field->name);
    if (has != message_has(b, field)) return true;
    if (!has) return false;

    if (field->label != PROTOBUF_C_LABEL_REPEATED)
        return element_difference(field, MEMBER_CONST(a, field->offset), MEMBER_CONST(b, field->offset), path,
                                  size);
    return list_difference(a, b, field, path, size);
}

bool message_difference(const ProtobufCMessage *a, const ProtobufCMessage *b, const char *skip, char *path,
                        size_t size)
{
    /* Which member a oneof has comes first: other fields may differ only because of it. */
    for (unsigned i = 0; i < a->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &a->descriptor->fields[i];

        if (!in_oneof(field) || message_has(a, field) == message_has(b, field)) continue;
        snprintf(path, size, "%s", field->name);
        return true;
    }
    for (unsigned i = 0; i < a->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &a->descriptor->fields[i];

        if (skip && !strcmp(skip, field->name)) continue;
        if (field_difference(a, b, field, path, size)) return true;
    }
    path[0] = '\0';
    return false;
}
