/* A series as characters: one panel for the values, one for each line of rates. */
#ifndef GREEDYLR_CLI_PLOT_H
#define GREEDYLR_CLI_PLOT_H

#include "cli/axis.h"
#include "cli/paper.h"
#include "cli/series.h"

#include <stdio.h>

struct plot_look {
    struct paper paper; /* as wide and as high as a terminal, 80 by 26 where there is none */
    bool fill;          /* as high as it can be, not only as high as it reads well */
    enum scale value, rate;
};

/* --log: which axes are logarithmic.  Returns false if it is another word; NULL: what is usual. */
bool plot_take_log(const char *log, struct plot_look *look);

/* Braille and signs where the paper has UTF-8, ASCII otherwise. */
void plot_put(FILE *out, const struct series *s, const struct plot_look *look);

#endif
