/* Weights files and the hash of a model.
 *
 * A file is text, lines in this order, words separated by one blank; nothing may be missing, added or
 * changed:
 *
 *     greedylr-learned 1               what it is, and the version of this layout
 *     feature_set 1                    which definition of the features the weights belong to
 *     up 1.5                           most that a report multiplies the rate by
 *     down 4                           most that a report divides it by
 *     feature ratio -0.31 -4.2 3.9     of each feature: name, weight, lowest and highest value in training
 *     bias 0.12
 *     seed 1                           the training run: its seed, and a hash of its settings
 *     config 5f3a9c21
 *     model 89abcdef01234567           hash of the numbers, as GetJob shows it
 *     crc 1a2b3c4d                     CRC-32 of all bytes above this line
 *
 * Happy path: every line is what is expected, then the hash and the CRC are.  Failures: ST_FIELD_INVALID with
 * file, line and remedy. */
#include "core/learned_model.h"

#include "core/spec.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC    "greedylr-learned"
#define VERSION  1
#define LINE_MAX 160

static uint64_t hash_word(uint64_t hash, uint64_t word)
{
    for (int i = 0; i < 8; i++) {
        hash ^= word >> (8 * i) & 0xff;
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t hash_doubles(uint64_t hash, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;

        memcpy(&bits, &v[i], sizeof(bits));
        hash = hash_word(hash, bits);
    }
    return hash;
}

void learned_hash(const struct learned_model *model, char out[LEARNED_HASH_LEN + 1])
{
    uint64_t hash = hash_word(UINT64_C(0xcbf29ce484222325), model->feature_set);

    hash = hash_doubles(hash, &model->up, 1);
    hash = hash_doubles(hash, &model->down, 1);
    hash = hash_doubles(hash, model->weights, LEARNED_WEIGHTS);
    hash = hash_doubles(hash, model->lo, LEARNED_FEATURES);
    hash = hash_doubles(hash, model->hi, LEARNED_FEATURES);
    snprintf(out, LEARNED_HASH_LEN + 1, "%016llx", (unsigned long long)hash);
}

static uint32_t crc32_of(const char *bytes, size_t n)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        crc ^= (uint8_t)bytes[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~crc;
}

/* ---- writing ---- */

struct text {
    char *out;
    size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text->len < text->size ? text->out + text->len : NULL,
                      text->len < text->size ? text->size - text->len : 0, fmt, ap);
    va_end(ap);
    text->len += n > 0 ? (size_t)n : 0;
}

static void put_number(struct text *text, const char *before, double v, const char *after)
{
    char number[DOUBLE_TEXT_MAX];

    double_text(number, v);
    put(text, "%s%s%s", before, number, after);
}

size_t learned_write(const struct learned_model *model, const struct learned_origin *origin, char *out,
                     size_t size)
{
    struct text text = {out, size, 0};
    char hash[LEARNED_HASH_LEN + 1];

    put(&text, "%s %d\nfeature_set %u\n", MAGIC, VERSION, model->feature_set);
    put_number(&text, "up ", model->up, "\n");
    put_number(&text, "down ", model->down, "\n");
    for (int i = 0; i < LEARNED_FEATURES; i++) {
        put(&text, "feature %s ", learned_feature_names[i]);
        put_number(&text, "", model->weights[i], " ");
        put_number(&text, "", model->lo[i], " ");
        put_number(&text, "", model->hi[i], "\n");
    }
    put_number(&text, "bias ", model->weights[LEARNED_FEATURES], "\n");
    learned_hash(model, hash);
    put(&text, "seed %u\nconfig %08x\nmodel %s\n", origin->seed, origin->config, hash);
    if (text.len < size) put(&text, "crc %08x\n", crc32_of(out, text.len));
    return text.len;
}

/* ---- reading ---- */

struct reader {
    const char *name, *text;
    size_t n, at;      /* bytes, and where the next line begins */
    size_t line_start; /* where the current one does */
    unsigned line;
    char words[LINE_MAX]; /* the current line */
    struct error *err;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct reader *r, const char *fmt, ...)
{
    char what[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return error_set(r->err, ST_FIELD_INVALID, "%.200s:%u: %s", r->name, r->line, what);
}

/* Takes the next line, which begins with `begin` and a blank; *rest is what follows. */
static int next(struct reader *r, const char *begin, const char **rest)
{
    size_t len = 0, want = strlen(begin);

    r->line++;
    r->line_start = r->at;
    while (r->at + len < r->n && r->text[r->at + len] != '\n')
        len++;
    if (r->at + len >= r->n)
        return refuse(r, "the file ends where a line \"%s ...\" should be; it was cut off: copy it again",
                      begin);
    if (len >= LINE_MAX || memchr(r->text + r->at, '\0', len))
        return refuse(r, "no line of a weights file; expected \"%s ...\": train or copy it again", begin);
    memcpy(r->words, r->text + r->at, len);
    r->words[len] = '\0';
    r->at += len + 1;
    if (strncmp(r->words, begin, want) != 0 || r->words[want] != ' ')
        return refuse(r, "expected \"%s ...\", got \"%.60s\"; not a file of greedylr-train, or edited", begin,
                      r->words);
    *rest = r->words + want + 1;
    return ST_OK;
}

/* n numbers and nothing else. */
static int numbers(struct reader *r, const char *text, double *const *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *end;

        *out[i] = strtod(text, &end);
        if (end == text || !isfinite(*out[i]) || *end != (i + 1 < n ? ' ' : '\0'))
            return refuse(r, "expected %zu finite number%s, got \"%.80s\"; train or copy the file again", n,
                          n > 1 ? "s" : "", text);
        text = end + 1;
    }
    return ST_OK;
}

static int number_line(struct reader *r, const char *begin, double *out)
{
    const char *rest;
    int rc = next(r, begin, &rest);

    return rc ? rc : numbers(r, rest, (double *const[]){out}, 1);
}

static int whole_line(struct reader *r, const char *begin, uint32_t *out)
{
    double v = 0;
    int rc = number_line(r, begin, &v);

    if (rc) return rc;
    if (v < 0 || v > UINT32_MAX || v > floor(v))
        return refuse(r, "%s must be a whole number, got %g", begin, v);
    *out = (uint32_t)v;
    return ST_OK;
}

static int read_features(struct reader *r, struct learned_model *m)
{
    for (int i = 0; i < LEARNED_FEATURES; i++) {
        char begin[64];
        const char *rest;

        snprintf(begin, sizeof(begin), "feature %s", learned_feature_names[i]);
        int rc = next(r, begin, &rest);

        if (!rc) rc = numbers(r, rest, (double *const[]){&m->weights[i], &m->lo[i], &m->hi[i]}, 3);
        if (rc) return rc;
        if (m->lo[i] > m->hi[i])
            return refuse(r, "the lowest value %g is above the highest, %g; train the model again", m->lo[i],
                          m->hi[i]);
    }
    return number_line(r, "bias", &m->weights[LEARNED_FEATURES]);
}

/* A line of hex digits that must be those that were computed. */
static int same_line(struct reader *r, const char *begin, const char *want, const char *what)
{
    const char *rest;
    int rc = next(r, begin, &rest);

    if (rc || strcmp(rest, want) == 0) return rc;
    return refuse(r,
                  "%s is %s, the file says \"%.40s\": it was changed after training; train or copy it again",
                  what, want, rest);
}

static int read_head(struct reader *r, struct learned_model *m)
{
    uint32_t version = 0;
    int rc = whole_line(r, MAGIC, &version);

    if (rc) return rc;
    if (version != VERSION)
        return refuse(
            r, "version %u of the format, this program reads %d; train the model with its greedylr-train",
            version, VERSION);
    rc = whole_line(r, "feature_set", &m->feature_set);
    if (rc) return rc;
    if (m->feature_set != LEARNED_FEATURE_SET)
        return refuse(r,
                      "feature_set %u, this program computes set %d; train the model again with its "
                      "greedylr-train",
                      m->feature_set, LEARNED_FEATURE_SET);
    rc = number_line(r, "up", &m->up);
    if (!rc && !(m->up > 1 && m->up <= 10)) rc = refuse(r, "up must be in (1, 10], got %g", m->up);
    if (!rc) rc = number_line(r, "down", &m->down);
    if (!rc && !(m->down > 1 && m->down <= 100)) rc = refuse(r, "down must be in (1, 100], got %g", m->down);
    return rc;
}

static int read_tail(struct reader *r, const struct learned_model *m, struct learned_origin *origin)
{
    char hash[LEARNED_HASH_LEN + 1], crc[9];
    const char *rest;
    char *end;
    int rc = whole_line(r, "seed", &origin->seed);

    if (!rc) rc = next(r, "config", &rest);
    if (rc) return rc;
    origin->config = (uint32_t)strtoul(rest, &end, 16);
    if (end != rest + 8 || *end) return refuse(r, "config must be 8 hex digits, got \"%.40s\"", rest);
    learned_hash(m, hash);
    rc = same_line(r, "model", hash, "the hash of these numbers");
    if (rc) return rc;
    snprintf(crc, sizeof(crc), "%08x", crc32_of(r->text, r->at));
    rc = same_line(r, "crc", crc, "the CRC of the lines above");
    if (rc || r->at == r->n) return rc;
    r->line++;
    return refuse(r, "there is something behind the last line; it was changed after training: copy it again");
}

int learned_read(const char *name, const char *text, size_t n, struct learned_model *model,
                 struct learned_origin *origin, struct error *err)
{
    struct reader r = {.name = name, .text = text, .n = n, .err = err};
    struct learned_model m = {0};
    struct learned_origin o = {0};
    int rc = read_head(&r, &m);

    if (!rc) rc = read_features(&r, &m);
    if (!rc) rc = read_tail(&r, &m, &o);
    if (rc) return rc;
    *model = m;
    *origin = o;
    return ST_OK;
}
