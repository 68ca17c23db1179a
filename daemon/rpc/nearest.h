/* The known name that was meant by one that is not. */
#ifndef GREEDYLRD_RPC_NEAREST_H
#define GREEDYLRD_RPC_NEAREST_H

struct nearest {
    const char *word;
    const char *found; /* the nearest of those offered, the first of equally near ones; NULL: none is near */
    unsigned distance; /* of found */
};

/* From {.word = ...} on.  candidate is borrowed. */
void nearest_offer(struct nearest *nearest, const char *candidate);

#endif
