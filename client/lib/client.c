/* A call tries until its deadline; one that got no answer by then closes the way for AWAY_MS, so that an
 * outage costs training a budget once and a short probe now and then. */
#include "lib/client.h"

#include "lib/clock.h"
#include "lib/error.h"
#include "lib/struct_size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET_DEFAULT_MS 5000
#define BUDGET_MAX_MS     (24 * 3600 * 1000) /* longer than the daemon waits for anything */
#define AWAY_MS           10000
#define PROBE_MS          500
#define WAIT_MAX_MS       300000 /* the daemon's own bound */
#define ID_MAX            128

static char *copy(const char *text, bool *failed)
{
    char *own = text ? strdup(text) : NULL;

    if (text && !own) *failed = true;
    return own;
}

enum glr_code glr_client_open(const struct glr_options *options, struct glr_client **client)
{
    struct glr_options own = {.size = sizeof own};
    bool failed = false;
    char error[512];

    *client = NULL;
    if (options &&
        struct_take(&own, sizeof own, options, SIZE_UP_TO(struct glr_options, budget_ms), "glr_options"))
        return GLR_INVALID_ARGUMENT;
    struct glr_client *c = calloc(1, sizeof *c);
    if (!c) return error_memory();
    c->url = copy(own.url, &failed);
    c->token = copy(own.token, &failed);
    c->token_file = copy(own.token_file, &failed);
    c->ca_file = copy(own.ca_file, &failed);
    if (failed) {
        glr_client_close(c);
        return error_memory();
    }
    glr_client_set_budget(c, own.budget_ms);
    if (client_transport(c, &c->transport, error, sizeof error)) {
        glr_client_close(c);
        return error_argument("%s", error);
    }
    *client = c;
    return GLR_OK;
}

int client_transport(const struct glr_client *client, struct transport **out, char *error, size_t size)
{
    const struct credentials_given given = {client->token, client->token_file, client->ca_file};

    return transport_new(client->url, &given, out, error, size);
}

void glr_client_set_budget(struct glr_client *client, uint64_t budget_ms)
{
    if (!budget_ms) budget_ms = BUDGET_DEFAULT_MS;
    client->budget_ms = budget_ms < BUDGET_MAX_MS ? (int64_t)budget_ms : BUDGET_MAX_MS;
}

void glr_client_close(struct glr_client *client)
{
    if (!client) return;
    transport_free(client->transport);
    free(client->url);
    if (client->token) explicit_bzero(client->token, strlen(client->token));
    free(client->token);
    free(client->token_file);
    free(client->ca_file);
    free(client);
}

const char *glr_version(void)
{
    return GREEDYLRD_VERSION;
}

enum glr_code client_check_id(const char *id)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    if (!id) return error_argument("id: is NULL; name the job");
    size_t len = strlen(id);
    if (len >= 1 && len <= ID_MAX && strspn(id, allowed) == len && *id != '.' && *id != '-') return GLR_OK;
    return error_argument(
        "id: must be 1 to %d of A-Z a-z 0-9 . _ - and not start with a dot or a dash, got \"%.140s\"", ID_MAX,
        id);
}

int64_t client_deadline(const struct glr_client *client)
{
    return clock_ms() + client->budget_ms;
}

/* How long the daemon may wait, so that its answer arrives within limit_ms. */
static int64_t wait_within(int64_t limit_ms)
{
    int64_t margin = limit_ms / 10 > 100 ? limit_ms / 10 : 100;

    if (margin > 2000) margin = 2000;
    if (margin > limit_ms / 2) margin = limit_ms / 2;
    return limit_ms - margin < WAIT_MAX_MS ? limit_ms - margin : WAIT_MAX_MS;
}

static enum glr_code take_answer(const struct transport_reply *reply, json_t **out)
{
    if (reply->status != 200) return error_from_answer(reply->status, reply->body);
    *out = json_loadb(reply->body, reply->len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(*out)) return GLR_OK;
    json_decref(*out);
    *out = NULL;
    return error_foreign("HTTP status 200 without a JSON object");
}

/* Once.  *retry_after_ms: what the daemon asks for. */
static enum glr_code send_once(struct glr_client *client, const struct client_request *request,
                               int64_t limit_ms, int64_t *retry_after_ms, json_t **out)
{
    struct transport_reply reply;
    char path[512], wait[32];
    char *body = NULL;

    *retry_after_ms = 0;
    snprintf(wait, sizeof wait, "%lldms", (long long)wait_within(limit_ms));
    snprintf(path, sizeof path, "%s%s%s", request->path, request->waits && !request->body ? "&wait=" : "",
             request->waits && !request->body ? wait : "");
    if (request->body) {
        if (request->waits && json_object_set_new(request->body, "wait", json_string(wait)))
            return error_memory();
        body = json_dumps(request->body, JSON_COMPACT | JSON_REAL_PRECISION(17));
        if (!body) return error_memory();
    }
    int failed = transport_call(client->transport, request->method, path, body, NULL, (long)limit_ms, &reply);
    free(body);
    if (failed) return error_no_answer(client->transport);
    enum glr_code code = take_answer(&reply, out);
    *retry_after_ms = reply.retry_after * 1000;
    transport_reply_clear(&reply);
    return code;
}

static enum glr_code away(struct glr_client *client, int64_t now_ms)
{
    return error_set(GLR_UNAVAILABLE, "NO_ANSWER",
                     "%s did not answer lately and is not asked for another %.1f s",
                     transport_url(client->transport), (double)(client->away_until_ms - now_ms) / 1000);
}

enum glr_code client_call(struct glr_client *client, const struct client_request *request,
                          int64_t deadline_ms, json_t **out)
{
    bool probing = client->away_until_ms;
    int64_t now = clock_ms(), left = deadline_ms - now, retry_after = 0;
    /* What is left behind other requests of the same call may be too little to tell whether the daemon is
     * away. */
    bool fair = left >= PROBE_MS || left >= client->budget_ms / 2;
    enum glr_code code;

    *out = NULL;
    if (now < client->away_until_ms) return away(client, now);
    if (left <= 0)
        return error_set(GLR_UNAVAILABLE, "NO_ANSWER", "the budget of %lld ms is used up; call again",
                         (long long)client->budget_ms);
    for (unsigned tries = 0;; tries++) {
        code = send_once(client, request, probing && left > PROBE_MS ? PROBE_MS : left, &retry_after, out);
        if (!code || !error_is_passing()) {
            client->away_until_ms = 0;
            /* A probe waits for other ranks for less time than the call may take. */
            if (code != GLR_DEADLINE_EXCEEDED || !probing) return code;
            probing = false;
            retry_after = 0;
        } else if (probing) {
            break;
        }
        int64_t pause = clock_backoff(tries);
        if (retry_after > pause) pause = retry_after;
        left = deadline_ms - clock_ms() - pause;
        if (left <= 0) break;
        clock_sleep(pause);
    }
    if (!error_is_passing()) return code;
    if (fair) client->away_until_ms = clock_ms() + AWAY_MS;
    return error_give_up();
}
