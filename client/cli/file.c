/* Reading: open, check, read to the end.  Every failure names the file. */
#include "cli/file.h"

#include "cli/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_all(FILE *file, size_t *len)
{
    char *text = NULL;
    size_t cap = 0, got;

    *len = 0;
    do {
        if (cap - *len < 2) text = need(realloc(text, cap = cap ? cap * 2 : 4096));
        got = fread(text + *len, 1, cap - *len - 1, file);
        *len += got;
    } while (got && *len <= FILE_READ_MAX);
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

    if (file) text = read_all(file, &len);
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
