/* Settings that jobs have in common: a fleet's jobs are mostly alike, and equal specs are kept once.  Loop
 * thread only. */
#ifndef GREEDYLRD_SERVER_SPECS_H
#define GREEDYLRD_SERVER_SPECS_H

#include "core/spec.h"

struct specs;

struct specs *specs_new(void); /* NULL when out of memory */
void specs_free(struct specs *specs);

/* Takes spec, which is resolved, and returns the one to use from now on: an equal one that others use, too,
 * or, if there is none or no memory to find it, spec itself.  To be released as often as it was returned. */
struct job_spec *specs_share(struct specs *specs, struct job_spec *spec);
void specs_release(struct specs *specs, struct job_spec *spec); /* NULL: nothing */

/* Different ones in use. */
uint32_t specs_count(const struct specs *specs);

#endif
