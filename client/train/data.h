/* The data sets of Debian's python3-sklearn: handwritten digits, breast cancer, wine.  Rows come in a fixed
 * random order, columns with mean 0 and variance 1; the first half of the rows is for the class that is
 * trained on, the second for the one that is held out. */
#ifndef GREEDYLRD_TRAIN_DATA_H
#define GREEDYLRD_TRAIN_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATA_SETS 3

struct data_set {
    const char *name;
    size_t rows, columns;
    uint32_t classes;
    double *x;       /* [rows][columns] */
    uint32_t *label; /* [rows] */
};
extern struct data_set data_sets[DATA_SETS];

/* Reads all of them from `dir`, or from where the package puts them (NULL).  On failure says on stderr what
 * is missing and how to get it. */
bool data_load(const char *dir);
void data_free(void);

#endif
