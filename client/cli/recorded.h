/* What a job has recorded: its settings, its decisions, the values behind them. */
#ifndef GREEDYLR_CLI_RECORDED_H
#define GREEDYLR_CLI_RECORDED_H

#include "cli/arguments.h"

#include "lib/transport.h"

struct recorded {
    json_t *job;       /* as GetJob answers */
    json_t *decisions; /* those that no rewind went back behind, by revision; reports have a value */
    json_t *values;    /* of the reports, in order */
};

/* The job, and its whole history up to --to-step.  Returns 0 with *out, which recorded_clear frees, or an
 * exit code after saying why there is none; a job without reports is a reason. */
int recorded_fetch(const struct invocation *in, struct transport *t, const char *job, struct recorded *out);
void recorded_clear(struct recorded *r);

#endif
