/* Weights files: bytes from the disk, the rest is the core's (learned_file.c).
 *
 * Happy path: a few kilobytes are read and every line is as expected.  Failures: ST_CONFIG_INVALID. */
#include "server/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/file_text.h"

#define FILE_MAX 65535 /* bytes; a file has about 2,000 */

int weights_load(const char *path, struct learned_model *model, struct learned_origin *origin,
                 struct error *err)
{
    struct stat info;
    char *text = NULL;
    size_t len = 0;
    int rc = ST_OK;
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe nobody writes to must not hold the start */
    int no = fd < 0 || fstat(fd, &info) ? errno : 0;

    if (!no && !S_ISREG(info.st_mode))
        rc = error_set(err, ST_CONFIG_INVALID,
                       "%s: is not a regular file; give the file that greedylr-train wrote", path);
    else if (!no)
        no = file_text(fd, FILE_MAX, &text, &len);
    if (no == EFBIG)
        rc = error_set(err, ST_CONFIG_INVALID,
                       "%s: is larger than any weights file; give the file that greedylr-train wrote", path);
    else if (no)
        rc = error_set(err, ST_CONFIG_INVALID, "%s: %s; give the file that greedylr-train wrote", path,
                       strerror(no));
    if (!rc && learned_read(path, text, len, model, origin, err)) rc = err->status = ST_CONFIG_INVALID;
    free(text);
    if (fd >= 0) close(fd);
    return rc;
}
