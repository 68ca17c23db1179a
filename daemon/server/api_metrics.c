/* GET /metrics: gathers what others keep, and prints it in the format that is asked for. */
#include "server/api_impl.h"

#include "server/job_series_print.h"

#include <math.h>
#include <sys/statvfs.h>

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

/* Behind the metrics that name nobody, for who may know of jobs: everybody where tokens are off, else who has
 * one, of its prefix, and also from this machine. */
static void print_jobs(const struct exposition *e, const struct api *api, struct http_request *http)
{
    struct auth_token *token = NULL;
    struct error err;

    if (!api->config.auth || !api_find_token(api, http, &token, &err))
        job_series_print(e, api->config.service, token);
}

void api_send_metrics(struct api *api, struct http_request *http)
{
    struct buf body = {0};
    struct exposition e = {&body, metrics_wants_openmetrics(http_header(http, "Accept"))};
    struct error err;

    gather_service(api->config.service);
    gather_http(api->server);
    gather_disk(api->config.store, api->config.options->data_dir);
    metrics_print(&e);
    print_jobs(&e, api, http);
    metrics_end(&e);
    if (body.failed) {
        (void)error_set(&err, ST_OUT_OF_MEMORY, "out of memory");
        api_send_error(http, &err, FACE_REST, NULL);
    } else {
        http_respond(http, &(struct http_response){.status = 200,
                                                   .content_type = metrics_content_type(e.openmetrics),
                                                   .body = body.data,
                                                   .len = body.len,
                                                   .take = true});
        return;
    }
    buf_free(&body);
}
