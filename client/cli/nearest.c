/* Nearness is the number of letters to change, add, leave out or swap with the next; words of which only the
 * end or the beginning was given are near too. */
#include "cli/nearest.h"

#include "cli/text.h"

#include <stdio.h>
#include <string.h>

#define FAR 1000u

void nearest_begin(struct nearest *n, const char *word)
{
    *n = (struct nearest){.word = word, .distance = FAR};
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static bool same_letter(char a, char b)
{
    return a == b || (a == '-' && b == '_');
}

/* By rows of which three are kept: two letters that changed places reach back over one. */
static unsigned letters_apart(const char *a, const char *b)
{
    unsigned rows[3][NEAREST_MAX + 1], la = (unsigned)strlen(a), lb = (unsigned)strlen(b);

    for (unsigned j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= la; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            row[j] = least(above[j - 1] + !same_letter(a[i - 1], b[j - 1]), least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return rows[la % 3][lb];
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
