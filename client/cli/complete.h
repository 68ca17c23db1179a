/* Completion of command lines for shells. */
#ifndef GREEDYLR_CLI_COMPLETE_H
#define GREEDYLR_CLI_COMPLETE_H

/* The command that the scripts of shells call; not for people. */
#define COMPLETE_COMMAND "__complete"

/* Prints what the last of n words may become, one a line, a tab and a description behind it; ":files" alone
 * means names of files.  words: what stands behind the program's name; a shell may have cut them at "=". Says
 * nothing about errors, and waits 300 ms for a daemon.  Returns EXIT_OK. */
int complete(int n, char **words);

#endif
