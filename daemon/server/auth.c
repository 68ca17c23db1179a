/* The tokens in force.
 *
 * Happy path: the header's token is split, hashed, and the hash compared with that of the id.  Whatever is
 * wrong, an id that is not there or a secret that is not its own, takes the same way: one hash, one
 * comparison, one text.  Failure modes: a file that cannot be read or understood leaves the old tokens. */
#include "server/auth.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct auth {
    char *path;
    struct auth_limits defaults;
    struct auth_tokens tokens;
    struct auth_token nobody; /* compared with where an id does not exist */
};

void auth_ref(struct auth_token *token)
{
    token->refs++;
}

void auth_unref(struct auth_token *token)
{
    if (token && !--token->refs) free(token);
}

void auth_tokens_clear(struct auth_tokens *tokens)
{
    for (size_t i = 0; i < tokens->n; i++)
        auth_unref(tokens->at[i]);
    free(tokens->at);
    *tokens = (struct auth_tokens){0};
}

struct auth_token *auth_tokens_find(const struct auth_tokens *tokens, const char *id, size_t len)
{
    size_t low = 0, high = tokens->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct auth_token *token = tokens->at[middle];
        int order = strncmp(id, token->id, len);

        if (!order && !token->id[len]) return token;
        if (order > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

int auth_open(const char *path, const struct auth_limits *defaults, struct auth **out, struct error *err)
{
    struct auth *auth = calloc(1, sizeof(*auth));

    if (!auth || !(auth->path = strdup(path))) {
        free(auth);
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    auth->defaults = *defaults;
    if (gnutls_rnd(GNUTLS_RND_KEY, auth->nobody.hash, sizeof(auth->nobody.hash)))
        (void)error_set(err, ST_INTERNAL, "no random numbers from GnuTLS");
    else if (!auth_read(path, defaults, &auth->tokens, err)) {
        *out = auth;
        return 0;
    }
    auth_free(auth);
    return (int)err->status;
}

void auth_free(struct auth *auth)
{
    if (!auth) return;
    auth_tokens_clear(&auth->tokens);
    free(auth->path);
    free(auth);
}

size_t auth_count(const struct auth *auth)
{
    return auth->tokens.n;
}

static bool is_same(const struct auth_token *a, const struct auth_token *b)
{
    return a->role == b->role && !strcmp(a->prefix, b->prefix) &&
           !gnutls_memcmp(a->hash, b->hash, AUTH_HASH_SIZE);
}

int auth_reload(struct auth *auth, size_t *revoked, struct error *err)
{
    struct auth_tokens fresh = {0};

    *revoked = 0;
    if (auth_read(auth->path, &auth->defaults, &fresh, err)) {
        auth_tokens_clear(&fresh);
        return (int)err->status;
    }
    for (size_t i = 0; i < fresh.n; i++) { /* one that stays keeps what it uses */
        struct auth_token *now = fresh.at[i],
                          *old = auth_tokens_find(&auth->tokens, now->id, strlen(now->id));

        if (!old || !is_same(old, now)) continue;
        old->limits = now->limits;
        old->line = now->line;
        auth_ref(old);
        auth_unref(now);
        fresh.at[i] = old;
    }
    for (size_t i = 0; i < auth->tokens.n; i++) {
        struct auth_token *old = auth->tokens.at[i];

        if (auth_tokens_find(&fresh, old->id, strlen(old->id)) == old) continue;
        old->revoked = true;
        ++*revoked;
    }
    auth_tokens_clear(&auth->tokens);
    auth->tokens = fresh;
    return 0;
}

void auth_each(struct auth *auth, void (*each)(void *arg, struct auth_token *token), void *arg)
{
    for (size_t i = 0; i < auth->tokens.n; i++)
        each(arg, auth->tokens.at[i]);
}

void auth_note_job(struct auth *auth, const char *job, int change)
{
    for (size_t i = 0; auth && i < auth->tokens.n; i++) {
        struct auth_token *token = auth->tokens.at[i];
        if (token->counted && auth_sees(token, job)) token->jobs += (uint32_t)change;
    }
}

/* ---- a request's token ---- */

static bool is_id(const char *text, size_t len)
{
    return len > 0 && len <= AUTH_ID_MAX && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") >= len;
}

static bool is_secret(const char *text, size_t len)
{
    return len == AUTH_SECRET_LEN && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                                  "0123456789-_") >= len;
}

/* "Bearer ID.SECRET"; false if it is not that. */
static bool split(const char *header, const char **text, size_t *len, size_t *id_len)
{
    size_t n, dot;

    if (strncasecmp(header, "Bearer ", 7) != 0) return false;
    header += 7;
    header += strspn(header, " ");
    n = strlen(header);
    while (n && (header[n - 1] == ' ' || header[n - 1] == '\t'))
        n--;
    dot = strcspn(header, ".");
    if (dot >= n || !is_id(header, dot) || !is_secret(header + dot + 1, n - dot - 1)) return false;
    *text = header;
    *len = n;
    *id_len = dot;
    return true;
}

int auth_find(const struct auth *auth, const char *header, struct auth_token **out, struct error *err)
{
    const struct auth_token *against;
    struct auth_token *token;
    uint8_t hash[AUTH_HASH_SIZE];
    const char *text;
    size_t len, id_len;

    if (!header || !*header)
        return error_set(
            err, ST_TOKEN_REQUIRED,
            "Authorization: is required, Bearer and a token; ask whoever runs this daemon for one");
    if (!split(header, &text, &len, &id_len))
        return error_set(err, ST_TOKEN_INVALID,
                         "Authorization: must be Bearer, a space and a token, which is its id, a dot and %d "
                         "characters",
                         AUTH_SECRET_LEN);
    token = auth_tokens_find(&auth->tokens, text, id_len);
    against = token ? token : &auth->nobody;
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, len, hash))
        return error_set(err, ST_INTERNAL, "GnuTLS has no SHA-256");
    bool equal = !gnutls_memcmp(hash, against->hash, sizeof(hash));

    if (!token || !equal)
        return error_set(err, ST_TOKEN_INVALID,
                         "Authorization: the token is not one of this daemon's, or not any more; ask whoever "
                         "runs it for another");
    *out = token;
    return 0;
}

int auth_check_role(const struct auth_token *token, enum rpc_role role, const char *what, struct error *err)
{
    if (token->role >= role) return 0;
    return error_set(err, ST_ROLE_INSUFFICIENT,
                     "%s needs the role %s, and token %s has %s; use a token with that role", what,
                     rpc_role_words[role], token->id, rpc_role_words[token->role]);
}

bool auth_sees(const struct auth_token *token, const char *job)
{
    return !token || !strncmp(job, token->prefix, strlen(token->prefix));
}
