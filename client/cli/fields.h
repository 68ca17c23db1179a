/* Fields of request messages as flags: the contract's descriptors say which there are.
 *
 * A field's flag is named like the field, those of nested messages with a dot: --greedy.patience.  `spec` is
 * left out, so that CreateJob's spec.lr is --lr; where that would be a name of the request's own (ForkJob's
 * job) it stays. */
#ifndef GREEDYLR_CLI_FIELDS_H
#define GREEDYLR_CLI_FIELDS_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#define FIELD_PATH_MAX 128

struct field {
    char path[FIELD_PATH_MAX]; /* in the request's JSON: "spec.greedy.patience" */
    size_t flag;               /* where the flag's name begins in path */
    const ProtobufCMessageDescriptor *message;
    const ProtobufCFieldDescriptor *desc;
};

/* Calls visit for every field in the contract's order, nested ones after the message that holds them, until
 * it returns non-zero, which is returned. */
int fields_walk(const ProtobufCMessageDescriptor *request, int (*visit)(void *arg, const struct field *field),
                void *arg);

/* The field with this flag or path, dashes and underscores being the same. */
bool fields_find(const ProtobufCMessageDescriptor *request, const char *flag, struct field *out);

bool field_is_flag(const struct field *field);    /* true or false: its value may be left out */
bool field_is_message(const struct field *field); /* an object, no list: its value may be left out */
/* What its value looks like: "NUMBER", "TEXT,..."; "" for a message. */
const char *field_type(const struct field *field);

/* Puts a value into the request's JSON.  text: as given; NULL where the value was left out.  Lists grow, and
 * are written with commas or as JSON; messages are JSON or @FILE.  Only the type is checked: what is allowed
 * the daemon knows.  Returns 0, or -1 with what was expected in error (size bytes). */
int field_set(json_t *request, const struct field *field, const char *text, char *error, size_t size);

#endif
