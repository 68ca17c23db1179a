/* The plot goes to standard output, the SVG to its file; one may be asked for without the other. */
#include "cli/picture.h"

#include "cli/call.h"
#include "cli/plot.h"
#include "cli/svg.h"

bool picture_wanted(const struct invocation *in)
{
    return in->options[OPTION_PLOT] || in->options[OPTION_SVG];
}

bool picture_is_all(const struct invocation *in)
{
    return in->options[OPTION_PLOT];
}

int picture_check(const struct invocation *in)
{
    if (in->options[OPTION_PLOT] && in->output != OUTPUT_TABLE)
        return usage_error(
            in, "--plot: draws in place of the table, not of json or csv; --svg FILE goes with them");
    return 0;
}

int picture_show(const struct invocation *in, const struct series *s)
{
    char error[600];

    if (in->options[OPTION_PLOT]) plot_print(s);
    if (!in->options[OPTION_SVG] || !svg_write(s, in->options[OPTION_SVG], error, sizeof(error))) return 0;
    say("%s", error);
    return EXIT_REFUSED;
}
