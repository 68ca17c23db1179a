/* Nearness is Levenshtein's distance: letters to change, add or leave out. */
#include "rpc/nearest.h"

#include <string.h>

#define NAME_MAX_LEN 64

/* Large for long names. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_LEN + 1], la = (unsigned)strnlen(a, NAME_MAX_LEN + 1), lb = (unsigned)strlen(b);

    if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN) return NAME_MAX_LEN;
    for (unsigned j = 0; j <= lb; j++)
        row[j] = j;
    for (unsigned i = 1; i <= la; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    unsigned d = distance(nearest->word, candidate);

    if (d >= (nearest->found ? nearest->distance : strlen(nearest->word) < 5 ? 2u : 3u)) return;
    nearest->found = candidate;
    nearest->distance = d;
}
