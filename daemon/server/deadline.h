/* One-shot timers of the loop that may be dropped at any time. */
#ifndef GREEDYLRD_SERVER_DEADLINE_H
#define GREEDYLRD_SERVER_DEADLINE_H

#include <stdint.h>
#include <uv.h>

struct deadline;

/* Calls fire(arg) once, ms from now, unless dropped before; NULL when out of memory.  The owner drops it in
 * either case. */
struct deadline *deadline_new(uv_loop_t *loop, uint64_t ms, void (*fire)(void *arg), void *arg);
/* The same deadline once more, ms from now. */
void deadline_again(struct deadline *deadline, uint64_t ms);
/* NULL is fine. */
void deadline_drop(struct deadline *deadline);

#endif
