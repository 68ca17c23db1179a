/* Drives libgreedylr for test_clib.py: one command a line on standard input, one answer a line as JSON.
 *
 *     clib_driver [BUDGET_MS [TOKEN]]; the daemon is that of GREEDYLR_URL
 *
 *     create ID LR,LR... [SETTINGS]    open ID    close
 *     report NAME=VALUE...    get    wait STEP    held    flush    budget MS
 *     begin [STEP]    rewind STEP ATTEMPT    initial ATTEMPT
 *     watch ID AFTER|- COUNT [IDLE]    sizes    threads COUNT REPORTS */
#include <greedylr.h>

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct glr_client *client;
static struct glr_job *job;
static struct glr_decision decision = {.size = sizeof decision};
static struct glr_rates rates = {.size = sizeof rates};

static void say(json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(17));

    puts(text);
    fflush(stdout);
    free(text);
    json_decref(answer);
}

/* The answer of a call that returned code. */
static json_t *outcome(enum glr_code code)
{
    const struct glr_error *e = glr_error();

    if (!code) return json_pack("{s:s}", "code", "ok");
    if (e->code != code) abort();
    return json_pack("{s:s, s:s, s:s}", "code", glr_code_name(code), "reason", e->reason, "message",
                     e->message);
}

static json_t *list(const double *x, size_t n)
{
    json_t *all = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, json_real(x[i]));
    return all;
}

static json_t *number(double x)
{
    char text[32];

    snprintf(text, sizeof text, "%.17g", x); /* "nan" and "inf" as well */
    return json_string(text);
}

static json_t *described(const struct glr_decision *d)
{
    json_t *o =
        json_pack("{s:f, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "lr", d->lr,
                  "action", d->action, "reason", d->reason, "stage", d->stage, "policy", d->policy, "actor",
                  d->actor, "time", d->time, "has_step", d->has_step, "at_min", d->at_min, "at_max",
                  d->at_max, "plateaued", d->plateaued, "duplicate", d->duplicate, "conflict", d->conflict,
                  "applied_mismatch", d->applied_mismatch, "superseded", d->superseded);
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {{"step", d->step},         {"attempt", d->attempt}, {"revision", d->revision},
                   {"num_good", d->num_good}, {"num_bad", d->num_bad}, {"ranks", d->ranks}};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(o, numbers[i].name, json_integer(numbers[i].value));
    json_object_set_new(o, "lrs", list(d->lrs, d->groups));
    json_object_set_new(o, "value", number(d->value));
    json_object_set_new(o, "smoothed", number(d->smoothed));
    json_object_set_new(o, "best", number(d->best));
    return o;
}

static json_t *with_rates(enum glr_code code)
{
    json_t *o = outcome(code);

    json_object_set_new(o, "lrs", list(rates.lrs, rates.groups));
    json_object_set_new(o, "lr", json_real(rates.lr));
    json_object_set_new(o, "revision", json_integer(rates.revision));
    if (rates.has_step) json_object_set_new(o, "step", json_integer(rates.step));
    return o;
}

static json_t *do_create(char *arguments)
{
    const char *id = strsep(&arguments, " ");
    double lrs[300];
    size_t groups = 0;

    for (char *all = strsep(&arguments, " "), *one; (one = strsep(&all, ","));)
        lrs[groups++] = strtod(one, NULL);
    return outcome(glr_job_create(client, id, lrs, groups, arguments, &job));
}

static json_t *do_report(char *arguments)
{
    struct glr_report r = {.size = sizeof r};

    for (char *word; (word = strsep(&arguments, " "));) {
        char *name = strsep(&word, "=");
        uint32_t n = (uint32_t)strtoul(word, NULL, 10);
        double x = strtod(word, NULL);
        if (!strcmp(name, "value")) r.value = x;
        if (!strcmp(name, "weight")) r.weight = x;
        if (!strcmp(name, "lr_cap")) r.lr_cap = x;
        if (!strcmp(name, "applied_lr")) r.has_applied_lr = true, r.applied_lr = x;
        if (!strcmp(name, "request_id")) r.request_id = word;
        if (!strcmp(name, "rank")) r.rank = n;
        if (!strcmp(name, "dry_run")) r.dry_run = n;
        if (!strcmp(name, "step")) r.has_step = true, r.step = n;
        if (!strcmp(name, "attempt")) r.has_attempt = true, r.attempt = n;
    }
    json_t *o = outcome(glr_report(job, &r, &decision));
    if (decision.lrs) json_object_set_new(o, "decision", described(&decision));
    return o;
}

static json_t *do_begin(char *arguments)
{
    uint32_t step = arguments ? (uint32_t)strtoul(arguments, NULL, 10) : 0, attempt = 0;
    enum glr_code code = glr_begin(job, arguments ? &step : NULL, &attempt, &rates);
    json_t *o = with_rates(code);

    json_object_set_new(o, "attempt", json_integer(attempt));
    return o;
}

static json_t *do_rewind(char *arguments)
{
    uint32_t step = (uint32_t)strtoul(strsep(&arguments, " "), NULL, 10);

    return with_rates(glr_rewind(job, step, (uint32_t)strtoul(arguments, NULL, 10), &rates));
}

struct watched {
    long left, idle;
};

static int on_decision(void *arg, const struct glr_decision *d)
{
    struct watched *w = arg;

    if (!d) return --w->idle <= 0;
    say(described(d));
    return --w->left <= 0;
}

static json_t *do_watch(char *arguments)
{
    const char *id = strsep(&arguments, " "), *after = strsep(&arguments, " ");
    const char *count = strsep(&arguments, " ");
    uint32_t revision = (uint32_t)strtoul(after, NULL, 10);
    struct watched w = {.left = strtol(count, NULL, 10),
                        .idle = arguments ? strtol(arguments, NULL, 10) : 120};

    return outcome(glr_watch(client, id, *after == '-' ? NULL : &revision, on_decision, &w));
}

/* Structs of callers that were built with another version of the header. */
static json_t *do_sizes(char *arguments)
{
    struct {
        struct glr_report known;
        double later;
    } report = {.known = {.size = sizeof report, .value = 1, .has_step = true, .step = 1}};
    struct {
        struct glr_decision known;
        double later;
        double behind;
    } newer = {.known = {.size = offsetof(__typeof__(newer), behind)}, .later = 7, .behind = 8};
    json_t *o = json_object();

    json_object_set_new(o, "newer", outcome(glr_report(job, &report.known, &newer.known)));
    json_object_set_new(o, "lr", json_real(newer.known.lr));
    json_object_set_new(o, "size_kept",
                        json_boolean(newer.known.size == offsetof(__typeof__(newer), behind)));
    json_object_set_new(o, "later", json_real(newer.later));
    json_object_set_new(o, "behind", json_real(newer.behind));
    report.later = 1;
    json_object_set_new(o, "unknown_field", outcome(glr_report(job, &report.known, NULL)));
    report.known.size = 0;
    json_object_set_new(o, "no_size", outcome(glr_report(job, &report.known, NULL)));
    report.known.size = sizeof report.known;
    newer.known.size = 8;
    json_object_set_new(o, "short_decision", outcome(glr_report(job, &report.known, &newer.known)));
    newer.known.size = (size_t)-1;
    json_object_set_new(o, "long_decision", outcome(glr_report(job, &report.known, &newer.known)));
    return o;
}

struct reporter {
    pthread_t thread;
    int number, reports, good;
};

static void *reporting(void *arg)
{
    struct reporter *r = arg;
    struct glr_client *own;
    struct glr_job *mine;
    const double lr = 0.1;
    char id[32];

    snprintf(id, sizeof id, "thread-%d", r->number);
    if (glr_client_open(NULL, &own)) return NULL;
    if (!glr_job_create(own, id, &lr, 1, NULL, &mine)) {
        for (int i = 1; i <= r->reports; i++) {
            struct glr_report report = {
                .size = sizeof report, .value = 1.0 / i, .has_step = true, .step = (uint32_t)i};
            struct glr_decision d = {.size = sizeof d};
            r->good += !glr_report(mine, &report, &d) && d.step == (uint32_t)i;
        }
        glr_job_close(mine);
    }
    glr_client_close(own);
    return NULL;
}

static json_t *do_threads(char *arguments)
{
    int n = atoi(strsep(&arguments, " ")), reports = atoi(arguments), good = 0;
    struct reporter *all = calloc((size_t)n, sizeof *all);

    for (int i = 0; i < n; i++) {
        all[i] = (struct reporter){.number = i, .reports = reports};
        if (pthread_create(&all[i].thread, NULL, reporting, &all[i])) abort();
    }
    for (int i = 0; i < n; i++) {
        pthread_join(all[i].thread, NULL);
        good += all[i].good;
    }
    free(all);
    return json_pack("{s:i}", "good", good);
}

static json_t *do_close(void)
{
    glr_job_close(job);
    job = NULL;
    decision.lrs = NULL;
    rates.lrs = NULL;
    rates.groups = 0;
    return outcome(GLR_OK);
}

static json_t *carry_out(const char *command, char *arguments)
{
    if (!strcmp(command, "create")) return do_create(arguments);
    if (!strcmp(command, "open")) return outcome(glr_job_open(client, arguments, &job));
    if (!strcmp(command, "close")) return do_close();
    if (!strcmp(command, "report")) return do_report(arguments);
    if (!strcmp(command, "get")) return with_rates(glr_get(job, &rates));
    if (!strcmp(command, "wait"))
        return with_rates(glr_wait(job, (uint32_t)strtoul(arguments, NULL, 10), &rates));
    if (!strcmp(command, "begin")) return do_begin(arguments);
    if (!strcmp(command, "rewind")) return do_rewind(arguments);
    if (!strcmp(command, "initial"))
        return with_rates(glr_rewind_initial(job, (uint32_t)strtoul(arguments, NULL, 10), &rates));
    if (!strcmp(command, "flush")) return outcome(glr_flush(job));
    if (!strcmp(command, "watch")) return do_watch(arguments);
    if (!strcmp(command, "sizes")) return do_sizes(arguments);
    if (!strcmp(command, "threads")) return do_threads(arguments);
    if (!strcmp(command, "held"))
        return json_pack("{s:i, s:i}", "held", (int)glr_held(job), "lost", (int)glr_lost(job));
    if (strcmp(command, "budget")) abort();
    glr_client_set_budget(client, strtoul(arguments, NULL, 10));
    return outcome(GLR_OK);
}

int main(int argc, char **argv)
{
    struct glr_options options = {
        .size = sizeof options,
        .token = argc > 2 ? argv[2] : NULL,
        .budget_ms = argc > 1 ? strtoul(argv[1], NULL, 10) : 0,
    };
    char *line = NULL;
    size_t room = 0;

    enum glr_code code = glr_client_open(&options, &client);
    say(outcome(code));
    if (code) return 1;
    while (getline(&line, &room, stdin) > 0) {
        char *rest = line;
        line[strcspn(line, "\n")] = '\0';
        const char *command = strsep(&rest, " ");
        say(carry_out(command, rest));
    }
    free(line);
    glr_job_close(job);
    glr_client_close(client);
    return 0;
}
