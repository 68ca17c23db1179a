/* One request after the other on one transport.
 *
 * An answer that is not 200 is the daemon's refusal if it has the daemon's form, and no answer of a daemon at
 * all if it has not: somebody else listens there, or a proxy speaks for it. */
#include "cli/call.h"

#include "cli/moment.h"
#include "cli/show.h"
#include "cli/text.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_MAX       700
#define TIMEOUT_MS      30000L
#define POLL_TIMEOUT_MS 3000L   /* keys wait as long */
#define WAIT_TIMEOUT_MS 330000L /* above the longest wait of the contract, 300 s */

void say(const char *fmt, ...)
{
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fputs("greedylr: ", stderr);
    put_safe(stderr, text, 0);
    fputc('\n', stderr);
}

int finish_output(void)
{
    if (!fflush(stdout) && !ferror(stdout)) return EXIT_OK;
    if (errno == EPIPE) { /* the reader has seen enough; end as a program that does not look would */
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    say("the output cannot be written: %s", strerror(errno));
    return EXIT_REFUSED;
}

/* ---- opening ---- */

int session_open(const struct invocation *in, struct transport **out)
{
    const struct credentials_given given = {.token_file = in->options[OPTION_TOKEN_FILE],
                                            .ca_file = in->options[OPTION_CA_FILE]};
    char error[ERROR_MAX];

    if (transport_new(in->options[OPTION_URL], &given, out, error, sizeof(error)))
        return usage_error(in, "%s", error);
    return 0;
}

/* ---- refusals ---- */

/* What to do, in commands of this tool; JOB stands for the job in question. */
static const struct hint {
    const char *reason, *text;
} hints[] = {
    {"JOB_NOT_FOUND", "greedylr list shows the jobs there are; greedylr create JOB --lr RATE makes this one"},
    {"JOB_EXISTS", "greedylr get JOB shows the job; greedylr update JOB changes its settings"},
    {"JOB_PAUSED", "greedylr resume JOB ends the pause"},
    {"JOB_FINISHED", "greedylr resume JOB opens it again"},
    {"STEP_IN_PAST", "greedylr rewind JOB --step N goes back to an earlier step"},
    {"STEP_NOT_FOUND", "greedylr history JOB shows the steps that were decided"},
    {"STEP_CONFLICT", "greedylr history JOB shows what the step was decided on"},
    {"STALE_ATTEMPT", "greedylr get JOB shows the attempt that runs now"},
    {"ROUND_INCOMPLETE", "greedylr get JOB shows the ranks that are missing; the same report again waits on"},
    {"WAIT_EXPIRED", "greedylr get JOB shows the ranks that are missing; the same report again waits on"},
    {"REWOUND", "greedylr get JOB shows where the job is now"},
    {"FIELD_FIXED", "greedylr fork JOB NEW starts another job with other settings"},
    {"TOKEN_REQUIRED",
     "--token-file FILE, GREEDYLR_TOKEN_FILE or GREEDYLR_TOKEN gives one; greedylr token create "
     "makes them"},
    {"TOKEN_INVALID", "whoever runs the daemon says which are in use: greedylr token list"},
    {"ROLE_INSUFFICIENT", "greedylr token create --role admin makes one that may do everything"},
    {"STATE_NOT_EXPORTABLE", "greedylr history JOB -o csv exports the decisions"},
    {NULL, NULL},
};

static void print_hint(const struct invocation *in, const char *reason)
{
    const char *job = json_string_value(json_object_get(in->request, "job")), *at;

    if (!job) job = json_string_value(json_object_get(json_object_get(in->request, "spec"), "job"));
    for (const struct hint *hint = hints; hint->reason; hint++) {
        if (strcmp(hint->reason, reason)) continue;
        fputs("  ", stderr);
        for (at = hint->text; *at; at++) {
            bool name = job && !strncmp(at, "JOB", 3);
            fputs(name ? job : (char[]){*at, '\0'}, stderr);
            if (name) at += 2;
        }
        fputc('\n', stderr);
    }
}

static const char *debug_text(const json_t *answer, const char *name, const char *inner)
{
    json_t *debug = json_object_get(json_array_get(json_object_get(answer, "details"), 0), "debug");
    json_t *value = json_object_get(debug, name);

    if (inner) value = json_object_get(value, inner);
    return json_string_value(value) ? json_string_value(value) : "";
}

int session_refused(const struct invocation *in, const struct transport *t, int status, const char *body)
{
    json_t *answer = json_loads(body, 0, NULL);
    const char *code = json_string_value(json_object_get(answer, "code"));
    const char *message = json_string_value(json_object_get(answer, "message"));
    int rc;

    if (!code || !message) {
        say("%s answered HTTP %d, and not as greedylrd does", transport_url(t), status);
        fputs("  Is greedylrd there, or something else?  Check --url or GREEDYLR_URL.\n", stderr);
        json_decref(answer);
        return EXIT_NO_ANSWER;
    }
    const char *reason = debug_text(answer, "reason", NULL),
               *outcome = debug_text(answer, "metadata", "outcome");
    say("%s [%s]", message, *reason ? reason : code);
    if (*outcome && strcmp(outcome, "nothing was changed")) {
        fputs("  ", stderr);
        put_safe(stderr, outcome, 0);
        fputc('\n', stderr);
    }
    print_hint(in, reason);
    rc = strcmp(code, "not_found") ? EXIT_REFUSED : EXIT_NOT_FOUND;
    json_decref(answer);
    return rc;
}

int session_no_answer(const struct transport *t)
{
    say("%s", transport_error(t));
    if (transport_untrusting(t)) return EXIT_NO_ANSWER; /* it has said what to do */
    fputs(transport_timed_out(t) ? "  --timeout gives it more time.\n"
                                 : "  Start it with greedylrd --data-dir DIR, or say where it is with --url "
                                   "or GREEDYLR_URL; greedylr doctor\n"
                                   "  looks closer.\n",
          stderr);
    return EXIT_NO_ANSWER;
}

/* ---- requests ---- */

long session_timeout(const struct invocation *in)
{
    if (in->timeout_ms) return in->timeout_ms;
    return in->command->waits ? WAIT_TIMEOUT_MS : TIMEOUT_MS;
}

/* Whether every line is a rate; there is at least one.  A rate may be 0. */
static bool are_rates(const char *text)
{
    if (!*text) return false;
    while (*text) {
        char *end;
        double rate = strtod(text, &end);

        if (end == text || *end != '\n' || !(rate >= 0) || !isfinite(rate) ||
            strspn(text, "0123456789.eE+-") != (size_t)(end - text)) /* no hexadecimal, no spaces */
            return false;
        text = end + 1;
    }
    return true;
}

static bool has_rates(const json_t *object)
{
    const json_t *lrs = json_object_get(object, "lrs");

    for (size_t i = 0; i < json_array_size(lrs); i++) {
        const json_t *rate = json_array_get(lrs, i);
        if (!json_is_number(rate) || json_number_value(rate) < 0) return false;
    }
    return json_array_size(lrs) > 0;
}

static bool is_job(const json_t *answer)
{
    return json_is_string(json_object_get(answer, "uid")) && has_rates(json_object_get(answer, "state"));
}

static bool all_are(const json_t *list, bool (*check)(const json_t *))
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!check(json_array_get(list, i))) return false;
    }
    return json_is_array(list);
}

static bool has_answer(const struct command *command, const json_t *answer)
{
    if (!json_is_object(answer)) return false;
    switch (command->answer) {
    case ANSWER_NONE: return json_object_size(answer) == 0;
    case ANSWER_TEXT:
    case ANSWER_DECISION: return has_rates(answer);
    case ANSWER_JOB: return is_job(answer);
    case ANSWER_JOBS: return all_are(json_object_get(answer, "jobs"), is_job);
    case ANSWER_DECISIONS:
    case ANSWER_SIMULATION: return all_are(json_object_get(answer, "decisions"), has_rates);
    }
    return false;
}

/* Whether an answer of status 200 has what the command is about to show: anything may listen there. */
static bool believable(const struct command *command, const char *accept, const char *body)
{
    if (accept && command->rpc && !strcmp(command->rpc, "GetLr")) return are_rates(body);
    if (accept || !command->rpc) return true; /* other text is shown as it comes */
    if (!strcmp(command->rpc, "ExportState")) /* JSON as Python writes it */
        return *body == '{' && strstr(body, "\"factor\"");
    json_t *answer = json_loads(body, 0, NULL);
    bool ok = has_answer(command, answer);
    json_decref(answer);
    return ok;
}

int session_call(const struct invocation *in, struct transport *t, const char *path, const char *body,
                 const char *accept, struct transport_reply *out)
{
    int rc = 0;

    if (transport_call(t, in->command->method, path, body, accept, session_timeout(in), out))
        return session_no_answer(t);
    if (out->status != 200) {
        rc = session_refused(in, t, out->status, out->body);
    } else if (!believable(in->command, accept, out->body)) {
        say("%s answered with something that is not greedylrd's; check --url or GREEDYLR_URL",
            transport_url(t));
        rc = EXIT_NO_ANSWER;
    }
    if (rc) transport_reply_clear(out);
    return rc;
}

int session_json(const struct invocation *in, struct transport *t, const char *command, json_t *request,
                 json_t **out)
{
    struct invocation ask = *in;
    struct transport_reply reply;
    char *path;
    int rc;

    ask.command = command_find(command);
    ask.request = request;
    path = command_path(ask.command, request);
    rc = session_call(&ask, t, path, NULL, NULL, &reply);
    free(path);
    if (rc) return rc;
    *out = reply_json(t, reply.body);
    transport_reply_clear(&reply);
    return *out ? 0 : EXIT_NO_ANSWER;
}

/* An answer that is none, or not the one that was asked for. */
static int poll_refused(const struct transport *t, const struct transport_reply *reply, char *why,
                        size_t size)
{
    json_t *answer = json_loads(reply->body, 0, NULL);
    const char *message = json_string_value(json_object_get(answer, "message"));
    const char *code = json_string_value(json_object_get(answer, "code"));
    bool passing = reply->status == 429 || (reply->status >= 502 && reply->status <= 504);
    int rc = passing                                   ? EXIT_NO_ANSWER
             : code && !strcmp(code, "not_found")      ? EXIT_NOT_FOUND
             : code && message && reply->status >= 400 ? EXIT_REFUSED
                                                       : EXIT_NO_ANSWER;

    if (message)
        snprintf(why, size, "%s", message);
    else
        snprintf(why, size, "%s answers with something that is not greedylrd's", transport_url(t));
    json_decref(answer);
    return rc;
}

int session_poll(const struct invocation *in, struct transport *t, const char *command, json_t *request,
                 json_t **out, double *ahead, char *why, size_t size)
{
    const struct command *ask = command_find(command);
    char *path = command_path(ask, request);
    bool whole = json_object_get(request, "max_points"); /* of a history of any length */
    long limit = in->timeout_ms ? in->timeout_ms : whole ? TIMEOUT_MS : POLL_TIMEOUT_MS;
    struct transport_reply reply;
    int rc = 0;

    *out = NULL;
    if (transport_call(t, ask->method, path, NULL, NULL, limit, &reply)) {
        snprintf(why, size, "%s", transport_error(t));
        rc = EXIT_NO_ANSWER;
    } else if (reply.status != 200 || !believable(ask, NULL, reply.body)) {
        rc = poll_refused(t, &reply, why, size);
    } else {
        *out = need(json_loads(reply.body, 0, NULL)); /* it was read a moment ago */
        if (ahead && reply.date) *ahead = moment_ahead(reply.date);
    }
    transport_reply_clear(&reply);
    free(path);
    return rc;
}
