/* libgreedylr: learning rates from greedylrd, for programs in C and C++.
 *
 *     struct glr_client *client;
 *     struct glr_job *job;
 *     const double lr = 0.1;
 *     struct glr_decision d = {.size = sizeof d, .lr = lr};
 *
 *     if (glr_client_open(NULL, &client)) errx(1, "%s", glr_error()->message);
 *     enum glr_code code = glr_job_create(client, "demo", &lr, 1, NULL, &job);
 *     if (code && code != GLR_UNAVAILABLE) errx(1, "%s", glr_error()->message);
 *     for (uint32_t step = 1; step <= 100; step++) {
 *         struct glr_report r = {.size = sizeof r, .has_step = true, .step = step};
 *         r.value = train_and_validate(d.lr);
 *         if (glr_report(job, &r, &d)) warnx("rate kept: %s", glr_error()->message); // d stays as it is
 *     }
 *     if (glr_flush(job)) warnx("%zu values lost", glr_held(job));
 *     glr_job_close(job);
 *     glr_client_close(client);
 *
 * Training outlives the daemon.  Each call takes at most the client's budget (5 s unless told otherwise), all
 * repetitions included.  When a call's budget ran out without an answer, calls of the next 10 s fail at once;
 * after that one call tries again, for at most 0.5 s, and so on until the daemon is back.  Values that could
 * not be delivered are held in the job and handed in, in order, before the next report.  What is repeated is
 * repeated with a jittered pause, and only where it is safe: a report carries its step or a request id, so
 * that none counts twice.
 *
 * Errors.  Functions return GLR_OK (0) or a code; glr_error() tells the reason and a sentence for people.
 * Reasons are the daemon's (its protocol's documentation lists them: STALE_ATTEMPT, STEP_IN_PAST, ...) or one
 * of the library's own:
 *     ARGUMENT_INVALID     GLR_INVALID_ARGUMENT    an argument is wrong; nothing was sent
 *     NO_ANSWER            GLR_UNAVAILABLE         none within the budget, or nobody was asked, see above
 *     CERTIFICATE_REFUSED  GLR_UNAUTHENTICATED     it is not to be trusted; nothing was sent
 *     ANSWER_INVALID       GLR_UNAVAILABLE         what answered is not greedylrd
 *     NO_MEMORY            GLR_RESOURCE_EXHAUSTED  this process has none left
 *
 * Threads.  A client and its jobs are for one thread at a time: have one client a thread, or lock around it.
 * Different clients are independent.  glr_watch may run in another thread while its client is in use.
 * glr_error() is the calling thread's.  No function changes signal handling or the locale.  After fork() a
 * child uses a client of its own.
 *
 * Structs begin with their size, which the caller sets (.size = sizeof it) in those given and in those to be
 * filled; the rest of one given is zero where it says nothing.  Later versions add fields at the end, so
 * programs built with this header go on working with a newer library.  In C++ write "struct glr_report":
 * the function has the name as well.
 *
 * Rates, values and weights are doubles and arrive bit for bit.  "Groups" are the parameter groups of the
 * optimizer, in its order: one rate each. */
#ifndef GREEDYLR_H
#define GREEDYLR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GLR_VERSION "0.1.0"

#if defined(__GNUC__)
#define GLR_API        __attribute__((visibility("default")))
#define GLR_MUST_CHECK __attribute__((warn_unused_result))
#else
#define GLR_API
#define GLR_MUST_CHECK
#endif

/* Connect's error codes, numbered as everywhere. */
enum glr_code {
    GLR_OK = 0,
    GLR_CANCELED = 1,
    GLR_UNKNOWN = 2,
    GLR_INVALID_ARGUMENT = 3,
    GLR_DEADLINE_EXCEEDED = 4, /* a round or a step was not decided in time; the value counts */
    GLR_NOT_FOUND = 5,
    GLR_ALREADY_EXISTS = 6,
    GLR_PERMISSION_DENIED = 7,
    GLR_RESOURCE_EXHAUSTED = 8,
    GLR_FAILED_PRECONDITION = 9,
    GLR_ABORTED = 10,
    GLR_OUT_OF_RANGE = 11,
    GLR_UNIMPLEMENTED = 12,
    GLR_INTERNAL = 13,
    GLR_UNAVAILABLE = 14, /* no answer, or the daemon cannot serve now; a report's value is held */
    GLR_DATA_LOSS = 15,
    GLR_UNAUTHENTICATED = 16
};

/* The last error of the calling thread. */
struct glr_error {
    enum glr_code code;  /* GLR_OK if nothing failed yet */
    const char *reason;  /* stable, UPPER_SNAKE; "" if nothing failed yet */
    const char *message; /* what is wrong and what to do */
};

/* Never NULL.  Stays what it is until the next call of this thread that fails. */
GLR_API const struct glr_error *glr_error(void);

/* Name of a code as Connect writes it, "unavailable"; "unknown" for a number that is none.  Static. */
GLR_API const char *glr_code_name(enum glr_code code);

/* Version of the library at run time, like GLR_VERSION.  Static. */
GLR_API const char *glr_version(void);

/* ---- Clients ---- */

struct glr_client; /* where the daemon is and one connection to it */
struct glr_job;    /* one job there */

struct glr_options {
    size_t size;
    /* "http://host:8571", "https://host" or "unix:/path".  NULL: GREEDYLR_URL, or http://127.0.0.1:8571. */
    const char *url;
    /* As `greedylr token create` printed it.  NULL: see token_file. */
    const char *token;
    /* The most a call may take, in milliseconds.  0: 5000.  In a job with several ranks it has to cover the
     * wait for them. */
    uint64_t budget_ms;
    /* File whose first line is the token, if token is NULL; read again when the daemon refuses the token it
     * had. NULL: GREEDYLR_TOKEN, or the file that GREEDYLR_TOKEN_FILE names, or no token. */
    const char *token_file;
    /* File with the certificates, PEM, that may vouch for the daemon, in place of the system's.  NULL: the
     * file that GREEDYLR_CA_FILE names, or the system's. */
    const char *ca_file;
};

/* Opens a client; speaks to nobody yet.  options: NULL means all defaults; copied.
 * *client is for glr_client_close, and NULL on failure.  GLR_INVALID_ARGUMENT (a bad url, an unreadable token
 * or CA file, a token that would go out over plain http to another machine). */
GLR_API enum glr_code glr_client_open(const struct glr_options *options,
                                      struct glr_client **client) GLR_MUST_CHECK;

/* Changes the budget of later calls: milliseconds, 0 means 5000. */
GLR_API void glr_client_set_budget(struct glr_client *client, uint64_t budget_ms);

/* Ends a client.  Close its jobs and end its watches before.  NULL does nothing. */
GLR_API void glr_client_close(struct glr_client *client);

/* ---- Jobs ---- */

/* Creates a job and opens it.  A job that was created with the same lrs and settings is opened as it is, so
 * that a restarted run may call this again; glr_get tells its rates, which are 0 where a new job begins with
 * a warm-up from 0. id: 1 to 128 of A-Z a-z 0-9 . _ - and not starting with a dot or a dash. lrs: initial
 * rates [groups], each finite and above 0; groups 1 to 256.
 * settings: the other fields of a JobSpec as a JSON object, {"greedy": {"patience": 5}, "ranks":
 * {"world_size": 4}} or {"cosine_annealing": {"t_max": 100}}; NULL: GreedyLR with its defaults. *job is for
 * glr_job_close.  It is set, and works, on GLR_UNAVAILABLE as well: then the job is created before its first
 * report is handed in.  NULL on any other failure: GLR_INVALID_ARGUMENT, GLR_ALREADY_EXISTS (reason
 * JOB_EXISTS: created with other settings; the message names the first difference), GLR_PERMISSION_DENIED. */
GLR_API enum glr_code glr_job_create(struct glr_client *client, const char *id, const double *lrs,
                                     size_t groups, const char *settings,
                                     struct glr_job **job) GLR_MUST_CHECK;

/* Opens a job that exists; speaks to nobody yet.  *job is for glr_job_close, NULL on failure:
 * GLR_INVALID_ARGUMENT. */
GLR_API enum glr_code glr_job_open(struct glr_client *client, const char *id,
                                   struct glr_job **job) GLR_MUST_CHECK;

/* Ends the handle, not the job; never blocks.  Held values are lost: glr_flush before.  NULL does nothing. */
GLR_API void glr_job_close(struct glr_job *job);

/* ---- Reports ---- */

/* One validation value. */
struct glr_report {
    size_t size;
    double value; /* loss or metric; NaN and infinities are taken, the job's on_nonfinite says what they do */
    double weight; /* samples behind it, its weight in the mean over ranks; 0: 1 */
    double lr_cap; /* no rate of this decision may be above it; 0: none */
    /* Rate the optimizer used for the first group, to be checked; 0: not told, unless has_applied_lr. */
    double applied_lr;
    const char
        *request_id; /* of a report without a step, 1 to 128 printable ASCII characters; NULL: a random one */
    uint32_t step;   /* evaluation, epoch or iteration, whatever the run counts: with has_step */
    uint32_t attempt; /* restart counter of the run: with has_attempt */
    uint32_t rank;    /* below the job's world_size */
    bool has_step;    /* false: the step after the last one; only in jobs of one rank */
    bool has_attempt; /* false: the attempt of this job's last glr_begin or glr_rewind, or the current one */
    bool dry_run;     /* only say what the value would decide; nothing is stored or held */
    bool has_applied_lr; /* true: applied_lr is told even where it is 0, as in the first step of a warm-up */
};

/* What was decided, and why.  Strings and lrs are the library's: valid until the next successful call that
 * fills a decision of this job, or glr_job_close; in a watch until the callback returns.  Absent numbers are
 * NAN, absent strings "". */
struct glr_decision {
    size_t size;
    double lr;         /* the rate to use from now on: first group */
    const double *lrs; /* the rates to use from now on [groups] */
    size_t groups;
    double value;       /* what was decided on, after the ranks were reduced */
    double smoothed;    /* the value after smoothing, which is compared with best */
    double best;        /* best value after this decision */
    const char *action; /* raise, cut, hold, reset, ramp, schedule, skip; or what an operator did: override,
                           begin, rewind, ... */
    const char *reason; /* why, in a sentence a person can act on */
    const char *stage;  /* none, warmup, cooldown: the stage in force after it */
    const char *policy; /* what decided, where it is not the job's own policy */
    const char *actor;  /* who, where it was an operator */
    const char *time;   /* when, RFC 3339 */
    uint32_t step;      /* with has_step */
    uint32_t attempt;   /* attempt it belongs to */
    uint32_t revision;  /* of the job after it; grows by one with each change */
    uint32_t num_good;  /* better reports in a row */
    uint32_t num_bad;   /* worse reports in a row */
    uint32_t ranks;     /* ranks the value was reduced from; 0 in a job of one rank */
    bool has_step;      /* false only for what happened before the first report */
    bool at_min;        /* every rate is at its lower bound */
    bool at_max;        /* every rate is at its upper bound */
    bool plateaued;     /* at_min, and patience ran out there again: a hint to stop */
    bool duplicate;     /* decided before; this is the recorded answer and nothing changed */
    bool conflict;      /* a duplicate with another value */
    bool applied_mismatch; /* applied_lr is not the rate decided last: the optimizer does not use its rates */
    bool superseded;       /* a rewind went back behind it */
};

/* Reports a value and waits for the decision: at once in a job of one rank, once the ranks are there in one
 * of several. decision may be NULL.  On failure it stays untouched, strings and lrs included: go on with the
 * rates it has. GLR_UNAVAILABLE: the value is held, see glr_held. GLR_UNAUTHENTICATED,
 * GLR_PERMISSION_DENIED: so it is, until the token or the certificate is put right, which is not awaited.
 * GLR_DEADLINE_EXCEEDED: the value counts but its round is undecided (WAIT_EXPIRED: the budget is over;
 * ROUND_INCOMPLETE: the round's deadline, the message names the missing ranks).  The same report again waits
 * on. GLR_ABORTED, reason REWOUND: the job went back to an earlier step meanwhile.  Others, among them
 * reasons STEP_IN_PAST, STALE_ATTEMPT (a later attempt runs: end this process), JOB_FINISHED: refused, the
 * value is not held. */
GLR_API enum glr_code glr_report(struct glr_job *job, const struct glr_report *report,
                                 struct glr_decision *decision);

/* Values held because the daemon did not answer, or did not let this program in.  At most 10,000; beyond that
 * the oldest are dropped. */
GLR_API size_t glr_held(const struct glr_job *job);

/* Values that were held and never counted, since the job was opened: refused when they were handed in,
 * dropped, or made obsolete by glr_begin or glr_rewind. */
GLR_API size_t glr_lost(const struct glr_job *job);

/* Hands in what is held, for at most the budget, even if the daemon did not answer lately: before a program
 * ends. GLR_OK: nothing is held any more. */
GLR_API enum glr_code glr_flush(struct glr_job *job);

/* ---- Rates ---- */

/* Rates of every group.  lrs is the library's: valid until the next successful call that fills rates of this
 * job, or glr_job_close. */
struct glr_rates {
    size_t size;
    double lr;         /* first group */
    const double *lrs; /* every group [groups] */
    size_t groups;
    uint32_t step;     /* of the last decision, with has_step */
    uint32_t revision; /* of the job */
    bool has_step;     /* false: nothing was decided yet */
    bool reserved[7];  /* false */
};

/* The rates to use now.  rates stays untouched on failure: GLR_NOT_FOUND (no such job), GLR_UNAVAILABLE, ...
 */
GLR_API enum glr_code glr_get(struct glr_job *job, struct glr_rates *rates);

/* Waits for the decision of a step, and answers its rates: for ranks that do not report.  At once if it is
 * decided. GLR_DEADLINE_EXCEEDED, reason STEP_NOT_DECIDED: not within the budget; ask again. */
GLR_API enum glr_code glr_wait(struct glr_job *job, uint32_t step, struct glr_rates *rates);

/* ---- Restarts ---- */

/* Starts the next attempt: what a launcher without a restart counter calls once, in one process, after a
 * restart. step: of the checkpoint the run goes on from; the job goes back to its state there.  NULL: the job
 * goes on where it is. *attempt: its number; later reports of this handle carry it.  rates: those in force,
 * or NULL. GLR_NOT_FOUND, reason STEP_NOT_FOUND: the step was never decided; the message names the nearest
 * one.  After GLR_UNAVAILABLE nobody knows whether an attempt began; calling again is safe and at worst skips
 * a number. */
GLR_API enum glr_code glr_begin(struct glr_job *job, const uint32_t *step, uint32_t *attempt,
                                struct glr_rates *rates) GLR_MUST_CHECK;

/* Goes back to the state after a step, as attempt number `attempt`: one more than the one before.  Every rank
 * may call it with the same number; the first one counts.  Later reports of this handle carry it.  rates:
 * those in force, or NULL. GLR_FAILED_PRECONDITION, reason STALE_ATTEMPT: a later attempt runs. GLR_NOT_FOUND
 * as above. */
GLR_API enum glr_code glr_rewind(struct glr_job *job, uint32_t step, uint32_t attempt,
                                 struct glr_rates *rates) GLR_MUST_CHECK;

/* The same, to the state at creation. */
GLR_API enum glr_code glr_rewind_initial(struct glr_job *job, uint32_t attempt,
                                         struct glr_rates *rates) GLR_MUST_CHECK;

/* ---- Watching ---- */

/* Called for each decision and operator's act, in order; and with NULL about once a second, so that
 * it may end.  Non-zero ends the watch.  May use the client, where the watch runs in the client's thread. */
typedef int (*glr_watch_fn)(void *arg, const struct glr_decision *decision);

/* Follows a job as its decisions become durable; returns when the callback ends it (GLR_OK), or when there is
 * nothing to follow: GLR_NOT_FOUND, GLR_ABORTED (reason JOB_DELETED), GLR_PERMISSION_DENIED, ...  A lost
 * connection or a daemon that restarts ends nothing: the watch resumes after the last revision it has seen,
 * for as long as it takes. after_revision: start behind it, 0 means from the beginning; NULL: with the next
 * decision. */
GLR_API enum glr_code glr_watch(const struct glr_client *client, const char *id,
                                const uint32_t *after_revision, glr_watch_fn on_decision, void *arg);

#ifdef __cplusplus
}
#endif

#endif
