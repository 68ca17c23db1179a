/* What the contract's comments say: docs.awk turns them into a table when the tool is built. */
#ifndef GREEDYLR_CLI_DOCS_H
#define GREEDYLR_CLI_DOCS_H

#include <stddef.h>

struct doc {
    const char *name; /* "JobSpec.lr" or "rpc.CreateJob"; NULL ends the table */
    const char *text;
};
extern const struct doc docs[];

/* The comment on a field of a message, or of an RPC (message "rpc"); "" if there is none. */
const char *docs_of(const char *message, const char *name);

/* The words a text field may have, which its comment gives in quotes; calls each with them in order.  Returns
 * how many there are: 0 where anything may be written. */
size_t docs_words(const char *text, void (*each)(void *arg, const char *word, size_t len), void *arg);

#endif
