/* Past jobs: what their recorded losses say of the runs that a model will meet.
 *
 * Learned from them: how many reports runs have, how noisy the reports are, how far the losses fall.  Half of
 * the training problems then take these from a past job in place of the usual distribution, and the envelope
 * covers them.  Not learned: how a loss answers to a rate; a history knows the rates it had and no others.
 * For the same reason a replay says where a model would have left its envelope and what rates it would have
 * asked for on those losses, and nothing about how it would have trained. */
#ifndef GREEDYLRD_TRAIN_PAST_H
#define GREEDYLRD_TRAIN_PAST_H

#include "core/learned_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PAST_NAME_MAX 128

struct past_job {
    char name[PAST_NAME_MAX + 1];
    double *losses; /* [n], owned */
    size_t n;
    double first_lr, last_lr;
    double noise;  /* relative standard deviation of a report, from second differences of the logarithms */
    double fall;   /* ln(first / least) */
    double offset; /* what does not fall, in parts of what does: an upper bound of an offset */
};

struct past {
    struct past_job *jobs;
    size_t n;
    size_t skipped; /* jobs with fewer than PAST_LEAST losses above 0 */
};
#define PAST_LEAST 10

/* Reads the jobs of a daemon (http..., the first 1,000 decisions of each, with the token and the authorities
 * that lib/credentials.h finds in the environment) or the CSV files of a folder, as ListDecisions writes
 * them.  False: said on stderr why. */
bool past_load(const char *where, struct past *past);
void past_free(struct past *past);

/* Of all numbers, for the hash of a training's settings; 0 of none. */
uint32_t past_hash(const struct past *past);

/* What there is, and what the model does on it. */
bool past_replay(const struct past *past, const struct learned_model *model, FILE *out);

#endif
