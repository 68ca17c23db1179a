/* How many entries a large body has, seen before any message is made of it. */
#ifndef GREEDYLRD_RPC_ENTRIES_H
#define GREEDYLRD_RPC_ENTRIES_H

#include "core/status.h"

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

/* JSON: no list that is a member of the body has more than max elements, and the body no more than 4 * max +
 * 64 objects and lists in all.  What is no JSON passes, for the parser to say so.  ST_FIELD_INVALID names the
 * list, ST_BODY_INVALID. */
int entries_check_json(const char *text, size_t len, size_t max, struct error *err) WARN_UNUSED;

/* Binary protobuf: no repeated message field of desc occurs more than max times.  ST_FIELD_INVALID. */
int entries_check_proto(const ProtobufCMessageDescriptor *desc, const uint8_t *bytes, size_t len, size_t max,
                        struct error *err) WARN_UNUSED;

#endif
