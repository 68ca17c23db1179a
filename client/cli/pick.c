/* Names that are written by the usual tools: TensorBoard, Weights & Biases, people. */
#include "cli/pick.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const usual[] = {"loss", "metric", "value", NULL};
/* What a value stands beside. */
static const char *const beside[] = {"step",
                                     "_step",
                                     "global_step",
                                     "train/global_step",
                                     "trainer/global_step",
                                     "epoch",
                                     "iteration",
                                     "iter",
                                     "time",
                                     "wall time",
                                     "wall_time",
                                     "_timestamp",
                                     "timestamp",
                                     "_runtime",
                                     "relative time (process)",
                                     "relative time (wall)",
                                     "",
                                     NULL};

static bool is_one_of(const char *const *list, const char *name)
{
    for (; *list; list++) {
        if (!strcasecmp(*list, name)) return true;
    }
    return false;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && !strcmp(name + n - m, end);
}

static bool is_beside(const char *name)
{
    return is_one_of(beside, name) || ends_with(name, "__MIN") || ends_with(name, "__MAX");
}

static int pick_wanted(const char *const *names, size_t n, const char *wanted)
{
    char end[200];
    int found = -1;

    for (size_t i = 0; i < n; i++) {
        if (!strcmp(names[i], wanted)) return (int)i;
    }
    snprintf(end, sizeof(end), " - %s", wanted);
    for (size_t i = 0; i < n; i++) {
        if (!ends_with(names[i], end)) continue;
        if (found >= 0) return -1;
        found = (int)i;
    }
    return found;
}

static int pick_usual(const char *const *names, size_t n)
{
    int found = -1;

    for (const char *const *u = usual; *u; u++) {
        for (size_t i = 0; i < n; i++) {
            if (!strcasecmp(names[i], *u)) return (int)i;
        }
    }
    if (n == 1) return 0;
    for (size_t i = 0; i < n; i++) {
        if (is_beside(names[i])) continue;
        if (found >= 0) return -1;
        found = (int)i;
    }
    return found;
}

int pick_column(const char *const *names, size_t n, const char *wanted, char *error, size_t size)
{
    int found = wanted ? pick_wanted(names, n, wanted) : pick_usual(names, n);
    char known[200] = "";

    if (found >= 0) return found;
    for (size_t i = 0, at = 0; i < n && at < sizeof(known); i++)
        at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "", names[i]);
    snprintf(error, size, "%s%.80s; --losses-column takes one of: %s",
             wanted ? "has no single column " : "has several columns", wanted ? wanted : "", known);
    return -1;
}
