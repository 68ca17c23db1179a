/* Simulate, for the commands that ask what would be decided. */
#ifndef GREEDYLR_CLI_SIMULATE_H
#define GREEDYLR_CLI_SIMULATE_H

#include "cli/arguments.h"

#include "lib/transport.h"

/* What every answer to "what if" has to say with it. */
#define WHAT_IF_NOTE                                                                                         \
    "These are the rates that would have been decided on these values, not how the model would have "        \
    "trained with them."

/* The values of --losses-file; NULL: what is wrong with the file was said. */
json_t *simulate_values(const struct invocation *in);

/* One request of Simulate.  Returns 0 with a reply, which transport_reply_clear frees, or an exit code after
 * saying why not, and what to do if there are too many values. */
int simulate_call(const struct invocation *in, struct transport *t, json_t *request,
                  struct transport_reply *out);
/* The same; *out is the answer's JSON, which the caller frees. */
int simulate_json(const struct invocation *in, struct transport *t, json_t *request, json_t **out);

#endif
