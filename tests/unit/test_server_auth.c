/* The token file and the comparison: what is taken, what is refused and where, and that no error repeats a
 * secret. */
#include "server/auth.h"

#include "test_random.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define HASH   "sha256=0123456789abcdef0123456789abcdef0123456789ABCDEF0123456789ABCDEF"
#define GOOD   "a role=admin prefix=x. " HASH

static struct auth_tokens tokens;
static struct error err;

static void drop(void)
{
    auth_tokens_clear(&tokens);
}

static int parse_bytes(const char *text, size_t len)
{
    static const struct auth_limits defaults = {1, 2, 3, 4};
    char *copy = malloc(len + 1);

    drop();
    memcpy(copy, text, len);
    copy[len] = '\0';
    int rc = auth_parse("FILE", copy, len, &defaults, &tokens, &err);
    free(copy);
    return rc;
}

static int parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static const struct auth_token *find(const char *id)
{
    return auth_tokens_find(&tokens, id, strlen(id));
}

Test(server_auth, lines)
{
    cr_assert_eq(parse("# tokens\n\n \t\n" GOOD "\n"
                       "  b-1 \t" HASH
                       " watchers=0 rounds=7  role=observe requests=4294967295 jobs=5 prefix= "
                       "created=2026-01-01T00:00:00Z note=role=admin of whom? # here\n"),
                 0, "%s", err.message);
    cr_assert_eq(tokens.n, 2);
    const struct auth_token *a = find("a"), *b = find("b-1");
    cr_expect(a->role == ROLE_ADMIN && !strcmp(a->prefix, "x.") && a->line == 4);
    cr_expect(a->hash[0] == 0x01 && a->hash[31] == 0xef);
    cr_expect(a->limits.jobs == 1 && a->limits.requests == 2 && a->limits.rounds == 3 &&
              a->limits.watchers == 4);
    cr_expect(b->role == ROLE_OBSERVE && !*b->prefix && b->line == 5);
    cr_expect(b->limits.jobs == 5 && b->limits.requests == UINT32_MAX && b->limits.rounds == 7 &&
              b->limits.watchers == 0);
    cr_expect_not(find("b") || find("b-") || find("b-12") || find("") || find("c"));
    cr_assert_eq(parse("ab role=admin prefix= " HASH "\nabc role=admin prefix= " HASH "\n" GOOD "\n"), 0);
    cr_expect(find("a") && find("ab") && find("abc") && !find("b") && !find("abcd"));
    cr_expect_eq(parse(""), 0);
    cr_expect_eq(tokens.n, 0);
    drop();
}

Test(server_auth, refusals)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"a." SECRET " role=admin prefix= " HASH, "the id"},
        {"A role=admin prefix= " HASH, "the id"},
        {"role=admin prefix= " HASH, "the id"},
        {"abcdefghijklmnopqrstuvwxyz0123456 role=admin prefix= " HASH, "the id"},
        {"a prefix= " HASH, "role: is missing"},
        {"a role=admin " HASH, "prefix: is missing"},
        {"a role=admin prefix=", "sha256: is missing"},
        {"a role=admin prefix= note=" HASH, "sha256: is missing"},
        {"a role=root prefix= " HASH, "role: has to be"},
        {"a role= prefix= " HASH, "role: has to be"},
        {"a role=admin prefix=.x " HASH, "prefix: has to be"},
        {"a role=admin prefix=x/ " HASH, "prefix: has to be"},
        {"a role=admin prefix=* " HASH, "prefix: has to be"},
        {"a role=admin prefix= sha256=00", "sha256: has to be"},
        {"a role=admin prefix= sha256=" SECRET, "sha256: has to be"},
        {"a role=admin prefix= " HASH "0", "sha256: has to be"},
        {GOOD " jobs=-1", "jobs: has to be"},
        {GOOD " jobs=", "jobs: has to be"},
        {GOOD " rounds=1.5", "rounds: has to be"},
        {GOOD " watchers=4294967296", "watchers: has to be"},
        {GOOD " requests=99999999999999999999999", "requests: has to be"},
        {GOOD " role=observe", "role: is given twice"},
        {GOOD " colour=red", "a word: is no field"},
        {GOOD " " SECRET, "a word: is no field"},
        {GOOD " Role=admin", "a word: is no field"},
        {GOOD " =", "a word: is no field"},
        {GOOD "\r", "control character"},
        {GOOD "\001", "control character"},
        {GOOD "\n" GOOD, "the id a is that of line 2"},
    };
    char text[2048];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "# one\n%s\n", cases[i].line);
        cr_assert_eq(parse(text), ST_CONFIG_INVALID, "%s", text);
        cr_expect(strstr(err.message, cases[i].says), "%s: %s", text, err.message);
        cr_expect(strstr(err.message,
                         strstr(text, "\na r") && strstr(cases[i].says, "line 2") ? "line 3" : "line 2"),
                  "%s: %s", text, err.message);
        cr_expect_not(strstr(err.message, SECRET), "%s", err.message);
    }
    snprintf(text, sizeof(text), "%s", GOOD);
    cr_expect_eq(parse(text), ST_CONFIG_INVALID, "no newline at the end");
    cr_expect_eq(parse_bytes("a\0b\n", 4), ST_CONFIG_INVALID);
    memset(text, 'x', 1100);
    memcpy(text, "a note=", 7);
    strcpy(text + 1100, "\n");
    cr_expect_eq(parse(text), ST_CONFIG_INVALID);
    cr_expect(strstr(err.message, "longer"), "%s", err.message);
    drop();
}

Test(server_auth, hostile_files)
{
    static const char *const parts[] = {
        GOOD, "\n",    "#", " ", "a",    "b",  "role=", "note", "prefix",     "=",          "\t",
        HASH, "jobs=", "9", ".", "\xff", "\r", "\0",    SECRET, "requests=1", " role=admin"};
    char text[4096];

    (void)rng_seed("hostile_files");

    for (uint64_t n = 0; n < 20000; n++) {
        size_t len = 0;
        for (uint64_t k = rng() % 24; k && len + 200 < sizeof(text); k--) {
            const char *part = parts[rng() % (sizeof(parts) / sizeof(parts[0]))];
            size_t size = *part ? strlen(part) : 1;
            memcpy(text + len, part, size);
            len += size;
        }
        err.message[0] = '\0';
        int rc = parse_bytes(text, len);
        cr_assert(rc == 0 || (rc == ST_CONFIG_INVALID && !strncmp(err.message, "FILE line ", 10)), "%s",
                  err.message);
        cr_assert_not(strstr(err.message, SECRET));
    }
    drop();
}

/* ---- comparison ---- */

static char path[] = "/tmp/greedylrd-unit-auth-XXXXXX";

static void write_file(const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static struct auth *open_file(const char *text)
{
    static const struct auth_limits defaults;
    struct auth *auth = NULL;

    strcpy(path, "/tmp/greedylrd-unit-auth-XXXXXX"); /* of each test its own */
    int fd = mkstemp(path);

    cr_assert(fd >= 0);
    close(fd);
    write_file(text);
    cr_assert_eq(auth_open(path, &defaults, &auth, &err), 0, "%s", err.message);
    return auth;
}

/* sha256 of "a.AAAA...", as sha256sum says. */
#define LINE_A                                                                                               \
    "a role=report prefix=team. "                                                                            \
    "sha256=4d31a16ea19506705f900aa93648b969bbb5b7633deb99c3ca930540ddc2b72c\n"

Test(server_auth, finds_only_what_is_equal)
{
    struct auth *auth = open_file(LINE_A);
    struct auth_token *token = NULL;
    char header[128], text[ERROR_MESSAGE_MAX];

    cr_assert_eq(auth_find(auth, "Bearer a." SECRET, &token, &err), 0, "%s", err.message);
    cr_expect_str_eq(token->id, "a");
    cr_expect_eq(auth_find(auth, NULL, &token, &err), ST_TOKEN_REQUIRED);
    cr_expect_eq(auth_find(auth, "", &token, &err), ST_TOKEN_REQUIRED);
    cr_expect_eq(auth_find(auth, "Bearer b." SECRET, &token, &err), ST_TOKEN_INVALID);
    strcpy(text, err.message);
    for (size_t i = 0; i < AUTH_SECRET_LEN; i++) { /* every single character counts */
        snprintf(header, sizeof(header), "Bearer a." SECRET);
        header[9 + i] = 'B';
        cr_expect_eq(auth_find(auth, header, &token, &err), ST_TOKEN_INVALID, "%zu", i);
        cr_expect_str_eq(err.message, text);
    }
    cr_expect_eq(auth_check_role(token, ROLE_OBSERVE, "x", &err), 0);
    cr_expect_eq(auth_check_role(token, ROLE_REPORT, "x", &err), 0);
    cr_expect_eq(auth_check_role(token, ROLE_ADMIN, "x", &err), ST_ROLE_INSUFFICIENT);
    cr_expect(auth_sees(token, "team.") && auth_sees(token, "team.x") && auth_sees(NULL, "y"));
    cr_expect_not(auth_sees(token, "team") || auth_sees(token, "Team.x") || auth_sees(token, "x"));
    auth_free(auth);
    unlink(path);
}

Test(server_auth, reload_keeps_what_is_the_same)
{
    struct auth *auth = open_file(LINE_A);
    struct auth_token *token = NULL, *again = NULL;
    size_t revoked;

    cr_assert_eq(auth_find(auth, "Bearer a." SECRET, &token, &err), 0);
    auth_ref(token);
    write_file("# moved down\nb role=admin prefix= " HASH "\n" LINE_A);
    cr_assert_eq(auth_reload(auth, &revoked, &err), 0, "%s", err.message);
    cr_assert_eq(auth_find(auth, "Bearer a." SECRET, &again, &err), 0);
    cr_expect(again == token && !token->revoked && revoked == 0 && auth_count(auth) == 2 && token->line == 3);
    write_file("a\n");
    cr_expect_eq(auth_reload(auth, &revoked, &err), ST_CONFIG_INVALID);
    cr_expect(!token->revoked && auth_count(auth) == 2);
    write_file("a role=observe prefix=team. "
               "sha256=4d31a16ea19506705f900aa93648b969bbb5b7633deb99c3ca930540ddc2b72c\n");
    cr_assert_eq(auth_reload(auth, &revoked, &err), 0, "%s", err.message);
    cr_expect(token->revoked && revoked == 2 && auth_count(auth) == 1);
    auth_unref(token);
    auth_free(auth);
    unlink(path);
}
