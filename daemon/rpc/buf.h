/* Growable bytes.  Zero-initialised is empty; a failed append sets `failed`, which stays.  One over an array
 * (BUF_FIXED) takes what fits, allocates nothing and is not freed or taken. */
#ifndef GREEDYLRD_RPC_BUF_H
#define GREEDYLRD_RPC_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap;
    bool failed, fixed;
};
#define BUF_FIXED(array)                                                                                     \
    {                                                                                                        \
        .data = (array), .cap = sizeof(array), .fixed = true                                                 \
    }

void buf_append(struct buf *buf, const void *bytes, size_t len);
/* len bytes more at the end, to be written before anything else is appended; NULL if there is no room. */
char *buf_extend(struct buf *buf, size_t len);
void buf_puts(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_free(struct buf *buf);
/* The bytes, NUL-terminated, for the caller to free; NULL if an append failed. */
char *buf_take(struct buf *buf, size_t *len);

#endif
