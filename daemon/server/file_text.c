/* A pipe or a device is the caller's to refuse: here it would be read to its end. */
#include "server/file_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int file_text(int fd, size_t max, char **text, size_t *len)
{
    size_t n = 0;
    ssize_t got = 1;
    char *to = malloc(max + 2);

    *text = NULL;
    if (!to) return ENOMEM;
    while (got && n <= max) {
        got = read(fd, to + n, max + 1 - n);
        if (got < 0 && errno != EINTR) break;
        if (got > 0) n += (size_t)got;
    }
    if (got < 0 || n > max) {
        int no = got < 0 ? errno : EFBIG;
        explicit_bzero(to, n);
        free(to);
        return no;
    }
    to[n] = '\0';
    *text = to;
    *len = n;
    return 0;
}

bool file_is_credential(const char *path)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    size_t n = directory ? strlen(directory) : 0;

    return n && !strncmp(path, directory, n) && path[n] == '/' && !strchr(path + n + 1, '/');
}
