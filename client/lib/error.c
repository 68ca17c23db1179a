/* Errors live in the thread, as errno does: functions that make handles have one to speak through, too. */
#include "lib/error.h"

#include "lib/transport.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct {
    struct glr_error error;
    char reason[64];
    char message[1024];
} last;

static const char *const names[] = {
    [GLR_OK] = "ok",
    [GLR_CANCELED] = "canceled",
    [GLR_UNKNOWN] = "unknown",
    [GLR_INVALID_ARGUMENT] = "invalid_argument",
    [GLR_DEADLINE_EXCEEDED] = "deadline_exceeded",
    [GLR_NOT_FOUND] = "not_found",
    [GLR_ALREADY_EXISTS] = "already_exists",
    [GLR_PERMISSION_DENIED] = "permission_denied",
    [GLR_RESOURCE_EXHAUSTED] = "resource_exhausted",
    [GLR_FAILED_PRECONDITION] = "failed_precondition",
    [GLR_ABORTED] = "aborted",
    [GLR_OUT_OF_RANGE] = "out_of_range",
    [GLR_UNIMPLEMENTED] = "unimplemented",
    [GLR_INTERNAL] = "internal",
    [GLR_UNAVAILABLE] = "unavailable",
    [GLR_DATA_LOSS] = "data_loss",
    [GLR_UNAUTHENTICATED] = "unauthenticated",
};
#define CODES (sizeof names / sizeof *names)

/* Reasons that pass by themselves though their code does not say so. */
static const char *const passing[] = {"OUT_OF_MEMORY", "JOB_BEING_DELETED", "TOO_MANY_WAITING",
                                      "WATCHER_TOO_SLOW"};

const struct glr_error *glr_error(void)
{
    last.error.reason = last.reason;
    last.error.message = last.message;
    return &last.error;
}

const char *glr_code_name(enum glr_code code)
{
    return names[(unsigned)code < CODES ? (unsigned)code : GLR_UNKNOWN];
}

enum glr_code error_set(enum glr_code code, const char *reason, const char *fmt, ...)
{
    va_list ap;

    last.error.code = code;
    snprintf(last.reason, sizeof last.reason, "%s", reason);
    va_start(ap, fmt);
    vsnprintf(last.message, sizeof last.message, fmt, ap);
    va_end(ap);
    return code;
}

void error_append(const char *fmt, ...)
{
    size_t used = strlen(last.message);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(last.message + used, sizeof last.message - used, fmt, ap);
    va_end(ap);
}

enum glr_code error_memory(void)
{
    return error_set(GLR_RESOURCE_EXHAUSTED, "NO_MEMORY", "out of memory");
}

enum glr_code error_foreign(const char *fmt, ...)
{
    char what[128];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return error_set(GLR_UNAVAILABLE, "ANSWER_INVALID",
                     "%s from something that is not greedylrd; check the URL, and the proxy if there is one",
                     what);
}

enum glr_code error_no_answer(const struct transport *transport)
{
    if (transport_untrusting(transport))
        return error_set(GLR_UNAUTHENTICATED, "CERTIFICATE_REFUSED", "%s", transport_error(transport));
    return error_set(GLR_UNAVAILABLE, "NO_ANSWER", "%s", transport_error(transport));
}

static enum glr_code code_named(const char *name)
{
    for (unsigned i = 1; name && i < CODES; i++)
        if (!strcmp(names[i], name)) return (enum glr_code)i;
    return GLR_OK;
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

enum glr_code error_from_json(const json_t *answer)
{
    enum glr_code code = code_named(text(answer, "code"));
    const char *message = text(answer, "message"), *reason = text(answer, "reason");

    if (!code || !message) return GLR_OK;
    if (!reason)
        reason =
            text(json_object_get(json_array_get(json_object_get(answer, "details"), 0), "debug"), "reason");
    return error_set(code, reason ? reason : "", "%s", message);
}

enum glr_code error_from_answer(int status, const char *body)
{
    json_t *answer = json_loads(body, 0, NULL);
    enum glr_code code = answer ? error_from_json(answer) : GLR_OK;

    json_decref(answer);
    return code ? code : error_foreign("HTTP status %d", status);
}

bool error_is_passing(void)
{
    if (last.error.code == GLR_UNAVAILABLE) return true;
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (!strcmp(last.reason, passing[i])) return true;
    return false;
}

bool error_keeps_value(enum glr_code code)
{
    return code == GLR_UNAVAILABLE || code == GLR_UNAUTHENTICATED || code == GLR_PERMISSION_DENIED;
}

enum glr_code error_give_up(void)
{
    return last.error.code = GLR_UNAVAILABLE;
}
