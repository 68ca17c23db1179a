/* JSON <-> any message of the contract, driven by the descriptors: ProtoJSON with the choices that
 * PROTOCOL.md names. */
#ifndef GREEDYLRD_RPC_JSON_H
#define GREEDYLRD_RPC_JSON_H

#include "core/status.h"
#include "rpc/buf.h"

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#define JSON_DEPTH_MAX 16 /* unless json_limit_depth says otherwise */

/* Seeds the JSON library's hash tables; once, before threads start. */
void json_init(void);

/* Levels of nesting taken from now on; before threads start.  At least 8: settings have as many. */
void json_limit_depth(unsigned levels);

/* Reads len bytes of JSON into a new message, freed with protobuf_c_message_free_unpacked(*out, NULL).
 * Nothing but white space is an empty message.  path goes in front of the fields' paths in errors ("" or
 * "spec"). Errors: ST_BODY_INVALID, ST_FIELD_UNKNOWN, ST_FIELD_INVALID, ST_OUT_OF_MEMORY. */
int json_decode(const ProtobufCMessageDescriptor *desc, const char *text, size_t len, const char *path,
                ProtobufCMessage **out, struct error *err) WARN_UNUSED;

/* Appends the message as one line of JSON.  ST_OUT_OF_MEMORY. */
int json_encode(const ProtobufCMessage *message, struct buf *out, struct error *err) WARN_UNUSED;

/* Sets one field from the text of a query parameter, typed by its descriptor.  Errors as json_decode. */
int json_set_text(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, const char *text,
                  struct error *err) WARN_UNUSED;

/* Version of the JSON library at run time. */
const char *json_library(void);

/* The field with this name in either spelling, or NULL. */
const ProtobufCFieldDescriptor *json_field(const ProtobufCMessageDescriptor *desc, const char *name);

#endif
