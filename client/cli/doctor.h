/* What greedylr doctor looks at: each check says one line, and what to do where something is wrong. */
#ifndef GREEDYLR_CLI_DOCTOR_H
#define GREEDYLR_CLI_DOCTOR_H

#include "cli/arguments.h"

#include "lib/transport.h"

#include <stdbool.h>

enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL, VERDICT_SKIP, VERDICTS };

struct doctor {
    const struct invocation *in;
    struct transport *t; /* NULL until the address is known to be one */
    struct transport_place place;
    char token_error[600]; /* why there is no usable token; "" */
    json_t *checks;        /* for JSON */
    unsigned n[VERDICTS];
    bool secret; /* a token is sent */
    bool admits; /* a token is asked for and this one is good, or none is asked for */
};

/* Says how a check went.  remedy: what to do, in one sentence; NULL where nothing is wrong. */
void doctor_say(struct doctor *d, const char *check, enum verdict verdict, const char *remedy,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* ---- checks: false where those behind them make no sense any more ---- */

bool doctor_proxy(struct doctor *d);   /* variables that send requests elsewhere */
bool doctor_name(struct doctor *d);    /* the host's name has addresses */
bool doctor_connect(struct doctor *d); /* something listens there */
bool doctor_daemon(struct doctor *d);  /* it is greedylrd, its certificate, its clock */
bool doctor_version(struct doctor *d); /* of tool, daemon and library */
bool doctor_ready(struct doctor *d);   /* it takes reports, its store is writable */
bool doctor_token(struct doctor *d);   /* it lets this user in, and how far */
bool doctor_disk(struct doctor *d);    /* there is room for its store */

#endif
