/* What greedylrd refuses in a token file, line by line, in the order of the file.
 *
 * The daemon refuses the whole file for one bad line, and keeps the tokens that it has.  A test gives the
 * same files to both: what the one takes, the other has to take. */
#include "cli/token.h"

#include "cli/arguments.h"
#include "cli/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 1024
#define FILE_MAX_BYTES (4u << 20)

struct owner {
    const char *id; /* not terminated */
    size_t len;
    unsigned line;
};

struct check {
    struct owner *owners;
    size_t n, cap;
    unsigned line;
    char *error;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static int bad(const struct check *at, const char *format, ...)
{
    int n = snprintf(at->error, at->size, "line %u: ", at->line);
    va_list args;

    va_start(args, format);
    if (n > 0 && (size_t)n < at->size) vsnprintf(at->error + n, at->size - (size_t)n, format, args);
    va_end(args);
    return -1;
}

/* ---- values: whether the first len bytes of text are one ---- */

static bool is_role(const char *text, size_t len)
{
    for (int i = 0; token_roles[i]; i++) {
        if (strlen(token_roles[i]) == len && !memcmp(token_roles[i], text, len)) return true;
    }
    return false;
}

static bool is_prefix(const char *text, size_t len)
{
    char id[160];

    if (!len) return true; /* every job */
    if (len >= sizeof(id)) return false;
    memcpy(id, text, len);
    id[len] = '\0';
    return is_job_id(id);
}

static bool is_hash(const char *text, size_t len)
{
    return len == 64 && strspn(text, "0123456789abcdefABCDEF") >= len;
}

static bool is_count(const char *text, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        n = n * 10 + (uint64_t)(text[i] - '0');
        if (n > UINT32_MAX) return false;
    }
    return len > 0;
}

static bool is_anything(const char *text, size_t len)
{
    (void)text;
    (void)len;
    return true;
}

static const struct token_field {
    const char *name;
    bool required;
    bool (*is_valid)(const char *text, size_t len);
    const char *must;
} fields[] = {
    {"role", true, is_role, "observe, report or admin"},
    {"prefix", true, is_prefix, "empty, or what ids of jobs begin with"},
    {"sha256", true, is_hash, "the 64 hexadecimal digits of the token's SHA-256"},
    {"jobs", false, is_count, "a whole number from 0 to 4294967295"},
    {"requests", false, is_count, "a whole number from 0 to 4294967295"},
    {"rounds", false, is_count, "a whole number from 0 to 4294967295"},
    {"watchers", false, is_count, "a whole number from 0 to 4294967295"},
    {"created", false, is_anything, ""},
    {"note", false, is_anything, ""},
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))
#define NOTE   (FIELDS - 1)

static size_t find_field(const char *word, size_t len)
{
    size_t i = 0;

    while (i < FIELDS && !(strlen(fields[i].name) == len && !memcmp(fields[i].name, word, len)))
        i++;
    return i;
}

/* ---- lines ---- */

/* end: where the line does. */
static int check_fields(const struct check *at, const char *rest, const char *end)
{
    bool seen[FIELDS] = {false};

    for (rest += strspn(rest, " \t"); rest < end; rest += strspn(rest, " \t")) {
        size_t name = strcspn(rest, "= \t\n"), len = strcspn(rest, " \t\n");
        size_t i = rest[name] == '=' ? find_field(rest, name) : FIELDS;

        if (i == FIELDS) return bad(at, "a word of it is no field");
        if (seen[i]) return bad(at, "%s is given twice", fields[i].name);
        seen[i] = true;
        if (i == NOTE) break; /* the rest of the line */
        if (!fields[i].is_valid(rest + name + 1, len - name - 1))
            return bad(at, "%s has to be %s", fields[i].name, fields[i].must);
        rest += len;
    }
    for (size_t i = 0; i < FIELDS; i++) {
        if (fields[i].required && !seen[i]) return bad(at, "%s is missing", fields[i].name);
    }
    return 0;
}

static int take_id(struct check *at, const char *id, size_t len)
{
    if (len > TOKEN_ID_MAX || strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
        return bad(at, "it has to begin with the id, 1 to %d of a-z 0-9 -", TOKEN_ID_MAX);
    if (at->n == at->cap) {
        at->cap = at->cap ? at->cap * 2 : 64;
        at->owners = need(realloc(at->owners, at->cap * sizeof(struct owner)));
    }
    at->owners[at->n++] = (struct owner){id, len, at->line};
    return 0;
}

static int check_line(struct check *at, const char *line, size_t len)
{
    const char *id = line + strspn(line, " \t"), *end = line + len;

    if (len > LINE_MAX_BYTES) return bad(at, "is longer than %d bytes", LINE_MAX_BYTES);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return bad(at, "has a control character; lines end in LF alone");
    }
    if (id == end || *id == '#') return 0;
    size_t n = strcspn(id, " \t\n");

    return take_id(at, id, n) ? -1 : check_fields(at, id + n, end);
}

static int by_id(const void *a, const void *b)
{
    const struct owner *left = a, *right = b;
    int order = memcmp(left->id, right->id, left->len < right->len ? left->len : right->len);

    if (!order) order = (left->len > right->len) - (left->len < right->len);
    return order ? order : left->line < right->line ? -1 : 1;
}

static int check_twice(struct check *at)
{
    if (at->n) qsort(at->owners, at->n, sizeof(struct owner), by_id);
    for (size_t i = 1; i < at->n; i++) {
        const struct owner *a = &at->owners[i - 1], *b = &at->owners[i];
        if (a->len != b->len || memcmp(a->id, b->id, a->len) != 0) continue;
        at->line = b->line;
        return bad(at, "the id %.*s is that of line %u", (int)b->len, b->id, a->line);
    }
    return 0;
}

int token_text_check(const char *text, char *error, size_t size)
{
    struct check check = {.error = error, .size = size};
    size_t bytes = strlen(text);
    int rc = 0;

    while (*text && !rc) {
        size_t len = strcspn(text, "\n");

        check.line++;
        rc = check_line(&check, text, len);
        text += len + (text[len] == '\n');
    }
    if (!rc) rc = check_twice(&check);
    free(check.owners);
    if (rc || bytes <= FILE_MAX_BYTES) return rc;
    snprintf(error, size, "it is larger than %u bytes", FILE_MAX_BYTES);
    return -1;
}
