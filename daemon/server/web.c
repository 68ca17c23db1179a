/* Files of a fixed set, whole: no ranges, no directories, no paths that are looked up anywhere but in the
 * table.
 *
 * A browser keeps them but asks each time (no-cache), so that a new daemon's page is never run with an old
 * one's scripts; the answer is a 304 then.  The headers keep other origins out of the page and the page away
 * from other origins. */
#include "server/web.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))

const struct web_asset *web_find(const char *target)
{
    size_t len = strcspn(target, "?");

    for (size_t i = 0; i < web_n_assets; i++) {
        if (strlen(web_assets[i].path) == len && !memcmp(web_assets[i].path, target, len))
            return &web_assets[i];
    }
    return NULL;
}

/* The next element of a list that commas part; false at its end. */
static bool next_element(const char **at, const char **element, size_t *len)
{
    *element = *at + strspn(*at, ", \t");
    *len = strcspn(*element, ",");
    *at = *element + *len;
    while (*len && strchr(" \t", (*element)[*len - 1]))
        --*len;
    return **element != '\0';
}

/* "gzip;q=0.5": the quality of the element, 1 where it says none. */
static double quality(const char *element, size_t len)
{
    const char *parameter = memchr(element, ';', len);

    if (!parameter) return 1;
    parameter += 1 + strspn(parameter + 1, " \t");
    return strncasecmp(parameter, "q=", 2) ? 1 : strtod(parameter + 2, NULL);
}

/* Of an Accept-Encoding; NULL: absent. */
static bool accepts_gzip(const char *accept_encoding)
{
    const char *element, *at = accept_encoding ? accept_encoding : "";
    bool anything = false;
    size_t len;

    while (next_element(&at, &element, &len)) {
        size_t name = strcspn(element, ",; \t");

        if (name == 4 && !strncasecmp(element, "gzip", 4)) return quality(element, len) > 0;
        if (name == 1 && *element == '*') anything = quality(element, len) > 0;
    }
    return anything;
}

/* Whether an If-None-Match (NULL: absent) names the ETag, weakly compared. */
static bool matches(const char *if_none_match, const char *etag)
{
    const char *element, *at = if_none_match ? if_none_match : "";
    size_t len;

    while (next_element(&at, &element, &len)) {
        if (len == 1 && *element == '*') return true;
        if (len > 2 && !memcmp(element, "W/", 2)) {
            element += 2;
            len -= 2;
        }
        if (len == strlen(etag) && !memcmp(element, etag, len)) return true;
    }
    return false;
}

void web_answer(const struct web_asset *asset, struct http_request *http)
{
    bool zipped = accepts_gzip(http_header(http, "Accept-Encoding"));
    const struct web_bytes *body = zipped ? &asset->gzip : &asset->plain;
    const char *etag = zipped ? asset->gzip_etag : asset->etag;
    bool known = matches(http_header(http, "If-None-Match"), etag);
    const char *const headers[][2] = {
        {"Cache-Control", "no-cache"},
        {"Vary", "Accept-Encoding"},
        {"ETag", etag},
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
         "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Content-Encoding", "gzip"}, /* the last, so that it can be left out */
    };

    http_respond(http, &(struct http_response){.status = known ? 304 : 200,
                                               .content_type = known ? NULL : asset->type,
                                               .headers = headers,
                                               .n_headers = N(headers) - (zipped && !known ? 0 : 1),
                                               .body = body->bytes,
                                               .len = known ? 0 : body->len,
                                               .keep = true});
}
