/* Status codes and error objects: the one table of everything that can go wrong.
 *
 * A function that can fail returns 0 (ST_OK) or a status, and tells the details in an error object.  The
 * table below is the single source for the wire (code, HTTP status, reason), for the logs and for the
 * documentation of errors. */
#ifndef GREEDYLRD_CORE_STATUS_H
#define GREEDYLRD_CORE_STATUS_H

#include <stdarg.h>
#include <stddef.h>

/* Connect's codes: name on the wire and HTTP status (connectrpc.com, "Error codes"). */
#define ERROR_CODES(X)                                                                                       \
    X(CANCELED, "canceled", 499)                                                                             \
    X(UNKNOWN, "unknown", 500)                                                                               \
    X(INVALID_ARGUMENT, "invalid_argument", 400)                                                             \
    X(DEADLINE_EXCEEDED, "deadline_exceeded", 504)                                                           \
    X(NOT_FOUND, "not_found", 404)                                                                           \
    X(ALREADY_EXISTS, "already_exists", 409)                                                                 \
    X(PERMISSION_DENIED, "permission_denied", 403)                                                           \
    X(RESOURCE_EXHAUSTED, "resource_exhausted", 429)                                                         \
    X(FAILED_PRECONDITION, "failed_precondition", 400)                                                       \
    X(ABORTED, "aborted", 409)                                                                               \
    X(OUT_OF_RANGE, "out_of_range", 400)                                                                     \
    X(UNIMPLEMENTED, "unimplemented", 501)                                                                   \
    X(INTERNAL, "internal", 500)                                                                             \
    X(UNAVAILABLE, "unavailable", 503)                                                                       \
    X(DATA_LOSS, "data_loss", 500)                                                                           \
    X(UNAUTHENTICATED, "unauthenticated", 401)

enum error_code {
    CODE_OK = 0,
#define X(name, wire, http) CODE_##name,
    ERROR_CODES(X)
#undef X
        CODE_COUNT
};

/* Whether a failed request changed anything. */
enum error_outcome {
    OUTCOME_NOTHING,  /* nothing was changed */
    OUTCOME_RECORDED, /* the report's value is durable and counts; its decision is outstanding */
    OUTCOME_UNKNOWN,  /* it may or may not have happened; the same request is safe to repeat */
};

/* Everything that can go wrong: reason on the wire, code, HTTP status on the REST face (0: the code's own),
 * outcome, and what it means with the remedy, for the documentation. */
#define STATUSES(X)                                                                                          \
    X(FIELD_UNKNOWN, INVALID_ARGUMENT, 0, NOTHING,                                                           \
      "The request has a field that does not exist; check its spelling.")                                    \
    X(FIELD_INVALID, INVALID_ARGUMENT, 0, NOTHING,                                                           \
      "A field has a wrong type or a value out of range; the message names it and what is allowed.")         \
    X(FIELD_REQUIRED, INVALID_ARGUMENT, 0, NOTHING, "A required field is missing; the message names it.")    \
    X(BODY_INVALID, INVALID_ARGUMENT, 0, NOTHING,                                                            \
      "The body is not what its type says: malformed JSON or protobuf, a duplicate key, trailing bytes, "    \
      "nesting too deep.")                                                                                   \
    X(QUERY_INVALID, INVALID_ARGUMENT, 0, NOTHING, "A query parameter is unknown, repeated or malformed.")   \
    X(REQUEST_MALFORMED, INVALID_ARGUMENT, 0, NOTHING,                                                       \
      "The HTTP request itself is malformed or ambiguous; the connection is closed.")                        \
    X(PAGE_TOKEN_INVALID, INVALID_ARGUMENT, 0, NOTHING,                                                      \
      "The page_token is not one this method returned; start again without it.")                             \
    X(NONFINITE_REJECTED, INVALID_ARGUMENT, 0, NOTHING,                                                      \
      "The value is not finite and the job's on_nonfinite is reject; report a finite value or change the "   \
      "policy.")                                                                                             \
    X(PATH_UNKNOWN, NOT_FOUND, 0, NOTHING,                                                                   \
      "No such path; the routes are in the documentation of the protocol.")                                  \
    X(METHOD_NOT_ALLOWED, UNIMPLEMENTED, 405, NOTHING,                                                       \
      "The path exists, the HTTP method does not; the Allow header lists those that do.")                    \
    X(MEDIA_TYPE_UNSUPPORTED, INVALID_ARGUMENT, 415, NOTHING,                                                \
      "The Connect face takes application/json and application/proto, a stream application/connect+json "    \
      "and application/connect+proto; Accept-Post lists them.")                                              \
    X(ENCODING_UNSUPPORTED, UNIMPLEMENTED, 0, NOTHING,                                                       \
      "Content-Encoding is not served; send the body as it is (identity).")                                  \
    X(BODY_TOO_LARGE, RESOURCE_EXHAUSTED, 413, NOTHING,                                                      \
      "The body is larger than the limit; split it, or raise --max-body or --max-batch-body.")               \
    X(HEADERS_TOO_LARGE, RESOURCE_EXHAUSTED, 431, NOTHING,                                                   \
      "The request line and the headers do not fit --connection-memory; send fewer, or raise it.")           \
    X(TOO_MANY_JOBS, RESOURCE_EXHAUSTED, 0, NOTHING,                                                         \
      "The daemon holds as many jobs as --max-jobs allows; delete some or raise it.")                        \
    X(HOST_NOT_ALLOWED, PERMISSION_DENIED, 0, NOTHING,                                                       \
      "The Host header is not one of this daemon's names; use its address, or start it with --allow-host "   \
      "NAME.")                                                                                               \
    X(ORIGIN_NOT_ALLOWED, PERMISSION_DENIED, 0, NOTHING,                                                     \
      "A web page of another origin sent this; only this daemon's own pages may.")                           \
    X(TOKEN_REQUIRED, UNAUTHENTICATED, 0, NOTHING,                                                           \
      "The daemon asks for tokens and the request has none; send Authorization: Bearer TOKEN.")              \
    X(TOKEN_INVALID, UNAUTHENTICATED, 0, NOTHING,                                                            \
      "The token is malformed, unknown or revoked; ask whoever runs the daemon for another.")                \
    X(TOKEN_REVOKED, UNAUTHENTICATED, 0, UNKNOWN,                                                            \
      "The token was revoked while the request waited; a report may be recorded.  Ask whoever runs the "     \
      "daemon for another token.")                                                                           \
    X(ROLE_INSUFFICIENT, PERMISSION_DENIED, 0, NOTHING,                                                      \
      "The token's role does not include this; the message names the role that does.")                       \
    X(JOB_OUTSIDE_PREFIX, PERMISSION_DENIED, 0, NOTHING,                                                     \
      "The token may create jobs with its prefix only; choose such an id, or use another token.")            \
    X(QUOTA_EXCEEDED, RESOURCE_EXHAUSTED, 0, NOTHING,                                                        \
      "The token uses as much as its quota allows; the message names the quota.")                            \
    X(JOB_NOT_FOUND, NOT_FOUND, 0, NOTHING,                                                                  \
      "No job has this id; create it, or report with lr to create it on the fly.")                           \
    X(JOB_EXISTS, ALREADY_EXISTS, 0, NOTHING,                                                                \
      "A job with this id was created with another spec; the message names the first difference.")           \
    X(JOB_BEING_DELETED, ABORTED, 0, NOTHING,                                                                \
      "The job is being deleted at this moment; repeat the request.")                                        \
    X(JOB_PAUSED, FAILED_PRECONDITION, 0, NOTHING, "The job is paused; resume it first.")                    \
    X(JOB_FINISHED, FAILED_PRECONDITION, 0, NOTHING, "The job is finished; resume it first.")                \
    X(STEP_IN_PAST, FAILED_PRECONDITION, 0, NOTHING,                                                         \
      "The step is behind the last decided one and is not in the history; report a later one, or :rewind "   \
      "the "                                                                                                 \
      "job.")                                                                                                \
    X(STEP_CONFLICT, ABORTED, 0, NOTHING, "The step was decided on another value and the job is strict.")    \
    X(STALE_ATTEMPT, FAILED_PRECONDITION, 0, NOTHING,                                                        \
      "The report comes from an attempt that a later one replaced; stop this process.")                      \
    X(STEP_NOT_FOUND, NOT_FOUND, 0, NOTHING,                                                                 \
      "No decision of this step is in the history that counts; the message names the nearest one.")          \
    X(STEP_NOT_DECIDED, DEADLINE_EXCEEDED, 0, NOTHING,                                                       \
      "The step was not decided within the wait; ask again.")                                                \
    X(STEP_TOO_FAR_AHEAD, FAILED_PRECONDITION, 0, NOTHING,                                                   \
      "Eight later steps wait behind the open round already; report the missing ranks, or :rewind.")         \
    X(ROUND_INCOMPLETE, DEADLINE_EXCEEDED, 0, RECORDED,                                                      \
      "The round's deadline passed without a quorum; the message names the missing ranks.  The value is "    \
      "kept: the same report again waits on.")                                                               \
    X(WAIT_EXPIRED, DEADLINE_EXCEEDED, 0, RECORDED,                                                          \
      "The request's own time is over and the round goes on with its value; the same report again waits "    \
      "on.")                                                                                                 \
    X(REWOUND, ABORTED, 0, NOTHING,                                                                          \
      "The job went back to an earlier step, or to a new attempt, while the request waited; start again "    \
      "from there.")                                                                                         \
    X(STATE_INVALID, INVALID_ARGUMENT, 0, NOTHING,                                                           \
      "The state_dict lacks a key or has an impossible value; the message names the key.")                   \
    X(STATE_NOT_EXPORTABLE, FAILED_PRECONDITION, 0, NOTHING,                                                 \
      "No scheduler in a training process has a state like this job's; the message says why.")               \
    X(JOB_DELETED, ABORTED, 0, NOTHING, "The job was deleted while the request waited.")                     \
    X(WATCHER_TOO_SLOW, RESOURCE_EXHAUSTED, 0, NOTHING,                                                      \
      "The watcher did not keep up; watch again from the last revision it has.")                             \
    X(WATCH_EXPIRED, DEADLINE_EXCEEDED, 0, NOTHING,                                                          \
      "The watcher's own time is over; watch again from the last revision it has.")                          \
    X(TOO_MANY_WAITING, RESOURCE_EXHAUSTED, 0, NOTHING,                                                      \
      "As many requests wait as the daemon allows; the message names the limit.")                            \
    X(FIELD_FIXED, FAILED_PRECONDITION, 0, NOTHING,                                                          \
      "The setting cannot change on a live job; fork it or create another.")                                 \
    X(REPORT_REQUIRES_STEP, INVALID_ARGUMENT, 0, NOTHING, "The job needs the step of each report.")          \
    X(NOT_SERVED, UNIMPLEMENTED, 0, NOTHING, "Declared in the contract, not served by this version.")        \
    X(STORE_FULL, UNAVAILABLE, 0, NOTHING,                                                                   \
      "The disk of the data directory is full; the daemon takes writes again by itself once there is room.") \
    X(STORE_HELD, UNAVAILABLE, 0, NOTHING,                                                                   \
      "Another program has a transaction open on the database; the daemon takes writes again by itself "     \
      "once that has ended.")                                                                                \
    X(STORE_FAILED, UNAVAILABLE, 0, UNKNOWN, "The store failed; the daemon restarts.  Repeat the request.")  \
    X(WAIT_INTERRUPTED, UNAVAILABLE, 0, RECORDED,                                                            \
      "The daemon stops, or cannot write for now; the round goes on with the value: the same report again "  \
      "waits on, once that is over.")                                                                        \
    X(CALLER_GONE, CANCELED, 0, NOTHING, "Nobody waits for the answer any more.")                            \
    X(DRAINING, UNAVAILABLE, 0, NOTHING, "The daemon is stopping; repeat the request once it is back.")      \
    X(OVERLOADED, UNAVAILABLE, 0, NOTHING, "Too much is waiting; repeat the request later.")                 \
    X(DATA_DAMAGED, DATA_LOSS, 0, NOTHING,                                                                   \
      "The database does not hold what it should; stop the daemon and restore a backup.")                    \
    X(OUT_OF_MEMORY, RESOURCE_EXHAUSTED, 503, UNKNOWN,                                                       \
      "The daemon ran out of memory; repeat the request later.")                                             \
    X(INTERNAL, INTERNAL, 0, UNKNOWN, "A bug; please report it with the daemon's log.")                      \
    X(CONFIG_INVALID, INVALID_ARGUMENT, 0, NOTHING, "An option has a bad value.")                            \
    X(DATA_DIR_IN_USE, FAILED_PRECONDITION, 0, NOTHING, "Another daemon uses the data directory.")           \
    X(DATA_DIR_UNREADABLE, FAILED_PRECONDITION, 0, NOTHING, "The data directory cannot be read or written.") \
    X(DATA_NEWER, FAILED_PRECONDITION, 0, NOTHING, "The database was written by a newer greedylrd.")         \
    X(STORE_STALE, ABORTED, 0, NOTHING, "Another writer changed the job first.")

/* Limits: the flag that sets one, or a name for what is fixed, and what a peer sees that meets it.  They are
 * counted by name (limit_refusals_total). */
#define LIMITS(X)                                                                                            \
    X(CONNECTIONS, "max-connections",                                                                        \
      "idle and slow connections make room; where none can, 503 `OVERLOADED`, but for health and metrics")   \
    X(PER_ADDRESS, "max-connections-per-address", "the connection closes")                                   \
    X(HEADER_TIMEOUT, "header-timeout", "the connection closes")                                             \
    X(REQUEST_TIMEOUT, "request-timeout", "the connection closes")                                           \
    X(ANSWER_TIMEOUT, "answer-timeout", "the connection closes")                                             \
    X(STREAM_STALL, "stream stall", "the connection closes: nothing was read for a minute")                  \
    X(KEEPALIVE_TIMEOUT, "keepalive-timeout", "the connection closes")                                       \
    X(CONNECTION_MEMORY, "connection-memory", "431 `HEADERS_TOO_LARGE`; 414 or 431 in HTML far beyond it")   \
    X(BODY, "max-body", "413 `BODY_TOO_LARGE`")                                                              \
    X(BATCH_BODY, "max-batch-body", "413 `BODY_TOO_LARGE`")                                                  \
    X(BATCH_ENTRIES, "max-batch-entries", "400 `FIELD_INVALID`")                                             \
    X(JSON_DEPTH, "max-json-depth", "400 `BODY_INVALID`")                                                    \
    X(SIMULATIONS, "max-simulations", "429 `TOO_MANY_WAITING`")                                              \
    X(SIMULATED_RATES, "max-simulated-rates", "400 `FIELD_INVALID`")                                         \
    X(RANKS, "max-ranks", "400 `FIELD_INVALID`")                                                             \
    X(ROUND_MEMORY, "max-round-memory", "429 `TOO_MANY_WAITING`")                                            \
    X(ANSWER_MEMORY, "max-answer-memory", "429 `TOO_MANY_WAITING`")                                          \
    X(WAITING, "waiting calls", "429 `TOO_MANY_WAITING`; a round's report 504 `WAIT_EXPIRED`, recorded")     \
    X(WAIT, "max-wait",                                                                                      \
      "504 `WAIT_EXPIRED` or `STEP_NOT_DECIDED` after that time, however long a wait was asked for")         \
    X(WATCHERS, "max-watchers", "429 `TOO_MANY_WAITING`")                                                    \
    X(WATCHERS_PER_JOB, "max-watchers-per-job", "429 `TOO_MANY_WAITING`")                                    \
    X(JOBS, "max-jobs", "429 `TOO_MANY_JOBS`")                                                               \
    X(MEMORY, "max-memory",                                                                                  \
      "503 `OVERLOADED` for what would take more; reads, reports, and rounds that wait go on")               \
    X(TOKEN_JOBS, "token-jobs", "429 `QUOTA_EXCEEDED`")                                                      \
    X(TOKEN_REQUESTS, "token-requests", "429 `QUOTA_EXCEEDED`")                                              \
    X(TOKEN_ROUNDS, "token-rounds", "429 `QUOTA_EXCEEDED`")                                                  \
    X(TOKEN_WATCHERS, "token-watchers", "429 `QUOTA_EXCEEDED`")

enum limit {
    LIMIT_NONE = 0,
#define X(name, flag, seen) LIMIT_##name,
    LIMITS(X)
#undef X
        LIMIT_COUNT
};

struct limit_info {
    const char *flag, *seen;
};

/* A row of the table; limit in [1, LIMIT_COUNT). */
const struct limit_info *limit_info(enum limit limit);

enum status {
    ST_OK = 0,
#define X(name, code, http, outcome, doc) ST_##name,
    STATUSES(X)
#undef X
        ST_COUNT
};

struct status_info {
    const char *reason; /* UPPER_SNAKE, stable */
    enum error_code code;
    int http; /* on the REST face */
    enum error_outcome outcome;
    const char *doc;
};

struct code_info {
    const char *name; /* Connect's name */
    int http;
};

/* Rows of the two tables; status in [1, ST_COUNT), code in [1, CODE_COUNT). */
const struct status_info *status_info(enum status status);
const struct code_info *code_info(enum error_code code);

#define ERROR_MESSAGE_MAX 512

/* What went wrong, for people: names the field, the value and the remedy.  No allocation, no ownership. */
struct error {
    enum status status;
    enum limit limit; /* what was met, or LIMIT_NONE */
    char message[ERROR_MESSAGE_MAX];
};

/* Fills *err (which may be NULL) and returns status, so that a function can end with `return error_set(...)`.
 * Text that does not fit is cut. */
int error_set(struct error *err, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, where a limit was met. */
int error_limit(struct error *err, enum limit limit, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "context: " in front of the message, on the way up; returns the error's status. */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define WARN_UNUSED __attribute__((warn_unused_result))

#endif
