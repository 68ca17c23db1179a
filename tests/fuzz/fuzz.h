/* What every fuzz target is made of: an input is taken apart from its front, and what must hold is said with
 * MUST.  Nothing here knows of the daemon or of the client, so that both kinds of targets share it. */
#ifndef GREEDYLRD_TESTS_FUZZ_H
#define GREEDYLRD_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What libFuzzer calls.  The second is optional. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* A property that is broken is a finding like any crash: libFuzzer keeps the input. */
#define MUST(condition, ...)                                                                                 \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                  \
            fprintf(stderr, __VA_ARGS__);                                                                    \
            fputc('\n', stderr);                                                                             \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take_u8(struct input *in)
{
    if (!in->left) return 0;
    in->left--;
    return *in->at++;
}

static inline uint16_t take_u16(struct input *in)
{
    uint16_t low = take_u8(in);

    return (uint16_t)(low | take_u8(in) << 8);
}

/* Up to the next separator or the end, of which a copy with a NUL behind is made: a block of its own, so that
 * reading past it is seen.  The caller frees it. */
static inline char *take_until(struct input *in, char separator, size_t *len)
{
    const uint8_t *end = in->left ? memchr(in->at, separator, in->left) : NULL;
    size_t n = end ? (size_t)(end - in->at) : in->left;
    char *text = malloc(n + 1);

    MUST(text, "out of memory");
    if (n) memcpy(text, in->at, n);
    text[n] = '\0';
    in->at += n + (end != NULL);
    in->left -= n + (end != NULL);
    if (len) *len = n;
    return text;
}

/* A line, of which C sees what is in front of a NUL. */
static inline char *take_line(struct input *in)
{
    return take_until(in, '\n', NULL);
}

/* The rest, as take_until. */
static inline char *take_rest(struct input *in, size_t *len)
{
    char *text = malloc(in->left + 1);

    MUST(text, "out of memory");
    if (in->left) memcpy(text, in->at, in->left);
    text[in->left] = '\0';
    if (len) *len = in->left;
    in->left = 0;
    return text;
}

/* The rest as bytes: nothing lies behind them, so that reading one too many is seen. */
static inline uint8_t *take_bytes(struct input *in, size_t *len)
{
    uint8_t *bytes = malloc(in->left ? in->left : 1);

    MUST(bytes, "out of memory");
    if (in->left) memcpy(bytes, in->at, in->left);
    *len = in->left;
    in->left = 0;
    return bytes;
}

#endif
