/* A job's values and rates as they are, drawn on a terminal. */
#ifndef GREEDYLR_CLI_PLOT_JOB_H
#define GREEDYLR_CLI_PLOT_JOB_H

#include "cli/arguments.h"

#include "lib/transport.h"

/* Draws a job on the screen, which is open, again and again until a key says that it is enough.  Returns 0,
 * or EXIT_NOT_FOUND if the job is gone; the screen is as it was drawn last. */
int plot_job_follow(const struct invocation *in, struct transport *t, const char *job);

#endif
