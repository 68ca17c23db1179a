/* Weights files of the policy learned. */
#ifndef GREEDYLRD_SERVER_WEIGHTS_H
#define GREEDYLRD_SERVER_WEIGHTS_H

#include "core/learned_model.h"
#include "core/status.h"

/* Reads a file that greedylr-train wrote.  ST_CONFIG_INVALID: it cannot be read, or "FILE:LINE: ..." says
 * what is wrong in it and what to do. */
int weights_load(const char *path, struct learned_model *model, struct learned_origin *origin,
                 struct error *err) WARN_UNUSED;

#endif
