/* A look is the list of jobs, page by page, and one small request for each job that is in sight and has
 * changed: the list says where a job stands, not what it was decided on last. */
#include "cli/call.h"
#include "cli/moment.h"
#include "cli/text.h"
#include "cli/top.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 1000

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static json_int_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* ---- one job ---- */

static void clear(struct top_job *job)
{
    free(job->name);
    free(job->status);
    json_decref(job->missing);
    free(job->action);
    free(job->reason);
    *job = (struct top_job){0};
}

static void fill(struct top_job *job, const json_t *from)
{
    const json_t *state = json_object_get(from, "state"), *round = json_object_get(state, "open_round");
    const json_t *step = json_object_get(state, "step");
    double first = value_number(json_array_get(json_object_get(json_object_get(from, "spec"), "lr"), 0));

    *job = (struct top_job){.name = need(strdup(text_of(from, "job"))),
                            .status = need(strdup(text_of(from, "status"))),
                            .revision = number_of(from, "revision"),
                            .step = step ? json_integer_value(step) : -1,
                            .best = value_number(json_object_get(state, "best")),
                            .rate = value_number(json_object_get(state, "lr")),
                            .updated = moment_parse(text_of(from, "update_time")),
                            .has_round = round,
                            .overdue = json_is_true(json_object_get(round, "overdue")),
                            .reported = number_of(round, "reported"),
                            .world_size = number_of(round, "world_size"),
                            .behind = number_of(round, "rounds_behind"),
                            .missing = json_incref(json_object_get(round, "missing")),
                            .looked = -1,
                            .value = NAN,
                            .decided = NAN,
                            .action = need(strdup("")),
                            .reason = need(strdup(""))};
    job->change = job->rate / first;
    if (!isfinite(job->best)) job->best = NAN;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct top_job *)a)->name, ((const struct top_job *)b)->name);
}

/* What was known of the same job before. */
static void carry_over(const struct top *top, struct top_job *job)
{
    struct top_job *old = top->n ? bsearch(job, top->jobs, top->n, sizeof(*job), by_name) : NULL;

    if (!old || old->revision > job->revision) return; /* or another job of that name */
    job->looked = old->looked;
    job->value = old->value;
    job->decided = old->decided;
    free(job->action);
    free(job->reason);
    job->action = need(strdup(old->action));
    job->reason = need(strdup(old->reason));
}

/* ---- the list ---- */

static void forget(struct top_job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        clear(&jobs[i]);
    free(jobs);
}

int top_look(struct top *top)
{
    json_t *query = need(json_deep_copy(top->in->request)), *page;
    struct top_job *jobs = NULL;
    size_t n = 0, cap = 0;
    bool more = true;
    int rc = 0;

    if (json_object_set_new(query, "page_size", json_integer(PAGE_SIZE))) need(NULL);
    while (more) {
        rc = session_poll(top->in, top->t, "list", query, &page, &top->ahead, top->why, sizeof(top->why));
        if (rc) break;
        json_t *list = json_object_get(page, "jobs"), *token = json_object_get(page, "next_page_token"), *job;
        size_t i, now = json_array_size(list);
        if (n + now > cap) jobs = need(realloc(jobs, (cap = (n + now) * 2) * sizeof(*jobs)));
        json_array_foreach(list, i, job) fill(&jobs[n++], job);
        more = json_is_string(token) && now;
        if (more && json_object_set(query, "page_token", token)) need(NULL);
        json_decref(page);
    }
    json_decref(query);
    if (rc) {
        forget(jobs, n);
        return rc;
    }
    for (size_t i = 0; i < n; i++)
        carry_over(top, &jobs[i]);
    if (n) qsort(jobs, n, sizeof(*jobs), by_name);
    forget(top->jobs, top->n);
    top->jobs = jobs;
    top->n = n;
    *top->why = '\0';
    top_sort(top);
    return 0;
}

/* ---- last decisions ---- */

static void take_decision(struct top_job *job, const json_t *decision)
{
    const json_t *value = json_object_get(decision, "value");

    if (value) job->value = value_number(value);
    free(job->action);
    free(job->reason);
    job->action = need(strdup(text_of(decision, "action")));
    job->reason = need(strdup(text_of(decision, "reason")));
    job->decided = moment_parse(text_of(decision, "time"));
}

static int look_at(struct top *top, struct top_job *job)
{
    json_t *query = need(json_pack("{s:s, s:i}", "job", job->name, "page_size", PAGE_SIZE)), *page, *decision;
    size_t i;
    int rc;

    if (job->step >= 0 && json_object_set_new(query, "from_step", json_integer(job->step))) need(NULL);
    rc = session_poll(top->in, top->t, "history", query, &page, NULL, top->why, sizeof(top->why));
    json_decref(query);
    if (rc == EXIT_NOT_FOUND) return 0; /* deleted since: the next list is without it */
    if (rc) return rc;
    json_array_foreach(json_object_get(page, "decisions"), i, decision) take_decision(job, decision);
    job->looked = job->revision;
    json_decref(page);
    return 0;
}

int top_look_closer(struct top *top, size_t from, size_t n)
{
    int rc = 0;

    for (size_t i = from; !rc && i < top->n_shown && i < from + n; i++) {
        struct top_job *job = &top->jobs[top->order[i] - top->jobs];
        if (job->looked != job->revision) rc = look_at(top, job);
    }
    return rc;
}

void top_clear(struct top *top)
{
    forget(top->jobs, top->n);
    free(top->order);
    top->jobs = NULL;
    top->order = NULL;
    top->n = top->n_shown = 0;
}

double top_age(const struct top *top, double moment)
{
    double age = moment_now() + top->ahead - moment;

    return age < 0 ? 0 : age; /* a NaN stays one */
}

/* ---- order ---- */

static int compare(double a, double b)
{
    if (isnan(a) || isnan(b)) return isnan(a) - isnan(b); /* what has none comes last */
    return (a > b) - (a < b);
}

static int by_activity(const struct top_job *a, const struct top_job *b)
{
    return compare(-a->updated, -b->updated);
}

static int by_job(const struct top_job *a, const struct top_job *b)
{
    return by_name(a, b);
}

static int by_status(const struct top_job *a, const struct top_job *b)
{
    return strcmp(a->status, b->status);
}

static int by_step(const struct top_job *a, const struct top_job *b)
{
    return compare((double)-a->step, (double)-b->step);
}

static int by_best(const struct top_job *a, const struct top_job *b)
{
    return compare(a->best, b->best);
}

static int by_rate(const struct top_job *a, const struct top_job *b)
{
    return compare(-a->rate, -b->rate);
}

static int by_change(const struct top_job *a, const struct top_job *b)
{
    return compare(a->change, b->change);
}

/* Those that wait first, and of these the overdue. */
static int by_round(const struct top_job *a, const struct top_job *b)
{
    int round = b->has_round - a->has_round, overdue = b->overdue - a->overdue;

    return round ? round : overdue;
}

static const struct {
    const char *name;
    int (*compare)(const struct top_job *a, const struct top_job *b);
} keys[] = {
    {"activity", by_activity}, {"job", by_job}, {"status", by_status}, {"step", by_step},
    {"best", by_best},         {"lr", by_rate}, {"change", by_change}, {"round", by_round},
};
#define KEYS ((int)(sizeof(keys) / sizeof(keys[0])))

bool top_take_sort(struct top *top, const char *text)
{
    top->reverse = *text == '-';
    for (int i = 0; i < KEYS; i++) {
        if (strcmp(keys[i].name, text + top->reverse)) continue;
        top->key = i;
        return true;
    }
    return false;
}

void top_next_sort(struct top *top)
{
    top->key = (top->key + 1) % KEYS;
    top->reverse = false;
    top_sort(top);
}

const char *top_sort_name(const struct top *top)
{
    return keys[top->key].name;
}

void top_sort_names(char *out, size_t size)
{
    size_t len = 0;

    for (int i = 0; i < KEYS && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%s", i ? ", " : "", keys[i].name);
}

static int by_key(const void *a, const void *b, void *arg)
{
    const struct top *top = arg;
    const struct top_job *one = *(const struct top_job *const *)a, *two = *(const struct top_job *const *)b;
    int result = keys[top->key].compare(one, two);

    if (top->reverse) result = -result;
    return result ? result : by_name(one, two);
}

void top_sort(struct top *top)
{
    top->order = need(realloc(top->order, (top->n + 1) * sizeof(*top->order)));
    top->n_shown = 0;
    for (size_t i = 0; i < top->n; i++) {
        if (strcasestr(top->jobs[i].name, top->search)) top->order[top->n_shown++] = &top->jobs[i];
    }
    qsort_r(top->order, top->n_shown, sizeof(*top->order), by_key, top);
}
