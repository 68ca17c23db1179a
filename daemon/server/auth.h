/* Tokens: who may do what, to which jobs, and how much of it.
 *
 * A token is ID.SECRET; the file has a line for each, with the SHA-256 of that text and never the text
 * itself:
 *
 *     ID role=ROLE prefix=PREFIX sha256=HEX [jobs=N] [requests=N] [rounds=N] [watchers=N] [created=T]
 * [note=...]
 *
 * `#` begins a comment line, note takes the rest of its line, an empty prefix is every job.  Loop thread
 * only. */
#ifndef GREEDYLRD_SERVER_AUTH_H
#define GREEDYLRD_SERVER_AUTH_H

#include "core/spec.h"
#include "core/status.h"
#include "rpc/route.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUTH_ID_MAX     32
#define AUTH_SECRET_LEN 43 /* 256 bits as base64url without padding */
#define AUTH_HASH_SIZE  32
#define AUTH_LINE_MAX   1024
#define AUTH_FILE_MAX   (4u << 20)

/* 0: any number. */
struct auth_limits {
    uint32_t jobs;     /* with the token's prefix, whoever created them */
    uint32_t requests; /* a second; twice as many at once */
    uint32_t rounds;   /* open ones that the token began */
    uint32_t watchers;
};

struct auth_token {
    char id[AUTH_ID_MAX + 1];
    char prefix[JOB_ID_MAX + 1];
    enum rpc_role role;
    struct auth_limits limits;
    uint8_t hash[AUTH_HASH_SIZE];
    unsigned line;
    bool revoked;
    uint32_t refs;
    /* In use. */
    bool counted;    /* jobs is known */
    uint32_t jobs;   /* with the prefix, queued creations included; if counted */
    uint32_t rounds; /* open ones that it began */
    uint32_t watchers;
    double credit;      /* requests that are free now */
    uint64_t credit_ms; /* when that was; 0: never */
};

struct auth;

/* Reads the file.  ST_CONFIG_INVALID names the file, the line, the field and the remedy; a file that others
 * may read is refused unless it lies in $CREDENTIALS_DIRECTORY.  defaults: where a line has no quota. */
int auth_open(const char *path, const struct auth_limits *defaults, struct auth **out,
              struct error *err) WARN_UNUSED;
/* Reads it again.  Tokens that are gone, or have another secret, role or prefix, are revoked from now on; the
 * others keep what they use.  At an error, as auth_open's, everything stays as it was. */
int auth_reload(struct auth *auth, size_t *revoked, struct error *err) WARN_UNUSED;
void auth_free(struct auth *auth);
size_t auth_count(const struct auth *auth);

/* The token that an Authorization header names; header NULL: absent.  ST_TOKEN_REQUIRED, ST_TOKEN_INVALID:
 * without a hint whether the id exists, and in the same time.  Borrowed until the next reload: auth_ref. */
int auth_find(const struct auth *auth, const char *header, struct auth_token **out,
              struct error *err) WARN_UNUSED;
/* 0 or ST_ROLE_INSUFFICIENT; what: the method's name. */
int auth_check_role(const struct auth_token *token, enum rpc_role role, const char *what,
                    struct error *err) WARN_UNUSED;
/* Whether a job is there at all for the token; NULL: tokens are off, every job is. */
bool auth_sees(const struct auth_token *token, const char *job);

void auth_ref(struct auth_token *token);
void auth_unref(struct auth_token *token); /* NULL: nothing */

/* Every token in force. */
void auth_each(struct auth *auth, void (*each)(void *arg, struct auth_token *token), void *arg);

/* ---- quotas: 0 or ST_QUOTA_EXCEEDED; NULL has none ---- */

/* Takes one of the requests of this time (monotonic). */
int auth_take_request(struct auth_token *token, uint64_t now_ms, struct error *err) WARN_UNUSED;
/* Whether there may be one more; who makes it counts it. */
int auth_check_jobs(const struct auth_token *token, struct error *err) WARN_UNUSED;
int auth_check_rounds(const struct auth_token *token, struct error *err) WARN_UNUSED;
int auth_check_watchers(const struct auth_token *token, struct error *err) WARN_UNUSED;
/* A job came (1) or went (-1). */
void auth_note_job(struct auth *auth, const char *job, int change);

/* ---- the file ---- */

struct auth_tokens {
    struct auth_token **at; /* by id */
    size_t n, cap;
};
void auth_tokens_clear(struct auth_tokens *tokens);
struct auth_token *auth_tokens_find(const struct auth_tokens *tokens, const char *id, size_t len);

/* Adds the tokens of a text to *tokens, empty before; name is the file's, for errors.  The caller clears it
 * after an error, too.  The text is changed. */
int auth_parse(const char *name, char *text, size_t len, const struct auth_limits *defaults,
               struct auth_tokens *tokens, struct error *err) WARN_UNUSED;
/* Opens, checks who may read it, and parses. */
int auth_read(const char *path, const struct auth_limits *defaults, struct auth_tokens *tokens,
              struct error *err) WARN_UNUSED;

#endif
