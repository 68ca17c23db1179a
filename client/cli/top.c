/* A live table of jobs: looks, draws, waits for a key, again and again.
 *
 * A daemon that is away is waited for with what was known on the screen.  Looking takes at most a tenth of
 * the time, however many jobs there are. */
#include "cli/top.h"

#include "cli/call.h"
#include "cli/plot_job.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "cli/screen.h"
#include "cli/text.h"

#include "lib/clock.h"

#include <stdlib.h>
#include <string.h>

#define INTERVAL_MS 2000
#define SHARE       10 /* of the time may be spent on looking */
#define TRY_MS      1000

struct live {
    struct top top;
    size_t first, chosen; /* job at the top; job under the cursor */
    char *under;          /* its name: it stays under the cursor where it goes */
    bool typing;          /* the search */
    bool ended;
    int64_t next_ms; /* when to look again */
    int rc;
};

/* ---- the cursor ---- */

static void remember(struct live *l)
{
    free(l->under);
    l->under = l->chosen < l->top.n_shown ? need(strdup(l->top.order[l->chosen]->name)) : NULL;
}

static void keep_in_sight(struct live *l)
{
    size_t rows = top_rows(), n = l->top.n_shown;

    if (l->chosen >= n) l->chosen = n ? n - 1 : 0;
    if (l->chosen < l->first) l->first = l->chosen;
    if (l->chosen >= l->first + rows) l->first = l->chosen + 1 - rows;
    if (l->first + rows > n) l->first = n > rows ? n - rows : 0;
}

/* After the order has changed.  At the very top the cursor stays there, on whatever is new. */
static void find_again(struct live *l)
{
    for (size_t i = 0; l->under && l->chosen && i < l->top.n_shown; i++) {
        if (!strcmp(l->top.order[i]->name, l->under)) l->chosen = i;
    }
    keep_in_sight(l);
    remember(l);
}

static void move(struct live *l, long by)
{
    if (by < 0 && (size_t)-by > l->chosen)
        l->chosen = 0;
    else
        l->chosen += (size_t)by;
    keep_in_sight(l);
    remember(l);
}

/* ---- looking ---- */

static void look(struct live *l)
{
    long interval = l->top.in->interval_ms ? l->top.in->interval_ms : INTERVAL_MS;
    int64_t began = clock_ms(), took;

    l->rc = top_look(&l->top);
    if (!l->rc) {
        find_again(l);
        l->rc = top_look_closer(&l->top, l->first, top_rows());
    }
    took = clock_ms() - began;
    if (l->rc && interval > TRY_MS) interval = TRY_MS; /* back as soon as the daemon is */
    l->next_ms = began + took + (interval > took * SHARE ? interval : took * SHARE);
    /* What a token may not see stays so. */
    if (l->rc == EXIT_REFUSED || l->rc == EXIT_NOT_FOUND) l->ended = true;
}

static void draw(struct live *l)
{
    char line[900], *frame;
    const char *search = l->top.search;

    if (l->typing)
        snprintf(line, sizeof(line), "/%s_  (Enter keeps it, Escape shows every job)", search);
    else if (*l->top.why)
        snprintf(line, sizeof(line), "trying again: %s", l->top.why);
    else
        /* A narrow terminal cuts the end: what hides jobs stands in front. */
        snprintf(line, sizeof(line), "q quit  / search%s%s  enter plot  s sort: %s%s  r reverse  j/k move",
                 *search ? ": " : "", search, l->top.reverse ? "-" : "", top_sort_name(&l->top));
    frame = top_frame(&l->top, l->first, l->chosen, line);
    screen_draw(frame, top_rows() + 4);
    free(frame);
}

/* ---- keys ---- */

static void search_again(struct live *l)
{
    top_sort(&l->top);
    find_again(l);
    l->next_ms = 0; /* others are in sight */
}

static void take_search(struct live *l, int key)
{
    char *search = l->top.search;
    size_t len = strlen(search);

    if (key == KEY_ENTER || key == KEY_ESCAPE) {
        l->typing = false;
        if (key == KEY_ENTER) return;
        *search = '\0';
    } else if (key == KEY_BACKSPACE) {
        if (len) search[len - 1] = '\0';
    } else if (key > ' ' && key < KEY_BACKSPACE && len + 1 < sizeof(l->top.search)) {
        search[len] = (char)key;
        search[len + 1] = '\0';
    } else {
        return;
    }
    search_again(l);
}

static void show_plot(struct live *l)
{
    if (!l->under) return;
    /* Whether it is gone, the list says. */
    (void)plot_job_follow(l->top.in, l->top.t, l->under);
    l->next_ms = 0;
}

static void take_key(struct live *l, int key)
{
    long page = (long)top_rows();

    if (key == KEY_GONE) l->ended = true;
    if (l->typing && key != KEY_RESIZED && key < KEY_UP) {
        take_search(l, key);
        return;
    }
    switch (key) {
    case 'q':
    case 'Q':
    case 4: l->ended = true; break; /* Ctrl-D */
    case 'j':
    case KEY_DOWN: move(l, 1); break;
    case 'k':
    case KEY_UP: move(l, -1); break;
    case ' ':
    case KEY_PAGE_DOWN: move(l, page); break;
    case 'b':
    case KEY_PAGE_UP: move(l, -page); break;
    case 'g':
    case KEY_HOME: move(l, -(long)l->top.n_shown); break;
    case 'G':
    case KEY_END: move(l, (long)l->top.n_shown); break;
    case 's': top_next_sort(&l->top); break;
    case 'r': l->top.reverse = !l->top.reverse; break;
    case '/': l->typing = true; break;
    case KEY_ESCAPE: *l->top.search = '\0'; break;
    case KEY_ENTER: show_plot(l); break;
    case KEY_RESIZED: keep_in_sight(l); break;
    default: return;
    }
    if (strchr("sr\033", key) && key) search_again(l);
    /* Those that came into sight have not been looked at. */
    if (top_look_closer(&l->top, l->first, top_rows())) l->next_ms = 0;
}

static int run_live(struct live *l)
{
    while (!l->ended) {
        if (clock_ms() >= l->next_ms) look(l);
        if (l->ended) break;
        draw(l);
        int64_t wait = l->next_ms - clock_ms();
        int key = screen_key(wait > 0 ? (long)wait : 0);
        if (key != KEY_NONE) take_key(l, key);
    }
    screen_close();
    if (l->rc == EXIT_REFUSED || l->rc == EXIT_NOT_FOUND) {
        say("%s", l->top.why);
        return l->rc;
    }
    return EXIT_OK;
}

/* ---- once ---- */

static int run_once(struct top *top)
{
    struct progress progress;
    int rc = top_look(top);

    progress_begin(&progress, "jobs", top->n_shown);
    for (size_t i = 0; !rc && i < top->n_shown; i++) {
        rc = top_look_closer(top, i, 1);
        progress_to(&progress, i);
    }
    progress_end(&progress);
    if (rc) {
        say("%s", top->why);
        return rc;
    }
    top_print(top);
    return finish_output();
}

/* ---- the command ---- */

static int take_options(struct top *top)
{
    const struct invocation *in = top->in;
    const char *sort = in->options[OPTION_TOP_SORT];
    char names[200];

    if (!sort || top_take_sort(top, sort)) return 0;
    top_sort_names(names, sizeof(names));
    return usage_error(in, "--sort %s: must be one of %s; with a dash in front the other way round", sort,
                       names);
}

int run_top(const struct invocation *in)
{
    struct live l = {.top = {.in = in}};
    bool once = in->options[OPTION_ONCE] || in->output != OUTPUT_TABLE;
    json_t *first = NULL;
    int rc = take_options(&l.top);

    if (!rc) rc = session_open(in, &l.top.t);
    if (rc) return rc;
    if (once) {
        rc = run_once(&l.top);
    } else {
        rc =
            session_json(in, l.top.t, "list", in->request, &first); /* a wrong URL or token is told at once */
        if (!rc && screen_open())
            rc = usage_error(in, "top: needs a terminal; --once prints the table and ends");
        if (!rc) rc = run_live(&l);
    }
    json_decref(first);
    free(l.under);
    top_clear(&l.top);
    transport_free(l.top.t);
    return rc;
}
