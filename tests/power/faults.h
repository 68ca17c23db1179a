/* Every call of a story's failing, once and for ever. */
#ifndef GREEDYLRD_TESTS_POWER_FAULTS_H
#define GREEDYLRD_TESTS_POWER_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

struct faults {
    bool every; /* Nth call; otherwise some of those behind the first */
    uint64_t passed, failed;
};
/* The story of this seed; failures are printed. */
void faults_run(uint64_t seed, struct faults *faults);

#endif
