/* Whose request it is, and what becomes of requests whose token is revoked.
 *
 * Decided at the headers, before a body is read.  A reload ends streams and requests that wait at once; what
 * has been sent to the store already is answered. */
#include "server/api_impl.h"

#include "server/log.h"
#include "server/origin.h"

#include <string.h>
#include <strings.h>
#include <uv.h>

struct authorization {
    const char *value; /* NULL: absent */
    unsigned lines;
};

static void on_header(void *arg, const char *name, size_t name_len, const char *value, size_t value_len)
{
    static const char wanted[] = "Authorization";
    struct authorization *found = arg;

    (void)value_len;
    if (name_len != sizeof(wanted) - 1 || strncasecmp(name, wanted, name_len) != 0) return;
    found->value = value;
    found->lines++;
}

int api_find_token(const struct api *api, struct http_request *http, struct auth_token **out,
                   struct error *err)
{
    struct authorization found = {0};

    http_each_header(http, on_header, &found);
    if (found.lines > 1)
        return error_set(err, ST_TOKEN_INVALID, "Authorization: is there %u times; send one", found.lines);
    return auth_find(api->config.auth, found.value, out, err);
}

int api_authorize(const struct api *api, struct http_request *http, enum rpc_role role, const char *what,
                  struct auth_token **out, struct error *err)
{
    struct auth_token *token = NULL;
    int rc;

    *out = NULL;
    if (!api->config.auth) return 0;
    rc = api_find_token(api, http, &token, err);
    if (!rc) rc = auth_take_request(token, uv_hrtime() / 1000000, err);
    if (!rc) rc = auth_check_role(token, role, what, err);
    if (!rc) {
        auth_ref(token);
        *out = token;
        return 0;
    }
    log_event(LOG_WARNING, "token_refused",
              (struct log_field[]){log_str("peer", http_peer(http)),
                                   log_str("token", token ? token->id : NULL), log_str("method", what),
                                   log_str("reason", status_info(err->status)->reason),
                                   log_str("request_id", origin_id(http_origin(http))),
                                   log_str("trace_id", origin_trace_id(http_origin(http))), log_end()});
    return rc;
}

int api_check_token(const struct exchange *x, struct error *err)
{
    if (!x->token || !x->token->revoked) return 0;
    return error_set(err, ST_TOKEN_INVALID, "token %s was revoked; ask whoever runs this daemon for another",
                     x->token->id);
}

const struct error *api_verdict(const struct exchange *x, const struct error *err, struct error *revoked)
{
    if (!x->revoked) return err;
    (void)error_set(revoked, ST_TOKEN_REVOKED,
                    "token %s was revoked while the request waited; ask whoever runs this daemon for another",
                    x->token->id);
    return revoked;
}

void api_end_revoked(struct api *api)
{
    struct exchange *next;

    for (struct exchange *x = api->exchanges; x; x = next) {
        next = x->next; /* only x itself may go */
        if (!x->token || !x->token->revoked || !x->busy || !x->call.cancel) continue;
        x->revoked = true;
        service_cancel(&x->call);
    }
}
