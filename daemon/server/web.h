/* The dashboard: files that lie in the binary, open to everybody the guard lets through.  They hold nothing
 * of any job; what the page shows it asks /v1 for, with its user's token. */
#ifndef GREEDYLRD_SERVER_WEB_H
#define GREEDYLRD_SERVER_WEB_H

#include "server/http.h"

#include <stdbool.h>
#include <stddef.h>

struct web_bytes {
    const char *bytes;
    size_t len;
};

/* Both forms have an ETag of their own, quotes included. */
struct web_asset {
    const char *path; /* "/", "/web/app.css" */
    const char *type;
    const char *etag, *gzip_etag;
    struct web_bytes plain, gzip;
};

/* Made by daemon/web/embed.sh. */
extern const struct web_asset web_assets[];
extern const size_t web_n_assets;

/* By the target as it came, its query ignored; NULL: not one of these. */
const struct web_asset *web_find(const char *target);

/* Answers GET and HEAD: 200, or 304 where the request has this form's ETag already.  From within handle. */
void web_answer(const struct web_asset *asset, struct http_request *http);

#endif
