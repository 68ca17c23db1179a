/* Decisions as they are made.
 *
 * Each connection begins with a look at the job: an unknown one is refused at once, one that was deleted and
 * created again is noticed, and the revision of the first look is where the stream begins, so that nothing is
 * lost if the connection breaks before the first event.  Then the stream is resumed from the last revision
 * that was printed, until Ctrl-C, the job's deletion or a refusal. */
#include "cli/run.h"

#include "cli/call.h"
#include "cli/show.h"
#include "cli/text.h"
#include "lib/clock.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 5000

struct watch {
    const struct invocation *in;
    struct transport *t;
    struct rows *rows; /* NULL: JSON */
    char *uid;         /* of the job; NULL before the first look */
    char *last_id;     /* of the last event; NULL before the first */
    char *refusal;     /* body of an answer that was no stream */
    int rc;            /* exit code, once ended */
    bool ended;
    long pause_ms;   /* before the next connection */
    int64_t lost_ms; /* when the connection was lost; 0: it is not */
};

/* What was printed is complete: printing holds the signal back. */
static void on_interrupt(int number)
{
    (void)number;
    _exit(EXIT_OK);
}

static void hold_interrupt(bool hold)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void end(struct watch *w, int rc)
{
    w->ended = true;
    w->rc = rc;
}

static void replace(char **text, const char *by)
{
    free(*text);
    *text = need(strdup(by));
}

/* Answers that another moment may change. */
static bool is_passing(int status)
{
    return status == 429 || (status >= 502 && status <= 504);
}

/* ---- events ---- */

static void print_decision(struct watch *w, const char *data)
{
    json_t *decision = w->rows ? json_loads(data, 0, NULL) : NULL;
    int rc;

    hold_interrupt(true);
    if (!w->rows) print_text(data);
    if (decision) {
        rows_add(w->rows, decision);
        rows_print(w->rows);
    }
    rc = finish_output();
    hold_interrupt(false);
    json_decref(decision);
    if (rc) end(w, rc);
}

static void print_heads(struct watch *w)
{
    if (w->rows) rows_print(w->rows);
    int rc = finish_output();
    if (rc) end(w, rc);
}

/* The daemon says why it ends the stream; only a job that is gone is a reason not to come back. */
static void on_end(struct watch *w, const char *data)
{
    json_t *why = json_loads(data, 0, NULL);
    const char *reason = json_string_value(json_object_get(why, "reason"));
    const char *message = json_string_value(json_object_get(why, "message"));

    if (reason && !strcmp(reason, "JOB_DELETED")) {
        say("%s [%s]", message ? message : "the job was deleted", reason);
        end(w, EXIT_NOT_FOUND);
    }
    json_decref(why);
}

static int on_event(void *arg, const char *id, const char *event, const char *data)
{
    struct watch *w = arg;

    if (!strcmp(event, "error")) {
        replace(&w->refusal, data);
        return 1;
    }
    w->lost_ms = 0;
    w->pause_ms = PAUSE_MIN_MS;
    if (!strcmp(event, "decision")) {
        print_decision(w, data);
        if (*id) replace(&w->last_id, id);
    } else if (!strcmp(event, "end")) {
        on_end(w, data);
        return 1;
    }
    return w->ended;
}

/* ---- connections ---- */

/* The stream's path; the first one begins after the revision that the first look showed, or where the user
 * says. */
static char *stream_path(struct watch *w, const json_t *job)
{
    json_t *request = w->in->request, *revision = json_object_get(job, "revision");

    if (revision && !json_object_get(request, "after_revision"))
        json_object_set(request, "after_revision", revision);
    return command_path(w->in->command, request);
}

/* Looks at the job, which returns the path of the stream, or NULL: ended, or to be tried again. */
static char *look(struct watch *w)
{
    bool first = !w->uid;
    struct transport_reply reply;
    char *path = command_path(command_find("get"), w->in->request), *stream = NULL;

    path[strcspn(path, "?")] = '\0'; /* the fields are the stream's */
    int rc = transport_call(w->t, "GET", path, NULL, NULL, session_timeout(w->in), &reply);
    free(path);
    if (rc) {
        if (first) end(w, session_no_answer(w->t));
        return NULL;
    }
    if (reply.status != 200) {
        if (first || !is_passing(reply.status))
            end(w, session_refused(w->in, w->t, reply.status, reply.body));
    } else {
        json_t *job = reply_json(w->t, reply.body);
        const char *uid = json_string_value(json_object_get(job, "uid"));

        if (!uid) {
            end(w, EXIT_NO_ANSWER);
        } else if (!first && strcmp(uid, w->uid)) {
            say("the job was deleted and created again; watch it anew");
            end(w, EXIT_NOT_FOUND);
        } else {
            if (first) print_heads(w);
            replace(&w->uid, uid);
            stream = stream_path(w, job);
        }
        json_decref(job);
    }
    transport_reply_clear(&reply);
    return stream;
}

static void follow(struct watch *w, const char *path)
{
    int status = transport_stream(w->t, path, w->last_id, on_event, w);

    if (status > 0 && !is_passing(status) && !w->ended)
        end(w, session_refused(w->in, w->t, status, w->refusal ? w->refusal : ""));
}

/* Says once that the connection is lost, gives up after --timeout, and waits: longer each time, and not all
 * watchers at once. */
static void pause_between(struct watch *w)
{
    int64_t now = clock_ms();

    if (!w->lost_ms) {
        w->lost_ms = now;
        say("the connection to %s is lost; trying again until Ctrl-C", transport_url(w->t));
    }
    if (w->in->timeout_ms && now - w->lost_ms >= w->in->timeout_ms) {
        end(w, session_no_answer(w->t));
        return;
    }
    long ms = w->pause_ms / 2 + rand() % (w->pause_ms / 2 + 1);
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    w->pause_ms = w->pause_ms * 2 < PAUSE_MAX_MS ? w->pause_ms * 2 : PAUSE_MAX_MS;
}

int run_watch(const struct invocation *in)
{
    struct watch w = {.in = in, .pause_ms = PAUSE_MIN_MS};
    int rc = session_open(in, &w.t);

    if (rc) return rc;
    srand((unsigned)getpid());
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt}, NULL);
    if (in->output != OUTPUT_JSON) w.rows = rows_new(in->command->answer, in->output == OUTPUT_CSV);
    while (!w.ended) {
        char *path = look(&w);
        if (path) follow(&w, path);
        free(path);
        if (!w.ended) pause_between(&w);
    }
    rows_free(w.rows);
    free(w.uid);
    free(w.last_id);
    free(w.refusal);
    transport_free(w.t);
    return w.rc;
}
