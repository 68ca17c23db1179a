/* Group commit: one writer thread takes every queued change, commits them as one synced transaction and
 * signals the loop.  The only thread that writes to the store; everything else here is for the loop thread.
 */
#ifndef GREEDYLRD_SERVER_COMMIT_H
#define GREEDYLRD_SERVER_COMMIT_H

#include "server/jobs.h"
#include "store/store.h"

#include <stddef.h>
#include <uv.h>

struct commit;

struct commit_handlers {
    /* A batch is durable; its changes are in order, linked by next, and become the callee's. */
    void (*durable)(void *arg, struct change *first, size_t n, double seconds);
    /* Nothing of the batch was stored, and everything queued behind it is in the list as well. */
    void (*failed)(void *arg, struct change *first, size_t n, const struct error *err);
    /* Decisions up to this ordinal are folded. */
    void (*folded)(void *arg, uint64_t ordinal);
    /* A full disk has room again, or maintenance failed. */
    void (*room)(void *arg);
    void (*trouble)(void *arg, const struct error *err);
    void *arg;
};

/* Starts the writer.  store is borrowed until commit_stop's callback.  It folds between batches, at the
 * latest, fold_rows decisions, or what takes fold_bytes of memory: the more at once, the fewer pages are
 * written for each. */
int commit_start(uv_loop_t *loop, struct store *store, uint64_t fold_rows, uint64_t fold_bytes,
                 const struct commit_handlers *handlers, struct commit **out, struct error *err) WARN_UNUSED;

/* Queues changes (linked by next, last's next is NULL) as one unit: they are committed in one transaction. */
void commit_submit(struct commit *commit, struct change *first, struct change *last);

/* Asks the writer to see whether the disk has room again; answered by room or trouble. */
void commit_probe(struct commit *commit);

/* Ends the writer once the queue is empty, folds all if asked to, and calls done; then the handle is gone. */
void commit_stop(struct commit *commit, bool fold, void (*done)(void *arg), void *arg);

#endif
