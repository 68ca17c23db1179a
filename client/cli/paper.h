/* What is written on: whether it is a terminal, how large, with colours and which signs. */
#ifndef GREEDYLR_CLI_PAPER_H
#define GREEDYLR_CLI_PAPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define STYLE_BOLD  "\033[1m"
#define STYLE_PLAIN "\033[0m"

struct paper {
    bool terminal;        /* standard output is one */
    bool colour;          /* a terminal that is not dumb, and NO_COLOR is not set; or as --color says */
    bool utf8;            /* the locale's characters are UTF-8; else ASCII has to do */
    size_t width, height; /* of the terminal; 0: not one, lines are never cut */
};

/* Standard output, as it is now. */
struct paper paper(void);

/* --color: auto, always or never; false if it is another word. */
bool paper_set_colour(const char *when);

/* Whether a line on standard error may be drawn over: a terminal that is not dumb. */
bool paper_has_progress(void);

/* How an action or a state is written where there are colours; NULL: as everything else. */
const char *word_style(const char *word);

/* Prose in lines as wide as the terminal, at most 100 characters; as put_words in text.h. */
void put_lines(FILE *out, const char *text, size_t at, size_t indent);

/* A line that introduces what follows. */
void put_heading(FILE *out, const char *text);

#endif
