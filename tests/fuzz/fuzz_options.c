/* Flags of the daemon: one argument a line; lines that begin with "GREEDYLRD_" are its environment.  What is
 * accepted can be printed and freed; a refusal names a flag, the variable or the argument. */
#include "message.h"
#include "server/options.h"

#define ARGUMENTS 12

static struct options options;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    char name[] = "greedylrd", *argv[ARGUMENTS + 2] = {name}, *environment[ARGUMENTS];
    int argc = 1, n = 0;
    struct error err = {0};

    while (in.left && argc <= ARGUMENTS && n < ARGUMENTS) {
        char *line = take_line(&in);

        if (!strncmp(line, "GREEDYLRD_", 10) && strchr(line, '=')) {
            environment[n++] = line;
            putenv(line);
        } else {
            argv[argc++] = line;
        }
    }
    int rc = options_parse(&options, argc, argv, &err);

    if (rc) {
        must_tell(&err, rc);
        MUST(rc == ST_CONFIG_INVALID, "%s", err.message);
    } else if (!options.help && !options.version && !options.check && !options.backup[0]) {
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        MUST(out, "out of memory");
        options_print(&options, out);
        fclose(out);
        MUST(len && options.data_dir && *options.listen, "%s", text);
        (void)options_listen_is_public(options.listen);
        free(text);
    }
    options_free(&options);
    for (int i = 0; i < n; i++) {
        *strchr(environment[i], '=') = '\0';
        unsetenv(environment[i]);
        free(environment[i]);
    }
    while (argc > 1)
        free(argv[--argc]);
    return 0;
}
