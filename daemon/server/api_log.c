/* What the log says of refused requests.
 *
 * An operator is woken by what is wrong here (the store, memory, limits), reads about who knocks at the wrong
 * door, and may look up what a client does wrong: warnings, warnings, infos.  All of it is limited, since
 * peers can cause as much as they like. */
#include "server/api_impl.h"

#include "server/log.h"
#include "server/origin.h"

/* Told where they happen, with more. */
static bool is_told(enum status status)
{
    switch (status) {
    case ST_TOKEN_REQUIRED:
    case ST_TOKEN_INVALID:
    case ST_ROLE_INSUFFICIENT: /* token_refused */
    case ST_ROUND_INCOMPLETE:  /* round_incomplete, once for all of its ranks */
    case ST_CALLER_GONE: return true;
    default: return false;
    }
}

static enum log_level level_of(const struct error *err)
{
    switch (status_info(err->status)->code) {
    case CODE_DEADLINE_EXCEEDED: /* waits end */
    case CODE_UNIMPLEMENTED: return LOG_INFO;
    case CODE_UNAVAILABLE: return err->status == ST_DRAINING ? LOG_INFO : LOG_WARNING;
    case CODE_PERMISSION_DENIED:
    case CODE_RESOURCE_EXHAUSTED:
    case CODE_DATA_LOSS:
    case CODE_UNKNOWN:
    case CODE_INTERNAL: return LOG_WARNING;
    default: return err->limit ? LOG_WARNING : LOG_INFO;
    }
}

void api_log_refused(struct http_request *http, const struct error *err, int status)
{
    const struct exchange *x = http_user(http);
    const struct origin *origin = http_origin(http);
    char path[HTTP_PATH_MAX];

    if (is_told(err->status) || !log_enabled(level_of(err))) return;
    log_repeated(level_of(err), "refused",
                 (struct log_field[]){log_str("method", http_method(http)),
                                      log_str("path", http_path(http, path)), log_i64("status", status),
                                      log_str("reason", status_info(err->status)->reason),
                                      log_str("limit", err->limit ? limit_info(err->limit)->flag : NULL),
                                      log_str("error", err->message), log_str("peer", http_peer(http)),
                                      log_str("token", x && x->token ? x->token->id : NULL),
                                      log_str("request_id", origin_id(origin)),
                                      log_str("trace_id", origin_trace_id(origin)), log_end()});
}
