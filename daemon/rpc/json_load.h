/* The JSON parser, and the memory of what it makes. */
#ifndef GREEDYLRD_RPC_JSON_LOAD_H
#define GREEDYLRD_RPC_JSON_LOAD_H

#include "core/status.h"

#include <jansson.h>
#include <stddef.h>

struct json_block;

struct json_loaded {
    json_t *root; /* not to be changed or given back: it lies in the blocks */
    struct json_block *blocks;
};

/* Parses len bytes with json_loadb's flags.  ST_BODY_INVALID: *why says where; ST_OUT_OF_MEMORY.  Nothing is
 * to be freed then. */
int json_load_text(const char *text, size_t len, size_t flags, struct json_loaded *out,
                   json_error_t *why) WARN_UNUSED;
void json_loaded_free(struct json_loaded *loaded);

#endif
