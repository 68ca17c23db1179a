/* Growable bytes: doubling, with room for the NUL. */
#include "lib/bytes.h"

#include <stdlib.h>
#include <string.h>

bool bytes_add(struct bytes *bytes, const void *more, size_t len, size_t max)
{
    if (len > max || bytes->len > max - len) return false;
    size_t need = bytes->len + len + 1, cap = bytes->cap ? bytes->cap : 256;
    while (cap < need)
        cap *= 2;
    if (cap > bytes->cap) {
        char *data = realloc(bytes->data, cap);
        if (!data) return false;
        bytes->data = data;
        bytes->cap = cap;
    }
    if (len) memcpy(bytes->data + bytes->len, more, len);
    bytes->len += len;
    bytes->data[bytes->len] = '\0';
    return true;
}

const char *bytes_text(const struct bytes *bytes)
{
    return bytes->data ? bytes->data : "";
}

void bytes_reset(struct bytes *bytes)
{
    bytes->len = 0;
    if (bytes->data) bytes->data[0] = '\0';
}

void bytes_clear(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}
