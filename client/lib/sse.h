/* Server-sent events: bytes in, events out (html.spec.whatwg.org, "Server-sent events"). */
#ifndef GREEDYLR_LIB_SSE_H
#define GREEDYLR_LIB_SSE_H

#include "lib/bytes.h"
#include "lib/transport.h"

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised is the start of a stream. */
struct sse {
    struct bytes line, id, event, data;
    bool has_data; /* the event has a data line, which may be empty */
    bool after_cr; /* a line feed that follows ends no further line */
    bool failed;   /* out of memory, or a line or an event longer than SSE_MAX */
};

#define SSE_MAX (1u << 20)

enum { SSE_MORE, SSE_STOPPED, SSE_FAILED };

/* Takes bytes as they come and calls on_event for each event completed by them.
 * SSE_STOPPED: on_event returned non-zero.  SSE_FAILED: see failed. */
int sse_feed(struct sse *sse, const char *bytes, size_t len, transport_event_fn on_event, void *arg);
void sse_clear(struct sse *sse);

#endif
