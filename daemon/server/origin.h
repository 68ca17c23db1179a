/* Which request it is: the names by which logs, answers and errors speak of it.  Counted references, on the
 * loop thread: a decision that becomes durable later still knows whose request made it. */
#ifndef GREEDYLRD_SERVER_ORIGIN_H
#define GREEDYLRD_SERVER_ORIGIN_H

#include "core/status.h"

#include <stdint.h>

#define ORIGIN_ID_MAX   128
#define TRACEPARENT_LEN 55
#define TRACE_ID_LEN    32

struct origin {
    uint32_t refs;
    const char *traceparent; /* as it came; NULL: none, or not well-formed */
    const char *trace_id;    /* of it, TRACE_ID_LEN hex digits; NULL likewise */
    char id[];               /* the peer's own, or "7f3a90c1-1d": of this run, counted */
};

/* Chooses this run's part of the ids.  ST_INTERNAL: there is no randomness. */
int origin_start(struct error *err) WARN_UNUSED;

/* Of headers X-Request-Id and traceparent; NULL: absent.  An id is taken if it has 1 to ORIGIN_ID_MAX
 * letters, digits and . _ - : / + = @; a traceparent as W3C's Trace Context has it.  What is not well-formed
 * counts as absent.  NULL: out of memory, which those below take. */
struct origin *origin_new(const char *request_id, const char *traceparent);
struct origin *origin_ref(struct origin *origin); /* the same */
void origin_unref(struct origin *origin);

static inline const char *origin_id(const struct origin *origin)
{
    return origin ? origin->id : NULL;
}

static inline const char *origin_trace_id(const struct origin *origin)
{
    return origin ? origin->trace_id : NULL;
}

#endif
