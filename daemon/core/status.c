/* The tables of status.h and the error objects.
 *
 * Happy path: error_set formats into the caller's object and hands the status back.  Nothing here can fail: a
 * text that does not fit is cut, an index that does not exist reads as INTERNAL. */
#include "core/status.h"

#include <stdio.h>
#include <string.h>

static const struct status_info statuses[] = {[ST_OK] = {"OK", CODE_OK, 200, OUTCOME_NOTHING, ""},
#define X(name, code, http, outcome, doc) [ST_##name] = {#name, CODE_##code, http, OUTCOME_##outcome, doc},
                                              STATUSES(X)
#undef X
};

static const struct code_info codes[] = {[CODE_OK] = {"ok", 200},
#define X(name, wire, http) [CODE_##name] = {wire, http},
                                         ERROR_CODES(X)
#undef X
};

static const struct limit_info limits[] = {[LIMIT_NONE] = {"", ""},
#define X(name, flag, seen) [LIMIT_##name] = {flag, seen},
                                           LIMITS(X)
#undef X
};

const struct limit_info *limit_info(enum limit limit)
{
    return &limits[(int)limit > 0 && limit < LIMIT_COUNT ? limit : LIMIT_NONE];
}

const struct code_info *code_info(enum error_code code)
{
    return (int)code > 0 && code < CODE_COUNT ? &codes[code] : &codes[CODE_INTERNAL];
}

/* A status of its own HTTP number keeps it; 0 in the table means the code's. */
const struct status_info *status_info(enum status status)
{
    return (int)status > 0 && status < ST_COUNT ? &statuses[status] : &statuses[ST_INTERNAL];
}

static void fill(struct error *err, enum limit limit, enum status status, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));
static void fill(struct error *err, enum limit limit, enum status status, const char *fmt, va_list ap)
{
    if (!err) return;
    err->status = status;
    err->limit = limit;
    if (vsnprintf(err->message, sizeof(err->message), fmt, ap) < 0) err->message[0] = '\0';
}

int error_set(struct error *err, enum status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fill(err, LIMIT_NONE, status, fmt, ap);
    va_end(ap);
    return (int)status;
}

int error_limit(struct error *err, enum limit limit, enum status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fill(err, limit, status, fmt, ap);
    va_end(ap);
    return (int)status;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    char context[ERROR_MESSAGE_MAX - 2];
    va_list ap;

    if (!err) return ST_INTERNAL;
    va_start(ap, fmt);
    if (vsnprintf(context, sizeof(context), fmt, ap) < 0) context[0] = '\0';
    va_end(ap);

    size_t n = strlen(context);

    memmove(err->message + n + 2, err->message, sizeof(err->message) - n - 2);
    memcpy(err->message, context, n);
    memcpy(err->message + n, ": ", 2);
    err->message[sizeof(err->message) - 1] = '\0';
    return (int)err->status;
}
