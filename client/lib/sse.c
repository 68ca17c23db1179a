/* Server-sent events: lines end with LF, CR or CRLF; an empty line completes an event. */
#include "lib/sse.h"

#include <string.h>

static bool set(struct bytes *field, const char *value)
{
    bytes_reset(field);
    return bytes_add(field, value, strlen(value), SSE_MAX);
}

static bool take_field(struct sse *sse, const char *name, const char *value)
{
    if (!strcmp(name, "id")) return set(&sse->id, value);
    if (!strcmp(name, "event")) return set(&sse->event, value);
    if (strcmp(name, "data")) return true; /* retry, and fields yet to come */
    if (sse->has_data && !bytes_add(&sse->data, "\n", 1, SSE_MAX)) return false;
    sse->has_data = true;
    return bytes_add(&sse->data, value, strlen(value), SSE_MAX);
}

static int complete(struct sse *sse, transport_event_fn on_event, void *arg)
{
    int stop = 0;

    if (sse->has_data)
        stop = on_event(arg, bytes_text(&sse->id), sse->event.len ? sse->event.data : "message",
                        bytes_text(&sse->data));
    bytes_reset(&sse->event);
    bytes_reset(&sse->data);
    sse->has_data = false;
    return stop ? SSE_STOPPED : SSE_MORE;
}

static int take_line(struct sse *sse, transport_event_fn on_event, void *arg)
{
    static char none[1];
    char *line = sse->line.data ? sse->line.data : none;

    if (!*line) return complete(sse, on_event, arg);
    char *colon = strchr(line, ':');
    if (colon == line) return SSE_MORE; /* a comment */
    const char *value = "";
    if (colon) {
        *colon = '\0';
        value = colon + 1 + (colon[1] == ' ');
    }
    return take_field(sse, line, value) ? SSE_MORE : SSE_FAILED;
}

int sse_feed(struct sse *sse, const char *bytes, size_t len, transport_event_fn on_event, void *arg)
{
    for (const char *end = bytes + len; bytes < end;) {
        if (sse->after_cr && *bytes == '\n') bytes++;
        sse->after_cr = false;
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        if (!bytes_add(&sse->line, bytes, (size_t)(stop - bytes), SSE_MAX)) goto failed;
        if (stop == end) break;
        sse->after_cr = *stop == '\r';
        bytes = stop + 1;
        int result = take_line(sse, on_event, arg);
        bytes_reset(&sse->line);
        if (result == SSE_FAILED) goto failed;
        if (result != SSE_MORE) return result;
    }
    return SSE_MORE;
failed:
    sse->failed = true;
    return SSE_FAILED;
}

void sse_clear(struct sse *sse)
{
    bytes_clear(&sse->line);
    bytes_clear(&sse->id);
    bytes_clear(&sse->event);
    bytes_clear(&sse->data);
    *sse = (struct sse){0};
}
