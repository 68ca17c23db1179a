/* The whole range is fetched once, thinned out by the daemon to what a terminal can show; while it is
 * followed only what is new is, and everything again where that does not go on where the last ended: after a
 * rewind, or where the job was created again. */
#include "cli/plot_job.h"

#include "cli/call.h"
#include "cli/picture.h"
#include "cli/plot.h"
#include "cli/run.h"
#include "cli/screen.h"
#include "cli/series.h"
#include "cli/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POINTS      2000 /* the most that the daemon thins out to */
#define INTERVAL_MS 2000
#define POINTS_MAX  20000 /* of a series that grows, before it is thinned out anew */

struct job_plot {
    const struct invocation *in;
    struct transport *t;
    const char *job;
    bool polling; /* why something fails is not said, but kept */
    char why[600];
    struct series *series;
    char uid[40];
    json_int_t revision, seen; /* of the job; of the last decision in the series */
    json_int_t first;          /* step where the range begins; -1: the job's first */
    double last_step;
};

/* ---- asking ---- */

static int ask(struct job_plot *p, const char *command, json_t *request, json_t **out)
{
    return p->polling ? session_poll(p->in, p->t, command, request, out, NULL, p->why, sizeof(p->why))
                      : session_json(p->in, p->t, command, request, out);
}

static void put_number(FILE *out, const char *name, double value)
{
    if (!isnan(value)) fprintf(out, "%s %.4g", name, value);
}

/* "demo, active: step 1200, rate 0.02, value 0.412, best 0.401 at 1100" */
static void set_title(struct job_plot *p, const json_t *job)
{
    const json_t *state = json_object_get(job, "state"), *step = json_object_get(state, "step");
    const json_t *best_step = json_object_get(state, "best_step");
    const char *status = json_string_value(json_object_get(job, "status"));
    char *title = NULL;
    size_t len, n = p->series->n;
    FILE *out = need(open_memstream(&title, &len));

    fprintf(out, "%s, %s:", p->job, status ? status : "");
    if (step) fprintf(out, " step %" JSON_INTEGER_FORMAT ",", json_integer_value(step));
    put_number(out, " rate", value_number(json_object_get(state, "lr")));
    while (n && p->series->event[n - 1])
        n--;
    if (n) put_number(out, ", value", p->series->value[n - 1]);
    if (best_step) {
        put_number(out, ", best", value_number(json_object_get(state, "best")));
        fprintf(out, " at %" JSON_INTEGER_FORMAT, json_integer_value(best_step));
    }
    end_text(out, &title);
    series_title(p->series, title);
    free(title);
}

/* The job as it is now; *out is for the caller to free. */
static int look(struct job_plot *p, json_t **out)
{
    json_t *request = need(json_pack("{s:s}", "job", p->job));
    int rc = ask(p, "get", request, out);

    json_decref(request);
    if (rc) return rc;
    p->revision = json_integer_value(json_object_get(*out, "revision"));
    return 0;
}

static void add(struct job_plot *p, const json_t *decision)
{
    const json_t *step = json_object_get(decision, "step");

    p->seen = json_integer_value(json_object_get(decision, "revision"));
    if (step) p->last_step = json_number_value(step);
    series_add(p->series, NAN, decision, NULL);
}

/* ---- the range ---- */

static void set_number(json_t *query, const char *name, json_int_t value)
{
    if (json_object_set_new(query, name, json_integer(value))) need(NULL);
}

static json_t *query_from(const struct job_plot *p, json_int_t first)
{
    json_t *query = need(json_pack("{s:s, s:i}", "job", p->job, "max_points", POINTS));

    if (first >= 0) set_number(query, "from_step", first);
    if (p->in->command->run == run_plot && p->in->options[OPTION_TO_STEP])
        set_number(query, "to_step", strtoll(p->in->options[OPTION_TO_STEP], NULL, 10));
    return query;
}

/* take returns false where there is no need to go on. */
static int each_decision(struct job_plot *p, json_t *query, bool (*take)(struct job_plot *p, const json_t *d))
{
    json_t *answer = NULL, *decision;
    bool on = true;
    int rc = ask(p, "history", query, &answer);
    size_t i;

    json_array_foreach(json_object_get(answer, "decisions"), i, decision)
    {
        if (on) on = take(p, decision);
    }
    json_decref(answer);
    return rc;
}

static bool take_any(struct job_plot *p, const json_t *decision)
{
    add(p, decision);
    return true;
}

/* What is new: a step's decisions come again with those behind it. */
static bool take_next(struct job_plot *p, const json_t *decision)
{
    json_int_t revision = json_integer_value(json_object_get(decision, "revision"));

    if (revision <= p->seen) return true;
    if (revision != p->seen + 1) return false;
    add(p, decision);
    return true;
}

/* Where the range begins, for a job whose last step is known. */
static json_int_t first_step(const struct job_plot *p, const json_t *job)
{
    const json_t *step = json_object_get(json_object_get(job, "state"), "step");
    const char *last = p->in->options[OPTION_LAST], *from = p->in->options[OPTION_FROM_STEP];
    json_int_t first = from ? strtoll(from, NULL, 10) : -1;

    if (last && step) {
        json_int_t start = json_integer_value(step) + 1 - strtoll(last, NULL, 10);
        if (start > first) first = start > 0 ? start : 0;
    }
    return first;
}

/* Everything, anew. */
static int load(struct job_plot *p)
{
    struct series *old = p->series;
    json_t *job = NULL, *query;
    int rc = look(p, &job);

    if (rc) return rc;
    snprintf(p->uid, sizeof(p->uid), "%s", json_string_value(json_object_get(job, "uid")));
    p->first = first_step(p, job);
    p->series = series_new(p->job, "step", "rate", NULL);
    p->seen = 0;
    p->last_step = 0;
    query = query_from(p, p->first);
    rc = each_decision(p, query, take_any);
    json_decref(query);
    if (rc) {
        series_free(p->series);
        p->series = old;
    } else {
        series_free(old);
        p->series->thinned = p->series->n >= POINTS;
        set_title(p, job);
    }
    json_decref(job);
    return rc;
}

/* What came since the last time. */
static int catch_up(struct job_plot *p)
{
    json_t *job = NULL, *query;
    json_int_t revision = p->revision;
    int rc = look(p, &job);
    bool again;

    if (rc) return rc;
    again = strcmp(p->uid, json_string_value(json_object_get(job, "uid"))) != 0;
    if (!again && p->revision != revision) {
        query = query_from(p, (json_int_t)p->last_step);
        rc = each_decision(p, query, take_next);
        json_decref(query);
        again = p->seen < p->revision || p->series->n > POINTS_MAX;
    }
    if (!rc && !again) {
        p->first = first_step(p, job);
        series_drop(p->series, (double)p->first);
        set_title(p, job);
    }
    json_decref(job);
    if (rc) p->revision = revision; /* nothing was learnt */
    return rc || !again ? rc : load(p);
}

/* ---- the command ---- */

static bool is_step(const char *text, json_int_t least)
{
    char *end;
    json_int_t value;

    errno = 0;
    value = strtoll(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && value >= least && value <= UINT32_MAX;
}

static int check(const struct invocation *in)
{
    static const enum option_id steps[] = {OPTION_LAST, OPTION_FROM_STEP, OPTION_TO_STEP};
    bool follow = in->options[OPTION_FOLLOW];

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        const char *value = in->options[steps[i]];
        json_int_t least = steps[i] == OPTION_LAST;
        if (value && !is_step(value, least))
            return usage_error(in, "--%s %s: must be an integer from %d to 4294967295",
                               option(steps[i])->name, value, (int)least);
    }
    if (follow && in->options[OPTION_TO_STEP])
        return usage_error(in,
                           "--follow: goes on with the job; --to-step N ends before, give one of the two");
    if (follow && in->options[OPTION_SVG])
        return usage_error(in, "--follow: draws on a terminal; --svg FILE goes without it");
    if (!follow && in->options[OPTION_INTERVAL]) return usage_error(in, "--interval: needs --follow");
    return picture_check(in);
}

static long interval_of(const struct invocation *in)
{
    return in->interval_ms ? in->interval_ms : INTERVAL_MS;
}

static void draw(const struct job_plot *p)
{
    struct plot_look look = {.paper = paper(), .fill = true};
    char *frame = NULL;
    size_t len;
    FILE *out = need(open_memstream(&frame, &len));

    if (!plot_take_log(p->in->options[OPTION_LOG], &look)) abort(); /* it was checked */
    plot_put(out, p->series, &look);
    if (*p->why) {
        fputs(look.paper.colour ? "\033[33m" : "", out);
        fputs("trying again: ", out);
        put_safe(out, p->why, look.paper.width ? look.paper.width - strlen("trying again: ") : 0);
    } else {
        fprintf(out, "q leaves; looks every %.3g s", (double)interval_of(p->in) / 1000);
    }
    end_text(out, &frame);
    screen_draw(frame, look.paper.height);
    free(frame);
}

static bool is_enough(int key)
{
    return key == 'q' || key == 'Q' || key == KEY_ESCAPE || key == KEY_ENTER || key == KEY_GONE || key == 4;
}

int plot_job_follow(const struct invocation *in, struct transport *t, const char *job)
{
    struct job_plot p = {
        .in = in, .t = t, .job = job, .polling = true, .series = series_new(job, "step", "rate", NULL)};
    int rc = load(&p), key = KEY_NONE;

    while (rc != EXIT_NOT_FOUND && !is_enough(key)) {
        if (!rc) *p.why = '\0';
        draw(&p);
        key = screen_key(interval_of(in));
        if (key == KEY_NONE) rc = *p.uid ? catch_up(&p) : load(&p);
    }
    series_free(p.series);
    return rc == EXIT_NOT_FOUND ? rc : 0;
}

static int follow(const struct invocation *in, struct transport *t, const char *job)
{
    json_t *found = NULL;
    int rc = session_json(in, t, "get", in->request, &found); /* a wrong name is told at once */

    json_decref(found);
    if (rc) return rc;
    if (screen_open())
        return usage_error(
            in, "--follow: needs a terminal; greedylr watch %s prints decisions as they are made", job);
    rc = plot_job_follow(in, t, job);
    screen_close();
    if (rc) say("%s is deleted", job);
    return rc;
}

int run_plot(const struct invocation *in)
{
    struct job_plot p = {.in = in, .job = json_string_value(json_object_get(in->request, "job"))};
    int rc = check(in);

    if (!rc) rc = session_open(in, &p.t);
    if (rc) return rc;
    if (in->options[OPTION_FOLLOW]) {
        rc = follow(in, p.t, p.job);
    } else {
        rc = load(&p);
        if (!rc) rc = picture_show(in, p.series);
        if (!rc) rc = finish_output();
        series_free(p.series);
    }
    transport_free(p.t);
    return rc;
}
