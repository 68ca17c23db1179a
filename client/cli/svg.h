/* A series as a picture in a file: values at the left axis, rates at the right one. */
#ifndef GREEDYLR_CLI_SVG_H
#define GREEDYLR_CLI_SVG_H

#include "cli/plot.h"

/* Writes it whole or not at all, in place of an SVG that is there; anything else that is there is left as it
 * is.  Of look only the scales count.  Returns 0, or -1 with the reason and what to do in error (size bytes).
 */
int svg_write(const struct series *s, const struct plot_look *look, const char *path, char *error,
              size_t size);

#endif
