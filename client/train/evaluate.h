/* Evaluation: how the model does on problems that nobody has trained or tuned on, beside what else there is.
 */
#ifndef GREEDYLRD_TRAIN_EVALUATE_H
#define GREEDYLRD_TRAIN_EVALUATE_H

#include "core/learned_model.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct evaluate_config {
    const struct learned_model *model;
    uint32_t seed;
    uint32_t problems; /* of the trained classes; a sixth as many of the held-out one */
    unsigned threads;
    const char *svg; /* file for a picture; NULL: none */
    bool brief;      /* the two main tables alone */
};

/* Prints the tables to out.  False: no memory, or the picture cannot be written (said on stderr). */
bool evaluate(const struct evaluate_config *config, FILE *out);

/* Random search for the settings of GreedyLR that do best on this distribution; prints the best ten. */
bool evaluate_tune(uint32_t seed, uint32_t problems, uint32_t candidates, unsigned threads, FILE *out);

#endif
