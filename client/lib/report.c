/* Reports.  What gets no answer is held, and handed in before anything newer, so that the scheduler sees
 * every value in its order.  A report is the same bytes whenever it is sent: with its step, or with a request
 * id. */
#include "lib/error.h"
#include "lib/job.h"
#include "lib/struct_size.h"

#include <stdio.h>
#include <sys/random.h>

#define HELD_MAX       10000
#define REPORT_LEAST   SIZE_UP_TO(struct glr_report, has_applied_lr)
#define DECISION_LEAST SIZE_UP_TO(struct glr_decision, superseded)

/* A field put into padding would be read from programs that never set it. */
_Static_assert(REPORT_LEAST == sizeof(struct glr_report), "no padding at the end of glr_report");
_Static_assert(DECISION_LEAST == sizeof(struct glr_decision), "no padding at the end of glr_decision");

static enum glr_code random_id(char id[33])
{
    unsigned char bytes[16];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return error_set(GLR_INTERNAL, "ARGUMENT_INVALID",
                         "the kernel gives no random numbers; set request_id or step");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    return GLR_OK;
}

/* 0, or -1 if there is no memory. */
static int put_fields(const struct glr_job *job, const struct glr_report *r, json_t *body)
{
    int failed = json_object_set_new(body, "loss", answer_from_number(r->value));

    if (r->has_step) failed |= json_object_set_new(body, "step", json_integer(r->step));
    if (r->has_attempt) failed |= json_object_set_new(body, "attempt", json_integer(r->attempt));
    if (!r->has_attempt && job->has_attempt)
        failed |= json_object_set_new(body, "attempt", json_integer(job->attempt));
    if (r->rank) failed |= json_object_set_new(body, "rank", json_integer(r->rank));
    if (r->weight != 0) failed |= json_object_set_new(body, "weight", answer_from_number(r->weight));
    if (r->lr_cap != 0) failed |= json_object_set_new(body, "lr_cap", answer_from_number(r->lr_cap));
    if (r->applied_lr != 0 || r->has_applied_lr)
        failed |= json_object_set_new(body, "applied_lr", answer_from_number(r->applied_lr));
    if (r->dry_run) failed |= json_object_set_new(body, "dry_run", json_true());
    return failed;
}

static enum glr_code make_body(const struct glr_job *job, const struct glr_report *r, json_t **body)
{
    const char *id = r->request_id;
    char random[33];

    if (!r->has_step && !id) {
        if (random_id(random)) return glr_error()->code;
        id = random;
    }
    *body = json_object();
    if (!*body || put_fields(job, r, *body)) return error_memory();
    if (!id) return GLR_OK;
    if (!json_object_set_new(*body, "request_id", json_string(id))) return GLR_OK;
    return error_argument("request_id: must be 1 to 128 printable ASCII characters");
}

static void hold(struct glr_job *job, json_t *body)
{
    if (json_array_size(job->held) >= HELD_MAX) {
        json_array_remove(job->held, 0);
        job->lost++;
    }
    if (json_array_append(job->held, body)) {
        job->lost++;
        return;
    }
    error_append("; the value is held and goes out before the next one");
}

enum glr_code job_flush(struct glr_job *job, int64_t deadline_ms)
{
    while (json_array_size(job->held)) {
        json_t *answer;
        enum glr_code code =
            job_call(job, "POST", ":report", json_array_get(job->held, 0), true, deadline_ms, &answer);
        json_decref(answer);
        if (error_keeps_value(code)) return code;
        /* An undecided round has the value. */
        if (code && code != GLR_DEADLINE_EXCEEDED) job->lost++;
        json_array_remove(job->held, 0);
    }
    return GLR_OK;
}

void job_forget_held(struct glr_job *job)
{
    job->lost += json_array_size(job->held);
    json_array_clear(job->held);
}

static enum glr_code hand_in(struct glr_job *job, json_t *body, struct glr_decision *decision)
{
    int64_t deadline = client_deadline(job->client);
    struct answer answer = {0};
    struct glr_decision own;
    json_t *json;

    enum glr_code code = job_flush(job, deadline);
    if (!code) code = job_call(job, "POST", ":report", body, true, deadline, &json);
    if (!code) code = answer_take(&answer, json);
    if (code) return code;
    if (!decision) {
        answer_clear(&answer);
        return GLR_OK;
    }
    answer_decision(&answer, &own);
    struct_give(decision, &own, sizeof own);
    answer_clear(&job->decision);
    job->decision = answer;
    return GLR_OK;
}

enum glr_code glr_report(struct glr_job *job, const struct glr_report *report, struct glr_decision *decision)
{
    struct glr_report own;
    json_t *body = NULL;

    enum glr_code code = struct_take(&own, sizeof own, report, REPORT_LEAST, "glr_report");
    if (!code && decision) code = struct_check(decision, DECISION_LEAST, "glr_decision");
    if (!code) code = make_body(job, &own, &body);
    if (!code) {
        code = hand_in(job, body, decision);
        if (error_keeps_value(code) && !own.dry_run) hold(job, body);
    }
    json_decref(body);
    return code;
}

size_t glr_held(const struct glr_job *job)
{
    return json_array_size(job->held);
}

size_t glr_lost(const struct glr_job *job)
{
    return job->lost;
}

enum glr_code glr_flush(struct glr_job *job)
{
    job->client->away_until_ms = 0; /* the last chance before a program ends */
    return job_flush(job, client_deadline(job->client));
}
