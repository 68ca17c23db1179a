/* Weights files: bytes from the disk, the rest is the core's (learned_file.c).
 *
 * Happy path: a few kilobytes are read and every line is as expected.  Failures: ST_CONFIG_INVALID. */
#include "server/weights.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX 65536 /* bytes; a file has about 2,000 */

int weights_load(const char *path, struct learned_model *model, struct learned_origin *origin,
                 struct error *err)
{
    char text[FILE_MAX];
    FILE *file = fopen(path, "rb");

    if (!file)
        return error_set(err, ST_CONFIG_INVALID, "%s: %s; give the file that greedylr-train wrote", path,
                         strerror(errno));
    size_t n = fread(text, 1, sizeof(text), file);
    int failed = ferror(file);

    fclose(file);
    if (failed) return error_set(err, ST_CONFIG_INVALID, "%s: cannot be read: %s", path, strerror(errno));
    if (n == sizeof(text))
        return error_set(err, ST_CONFIG_INVALID,
                         "%s: is larger than any weights file; give the file that "
                         "greedylr-train wrote",
                         path);
    if (learned_read(path, text, n, model, origin, err)) return err->status = ST_CONFIG_INVALID;
    return ST_OK;
}
