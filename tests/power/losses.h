/* Power losses in a story. */
#ifndef GREEDYLRD_TESTS_POWER_LOSSES_H
#define GREEDYLRD_TESTS_POWER_LOSSES_H

#include "disk.h"

#define LOSSES_STATES 50 /* crash states of a story */

struct losses {
    uint64_t passed, failed, nested, in_flight;
    char problem[500]; /* the first */
};
/* The story of this seed; adds to what is in losses, and ends at the first failure. */
void losses_run(uint64_t seed, struct losses *losses);

#endif
