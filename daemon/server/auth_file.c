/* The token file: a line a token, fields in any order behind the id.
 *
 * Failure modes: who else may read the file, and everything that is not exactly what it should be, by line
 * and field.  A value that could be a secret put into the wrong place is never repeated in an error. */
#include "server/auth.h"

#include "server/file_text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- fields ---- */

struct place {
    const char *file;
    unsigned line;
};

static int bad(const struct place *at, const char *field, const char *what, struct error *err)
{
    return error_set(err, ST_CONFIG_INVALID, "%s line %u: %s: %s", at->file, at->line, field, what);
}

static int take_role(struct auth_token *token, const char *value, const struct place *at, struct error *err)
{
    for (int i = 0; rpc_role_words[i]; i++) {
        if (strcmp(rpc_role_words[i], value) != 0) continue;
        token->role = (enum rpc_role)i;
        return 0;
    }
    return bad(at, "role", "has to be observe, report or admin", err);
}

static int take_prefix(struct auth_token *token, const char *value, const struct place *at, struct error *err)
{
    /* The empty one is every job. */
    if (*value && !job_id_valid(value))
        return bad(at, "prefix",
                   "has to be what ids of jobs begin with: at most 128 of A-Z a-z 0-9 . _ -, not starting "
                   "with a dot or a dash; empty for every job",
                   err);
    strcpy(token->prefix, value);
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static int take_hash(struct auth_token *token, const char *value, const struct place *at, struct error *err)
{
    size_t i = 0;

    while (i < AUTH_HASH_SIZE && hex_digit(value[2 * i]) >= 0 && hex_digit(value[2 * i + 1]) >= 0) {
        token->hash[i] = (uint8_t)(hex_digit(value[2 * i]) << 4 | hex_digit(value[2 * i + 1]));
        i++;
    }
    if (i == AUTH_HASH_SIZE && !value[2 * i]) return 0;
    return bad(
        at, "sha256",
        "has to be the 64 hexadecimal digits of the token's SHA-256; greedylr token create writes them", err);
}

static int take_count(uint32_t *out, const char *name, const char *value, const struct place *at,
                      struct error *err)
{
    char *end;

    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno || n > UINT32_MAX)
        return bad(at, name, "has to be a whole number from 0 (any number) to 4294967295", err);
    *out = (uint32_t)n;
    return 0;
}

enum field { ROLE, PREFIX, HASH, JOBS, REQUESTS, ROUNDS, WATCHERS, CREATED, NOTE, FIELDS };
static const char *const fields[FIELDS] = {"role",   "prefix",   "sha256",  "jobs", "requests",
                                           "rounds", "watchers", "created", "note"};
#define REQUIRED 3 /* the first ones */

static int take(struct auth_token *token, enum field field, const char *value, const struct place *at,
                struct error *err)
{
    uint32_t *const counts[FIELDS] = {[JOBS] = &token->limits.jobs,
                                      [REQUESTS] = &token->limits.requests,
                                      [ROUNDS] = &token->limits.rounds,
                                      [WATCHERS] = &token->limits.watchers};

    switch (field) {
    case ROLE: return take_role(token, value, at, err);
    case PREFIX: return take_prefix(token, value, at, err);
    case HASH: return take_hash(token, value, at, err);
    case CREATED:
    case NOTE: return 0; /* for people */
    default: return take_count(counts[field], fields[field], value, at, err);
    }
}

/* The name in front of the `=` of a word; FIELDS: there is none such. */
static enum field find_field(const char *word, size_t len)
{
    int i = 0;

    while (i < FIELDS && !(strlen(fields[i]) == len && !memcmp(fields[i], word, len)))
        i++;
    return (enum field)i;
}

/* ---- lines ---- */

/* Ends the next word of *rest and goes behind it; NULL: there is none. */
static char *next_word(char **rest)
{
    char *word = *rest + strspn(*rest, " \t"), *end = word + strcspn(word, " \t");

    if (!*word) return NULL;
    *rest = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

static int take_fields(struct auth_token *token, char *rest, const struct place *at, struct error *err)
{
    bool seen[FIELDS] = {false};
    char *word;

    for (rest += strspn(rest, " \t"); *rest; rest += strspn(rest, " \t")) {
        size_t len = strcspn(rest, "= \t");
        enum field field = rest[len] == '=' ? find_field(rest, len) : FIELDS;

        if (field == FIELDS)
            return bad(
                at, "a word",
                "is no field; known are role=, prefix=, sha256=, jobs=, requests=, rounds=, watchers=, "
                "created= and, last, note=",
                err);
        if (seen[field]) return bad(at, fields[field], "is given twice", err);
        seen[field] = true;
        if (field == NOTE) break; /* the rest of the line */
        word = next_word(&rest);
        if (take(token, field, word + len + 1, at, err)) return (int)err->status;
    }
    for (int i = 0; i < REQUIRED; i++) {
        if (!seen[i])
            return bad(at, fields[i], i == PREFIX ? "is missing; prefix= alone is every job" : "is missing",
                       err);
    }
    return 0;
}

static int take_id(struct auth_token *token, char **rest, const struct place *at, struct error *err)
{
    const char *word = next_word(rest);
    size_t len = strlen(word);

    if (len > AUTH_ID_MAX || strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
        return bad(
            at, "the id",
            "has to be 1 to 32 of a-z 0-9 -, and comes first; the secret does not belong into this file",
            err);
    memcpy(token->id, word, len + 1);
    return 0;
}

static int take_line(char *line, const struct place *at, const struct auth_limits *defaults,
                     struct auth_tokens *tokens, struct error *err)
{
    struct auth_token *token;

    if (tokens->n == tokens->cap) {
        size_t cap = tokens->cap ? tokens->cap * 2 : 8;
        struct auth_token **more = realloc(tokens->at, cap * sizeof(struct auth_token *));
        if (!more) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        tokens->at = more;
        tokens->cap = cap;
    }
    token = calloc(1, sizeof(*token));
    if (!token) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    token->limits = *defaults;
    token->line = at->line;
    token->refs = 1;
    tokens->at[tokens->n++] = token;
    return take_id(token, &line, at, err) ? (int)err->status : take_fields(token, line, at, err);
}

static int by_id(const void *a, const void *b)
{
    const struct auth_token *left = *(struct auth_token *const *)a, *right = *(struct auth_token *const *)b;
    int order = strcmp(left->id, right->id);

    return order ? order : left->line < right->line ? -1 : 1;
}

static int sort(const char *name, struct auth_tokens *tokens, struct error *err)
{
    if (tokens->n) qsort(tokens->at, tokens->n, sizeof(tokens->at[0]), by_id);
    for (size_t i = 1; i < tokens->n; i++) {
        const struct auth_token *a = tokens->at[i - 1], *b = tokens->at[i];
        if (!strcmp(a->id, b->id))
            return error_set(err, ST_CONFIG_INVALID,
                             "%s line %u: the id %s is that of line %u; give it another", name, b->line,
                             b->id, a->line);
    }
    return 0;
}

int auth_parse(const char *name, char *text, size_t len, const struct auth_limits *defaults,
               struct auth_tokens *tokens, struct error *err)
{
    struct place at = {.file = name};
    char *line = text, *end = text + len;

    while (line < end) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((newline ? newline : end) - line);

        at.line++;
        if (!newline) return bad(&at, "the end", "lacks a newline; was the file cut off?", err);
        if (n > AUTH_LINE_MAX) return bad(&at, "the line", "is longer than 1024 bytes", err);
        for (size_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char)line[i];
            if ((c < ' ' && c != '\t') || c == 0x7f)
                return bad(&at, "the line", "has a control character; lines end in LF alone", err);
        }
        *newline = '\0';
        const char *first = line + strspn(line, " \t");
        if (*first && *first != '#' && take_line(line, &at, defaults, tokens, err)) return (int)err->status;
        line = newline + 1;
    }
    return sort(name, tokens, err);
}

/* ---- files ---- */

static int check_file(const char *path, const struct stat *info, struct error *err)
{
    if (!S_ISREG(info->st_mode))
        return error_set(err, ST_CONFIG_INVALID, "--token-file %s: is not a regular file", path);
    if ((info->st_mode & 077) && !file_is_credential(path))
        return error_set(err, ST_CONFIG_INVALID,
                         "--token-file %s: others may read or change it (mode %03o); chmod 600 it, and make "
                         "it the daemon's own",
                         path, (unsigned)(info->st_mode & 0777));
    if (info->st_size > AUTH_FILE_MAX)
        return error_set(err, ST_CONFIG_INVALID, "--token-file %s: is larger than %u bytes", path,
                         AUTH_FILE_MAX);
    return 0;
}

int auth_read(const char *path, const struct auth_limits *defaults, struct auth_tokens *tokens,
              struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    char *text = NULL;
    size_t len = 0;

    if (fd < 0)
        return error_set(err, ST_CONFIG_INVALID,
                         "--token-file %s: %s; greedylr token create --file makes one", path,
                         strerror(errno));
    int rc = fstat(fd, &info)
                 ? error_set(err, ST_CONFIG_INVALID, "--token-file %s: %s", path, strerror(errno))
                 : check_file(path, &info, err);
    int no = rc ? 0 : file_text(fd, AUTH_FILE_MAX, &text, &len);

    if (no) rc = error_set(err, ST_CONFIG_INVALID, "--token-file %s: %s", path, strerror(no));
    if (!rc) rc = auth_parse(path, text, len, defaults, tokens, err);
    free(text);
    close(fd);
    return rc;
}
