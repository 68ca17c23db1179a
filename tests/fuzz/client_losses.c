/* Files of values, as `greedylr simulate` and others read them: a line with the name of a column (empty:
 * none), then the file.  What comes of it are numbers, at least one; a refusal names the file. */
#include "cli/losses.h"
#include "cli/text.h"
#include "fuzz.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    char *column = take_line(&in), path[64], error[600] = "";
    int fd = memfd_create("losses", 0);
    json_t *value;
    size_t i;

    MUST(fd >= 0 && write(fd, in.at, in.left) == (ssize_t)in.left, "no file");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    json_t *values = losses_read(path, *column ? column : NULL, error, sizeof(error));

    if (!values) {
        MUST(!strncmp(error, path, strlen(path)) && error[strlen(path)], "\"%s\" names no file", error);
    } else {
        MUST(json_array_size(values) > 0, "no values, and no error");
        json_array_foreach(values, i, value)
        {
            const char *text = json_string_value(value);

            MUST(json_is_number(value) || text, "no number");
            MUST(!text || !strcmp(text, "NaN") || !strcmp(text, "Infinity") || !strcmp(text, "-Infinity"),
                 "%s", text);
            MUST(!json_is_real(value) || isfinite(json_real_value(value)), "not finite");
        }
        json_decref(values);
    }
    close(fd);
    free(column);
    return 0;
}
