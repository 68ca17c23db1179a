/* greedylr: the command line of greedylrd.  Exit codes: see command.h. */
#include "cli/arguments.h"
#include "cli/complete.h"
#include "cli/run.h"
#include "lib/transport.h"

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct invocation in;
    int rc;

    signal(SIGPIPE, SIG_IGN); /* finish_output notices */
    if (argc > 1 && !strcmp(argv[1], COMPLETE_COMMAND)) return complete(argc - 2, argv + 2);
    rc = invocation_parse(&in, argc, argv);
    if (!rc && in.options[OPTION_VERSION]) {
        printf("greedylr " GREEDYLRD_VERSION "\n%s, jansson %s, protobuf-c %s\n", transport_library(),
               jansson_version_str(), protobuf_c_version());
    } else if (!rc && in.options[OPTION_HELP]) {
        rc = run_help(&in);
    } else if (!rc && !in.command) {
        rc = usage_error(&in, "a command is missing, for example: greedylr list");
    } else if (!rc) {
        rc = in.command->run(&in);
    }
    invocation_free(&in);
    return rc;
}
