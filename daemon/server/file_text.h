/* Small files, read whole: token files, certificates, keys. */
#ifndef GREEDYLRD_SERVER_FILE_TEXT_H
#define GREEDYLRD_SERVER_FILE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Reads what is left of fd, at most max bytes, into *text, which the caller frees: *len bytes and a NUL.  One
 * piece of memory from the start, so that what is secret lies in it and nowhere else.  Returns 0, or an errno
 * (EFBIG where there is more, ENOMEM), and *text is NULL then. */
int file_text(int fd, size_t max, char **text, size_t *len) __attribute__((warn_unused_result));

/* Whether it lies in the directory in which systemd hands credentials over: readable by the service alone,
 * whatever the mode says, since an ACL shows as group bits. */
bool file_is_credential(const char *path);

#endif
