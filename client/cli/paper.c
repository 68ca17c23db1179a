/* A terminal is asked each time: it may have another size by now. */
#include "cli/paper.h"

#include "cli/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_WIDTH 100

static const struct {
    const char *word, *style;
} styles[] = {
    {"raise", "\033[32m"},  {"cut", "\033[31m"},    {"reset", "\033[35m"},    {"skip", "\033[33m"},
    {"active", "\033[32m"}, {"paused", "\033[33m"}, {"finished", "\033[36m"}, {"override", "\033[36m"},
    {"rewind", "\033[36m"}, {"fork", "\033[36m"},   {"import", "\033[36m"},   {"update", "\033[36m"},
    {"begin", "\033[36m"},  {"pause", "\033[33m"},  {"resume", "\033[32m"},   {"finish", "\033[36m"},
};

static enum { AUTO, ALWAYS, NEVER } colours;

static const char *set_in_environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static bool is_dumb(void)
{
    const char *term = getenv("TERM");

    return term && !strcmp(term, "dumb");
}

static bool has_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (int i = 0; i < 3; i++) {
        const char *value = set_in_environment(names[i]);
        if (value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

bool paper_set_colour(const char *when)
{
    static const char *const words[] = {[AUTO] = "auto", [ALWAYS] = "always", [NEVER] = "never"};

    for (int i = 0; i < 3; i++) {
        if (strcmp(words[i], when)) continue;
        colours = i;
        return true;
    }
    return false;
}

struct paper paper(void)
{
    struct paper p = {.terminal = isatty(STDOUT_FILENO), .utf8 = has_utf8()};
    struct winsize size;

    p.colour =
        colours == ALWAYS || (colours == AUTO && p.terminal && !set_in_environment("NO_COLOR") && !is_dumb());
    if (p.terminal && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size)) {
        p.width = size.ws_col;
        p.height = size.ws_row;
    }
    return p;
}

bool paper_has_progress(void)
{
    return isatty(STDERR_FILENO) && !is_dumb();
}

const char *word_style(const char *word)
{
    for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++) {
        if (!strcmp(styles[i].word, word)) return styles[i].style;
    }
    return NULL;
}

void put_lines(FILE *out, const char *text, size_t at, size_t indent)
{
    size_t width = paper().width;

    put_words(out, text, at, indent, width && width < LINE_WIDTH ? width : LINE_WIDTH);
}

void put_heading(FILE *out, const char *text)
{
    bool colour = paper().colour;

    fprintf(out, "%s%s%s\n", colour ? STYLE_BOLD : "", text, colour ? STYLE_PLAIN : "");
}
