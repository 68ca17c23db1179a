/* Which column of a file holds the values. */
#ifndef GREEDYLR_CLI_PICK_H
#define GREEDYLR_CLI_PICK_H

#include <stddef.h>

/* Index among n names.  wanted: the name, or the end of one after " - ", as exports of several runs have it;
 * NULL: loss, metric or value in any case, or the only one that is neither a counter, a time nor the edge of
 * a band.  -1: none, and what may be written in error (size bytes). */
int pick_column(const char *const *names, size_t n, const char *wanted, char *error, size_t size);

#endif
