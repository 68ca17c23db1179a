/* HTTP to a daemon: requests with answers, and streams of server-sent events.  For the library and the
 * command line.
 *
 * The only place that knows libcurl.  One transport holds one connection, which it keeps alive and opens
 * again as needed; a transport belongs to one thread at a time.  Nothing here repeats a request, save that a
 * request on a kept connection that turns out to be closed goes out once more on a new one, and one whose
 * token was refused if the token's file has another one by now. */
#ifndef GREEDYLR_LIB_TRANSPORT_H
#define GREEDYLR_LIB_TRANSPORT_H

#include "lib/credentials.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transport;

/* An answer, whatever its status; owned by the caller: transport_reply_clear. */
struct transport_reply {
    int status;         /* HTTP status */
    char *body;         /* len bytes and a NUL; never NULL */
    size_t len;         /* bytes */
    char *content_type; /* as sent, parameters included; "" if none was */
    long retry_after;   /* seconds the daemon asks to wait; 0 if it does not */
    int64_t date;       /* the daemon's clock, seconds since 1970; 0 if it does not say */
};

/* Answers are at most this long; a longer one counts as none. */
#define TRANSPORT_REPLY_MAX (64u << 20)

/* One event of a stream, at most 1 MiB long.  id: the last one sent, "" before the first; event: "message" if
 * the stream does not say; data: lines joined by \n.  All borrowed for the call.  Non-zero stops the stream.
 * Must not call functions of the transport it comes from. */
typedef int (*transport_event_fn)(void *arg, const char *id, const char *event, const char *data);

/* Does no I/O but reading the files of credentials.
 * url: "http://host:8571", "https://host/prefix" or "unix:/path"; NULL: GREEDYLR_URL, or
 * http://127.0.0.1:8571.  given: NULL means the environment's.  A token goes out over https, to this machine
 * and over Unix sockets; over http to another machine only where GREEDYLR_INSECURE=no-tls accepts that by
 * name.  Redirects are not followed.  Returns 0, or -1 with what is wrong and what to do in error (size
 * bytes). */
int transport_new(const char *url, const struct credentials_given *given, struct transport **out, char *error,
                  size_t size) __attribute__((warn_unused_result));
void transport_free(struct transport *t);

/* One request.  path: from the first slash, percent-encoded, with the query.  body: JSON, or NULL.  accept:
 * NULL means application/json.  timeout_ms bounds all of it; 0: no bound. Returns 0 with an answer of any
 * status, or -1 with transport_error() set: no answer came; out is then cleared. */
int transport_call(struct transport *t, const char *method, const char *path, const char *body,
                   const char *accept, long timeout_ms, struct transport_reply *out)
    __attribute__((warn_unused_result));

/* Server-sent events from path until the daemon ends the stream or on_event stops it: 0.  last_event_id:
 * resume after this one, or NULL.  An answer that is no stream (a status other than 200): on_event is called
 * once with event "error" and the body as data, and the status is returned.  -1 with transport_error() set:
 * no answer, or the stream broke off.  A stream silent for 60 s counts as broken; the daemon's comments keep
 * it alive. */
int transport_stream(struct transport *t, const char *path, const char *last_event_id,
                     transport_event_fn on_event, void *arg) __attribute__((warn_unused_result));

/* From now on calls on_idle while a stream is open, about once a second and whenever bytes come; non-zero
 * stops it.  NULL: no longer.
 */
void transport_on_idle(struct transport *t, int (*on_idle)(void *arg), void *arg);

/* Why the last call had no answer, for people, with what to do; valid until the next call. */
const char *transport_error(const struct transport *t);
/* Whether it had none because the daemon's certificate was refused: nothing was sent. */
bool transport_untrusting(const struct transport *t);
/* Whether it had none because its time was over. */
bool transport_timed_out(const struct transport *t);
/* The URL in use, without a trailing slash. */
const char *transport_url(const struct transport *t);

/* Where the URL leads. */
struct transport_place {
    const char *socket; /* path of a Unix socket; NULL: host and port */
    const char *host;   /* a name or an address, without brackets */
    const char *port;
    bool tls;
    bool direct; /* this machine: no proxy is asked */
};
struct transport_place transport_place(const struct transport *t);

/* The certificate that the daemon showed in the last call that it answered. */
struct transport_certificate {
    char issuer[200];
    int64_t begins, ends; /* seconds since 1970 */
};
/* false: it showed none, or dates that cannot be read. */
bool transport_certificate(const struct transport *t, struct transport_certificate *out);

/* The transport's libraries and their versions at run time: "libcurl/7.88.1 GnuTLS/3.7.9 ...". */
const char *transport_library(void);

void transport_reply_clear(struct transport_reply *reply);

#endif
