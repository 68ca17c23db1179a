/* Values of a training run from a file. */
#ifndef GREEDYLR_CLI_LOSSES_H
#define GREEDYLR_CLI_LOSSES_H

#include <jansson.h>

/* Numbers of a file ("-": standard input): one a line; a column of a CSV (RFC 4180) with a line of names;
 * JSON, as losses_json.h says.  column: its name, or the member's; NULL: as pick.h says.  Empty cells are
 * passed over, NaN and infinities are taken.  Returns a list, or NULL with the line and the reason in error
 * (size bytes). */
json_t *losses_read(const char *path, const char *column, char *error, size_t size);

#endif
