/* Watching: one stream after the other on a connection of its own, each from behind the last revision seen.
 */
#include "lib/answer.h"
#include "lib/client.h"
#include "lib/clock.h"
#include "lib/error.h"
#include "lib/transport.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IDLE_MS       900  /* curl calls once a second */
#define FIRST_CALL_MS 2000 /* for the revision to begin with */

struct watch {
    struct transport *transport;
    const char *id;
    glr_watch_fn on_decision;
    void *arg;
    bool has_revision;
    uint32_t revision;  /* seen last */
    bool heard;         /* since the stream was opened */
    bool stopped;       /* by the callback */
    int64_t idle_ms;    /* when to call it next without a decision */
    enum glr_code code; /* the daemon ended it */
};

static int on_idle(void *arg)
{
    struct watch *w = arg;

    if (w->stopped || clock_ms() < w->idle_ms) return w->stopped;
    w->idle_ms = clock_ms() + IDLE_MS;
    w->stopped = w->on_decision(w->arg, NULL);
    return w->stopped;
}

static int take_decision(struct watch *w, json_t *json)
{
    struct answer answer = {0};
    struct glr_decision decision;

    w->code = answer_take(&answer, json);
    if (w->code) return 1;
    answer_decision(&answer, &decision);
    w->heard = true;
    w->has_revision = true;
    w->revision = decision.revision;
    w->stopped = w->on_decision(w->arg, &decision);
    answer_clear(&answer);
    return w->stopped;
}

static int on_event(void *arg, const char *id, const char *event, const char *data)
{
    struct watch *w = arg;
    json_t *json = json_loads(data, 0, NULL);

    if (!strcmp(event, "decision") && json) return take_decision(w, json);
    if (!strcmp(event, "end") || !strcmp(event, "error")) {
        w->code = json ? error_from_json(json) : GLR_OK;
        if (!w->code) w->code = error_foreign("a stream that ends with %.40s", data);
    }
    json_decref(json);
    return w->code != GLR_OK; /* other events are for later versions */
}

/* The revision to begin after, where the caller wants what comes from now on. */
static enum glr_code find_revision(struct watch *w)
{
    struct transport_reply reply;
    char path[256];

    snprintf(path, sizeof path, "/v1/jobs/%s", w->id);
    if (transport_call(w->transport, "GET", path, NULL, NULL, FIRST_CALL_MS, &reply))
        return error_no_answer(w->transport);
    json_t *json = reply.status == 200 ? json_loadb(reply.body, reply.len, 0, NULL) : NULL;
    enum glr_code code = GLR_OK;
    if (json_is_integer(json_object_get(json, "revision"))) {
        w->revision = answer_uint(json, "revision");
        w->has_revision = true;
    } else {
        code = error_from_answer(reply.status, reply.body);
    }
    json_decref(json);
    transport_reply_clear(&reply);
    return code;
}

/* One stream until it ends. */
static enum glr_code follow(struct watch *w)
{
    char path[256];

    w->code = w->has_revision ? GLR_OK : find_revision(w);
    if (w->code) return w->code;
    snprintf(path, sizeof path, "/v1/jobs/%s:watch?after_revision=%" PRIu32, w->id, w->revision);
    int result = transport_stream(w->transport, path, NULL, on_event, w);
    if (w->stopped || w->code) return w->code;
    if (result < 0) return error_no_answer(w->transport);
    return error_set(GLR_UNAVAILABLE, "NO_ANSWER", "%s ended the stream", transport_url(w->transport));
}

/* A pause in which the callback may end the watch. */
static void pause_watch(struct watch *w, int64_t ms)
{
    for (int64_t end = clock_ms() + ms; !on_idle(w) && clock_ms() < end;) {
        int64_t now = clock_ms(), until = w->idle_ms < end ? w->idle_ms : end;
        clock_sleep(until - now);
    }
}

enum glr_code glr_watch(const struct glr_client *client, const char *id, const uint32_t *after_revision,
                        glr_watch_fn on_decision, void *arg)
{
    struct watch w = {.id = id, .on_decision = on_decision, .arg = arg, .idle_ms = clock_ms() + IDLE_MS};
    char error[512];

    if (client_check_id(id)) return GLR_INVALID_ARGUMENT;
    if (after_revision) {
        w.revision = *after_revision;
        w.has_revision = true;
    }
    if (client_transport(client, &w.transport, error, sizeof error)) return error_argument("%s", error);
    transport_on_idle(w.transport, on_idle, &w);
    enum glr_code code;
    for (unsigned tries = 0;; tries++) {
        w.heard = false;
        code = follow(&w);
        if (w.stopped || !error_is_passing()) break;
        if (w.heard) tries = 0;
        pause_watch(&w, clock_backoff(tries));
        if (w.stopped) break;
    }
    transport_free(w.transport);
    return w.stopped ? GLR_OK : code;
}
