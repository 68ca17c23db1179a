/* Reading the data sets.
 *
 * Happy path: gzip unpacks, every line is numbers and a label behind them.  Failure: a sentence on stderr. */
#include "train/data.h"

#include "train/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKLEARN_DATA "/usr/lib/python3/dist-packages/sklearn/datasets/data"
#define LINE_SIZE    8192

struct data_set data_sets[DATA_SETS] = {
    {"digits", 1797, 64, 10, NULL, NULL},
    {"breast_cancer", 569, 30, 2, NULL, NULL},
    {"wine", 178, 13, 3, NULL, NULL},
};

static const struct {
    const char *file;
    bool packed, head;
} files[DATA_SETS] = {
    {"digits.csv.gz", true, false}, {"breast_cancer.csv", false, true}, {"wine_data.csv", false, true}};

static bool read_line(struct data_set *set, size_t row, const char *line)
{
    char *end;

    for (size_t i = 0; i <= set->columns; i++) {
        double v = strtod(line, &end);

        if (end == line) return false;
        if (i < set->columns)
            set->x[row * set->columns + i] = v;
        else if (v < 0 || v >= set->classes)
            return false;
        else
            set->label[row] = (uint32_t)v;
        line = *end == ',' ? end + 1 : end;
    }
    return true;
}

/* Columns to mean 0 and variance 1, rows into an order that says nothing. */
static void prepare(struct data_set *set)
{
    struct rng rng = rng_of(set->rows, 7);

    for (size_t j = 0; j < set->columns; j++) {
        double sum = 0, squares = 0, n = (double)set->rows;

        for (size_t i = 0; i < set->rows; i++) {
            double v = set->x[i * set->columns + j];

            sum += v;
            squares += v * v;
        }
        double mean = sum / n, deviation = sqrt(fmax(squares / n - mean * mean, 0));

        for (size_t i = 0; i < set->rows; i++) {
            double *v = &set->x[i * set->columns + j];

            *v = deviation > 1e-9 ? (*v - mean) / deviation : 0;
        }
    }
    for (size_t i = set->rows - 1; i > 0; i--) {
        size_t k = rng_below(&rng, (uint32_t)i + 1);
        uint32_t label = set->label[i];

        set->label[i] = set->label[k];
        set->label[k] = label;
        for (size_t j = 0; j < set->columns; j++) {
            double v = set->x[i * set->columns + j];

            set->x[i * set->columns + j] = set->x[k * set->columns + j];
            set->x[k * set->columns + j] = v;
        }
    }
}

static bool load(struct data_set *set, const char *dir, int i)
{
    char command[1200], line[LINE_SIZE];
    size_t row = 0;
    bool good = true;

    snprintf(command, sizeof(command), "%s '%.1000s/%s' 2>/dev/null", files[i].packed ? "gzip -dc" : "cat",
             dir, files[i].file);
    set->x = calloc(set->rows * set->columns, sizeof(double));
    set->label = calloc(set->rows, sizeof(uint32_t));
    FILE *pipe = set->x && set->label ? popen(command, "r") : NULL;

    if (!pipe) return false;
    if (files[i].head) good = fgets(line, sizeof(line), pipe) != NULL;
    while (good && row < set->rows && fgets(line, sizeof(line), pipe))
        good = read_line(set, row++, line);
    pclose(pipe);
    if (!good || row < set->rows) {
        fprintf(
            stderr,
            "greedylr-train: %s/%s: cannot read it, or it has not %zu rows of %zu numbers; install Debian's "
            "python3-sklearn, or give --data DIR with its data files\n",
            dir, files[i].file, set->rows, set->columns);
        return false;
    }
    prepare(set);
    return true;
}

bool data_load(const char *dir)
{
    if (dir && strchr(dir, '\'')) {
        fprintf(stderr, "greedylr-train: --data: must have no ' in it, got %s\n", dir);
        return false;
    }
    for (int i = 0; i < DATA_SETS; i++) {
        if (!load(&data_sets[i], dir ? dir : SKLEARN_DATA, i)) return false;
    }
    return true;
}

void data_free(void)
{
    for (int i = 0; i < DATA_SETS; i++) {
        free(data_sets[i].x);
        free(data_sets[i].label);
        data_sets[i].x = NULL;
        data_sets[i].label = NULL;
    }
}
