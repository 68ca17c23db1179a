/* google.protobuf.Duration and Timestamp as text, both ways. */
#ifndef GREEDYLRD_RPC_TIME_TEXT_H
#define GREEDYLRD_RPC_TIME_TEXT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIME_TEXT_MAX 48

enum time_kind { TIME_NONE, TIME_DURATION, TIME_STAMP };

/* Which of the two a message type is, by its name. */
enum time_kind time_kind(const ProtobufCMessageDescriptor *desc);

/* Reads "30s", "1.5s", "500ms", "-2s" (at most 315,576,000,000 s, to the nanosecond) or an RFC 3339 time of
 * the years 1 to 9999 into a message of one of the two types; false, and the message untouched, if the text
 * is neither. */
bool time_parse(ProtobufCMessage *message, const char *text);

/* Whether seconds and nanos are within what the type allows. */
bool time_valid(const ProtobufCMessage *message);

/* Writes "1.500s" or "2026-01-31T12:00:00.250Z", with 0, 3, 6 or 9 digits of fraction; returns the length. */
size_t time_print(const ProtobufCMessage *message, char out[TIME_TEXT_MAX]);

/* Writes "2026-01-31T12:00:00" of seconds since 1970, of the years 1 to 9999; returns the length. */
size_t time_print_utc(int64_t seconds, char out[TIME_TEXT_MAX]);

#endif
