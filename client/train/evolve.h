/* Training: antithetic evolution strategies on the weights of the learned policy. */
#ifndef GREEDYLRD_TRAIN_EVOLVE_H
#define GREEDYLRD_TRAIN_EVOLVE_H

#include "core/learned_model.h"
#include "train/problem.h"

#include <stdbool.h>
#include <stdint.h>

struct evolve_config {
    uint32_t seed, generations, pairs;
    double sigma, rate; /* of the perturbations; of Adam */
    double up, down;
    unsigned threads;
    const char *checkpoint;  /* file to go on from and to write; NULL: none */
    const struct past *past; /* jobs to take lengths, noise and offsets from; NULL: none */
    bool quiet;
};

/* What distinguishes one training from another, for the weights file. */
uint32_t evolve_config_hash(const struct evolve_config *config);

/* The training classes, and the mixes of them that are drawn. */
#define TRAINED_CLASSES 5
enum mix { MIX_EVALUATION, MIX_TRAINING, MIXES };
extern const struct problem_class *const trained_classes[TRAINED_CLASSES];

/* n problems of a mix of the trained classes, seeds from `seed` on; false: no memory. */
bool evolve_problems(struct problem *out, size_t n, enum mix of, const struct setting *setting,
                     uint64_t seed);

/* Trains; shows its progress on stderr if that is a terminal.  False: said on stderr why. */
bool evolve(const struct evolve_config *config, struct learned_model *model);

#endif
