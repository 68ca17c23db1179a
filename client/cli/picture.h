/* --plot and --svg: what of a series was asked for. */
#ifndef GREEDYLR_CLI_PICTURE_H
#define GREEDYLR_CLI_PICTURE_H

#include "cli/arguments.h"
#include "cli/series.h"

/* Whether the invocation wants a picture at all. */
bool picture_wanted(const struct invocation *in);
/* Whether it is in place of the rows. */
bool picture_is_all(const struct invocation *in);
/* EXIT_USAGE after saying so where --plot does not go with --output. */
int picture_check(const struct invocation *in);
/* Draws; returns 0, or an exit code after saying why not. */
int picture_show(const struct invocation *in, const struct series *s);

#endif
