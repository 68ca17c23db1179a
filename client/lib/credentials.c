/* Files are read when a client is opened; the token's once more when the daemon refuses what it had. */
#include "lib/credentials.h"

#include "lib/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Bytes of the longest token, with its NUL. */
#define TOKEN_MAX   1024
#define CA_FILE_MAX (4 << 20)

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

bool credentials_may_be_read(void)
{
    const char *accepted = from_environment("GREEDYLR_INSECURE");

    return accepted && !strcmp(accepted, "no-tls");
}

/* ---- the token ---- */

/* Whether the line that fgets read goes on: it found no end of it, and none is next. */
static bool goes_on(const char *line, FILE *file)
{
    if (strchr(line, '\n')) return false;
    int next = getc(file);
    if (next == '\r') next = getc(file);
    return next != EOF && next != '\n';
}

/* The first line of a file that not everybody may read. */
static int read_token(const char *path, char token[TOKEN_MAX], char *error, size_t size)
{
    struct stat info;

    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &info)) {
        fail_with(error, size, "token file %s: %s", path, strerror(errno));
        if (file) fclose(file);
        return -1;
    }
    bool open_to_all = info.st_mode & S_IROTH;
    if (!fgets(token, TOKEN_MAX, file)) token[0] = '\0';
    bool cut = goes_on(token, file);
    fclose(file);
    token[strcspn(token, "\r\n")] = '\0';
    if (cut) return fail_with(error, size, "token file %s: its first line is longer than any token", path);
    if (open_to_all)
        return fail_with(error, size, "token file %s: everybody may read it; chmod o-r it", path);
    return token[0] ? 0
                    : fail_with(error, size, "token file %s: its first line has to be a token, and is empty",
                                path);
}

static int use_token(struct credentials *c, const char *token, char *error, size_t size)
{
    for (const char *at = token; *at; at++) /* it becomes a header, and must not begin another */
        if (*at <= ' ' || *at > '~')
            return fail_with(error, size,
                             "token: has a character that is not printable ASCII at position %zu; use it as "
                             "greedylr token create printed it",
                             (size_t)(at - token));
    free(c->authorization);
    if (asprintf(&c->authorization, "Authorization: Bearer %s", token) >= 0) return 0;
    c->authorization = NULL;
    return fail_with(error, size, "out of memory");
}

static int use_token_file(struct credentials *c, char *error, size_t size)
{
    char token[TOKEN_MAX];
    int failed = read_token(c->token_file, token, error, size) || use_token(c, token, error, size);

    explicit_bzero(token, sizeof token);
    return failed ? -1 : 0;
}

bool credentials_again(struct credentials *c)
{
    struct credentials fresh = {.token_file = c->token_file};
    char error[16];

    if (!c->token_file || use_token_file(&fresh, error, sizeof error)) {
        free(fresh.authorization);
        return false;
    }
    bool changed = !c->authorization || strcmp(c->authorization, fresh.authorization) != 0;
    free(c->authorization);
    c->authorization = fresh.authorization;
    return changed;
}

/* ---- the authorities ---- */

/* Something to trust has to be in it: without, every certificate would be refused for a reason nobody sees.
 */
static int check_ca_file(const char *path, char *error, size_t size)
{
    FILE *file = fopen(path, "re");
    char line[256];
    bool found = false;

    if (!file) return fail_with(error, size, "CA file %s: %s", path, strerror(errno));
    for (long read = 0; !found && read < CA_FILE_MAX && fgets(line, sizeof line, file);) {
        read += (long)strlen(line) + 1;
        found = strstr(line, "-----BEGIN CERTIFICATE-----") ||
                strstr(line, "-----BEGIN TRUSTED CERTIFICATE-----");
    }
    fclose(file);
    return found
               ? 0
               : fail_with(
                     error, size,
                     "CA file %s: has no certificate in PEM form; give the certificate of the authority that "
                     "signed the daemon's",
                     path);
}

int credentials_take(struct credentials *c, const struct credentials_given *given, char *error, size_t size)
{
    const char *token = given->token, *token_file = given->token_file, *ca_file = given->ca_file;
    const char *accepted = from_environment("GREEDYLR_INSECURE");

    *c = (struct credentials){0};
    if (!token && !token_file) token = from_environment("GREEDYLR_TOKEN");
    if (!token && !token_file) token_file = from_environment("GREEDYLR_TOKEN_FILE");
    if (!ca_file) ca_file = from_environment("GREEDYLR_CA_FILE");
    if (accepted && !credentials_may_be_read())
        return fail_with(error, size, "GREEDYLR_INSECURE: can only be no-tls, got \"%.100s\"", accepted);
    if (token && *token && use_token(c, token, error, size)) return -1;
    if (!token && token_file) {
        c->token_file = strdup(token_file);
        if (!c->token_file) return fail_with(error, size, "out of memory");
        if (use_token_file(c, error, size)) return -1;
    }
    if (!ca_file) return 0;
    c->ca_file = strdup(ca_file);
    return c->ca_file ? check_ca_file(ca_file, error, size) : fail_with(error, size, "out of memory");
}

void credentials_clear(struct credentials *c)
{
    if (c->authorization) explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    free(c->token_file);
    free(c->ca_file);
    *c = (struct credentials){0};
}
