/* For functions that write why they failed into their caller's buffer. */
#ifndef GREEDYLR_LIB_FAIL_H
#define GREEDYLR_LIB_FAIL_H

#include <stddef.h>

/* Writes the sentence, cut to size bytes with its NUL; returns -1. */
int fail_with(char *error, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
