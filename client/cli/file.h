/* Files that are read: values, state, settings. */
#ifndef GREEDYLR_CLI_FILE_H
#define GREEDYLR_CLI_FILE_H

#include <stddef.h>

#define FILE_READ_MAX (64u << 20)

/* The whole text of a file, "-" being standard input, at most FILE_READ_MAX bytes; the caller frees it.
 * NULL: error (size bytes) says why; a NUL byte is a reason too. */
char *file_read(const char *path, char *error, size_t size);

#endif
