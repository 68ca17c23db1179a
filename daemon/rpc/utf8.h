/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef GREEDYLRD_RPC_UTF8_H
#define GREEDYLRD_RPC_UTF8_H

#include <stddef.h>

/* Bytes of the well-formed character at text, or 0 if there is none within len bytes. */
size_t utf8_char(const char *text, size_t len);

/* Bytes of the longest beginning that is well-formed; len if all of it is. */
size_t utf8_prefix(const char *text, size_t len);

#endif
