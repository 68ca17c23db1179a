/* Requests to the daemon, and what is said when they fail. */
#ifndef GREEDYLR_CLI_CALL_H
#define GREEDYLR_CLI_CALL_H

#include "cli/arguments.h"

#include "lib/transport.h"

/* A transport for the invocation's URL and token.  Returns 0, or an exit code after saying why there is none.
 */
int session_open(const struct invocation *in, struct transport **out);

/* One request that has to succeed: 0 with a reply of status 200, which transport_reply_clear frees, or an
 * exit code after saying why not. */
int session_call(const struct invocation *in, struct transport *t, const char *path, const char *body,
                 const char *accept, struct transport_reply *out);

/* One request of a command, by its name, without a word of what it shows: *out is the answer's JSON, which
 * the caller frees.  Returns 0, or an exit code after saying why not. */
int session_json(const struct invocation *in, struct transport *t, const char *command, json_t *request,
                 json_t **out);
/* The same for who asks again and again: why not is written into why (size bytes), not said.  EXIT_NO_ANSWER
 * where it may pass by itself.  *ahead, unless it is NULL: by how many seconds the daemon's clock is before
 * ours, where it says. */
int session_poll(const struct invocation *in, struct transport *t, const char *command, json_t *request,
                 json_t **out, double *ahead, char *why, size_t size);

/* Says on standard error what the daemon refused, why, and what to do; returns the exit code.  body: of an
 * answer with this HTTP status. */
int session_refused(const struct invocation *in, const struct transport *t, int status, const char *body);
/* Says that there was no answer, and what to do; returns EXIT_NO_ANSWER. */
int session_no_answer(const struct transport *t);

/* How long the invocation waits for one answer, in milliseconds. */
long session_timeout(const struct invocation *in);

/* A line of ours on standard error, control characters made harmless. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Ends the output: EXIT_OK, or EXIT_REFUSED after saying that it could not be written. */
int finish_output(void);

#endif
