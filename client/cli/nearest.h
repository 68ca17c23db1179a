/* The known word that is nearest to a mistyped one. */
#ifndef GREEDYLR_CLI_NEAREST_H
#define GREEDYLR_CLI_NEAREST_H

#define NEAREST_MAX 128

struct nearest {
    const char *word;
    unsigned distance;
    char best[NEAREST_MAX];
};

void nearest_begin(struct nearest *n, const char *word);
/* A word that could have been meant; the first of equally near ones wins. */
void nearest_offer(struct nearest *n, const char *candidate);
/* The nearest word; NULL if none is near. */
const char *nearest_word(const struct nearest *n);

#endif
