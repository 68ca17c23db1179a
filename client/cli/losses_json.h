/* Values of a training run from JSON. */
#ifndef GREEDYLR_CLI_LOSSES_JSON_H
#define GREEDYLR_CLI_LOSSES_JSON_H

#include <jansson.h>

/* Numbers of a text that begins with "{": a number or an object a line; or with "[": one list of them.  key:
 * the member of the objects, NULL: as pick_column chooses.  Objects without it are passed over, as are nulls;
 * NaN and Infinity are taken bare, as Python writes them, and as strings.  path names the text in errors.
 * Returns a list, or NULL with the line and the reason in error (size bytes). */
json_t *losses_json(const char *path, const char *text, const char *key, char *error, size_t size);

#endif
