/* Numbers and names as text, and text that is safe to show. */
#ifndef GREEDYLR_CLI_TEXT_H
#define GREEDYLR_CLI_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* pointer, unless it is NULL: then there is no memory, which ends the process with 1. */
void *need(void *pointer);

/* Closes a stream that open_memstream opened for *text.  Without memory for its last bytes fclose says
 * nothing, and there is no text: as need(). */
void end_text(FILE *out, char **text);

/* Whether two names of flags are the same, dashes and underscores being one. */
bool same_flag(const char *a, const char *b);
/* The same for the beginning of a name. */
bool same_flag_start(const char *name, const char *start);

/* "NaN", "Infinity" or "-Infinity" for any usual spelling of these (nan, inf, -inf, ...); NULL for anything
 * else. */
const char *nonfinite_name(const char *text);
/* A decimal number and nothing else; false if it is none.  Too large for a double: infinite. */
bool number_parse(const char *text, double *out);

/* A number of an answer: "NaN" and the infinities are texts there.  NaN for anything else. */
double value_number(const json_t *value);

enum precision {
    SIX_DIGITS, /* for people */
    EXACT,      /* reads back to the same bits */
};

/* Text of a JSON value: strings as they are, a list's elements joined by separator, NULL and null as "".
 * Shadows are "name=0.1;0.2 other=0.3".  The caller frees it. */
char *value_text(const json_t *value, enum precision precision, char separator);

/* Writes a JSON document on one line, its numbers in the shortest form that reads back to the same bits. */
void put_json(FILE *out, const json_t *value);

/* Prints a cell of a CSV, in quotes where it needs them. */
void put_csv(const char *text);

/* Characters that text takes on a terminal, UTF-8 counted as one each. */
size_t text_width(const char *text);
/* Writes at most width characters of text (0: all of it), control characters as '?', so that what a daemon
 * sends cannot drive a terminal.  Text that is cut ends with "...". */
void put_safe(FILE *out, const char *text, size_t width);
/* Writes text, as safe as that, broken between words into lines of width characters (0: one line); the first
 * begins at column at, the others are indented, and the last one ends. */
void put_words(FILE *out, const char *text, size_t at, size_t indent, size_t width);

#endif
