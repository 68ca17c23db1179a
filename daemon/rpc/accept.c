#include "rpc/accept.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct range {
    const char *text;
    size_t len; /* of type/subtype */
    double q;
    const char *version; /* of version_len bytes, without quotes; NULL: none */
    size_t version_len;
};

static const char *next_range(const char *at, struct range *out)
{
    at += strspn(at, ", \t");
    size_t whole = strcspn(at, ",");
    *out = (struct range){.text = at, .len = strcspn(at, ",; \t"), .q = 1};
    for (const char *c = memchr(at, ';', whole); c; c = memchr(c + 1, ';', (size_t)(at + whole - c - 1))) {
        const char *name = c + 1 + strspn(c + 1, " \t");
        if ((*name == 'q' || *name == 'Q') && name[1] == '=') out->q = strtod(name + 2, NULL);
        if (!strncasecmp(name, "version=", 8)) {
            out->version = name + 8 + strspn(name + 8, "\"");
            out->version_len = strcspn(out->version, ",; \t\"");
        }
    }
    return at + whole;
}

/* 3: the type itself, 2: type/<star>, 1: anything, 0: no. */
static int specificity(const struct range *range, const char *type)
{
    size_t slash = strcspn(type, "/") + 1;

    if (range->len == strlen(type) && !strncasecmp(range->text, type, range->len)) return 3;
    if (range->len == slash + 1 && range->text[slash] == '*' && !strncasecmp(range->text, type, slash))
        return 2;
    return range->len == 3 && !memcmp(range->text, "*/*", 3);
}

struct accepted accept_quality(const char *accept, const char *type, const char *version)
{
    struct accepted best = {accept && *accept ? 0 : 1, 0};
    struct range range;

    for (const char *at = accept ? accept : ""; *at;) {
        at = next_range(at, &range);
        int fit = specificity(&range, type);
        if (!fit) continue;
        if (range.version) {
            if (range.version_len != strlen(version) || memcmp(range.version, version, range.version_len))
                continue;
            fit++;
        }
        if (fit > best.specificity || (fit == best.specificity && range.q > best.q))
            best = (struct accepted){range.q, fit};
    }
    return best;
}

size_t accept_choose(const char *accept, const char *const types[], size_t n)
{
    size_t chosen = 0;
    double best_q = 0;
    int best = 0;
    struct range range;

    for (const char *at = accept ? accept : ""; *at;) {
        at = next_range(at, &range);
        for (size_t i = 0; i < n; i++) {
            int fit = specificity(&range, types[i]);
            if (!fit || !(range.q > best_q || (range.q == best_q && fit > best && best))) continue;
            chosen = i;
            best_q = range.q;
            best = fit;
        }
    }
    return chosen;
}
