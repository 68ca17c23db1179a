/* The daemon's token file, as `greedylr token` changes it: a line a token, hashes only. */
#ifndef GREEDYLR_CLI_TOKEN_H
#define GREEDYLR_CLI_TOKEN_H

#include <stddef.h>

#define TOKEN_ID_MAX 32

struct token_file;

/* Opens FILE for a change: until token_file_close nobody else who uses this changes it.  A file that is
 * missing is empty if make says so.  Returns 0, or -1 with why in error (size bytes). */
int token_file_open(const char *path, int make, struct token_file **out, char *error, size_t size);
void token_file_close(struct token_file *file);
/* The text, which ends with a newline or is empty; lives until the next call. */
const char *token_file_text(const struct token_file *file);
/* Replaces the file as a whole, for its owner only: after 0 the text is on the disk, after -1 the old one
 * stays. */
int token_file_replace(struct token_file *file, const char *text, char *error, size_t size);

/* The line (without its newline) that begins with this id; NULL: there is none.  *len is its length. */
char *token_line_find(const char *text, const char *id, size_t *len);

extern const char *const token_roles[]; /* ends with NULL */

/* Whether greedylrd takes a text as its token file: 0, or -1 with the line and what is wrong with it in
 * error. */
int token_text_check(const char *text, char *error, size_t size);

#endif
