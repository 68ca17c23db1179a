/* What protobuf's binary format lets through and the rest of the program must not see. */
#ifndef GREEDYLRD_RPC_CHECK_H
#define GREEDYLRD_RPC_CHECK_H

#include "core/status.h"

#include <protobuf-c/protobuf-c.h>

/* Every string is UTF-8 and every time and duration within its range, all the way down.  ST_FIELD_INVALID,
 * naming the field. */
int message_check(const ProtobufCMessage *message, struct error *err) WARN_UNUSED;

/* No string in the bytes, which unpack as such a message, holds a NUL: the C string would end there.
 * ST_FIELD_INVALID, naming the field. */
int message_check_bytes(const ProtobufCMessageDescriptor *desc, const uint8_t *bytes, size_t len,
                        struct error *err) WARN_UNUSED;

#endif
