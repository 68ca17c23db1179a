/* The plot goes to standard output, the SVG to its file; one may be asked for without the other. */
#include "cli/picture.h"

#include "cli/call.h"
#include "cli/plot.h"
#include "cli/run.h"
#include "cli/svg.h"

bool picture_wanted(const struct invocation *in)
{
    return picture_is_all(in) || in->options[OPTION_SVG];
}

bool picture_is_all(const struct invocation *in)
{
    return in->options[OPTION_PLOT] || in->command->run == run_plot;
}

int picture_check(const struct invocation *in)
{
    struct plot_look look;

    if (!plot_take_log(in->options[OPTION_LOG], &look))
        return usage_error(in, "--log %s: must be rate, value, both or none", in->options[OPTION_LOG]);
    if (picture_is_all(in) && in->output != OUTPUT_TABLE)
        return usage_error(in, in->options[OPTION_PLOT]
                                   ? "--plot: draws in place of the table, not of json or csv; --svg FILE "
                                     "goes with them"
                                   : "--output: a plot is no json or csv; greedylr history has the numbers");
    return 0;
}

int picture_show(const struct invocation *in, const struct series *s)
{
    char error[600];
    struct plot_look look = {.paper = paper()};

    if (!plot_take_log(in->options[OPTION_LOG], &look)) return EXIT_USAGE; /* picture_check has said so */
    if (picture_is_all(in)) plot_put(stdout, s, &look);
    if (!in->options[OPTION_SVG] || !svg_write(s, &look, in->options[OPTION_SVG], error, sizeof(error)))
        return 0;
    say("%s", error);
    return EXIT_REFUSED;
}
