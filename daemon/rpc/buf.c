/* Growable bytes: doubling, always one byte more than len so that a NUL fits. */
#include "rpc/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool buf_room(struct buf *buf, size_t more)
{
    size_t need = buf->len + more + 1, cap = buf->cap ? buf->cap : 256;

    if (buf->failed) return false;
    if (need <= buf->cap) return true;
    if (buf->fixed) {
        buf->failed = true;
        return false;
    }
    while (cap < need)
        cap *= 2;
    char *data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

char *buf_extend(struct buf *buf, size_t len)
{
    if (!buf_room(buf, len)) return NULL;
    buf->len += len;
    return buf->data + buf->len - len;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    char *at = buf_extend(buf, len);

    if (at) memcpy(at, bytes, len);
}

void buf_puts(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) buf->failed = true; /* the formatting itself may want memory */
    if (n < 0 || !buf_room(buf, (size_t)n)) return;
    va_start(ap, fmt);
    if (vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, ap) != n) buf->failed = true;
    va_end(ap);
    buf->len += (size_t)n;
}

void buf_free(struct buf *buf)
{
    if (!buf->fixed) free(buf->data);
    *buf = (struct buf){0};
}

char *buf_take(struct buf *buf, size_t *len)
{
    if (!buf_room(buf, 0)) {
        buf_free(buf);
        return NULL;
    }
    char *data = buf->data;
    data[buf->len] = '\0';
    if (len) *len = buf->len;
    *buf = (struct buf){0};
    return data;
}
