/* Who asks and whom it trusts: the token that requests carry, and the certificates that vouch for the daemon.
 *
 * Never on a command line, where everybody on the machine could read a token. */
#ifndef GREEDYLR_LIB_CREDENTIALS_H
#define GREEDYLR_LIB_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

/* As a program gives them; NULL where it does not. */
struct credentials_given {
    /* The token itself; or the file whose first line it is.  Neither: GREEDYLR_TOKEN, or the file that
     * GREEDYLR_TOKEN_FILE names, or none. */
    const char *token, *token_file;
    /* PEM certificates of the authorities that count, in place of the system's.  NULL: the file that
     * GREEDYLR_CA_FILE names, or the system's. */
    const char *ca_file;
};

struct credentials {
    char *authorization; /* a whole header, or NULL */
    char *token_file;    /* where the token is from, or NULL */
    char *ca_file;       /* or NULL */
};

/* Reads what is given.  0, or -1 with what is wrong and what to do in error (size bytes).  credentials_clear
 * in any case. */
int credentials_take(struct credentials *c, const struct credentials_given *given, char *error, size_t size)
    __attribute__((warn_unused_result));
void credentials_clear(struct credentials *c);

/* The daemon does not take the token: whether its file has another one by now, which is then in use. */
bool credentials_again(struct credentials *c);

/* Whether GREEDYLR_INSECURE accepts by name that a token crosses the network for everybody to read. */
bool credentials_may_be_read(void);

#endif
