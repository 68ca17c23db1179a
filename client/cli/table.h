/* Tables for people: aligned columns, coloured where paper.h says so. */
#ifndef GREEDYLR_CLI_TABLE_H
#define GREEDYLR_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct column {
    const char *head; /* NULL in the first column: the table has no line of heads */
    bool right;       /* aligned to the right: numbers */
    size_t room;      /* width it has at least, so that rows printed later fit below earlier ones */
    int spare; /* on a terminal that is too narrow those with 1 are left out first, those with 0 never */
};

struct table;

/* Columns are borrowed until table_free. */
struct table *table_new(const struct column *columns, size_t n);
/* Adds the next cell, row by row; copied.  NULL is empty. */
void table_add(struct table *t, const char *text);
/* Prints the rows added since the last time, the first time below a line of heads.  Columns grow, but never
 * shrink, and which are left out is decided the first time. */
void table_print(struct table *t);
void table_free(struct table *t);

#endif
