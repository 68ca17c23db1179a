/* What the service does with messages of any type, driven by their descriptors. */
#ifndef GREEDYLRD_SERVER_MESSAGE_H
#define GREEDYLRD_SERVER_MESSAGE_H

#include "core/status.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

/* A deep copy, freed with protobuf_c_message_free_unpacked; NULL when out of memory. */
ProtobufCMessage *message_clone(const ProtobufCMessage *message);

/* Whether the field has a value in message (a repeated one: at least one element). */
bool message_has(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* Replaces in dst every field that patch has: messages field by field, lists as a whole.  Both are of one
 * type. ST_OUT_OF_MEMORY leaves dst as it was. */
int message_merge(ProtobufCMessage *dst, const ProtobufCMessage *patch, struct error *err) WARN_UNUSED;

/* Writes the path of the first field in which a and b differ to path and returns true, or returns false if
 * they are equal; another member of a oneof comes before all else.  NaNs with the same bits are equal.  skip
 * (may be NULL) names a top-level field to leave out. */
bool message_difference(const ProtobufCMessage *a, const ProtobufCMessage *b, const char *skip, char *path,
                        size_t size);

#endif
