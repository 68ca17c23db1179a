/* The Accept header, as far as one server with few media types needs it. */
#ifndef GREEDYLRD_RPC_ACCEPT_H
#define GREEDYLRD_RPC_ACCEPT_H

#include <stddef.h>

struct accepted {
    double q;        /* 0: not acceptable */
    int specificity; /* how closely the header names it */
};
/* What the header says of a type: the quality of the range that names it most closely; a version that the
 * range has must be this one, other parameters do not matter.  NULL: everything is as good. */
struct accepted accept_quality(const char *accept, const char *type, const char *version);

/* Index of the type that the header likes best: by quality, then an exact name before a wildcard, then the
 * header's order; 0, the default, where it has no opinion or nothing fits.  accept may be NULL. */
size_t accept_choose(const char *accept, const char *const types[], size_t n);

#endif
