/* Options: one table behind flags, environment, --help and the documentation.  Flags win over the
 * environment, which wins over the defaults. */
#ifndef GREEDYLRD_SERVER_OPTIONS_H
#define GREEDYLRD_SERVER_OPTIONS_H

#include "core/status.h"
#include "server/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define INSECURE_NO_TOKENS 1u
#define INSECURE_NO_TLS    2u

struct options {
    char *listen;
    char *data_dir;           /* never NULL after options_parse, unless there is something else to do */
    char *tls_cert, *tls_key; /* both, or both NULL: no TLS */
    char **allow_hosts;
    size_t n_allow_hosts;
    unsigned insecure;                                                 /* INSECURE_... */
    char *learned_weights;                                             /* NULL: the model that is built in */
    char *token_file;                                                  /* NULL: no tokens */
    uint32_t token_jobs, token_requests, token_rounds, token_watchers; /* where a token has none; 0: any */
    bool no_auto_create;
    enum log_level log_level;
    enum log_format log_format;
    enum log_decisions log_decisions;
    int64_t slow_request_ms;                              /* 0: none is slow */
    uint64_t max_body, max_batch_body, connection_memory; /* bytes */
    uint32_t max_batch_entries, max_simulations, max_simulated_rates;
    uint64_t max_round_memory; /* bytes */
    uint32_t max_unfolded;
    uint64_t max_unfolded_memory;                          /* bytes */
    uint64_t max_answer_memory;                            /* bytes */
    uint32_t max_connections, max_connections_per_address; /* per address 0: any number */
    int64_t header_timeout_ms, request_timeout_ms, answer_timeout_ms, keepalive_timeout_ms;
    uint32_t max_watchers, max_watchers_per_job; /* 0: any number */
    uint32_t max_ranks, max_json_depth;
    int64_t max_wait_ms;
    uint64_t max_memory; /* bytes; 0: any number */
    int64_t watch_keepalive_ms;
    uint32_t max_jobs; /* 0: any number */
    uint32_t resident_jobs;
    uint32_t job_metrics;   /* jobs with series of their own */
    uint32_t history_limit; /* decisions kept for each job; 0: all */
    bool check_config, version, help;
    char *check;     /* a data directory to look at; NULL: none */
    char *backup[2]; /* a data directory, and the file to copy its database to; NULL: none */
};

/* Fills *options from the defaults, the environment (GREEDYLRD_<FLAG>) and argv; options_free it in any case.
 * ST_CONFIG_INVALID names the flag or variable, the value and what is allowed.  With --help or --version
 * nothing else is checked.  --tls-cert and --tls-key default to tls.crt and tls.key in
 * $CREDENTIALS_DIRECTORY, if both are there, --token-file to tokens there.  --data-dir defaults to
 * $STATE_DIRECTORY, else to /var/lib/greedylrd if that exists. */
int options_parse(struct options *options, int argc, char **argv, struct error *err) WARN_UNUSED;
void options_free(struct options *options);

/* A variable of the environment that begins like those of options and is none. */
struct option_stray {
    const char *name; /* not terminated by '\0' */
    int len;
    char meant[64]; /* the variable that is nearest; "": none is near */
};
/* The next one from *at on, which is 0 at first; false: there are no more. */
bool options_stray(size_t *at, struct option_stray *out) WARN_UNUSED;

void options_help(FILE *out);
/* "flag = value" lines of what is in force, for --check-config. */
void options_print(const struct options *options, FILE *out);

/* Whether the address can be reached from other machines: not loopback, not a Unix socket. */
bool options_listen_is_public(const char *listen);

/* The table's rows, for documentation and its tests; NULL flag ends. */
struct option_doc {
    const char *flag, *argument, *preset, *help; /* argument and preset NULL: none */
};
struct option_doc options_doc(size_t i);

#endif
