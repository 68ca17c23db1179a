/* A line that says how far something long is, for who waits at a terminal. */
#ifndef GREEDYLR_CLI_PROGRESS_H
#define GREEDYLR_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    const char *what;   /* borrowed: "settings" */
    size_t done, total; /* total 0: not known */
    int64_t began_ms, shown_ms;
    bool terminal, shown;
};

void progress_begin(struct progress *p, const char *what, size_t total);
/* Draws on standard error if that is a terminal and half a second has gone by, at most ten times a second. */
void progress_to(struct progress *p, size_t done);
/* Takes the line away. */
void progress_end(struct progress *p);

#endif
