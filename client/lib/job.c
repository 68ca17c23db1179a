/* Handles of jobs.  Creating one is the first thing the daemon has to hear; if it is away, that waits as
 * reports do. */
#include "lib/job.h"

#include "lib/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX 256

enum glr_code glr_job_open(struct glr_client *client, const char *id, struct glr_job **job)
{
    *job = NULL;
    if (client_check_id(id)) return GLR_INVALID_ARGUMENT;
    struct glr_job *j = calloc(1, sizeof *j);
    if (!j) return error_memory();
    j->client = client;
    j->id = strdup(id);
    j->held = json_array();
    if (!j->id || !j->held) {
        glr_job_close(j);
        return error_memory();
    }
    *job = j;
    return GLR_OK;
}

void glr_job_close(struct glr_job *job)
{
    if (!job) return;
    answer_clear(&job->decision);
    answer_clear(&job->rates);
    json_decref(job->spec);
    json_decref(job->held);
    free(job->id);
    free(job);
}

static enum glr_code read_settings(const char *settings, json_t **spec)
{
    static const char *const arguments[] = {"job", "lr"};
    json_error_t error;

    *spec = settings ? json_loads(settings, JSON_REJECT_DUPLICATES, &error) : json_object();
    if (!*spec && !settings) return error_memory();
    if (!*spec)
        return error_argument("settings: line %d, column %d: %s", error.line, error.column, error.text);
    if (!json_is_object(*spec))
        return error_argument("settings: must be a JSON object like {\"greedy\": {\"patience\": 5}}");
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
        if (json_object_get(*spec, arguments[i]))
            return error_argument("settings: must not have %s, which is an argument of its own",
                                  arguments[i]);
    return GLR_OK;
}

static enum glr_code make_spec(const char *id, const double *lrs, size_t groups, const char *settings,
                               json_t **spec)
{
    if (!lrs || groups < 1 || groups > GROUPS_MAX)
        return error_argument("lrs: must be 1 to %d rates, got %zu", GROUPS_MAX, lrs ? groups : 0);
    for (size_t i = 0; i < groups; i++)
        if (!(lrs[i] > 0) || !isfinite(lrs[i]))
            return error_argument("lrs[%zu]: must be finite and above 0, got %g", i, lrs[i]);
    if (read_settings(settings, spec)) return glr_error()->code;
    json_t *list = json_array();
    int failed = json_object_set_new(*spec, "lr", list) | json_object_set_new(*spec, "job", json_string(id));
    for (size_t i = 0; !failed && i < groups; i++)
        failed = json_array_append_new(list, json_real(lrs[i]));
    return failed ? error_memory() : GLR_OK;
}

/* Creates the job if that is outstanding. */
static enum glr_code create(struct glr_job *job, int64_t deadline_ms)
{
    const struct client_request request = {.method = "POST", .path = "/v1/jobs", .body = job->spec};
    json_t *answer;

    if (!job->spec) return GLR_OK;
    enum glr_code code = client_call(job->client, &request, deadline_ms, &answer);
    if (code) return code;
    json_decref(answer);
    json_decref(job->spec);
    job->spec = NULL;
    return GLR_OK;
}

enum glr_code glr_job_create(struct glr_client *client, const char *id, const double *lrs, size_t groups,
                             const char *settings, struct glr_job **job)
{
    enum glr_code code = glr_job_open(client, id, job);
    if (code) return code;
    code = make_spec(id, lrs, groups, settings, &(*job)->spec);
    if (!code) code = create(*job, client_deadline(client));
    if (code == GLR_UNAVAILABLE) {
        error_append("; the job is created before its first report");
    } else if (code) {
        glr_job_close(*job);
        *job = NULL;
    }
    return code;
}

enum glr_code job_call(struct glr_job *job, const char *method, const char *suffix, json_t *body, bool waits,
                       int64_t deadline_ms, json_t **out)
{
    char path[256];
    const struct client_request request = {.method = method, .path = path, .body = body, .waits = waits};

    *out = NULL;
    snprintf(path, sizeof path, "/v1/jobs/%s%s", job->id, suffix);
    enum glr_code code = create(job, deadline_ms);
    return code ? code : client_call(job->client, &request, deadline_ms, out);
}
