/* Answers as tables, CSV or as they came. */
#ifndef GREEDYLR_CLI_SHOW_H
#define GREEDYLR_CLI_SHOW_H

#include "cli/arguments.h"

#include "lib/transport.h"

/* Rows of a list, Jobs or Decisions, as a table or CSV. */
struct rows;

/* answer: ANSWER_JOBS for jobs, anything else for decisions.  csv: CSV instead of a table. */
struct rows *rows_new(enum answer answer, bool csv);
void rows_add(struct rows *rows, const json_t *row);
/* Prints what was added since the last time; the first time the heads too, even if there is no row. */
void rows_print(struct rows *rows);
void rows_free(struct rows *rows);

/* The answer of a command in the format asked for.  Returns 0, or EXIT_NO_ANSWER after saying that it cannot
 * be read. */
int show_reply(const struct invocation *in, const struct transport *t, const struct transport_reply *reply);

/* The answer's JSON, which the caller frees; NULL after saying that it is none. */
json_t *reply_json(const struct transport *t, const char *body);

/* A text as it is, and a line end if it has none. */
void print_text(const char *text);

#endif
