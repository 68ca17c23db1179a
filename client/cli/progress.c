/* What is quick is never shown, so that nothing flickers. */
#include "cli/progress.h"

#include "cli/paper.h"
#include "lib/clock.h"

#include <stdio.h>

#define QUIET_MS 500
#define EVERY_MS 100
#define WIDTH    30

void progress_begin(struct progress *p, const char *what, size_t total)
{
    *p = (struct progress){
        .what = what, .total = total, .began_ms = clock_ms(), .terminal = paper_has_progress()};
}

static void draw(const struct progress *p)
{
    size_t filled = p->total ? p->done * WIDTH / p->total : 0;

    if (filled > WIDTH) filled = WIDTH;
    fputs("\r\033[K[", stderr);
    for (size_t i = 0; i < WIDTH; i++)
        fputc(i < filled ? '#' : ' ', stderr);
    fprintf(stderr, "] %zu of %zu %s", p->done, p->total, p->what);
    fflush(stderr);
}

void progress_to(struct progress *p, size_t done)
{
    int64_t now = p->terminal ? clock_ms() : 0;

    p->done = done;
    if (!p->terminal || now - p->began_ms < QUIET_MS || now - p->shown_ms < EVERY_MS) return;
    p->shown_ms = now;
    p->shown = true;
    draw(p);
}

void progress_end(struct progress *p)
{
    if (p->shown) fputs("\r\033[K", stderr);
    p->shown = false;
}
