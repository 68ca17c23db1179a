/* GET /metrics: gathers what others keep, and prints it in the format that is asked for.
 *
 * The series of a thousand jobs, with hundreds of rates each, take the loop's time and a lot of memory.  So a
 * large text is given to all who ask for the same for a while, ten times as long as printing it took: however
 * many ask, and however slowly they read, the loop has time for others, and the text is there once. */
#include "server/api_impl.h"

#include "server/job_series_print.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <uv.h>

static void gather_service(const struct service *service)
{
    const struct service_numbers *numbers = service_numbers(service);
    struct error err;

    for (int i = 0; i < JOB_STATUS_COUNT; i++)
        metrics_set(METRIC_JOBS, i, (double)numbers->jobs[i]);
    metrics_set(METRIC_RESIDENT_JOBS, 0, service_resident(service));
    metrics_set(METRIC_OPEN_ROUNDS, 0, numbers->open_rounds);
    metrics_set(METRIC_WAITING_RANKS, 0, numbers->waiting_ranks);
    metrics_set(METRIC_OLDEST_ROUND, 0, service_oldest_round(service));
    metrics_set(METRIC_WATCHERS, 0, service_watchers(service));
    metrics_set(METRIC_STORE_WRITABLE, 0, service_writable(service, &err) ? 0 : 1);
    metrics_set(METRIC_UNFOLDED_BYTES, 0, (double)service_unfolded_bytes(service));
    metrics_set(METRIC_SHEDDING, 0, service_is_shedding(service));
}

static void gather_http(const struct http_server *server)
{
    const struct http_stats *stats = http_server_stats(server);

    metrics_set(METRIC_CONNECTIONS, 0, stats->connections);
    metrics_set(METRIC_IN_FLIGHT, 0, (double)http_server_in_flight(server));
    metrics_set(METRIC_CONNECTIONS_ACCEPTED, 0, (double)stats->accepted);
    metrics_set(METRIC_DEADLINES, 0, (double)stats->deadlines);
    metrics_set(METRIC_EVICTED, 0, (double)stats->evicted);
    metrics_set(METRIC_PEERS_GONE, 0, (double)stats->gone);
}

/* What others than root may still write. */
static void gather_disk(const struct store *store, const char *data_dir)
{
    struct statvfs disk;
    bool known = statvfs(data_dir, &disk) == 0;

    metrics_set(METRIC_STORE_BYTES, 0, (double)store_bytes(store));
    metrics_set(METRIC_DISK_FREE, 0, known ? (double)disk.f_bavail * (double)disk.f_frsize : NAN);
    metrics_set(METRIC_DISK_SIZE, 0, known ? (double)disk.f_blocks * (double)disk.f_frsize : NAN);
}

/* ---- texts that are given more than once ---- */

#define LARGE      65536               /* bytes; smaller ones are always printed anew */
#define KEPT_LEAST UINT64_C(250000000) /* ns */
#define KEPT_MOST  UINT64_C(10000000000)
#define SHARE      10 /* printing takes one part in this many of the time */

struct exposed_text {
    unsigned references;
    struct buf body;
};

static void text_release(void *arg)
{
    struct exposed_text *text = arg;

    if (!text || --text->references) return;
    buf_free(&text->body);
    free(text);
}

void api_forget_metrics(struct api *api)
{
    for (int i = 0; i < EXPOSITIONS; i++)
        text_release(api->exposed[i].text);
}

static bool is_same(const struct exposed *a, const struct exposed *b)
{
    return a->openmetrics == b->openmetrics && a->of_jobs == b->of_jobs && !strcmp(a->prefix, b->prefix);
}

static struct exposed_text *find_text(const struct api *api, const struct exposed *asked, uint64_t now)
{
    for (int i = 0; i < EXPOSITIONS; i++) {
        const struct exposed *e = &api->exposed[i];
        if (e->text && now < e->until && is_same(e, asked)) return e->text;
    }
    return NULL;
}

/* In the place of the one that is, or was, the first to be printed anew. */
static void keep_text(struct api *api, struct exposed *made, uint64_t began)
{
    struct exposed *place = &api->exposed[0];
    uint64_t now = uv_hrtime(), kept = (now - began) * SHARE;

    kept = kept < KEPT_LEAST ? KEPT_LEAST : kept > KEPT_MOST ? KEPT_MOST : kept;
    for (int i = 1; i < EXPOSITIONS; i++) {
        if (api->exposed[i].until < place->until) place = &api->exposed[i];
    }
    text_release(place->text);
    made->until = now + kept;
    made->text->references++;
    *place = *made;
}

/* ---- printing ---- */

/* Series of jobs are for who may know of them: everybody where tokens are off, else who has one, of its
 * prefix, and also from this machine. */
static struct exposed asked_for(const struct api *api, struct http_request *http, struct auth_token **token)
{
    struct exposed asked = {.openmetrics = metrics_wants_openmetrics(http_header(http, "Accept"))};
    struct error err;

    *token = NULL;
    asked.of_jobs = !api->config.auth || !api_find_token(api, http, token, &err);
    if (asked.of_jobs && *token) snprintf(asked.prefix, sizeof(asked.prefix), "%s", (*token)->prefix);
    return asked;
}

/* NULL: out of memory. */
static struct exposed_text *print_text(struct api *api, const struct exposed *asked,
                                       const struct auth_token *token)
{
    struct exposed_text *text = calloc(1, sizeof(*text));
    struct exposition e;

    if (!text) return NULL;
    text->references = 1;
    e = (struct exposition){&text->body, asked->openmetrics};
    gather_service(api->config.service);
    gather_http(api->server);
    gather_disk(api->config.store, api->config.options->data_dir);
    metrics_print(&e);
    if (asked->of_jobs) job_series_print(&e, api->config.service, token);
    metrics_end(&e);
    if (!text->body.failed) return text;
    text_release(text);
    return NULL;
}

void api_send_metrics(struct api *api, struct http_request *http)
{
    struct auth_token *token;
    struct exposed asked = asked_for(api, http, &token);
    uint64_t began = uv_hrtime();
    struct exposed_text *text = find_text(api, &asked, began);
    struct error err;

    if (text) {
        text->references++;
    } else {
        text = asked.text = print_text(api, &asked, token);
        if (text && text->body.len >= LARGE) keep_text(api, &asked, began);
    }
    if (!text) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        api_send_error(http, &err, FACE_REST, NULL);
        return;
    }
    http_respond(http, &(struct http_response){.status = 200,
                                               .content_type = metrics_content_type(asked.openmetrics),
                                               .body = text->body.data,
                                               .len = text->body.len,
                                               .release = text_release,
                                               .release_arg = text});
}
