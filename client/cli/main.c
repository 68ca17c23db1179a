/* greedylr: the command line of greedylrd.  Exit codes: see command.h. */
#include "cli/arguments.h"
#include "cli/complete.h"
#include "cli/run.h"

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
        puts("greedylr " GREEDYLRD_VERSION);
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
