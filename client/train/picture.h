/* The evaluation's picture: bars of J with their intervals, trained classes and held-out class side by side.
 */
#ifndef GREEDYLRD_TRAIN_PICTURE_H
#define GREEDYLRD_TRAIN_PICTURE_H

#include "train/suite.h"

#define PICTURE_BARS 16

struct picture {
    struct {
        const char *name;
        struct mean mean;
        bool marked;
    } bars[2][PICTURE_BARS];
    size_t n[2];
};

void picture_add(struct picture *picture, int side, const char *name, struct mean mean, bool marked);
/* False: said on stderr why. */
bool picture_write(const struct picture *picture, const char *path);

#endif
