/* A file that is only ever replaced as a whole.
 *
 * Happy path: the folder is locked, the file read, a new one written beside it, synced, put in its place, the
 * folder synced.  Failure modes: whatever fails before the rename leaves the old file as it was. */
#include "cli/token.h"

#include "cli/file.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct token_file {
    char *path, *text;
    int folder; /* locked */
    struct stat old;
    int exists;
};

static int fail(char *error, size_t size, const char *path, const char *what)
{
    snprintf(error, size, "%s: %s", path, what);
    return -1;
}

static int lock_folder(struct token_file *file, char *error, size_t size)
{
    const char *slash = strrchr(file->path, '/');
    char *folder = need(strndup(file->path, slash ? (size_t)(slash - file->path) + 1 : 0));

    file->folder = open(*folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (file->folder < 0 || flock(file->folder, LOCK_EX))
        return fail(error, size, file->path, strerror(errno));
    return 0;
}

static int read_text(struct token_file *file, int make, char *error, size_t size)
{
    size_t len;

    file->exists = !stat(file->path, &file->old);
    if (!file->exists && (errno != ENOENT || !make)) return fail(error, size, file->path, strerror(errno));
    if (!file->exists) {
        file->text = need(strdup(""));
        return 0;
    }
    if (!S_ISREG(file->old.st_mode)) return fail(error, size, file->path, "is not a regular file");
    file->text = file_read(file->path, error, size);
    if (!file->text) return -1;
    len = strlen(file->text);
    if (len && file->text[len - 1] != '\n')
        return fail(error, size, file->path, "its last line lacks a newline; was it cut off?");
    return 0;
}

int token_file_open(const char *path, int make, struct token_file **out, char *error, size_t size)
{
    struct token_file *file = need(calloc(1, sizeof(*file)));

    file->folder = -1;
    file->path = realpath(path, NULL); /* a link stays one */
    if (!file->path) file->path = need(strdup(path));
    if (lock_folder(file, error, size) || read_text(file, make, error, size)) {
        token_file_close(file);
        return -1;
    }
    *out = file;
    return 0;
}

void token_file_close(struct token_file *file)
{
    if (file->folder >= 0) close(file->folder);
    free(file->path);
    free(file->text);
    free(file);
}

const char *token_file_text(const struct token_file *file)
{
    return file->text;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR) return -1;
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* The owner still can read it, and nobody else: root changes the file of the daemon's user. */
static int keep_owner(int fd, const struct stat *old)
{
    if (old->st_uid != geteuid() && fchown(fd, old->st_uid, old->st_gid)) return -1;
    return fchmod(fd, old->st_mode & S_IRWXU);
}

int token_file_replace(struct token_file *file, const char *text, char *error, size_t size)
{
    char *name = NULL;

    if (asprintf(&name, "%s.XXXXXX", file->path) < 0) need(NULL);
    int fd = mkstemp(name); /* mode 600 */
    if (fd < 0) {
        (void)fail(error, size, name, strerror(errno));
        free(name);
        return -1;
    }
    int rc = file->exists ? keep_owner(fd, &file->old) : 0;

    if (!rc) rc = write_all(fd, text, strlen(text));
    if (!rc) rc = fsync(fd);
    if (close(fd)) rc = -1;
    if (!rc) rc = rename(name, file->path);
    if (rc) {
        (void)fail(error, size, file->path, strerror(errno));
        (void)unlink(name);
    } else if (fsync(file->folder)) {
        rc = fail(error, size, file->path, strerror(errno));
    }
    free(name);
    return rc;
}

char *token_line_find(const char *text, const char *id, size_t *len)
{
    size_t n = strlen(id);

    while (*text) {
        const char *word = text + strspn(text, " \t");
        *len = strcspn(text, "\n");
        if (!strncmp(word, id, n) && strchr(" \t\n", word[n]))
            return (char *)(uintptr_t)text; /* as changeable as the caller's */
        text += *len + (text[*len] == '\n');
    }
    return NULL;
}
