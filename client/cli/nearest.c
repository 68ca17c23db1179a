/* Nearness is the number of letters to change, add or leave out; words of which only the end or the beginning
 * was given are near too. */
#include "cli/nearest.h"

#include "cli/text.h"

#include <stdio.h>
#include <string.h>

#define FAR 1000u

void nearest_begin(struct nearest *n, const char *word)
{
    *n = (struct nearest){.word = word, .distance = FAR};
}

static unsigned letters_apart(const char *a, const char *b)
{
    unsigned row[NEAREST_MAX + 1], la = (unsigned)strlen(a), lb = (unsigned)strlen(b);

    for (unsigned j = 0; j <= lb; j++)
        row[j] = j;
    for (unsigned i = 1; i <= la; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            bool same = a[i - 1] == b[j - 1] || (a[i - 1] == '-' && b[j - 1] == '_');
            unsigned best = diagonal + !same;
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

static unsigned apart(const char *word, const char *candidate)
{
    const char *dot = strrchr(candidate, '.');
    size_t len = strlen(word);
    unsigned distance;

    if (len > NEAREST_MAX || strlen(candidate) >= NEAREST_MAX) return FAR;
    if (dot && same_flag(word, dot + 1)) return 0;
    distance = letters_apart(word, candidate);
    if (len > 2 && !strncmp(word, candidate, len)) distance = 0;
    return distance;
}

void nearest_offer(struct nearest *n, const char *candidate)
{
    unsigned distance = apart(n->word, candidate);

    if (distance >= n->distance) return;
    n->distance = distance;
    snprintf(n->best, sizeof(n->best), "%s", candidate);
}

const char *nearest_word(const struct nearest *n)
{
    return n->distance <= (strlen(n->word) < 5 ? 1u : 2u) ? n->best : NULL;
}
