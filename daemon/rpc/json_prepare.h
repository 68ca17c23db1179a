/* The pass in front of the JSON parser, which knows neither NaN nor numbers beyond a double. */
#ifndef GREEDYLRD_RPC_JSON_PREPARE_H
#define GREEDYLRD_RPC_JSON_PREPARE_H

#include "core/status.h"
#include "rpc/buf.h"

/* NaN, Infinity, -Infinity, or a number too large, where it stood bare in the text, becomes {KEY: "NaN"}. The
 * key is drawn when it is first asked for, so that nobody can send such an object. */
const char *json_bare_key(void);

/* Copies len bytes of JSON to out; bare words and numbers that overflow a double become such objects;
 * strings stay untouched.  Errors: ST_BODY_INVALID (nested deeper than json_limit_depth allows),
 * ST_OUT_OF_MEMORY. */
int json_prepare(const char *text, size_t len, struct buf *out, struct error *err) WARN_UNUSED;

#endif
