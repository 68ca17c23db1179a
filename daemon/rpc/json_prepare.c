/* One look at each byte; only tokens that have to change are copied apart from the rest. */
#include "rpc/json_prepare.h"

#include "rpc/json.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int depth_max = JSON_DEPTH_MAX;

void json_limit_depth(unsigned levels)
{
    depth_max = (int)levels;
}

static char bare_key[17];

static void draw_key(void)
{
    uint64_t bits;

    if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits)) abort();
    snprintf(bare_key, sizeof(bare_key), "%016" PRIx64, bits);
}

const char *json_bare_key(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, draw_key);
    return bare_key;
}

static const char *const bare_words[] = {"-Infinity", "Infinity", "NaN"};

static size_t bare_word(const char *at, const char *end)
{
    for (size_t i = 0; i < sizeof(bare_words) / sizeof(bare_words[0]); i++) {
        size_t n = strlen(bare_words[i]);
        if ((size_t)(end - at) >= n && !memcmp(at, bare_words[i], n) &&
            (at + n == end || !isalnum((unsigned char)at[n])))
            return n;
    }
    return 0;
}

static size_t number_len(const char *at, const char *end)
{
    size_t n = 0;

    while (at + n < end && at[n] && strchr("0123456789+-.eE", at[n]))
        n++;
    return n;
}

/* A number needs three digits of exponent or 309 digits to overflow.  Whether it does goes to *over; false
 * without memory. */
static bool overflows(const char *at, size_t n, bool *over)
{
    const char *e = memchr(at, 'e', n);

    if (!e) e = memchr(at, 'E', n);
    *over = false;
    if (n <= 308 && (!e || (size_t)(at + n - e) < 4)) return true;
    char *copy = strndup(at, n), *rest;
    if (!copy) return false;
    double value = strtod(copy, &rest);
    *over = !*rest && isinf(value);
    free(copy);
    return true;
}

/* Bytes of the token at `at` that the parser does not know; *skip: bytes of a number it does know.  Without
 * memory *failed is set. */
static size_t strange_token(const char *at, const char *end, size_t *skip, bool *failed)
{
    size_t n = *at == '-' || *at == 'I' || *at == 'N' ? bare_word(at, end) : 0;
    bool over;

    *skip = 1;
    if (n || !(*at == '-' || isdigit((unsigned char)*at))) return n;
    n = number_len(at, end);
    if (!overflows(at, n, &over))
        *failed = true;
    else if (over)
        return n;
    *skip = n;
    return 0;
}

static const char *string_end(const char *c, const char *end)
{
    for (c++; c < end && *c != '"'; c++) {
        if (*c == '\\') c++;
    }
    return c < end ? c + 1 : end;
}

int json_prepare(const char *text, size_t len, struct buf *out, struct error *err)
{
    const char *end = text + len, *from = text, *c = text;
    size_t skip;
    int depth = 0;

    while (c < end) {
        if (*c == '"') {
            c = string_end(c, end);
            continue;
        }
        if (*c == '{' || *c == '[') depth++;
        if (*c == '}' || *c == ']') depth--;
        if (depth > depth_max)
            return error_limit(err, LIMIT_JSON_DEPTH, ST_BODY_INVALID,
                               "body: nested deeper than %d levels at byte %zu", depth_max,
                               (size_t)(c - text) + 1);
        size_t n = strange_token(c, end, &skip, &out->failed);
        if (n) {
            buf_append(out, from, (size_t)(c - from));
            buf_printf(out, "{\"%s\":\"", json_bare_key());
            buf_append(out, c, n);
            buf_puts(out, "\"}");
            from = c + n;
        }
        c += n ? n : skip;
    }
    buf_append(out, from, (size_t)(end - from));
    return out->failed ? error_set(err, ST_OUT_OF_MEMORY, "out of memory") : 0;
}
