/* Reading: open, check, read to the end.  Every failure names the file. */
#include "cli/file.h"

#include "cli/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_MAX 1000

static char *read_all(FILE *file, size_t max, size_t *len)
{
    char *text = NULL;
    size_t cap = 0, got;

    *len = 0;
    do {
        if (cap - *len < 2) text = need(realloc(text, cap = cap ? cap * 2 : 4096));
        got = fread(text + *len, 1, cap - *len - 1, file);
        *len += got;
    } while (got && *len <= max);
    text[*len] = '\0';
    return text;
}

char *file_read(const char *path, char *error, size_t size)
{
    bool standard = !strcmp(path, "-");
    FILE *file = standard ? stdin : fopen(path, "re");
    const char *name = standard ? "standard input" : path;
    char *text = NULL;
    size_t len = 0;

    if (file) text = read_all(file, FILE_READ_MAX, &len);
    if (!file || ferror(file))
        snprintf(error, size, "%s: cannot be read: %s", name, strerror(errno));
    else if (len > FILE_READ_MAX)
        snprintf(error, size, "%s: is larger than %u MiB", name, FILE_READ_MAX >> 20);
    else if (strlen(text) != len)
        snprintf(error, size, "%s: is not text: it has a NUL byte", name);
    else
        *error = '\0';
    if (file && !standard) fclose(file);
    if (!*error) return text;
    free(text);
    return NULL;
}

/* Group members may read a file that root lent us on purpose (credentials of a service); of our own nobody
 * may. */
static bool is_private(const struct stat *info)
{
    unsigned others = info->st_uid == 0 && geteuid() != 0 ? 0037 : 0077;

    return !(info->st_mode & others);
}

char *file_read_token(const char *source, const char *path, char *error, size_t size)
{
    struct stat info;
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t len;

    if (!file || fstat(fileno(file), &info)) {
        snprintf(error, size, "%s %s: cannot be read: %s", source, path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        snprintf(error, size, "%s %s: is not a file", source, path);
    } else if (!is_private(&info)) {
        snprintf(error, size,
                 "%s %s: other users can read or change it; chmod 600 %s, and make a new token if it is old",
                 source, path, path);
    } else {
        text = read_all(file, TOKEN_MAX, &len);
        text[strcspn(text, "\r\n")] = '\0';
        if (*text && strchr(text, '.')) {
            fclose(file);
            return text;
        }
        snprintf(error, size, "%s %s: its first line has to be a token, id.secret", source, path);
    }
    free(text);
    if (file) fclose(file);
    return NULL;
}
