/* A series as characters: one panel for the values, one for each line of rates. */
#ifndef GREEDYLR_CLI_PLOT_H
#define GREEDYLR_CLI_PLOT_H

#include "cli/series.h"

/* On standard output, as wide as the terminal, 80 characters where there is none.  Braille and signs where
 * the locale's characters are UTF-8, ASCII otherwise. */
void plot_print(const struct series *s);

#endif
