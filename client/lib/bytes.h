/* Growable bytes with a NUL behind them.  Zero-initialised is empty. */
#ifndef GREEDYLR_LIB_BYTES_H
#define GREEDYLR_LIB_BYTES_H

#include <stdbool.h>
#include <stddef.h>

struct bytes {
    char *data; /* NULL until something was added */
    size_t len, cap;
};

/* false: out of memory, or longer than max; nothing is added then. */
bool bytes_add(struct bytes *bytes, const void *more, size_t len, size_t max)
    __attribute__((warn_unused_result));
/* The text; "" if nothing was added. */
const char *bytes_text(const struct bytes *bytes);
/* Empty again; keeps the memory. */
void bytes_reset(struct bytes *bytes);
void bytes_clear(struct bytes *bytes);

#endif
