/* Deadlines: libuv's timers, whose memory must outlive their closing. */
#include "server/deadline.h"

#include <stdlib.h>

struct deadline {
    uv_timer_t timer;
    void (*fire)(void *arg);
    void *arg;
};

static void on_timer(uv_timer_t *timer)
{
    struct deadline *deadline = timer->data;

    deadline->fire(deadline->arg);
}

struct deadline *deadline_new(uv_loop_t *loop, uint64_t ms, void (*fire)(void *arg), void *arg)
{
    struct deadline *deadline = malloc(sizeof(*deadline));

    if (!deadline) return NULL;
    deadline->fire = fire;
    deadline->arg = arg;
    (void)uv_timer_init(loop, &deadline->timer);
    deadline->timer.data = deadline;
    (void)uv_timer_start(&deadline->timer, on_timer, ms, 0);
    return deadline;
}

void deadline_again(struct deadline *deadline, uint64_t ms)
{
    (void)uv_timer_start(&deadline->timer, on_timer, ms, 0);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void deadline_drop(struct deadline *deadline)
{
    if (deadline) uv_close((uv_handle_t *)&deadline->timer, on_closed);
}
