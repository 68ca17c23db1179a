/* The calling thread's last error, and what an answer that is an error says. */
#ifndef GREEDYLR_LIB_ERROR_H
#define GREEDYLR_LIB_ERROR_H

#include "lib/greedylr.h"
#include "lib/transport.h"

#include <jansson.h>

/* Sets the thread's error; returns code. */
enum glr_code error_set(enum glr_code code, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds to the message of the thread's error. */
void error_append(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Short forms of what is the library's own. */
enum glr_code error_memory(void);
#define error_argument(...) error_set(GLR_INVALID_ARGUMENT, "ARGUMENT_INVALID", __VA_ARGS__)

/* Sets the thread's error from an answer whose status is not 200. */
enum glr_code error_from_answer(int status, const char *body);
/* The same from an object {"code", "message", "reason" or "details"}.  GLR_OK, and nothing set, if it is
 * none. */
enum glr_code error_from_json(const json_t *answer);
/* What came (fmt) is no answer of greedylrd: a proxy without a server, or a wrong URL. */
enum glr_code error_foreign(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The transport's last call had no answer. */
struct transport;
enum glr_code error_no_answer(const struct transport *transport);

/* Whether the thread's error passes by itself, and the same request is safe to repeat. */
bool error_is_passing(void);
/* Whether an error is not about the value that was reported, so that it is to be kept for later. */
bool error_keeps_value(enum glr_code code);
/* Such an error did not pass within the budget: its code becomes GLR_UNAVAILABLE, which is returned. */
enum glr_code error_give_up(void);

#endif
