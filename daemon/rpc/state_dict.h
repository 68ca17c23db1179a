/* Text of a state_dict <-> plain names and values.  The text is what Python's json.dumps writes: NaN,
 * Infinity and -Infinity bare, whole floats with a point. */
#ifndef GREEDYLRD_RPC_STATE_DICT_H
#define GREEDYLRD_RPC_STATE_DICT_H

#include "core/scheduler_dict.h"
#include "core/status.h"
#include "rpc/buf.h"

struct state_dict; /* owns what its items borrow */

/* Freed with state_dict_free.  Errors: ST_FIELD_REQUIRED (no text), ST_BODY_INVALID (no JSON object, a key
 * twice, nested too deep, trailing text), ST_OUT_OF_MEMORY.  What no scheduler has becomes DICT_OTHER, for
 * the core to refuse by its key. */
int state_dict_parse(const char *text, struct state_dict **out, struct error *err) WARN_UNUSED;
const struct scheduler_dict *state_dict_items(const struct state_dict *dict);
void state_dict_free(struct state_dict *dict);

/* Appends the dict as one line of JSON; items of a dict inside it ("a.b", "a.c") stand together.
 * ST_OUT_OF_MEMORY. */
int state_dict_print(const struct scheduler_dict *dict, struct buf *out, struct error *err) WARN_UNUSED;

#endif
