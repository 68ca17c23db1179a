/* The file of tokens.  Tokens that are read have ids, roles, prefixes and quotas as the header says, each id
 * once; written as lines they read back the same.  A refusal names the file. */
#include "message.h"
#include "server/auth.h"

static const struct auth_limits defaults = {.jobs = 7, .requests = 0};

static int parse(const char *text, size_t len, struct auth_tokens *out, struct error *err)
{
    char *copy = malloc(len + 1); /* of its own, so that reading past it is seen */

    MUST(copy, "out of memory");
    memcpy(copy, text, len);
    copy[len] = '\0';
    *out = (struct auth_tokens){0};
    int rc = auth_parse("tokens", copy, len, &defaults, out, err);
    free(copy);
    return rc;
}

static void must_be_token(const struct auth_tokens *tokens, const struct auth_token *t)
{
    size_t len = strlen(t->id);

    MUST(len >= 1 && len <= AUTH_ID_MAX && strspn(t->id, "abcdefghijklmnopqrstuvwxyz0123456789-") == len,
         "id %s", t->id);
    MUST(auth_tokens_find(tokens, t->id, len) == t, "%s is not found", t->id);
    MUST(!t->prefix[0] || job_id_valid(t->prefix), "prefix %s", t->prefix);
    MUST(!t->revoked && t->line > 0, "line %u", t->line);
}

static void print(const struct auth_token *t, struct buf *out)
{
    static const char *const roles[] = {
        [ROLE_OBSERVE] = "observe", [ROLE_REPORT] = "report", [ROLE_ADMIN] = "admin"};
    const struct auth_limits *l = &t->limits;

    buf_printf(out, "%s role=%s prefix=%s sha256=", t->id, roles[t->role], t->prefix);
    for (size_t i = 0; i < AUTH_HASH_SIZE; i++)
        buf_printf(out, "%02x", t->hash[i]);
    buf_printf(out, " jobs=%u requests=%u rounds=%u watchers=%u\n", l->jobs, l->requests, l->rounds,
               l->watchers);
}

static void must_come_back(const struct auth_tokens *tokens)
{
    struct auth_tokens again;
    struct buf text = {0};
    struct error err = {0};

    for (size_t i = 0; i < tokens->n; i++)
        print(tokens->at[i], &text);
    MUST(!parse(text.data ? text.data : "", text.len, &again, &err), "%s: %s", err.message, text.data);
    MUST(again.n == tokens->n, "%zu tokens became %zu", tokens->n, again.n);
    for (size_t i = 0; i < again.n; i++) {
        const struct auth_token *a = tokens->at[i], *b = again.at[i];

        MUST(!strcmp(a->id, b->id) && !strcmp(a->prefix, b->prefix) && a->role == b->role, "%s changed",
             a->id);
        MUST(!memcmp(a->hash, b->hash, AUTH_HASH_SIZE) && !memcmp(&a->limits, &b->limits, sizeof(a->limits)),
             "%s changed", a->id);
    }
    auth_tokens_clear(&again);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct auth_tokens tokens;
    struct error err = {0};
    size_t len;
    char *text = take_rest(&in, &len);
    int rc = parse(text, len, &tokens, &err);

    if (rc) {
        must_tell(&err, rc);
        MUST(rc == ST_CONFIG_INVALID && strstr(err.message, "tokens"), "%s", err.message);
    } else {
        for (size_t i = 0; i < tokens.n; i++)
            must_be_token(&tokens, tokens.at[i]);
        must_come_back(&tokens);
    }
    auth_tokens_clear(&tokens);
    free(text);
    return 0;
}
