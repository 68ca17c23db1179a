/* The Accept header, as far as one server with few media types needs it. */
#ifndef GREEDYLRD_RPC_ACCEPT_H
#define GREEDYLRD_RPC_ACCEPT_H

#include <stddef.h>

/* Index of the type that the header likes best: by quality, then an exact name before a wildcard, then the
 * header's order; 0, the default, where it has no opinion or nothing fits.  accept may be NULL. */
size_t accept_choose(const char *accept, const char *const types[], size_t n);

#endif
