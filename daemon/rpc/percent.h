/* Percent-decoding and base64, for targets and queries. */
#ifndef GREEDYLRD_RPC_PERCENT_H
#define GREEDYLRD_RPC_PERCENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes len bytes of text into out (at most size - 1 bytes and a NUL); plus: '+' is a space.
 * false: a bad escape, an encoded NUL, or no room. */
bool percent_decode(const char *text, size_t len, bool plus, char *out, size_t size);

/* Decodes base64 or base64url, padded or not, in place; returns the length, or -1. */
long base64_decode(char *text);

/* Unpadded base64 of len bytes into out, which has room for 4 * ((len + 2) / 3) + 1. */
void base64_encode(const uint8_t *bytes, size_t len, char *out);

#endif
