/* What is drawn: values, and one or two lines of rates, over the same steps. */
#ifndef GREEDYLR_CLI_SERIES_H
#define GREEDYLR_CLI_SERIES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum mark { MARK_NONE, MARK_RAISE, MARK_CUT, MARK_RESET, MARK_EVENT, MARKS };

#define SERIES_LINES 2

struct series {
    char *title;
    const char *x_name; /* "step" */
    const char *note;   /* below the picture; NULL: none */
    size_t n, cap;
    bool thinned; /* some decisions were left out where that does not show: there may be more marks */
    double *x;
    double *value; /* NaN: a gap, unless at an event */
    bool *event;   /* something that was done to the job: there is no value */
    size_t n_lines;
    struct line {
        const char *name; /* "rate", "recorded rate" */
        double *rate;     /* in force from here on; NaN: none known */
        unsigned char *mark;
    } lines[SERIES_LINES];
};

/* Names are borrowed, the title is copied.  second: name of a second line, or NULL. */
struct series *series_new(const char *title, const char *x_name, const char *first, const char *second);
void series_free(struct series *s);

/* Adds a decision at its step, or at x where it is a number; second: what the second line has there, NULL:
 * what it had before.  Rates are those of the first group. */
void series_add(struct series *s, double x, const json_t *decision, const json_t *second);

/* Another title. */
void series_title(struct series *s, const char *title);
/* Takes away what is left of x. */
void series_drop(struct series *s, double x);

/* Marks of a line. */
size_t series_count(const struct series *s, size_t line, enum mark mark);

#endif
