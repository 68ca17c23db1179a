/* Rates without a report, and restarts: both answer what an optimizer has to use now. */
#include "lib/error.h"
#include "lib/job.h"
#include "lib/struct_size.h"

#include <stdio.h>

#define RATES_LEAST SIZE_UP_TO(struct glr_rates, reserved)
_Static_assert(RATES_LEAST == sizeof(struct glr_rates), "no padding at the end of glr_rates");

/* Hands out what an answer holds; takes json. */
static enum glr_code give(struct glr_job *job, json_t *json, uint32_t revision, struct glr_rates *rates)
{
    struct answer answer = {0};
    struct glr_rates own;

    enum glr_code code = answer_take(&answer, json);
    if (code) return code;
    answer_rates(&answer, revision, &own);
    struct_give(rates, &own, sizeof own);
    answer_clear(&job->rates);
    job->rates = answer;
    return GLR_OK;
}

/* From a Job; takes it. */
static enum glr_code give_state(struct glr_job *job, json_t *json, struct glr_rates *rates)
{
    enum glr_code code =
        give(job, json_incref(json_object_get(json, "state")), answer_uint(json, "revision"), rates);

    json_decref(json);
    return code;
}

enum glr_code glr_get(struct glr_job *job, struct glr_rates *rates)
{
    json_t *json;

    if (struct_check(rates, RATES_LEAST, "glr_rates")) return GLR_INVALID_ARGUMENT;
    enum glr_code code = job_call(job, "GET", "", NULL, false, client_deadline(job->client), &json);
    return code ? code : give_state(job, json, rates);
}

enum glr_code glr_wait(struct glr_job *job, uint32_t step, struct glr_rates *rates)
{
    char suffix[64];
    json_t *json;

    if (struct_check(rates, RATES_LEAST, "glr_rates")) return GLR_INVALID_ARGUMENT;
    snprintf(suffix, sizeof suffix, "/lr?format=json&step=%u", step);
    enum glr_code code = job_call(job, "GET", suffix, NULL, true, client_deadline(job->client), &json);
    if (code) return code;
    uint32_t revision = answer_uint(json, "revision");
    return give(job, json, revision, rates);
}

/* Begins an attempt or rewinds; takes body. */
static enum glr_code restart(struct glr_job *job, const char *suffix, json_t *body, bool back,
                             struct glr_rates *rates)
{
    int64_t deadline = client_deadline(job->client);
    enum glr_code code = body ? GLR_OK : error_memory();
    json_t *json = NULL;

    if (!code && rates) code = struct_check(rates, RATES_LEAST, "glr_rates");
    /* What goes on where it is has the values that came before; what goes back does not want them. */
    if (!code && !back) code = job_flush(job, deadline);
    if (!code) code = job_call(job, "POST", suffix, body, false, deadline, &json);
    json_decref(body);
    if (code) return code;
    if (back) job_forget_held(job);
    job->attempt = answer_uint(json, "attempt");
    job->has_attempt = true;
    if (rates) return give_state(job, json, rates);
    json_decref(json);
    return GLR_OK;
}

enum glr_code glr_begin(struct glr_job *job, const uint32_t *step, uint32_t *attempt, struct glr_rates *rates)
{
    json_t *body = step ? json_pack("{s:I}", "step", (json_int_t)*step) : json_object();
    enum glr_code code = restart(job, ":begin", body, step, rates);

    if (!code) *attempt = job->attempt;
    return code;
}

enum glr_code glr_rewind(struct glr_job *job, uint32_t step, uint32_t attempt, struct glr_rates *rates)
{
    return restart(job, ":rewind",
                   json_pack("{s:I, s:I}", "step", (json_int_t)step, "attempt", (json_int_t)attempt), true,
                   rates);
}

enum glr_code glr_rewind_initial(struct glr_job *job, uint32_t attempt, struct glr_rates *rates)
{
    return restart(job, ":rewind", json_pack("{s:b, s:I}", "initial", 1, "attempt", (json_int_t)attempt),
                   true, rates);
}
