/* From argv to an invocation: each word is an option, a field of the command's request, or an argument. */
#include "cli/arguments.h"

#include "cli/file.h"
#include "cli/nearest.h"
#include "cli/paper.h"
#include "cli/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_MAX       600
#define INTERVAL_MIN_MS 100

static const struct option options[OPTIONS] = {
    [OPTION_URL] = {"url", 0, "URL", NULL,
                    "where the daemon is: http://HOST:PORT, https://HOST:PORT or unix:/PATH; default "
                    "GREEDYLR_URL, then http://127.0.0.1:8571"},
    [OPTION_TOKEN_FILE] = {"token-file", 0, "FILE", NULL,
                           "file with the token, id.secret, that not everybody can read; default "
                           "GREEDYLR_TOKEN, then GREEDYLR_TOKEN_FILE"},
    [OPTION_CA_FILE] = {"ca-file", 0, "FILE", NULL,
                        "file with the certificates that may vouch for the daemon, in place of the system's; "
                        "default GREEDYLR_CA_FILE"},
    [OPTION_TIMEOUT] =
        {"timeout", 0, "TIME", NULL,
         "how long to wait for an answer: 500ms, 10s, 2m; default 30s, for report and lr 330s; "
         "for watch how long to try to connect again, default for ever"},
    [OPTION_OUTPUT] = {"output", 'o', "FORMAT", NULL,
                       "table (default), json (the daemon's answer as it is) or csv (lists)"},
    [OPTION_YES] = {"yes", 'y', NULL, "delete", "do not ask"},
    [OPTION_LOSSES_FILE] =
        {"losses-file", 0, "FILE", "simulate sweep",
         "file with the values: one a line, a CSV, a number or an object of JSON a line, or a "
         "JSON list; - is standard input; --losses FILE is the same"},
    [OPTION_LOSSES_COLUMN] =
        {"losses-column", 0, "NAME", "simulate sweep",
         "column of the CSV, member of the JSON; default loss, metric, value or the only one"},
    [OPTION_JOB] = {"job", 0, "JOB", "sweep", "take the values and the settings of this job"},
    [OPTION_SET] =
        {"set", 0, "NAME=VALUE", "replay sweep",
         "another setting, as often as wanted: a field of the policy (patience=3), lr, on_nonfinite or a "
         "path (ramp.reports=5; ramp=none); sweep takes several values with commas, and a list in brackets"},
    [OPTION_POLICY] = {"policy", 0, "NAME", "replay sweep",
                       "another policy, with nothing set but by --set: plateau, cosine_annealing, ..."},
    [OPTION_TO_STEP] = {"to-step", 0, "N", "plot replay sweep",
                        "of a job's values, only those up to this step"},
    [OPTION_SORT] =
        {"sort", 0, "COLUMN", "sweep",
         "order of the rows: final, min, max, raises, cuts, resets, plateaued or a setting; with a dash "
         "in front (--sort=-final) the largest first"},
    [OPTION_PLOT] = {"plot", 0, NULL, "simulate replay history",
                     "draw values and rates on the terminal in place of the rows"},
    [OPTION_SVG] = {"svg", 0, "FILE", "plot simulate replay history", "draw them into this file, too"},
    [OPTION_LOG] =
        {"log", 0, "WHAT", "plot simulate replay history",
         "which axes of the plot are logarithmic: rate, value, both or none; default the rate's, and "
         "the value's where it spans a hundredfold"},
    [OPTION_LAST] = {"last", 0, "N", "plot", "only the last N steps"},
    [OPTION_FROM_STEP] = {"from-step", 0, "N", "plot", "of a job's values, only those from this step on"},
    [OPTION_FOLLOW] = {"follow", 'f', NULL, "plot", "draw again as decisions are made, until q or Ctrl-C"},
    [OPTION_TOP_SORT] =
        {"sort", 0, "COLUMN", "top",
         "order of the jobs: activity (default), job, status, step, best, lr, change or round; "
         "with a dash in front (--sort=-lr) the other way round"},
    [OPTION_ONCE] = {"once", 0, NULL, "top", "print the table once and end; so do --json and -o csv"},
    [OPTION_INTERVAL] = {"interval", 0, "TIME", "plot top",
                         "how long to wait before looking again: 500ms, 5s, 1m; default 2s"},
    [OPTION_FILE] = {"file", 0, "FILE", "token", "the daemon's token file; create makes it, mode 600"},
    [OPTION_ID] = {"id", 0, "ID", "token", "of the token: 1 to 32 of a-z 0-9 -; create makes one up"},
    [OPTION_ROLE] = {"role", 0, "ROLE", "token",
                     "create: observe reads, report also creates, reports, begins, finishes and forks, admin "
                     "does everything"},
    [OPTION_PREFIX] =
        {"prefix", 0, "PREFIX", "token",
         "create: what the ids of its jobs begin with, other jobs do not exist for it; --prefix= "
         "is every job"},
    [OPTION_JOBS] = {"jobs", 0, "N", "token", "create: most jobs with its prefix; 0: any number"},
    [OPTION_REQUESTS] = {"requests", 0, "N", "token", "create: most requests a second; 0: any number"},
    [OPTION_ROUNDS] = {"rounds", 0, "N", "token", "create: most open rounds that it began; 0: any number"},
    [OPTION_WATCHERS] = {"watchers", 0, "N", "token", "create: most watchers at a time; 0: any number"},
    [OPTION_NOTE] = {"note", 0, "TEXT", "token", "create: for people, to the end of the line"},
    [OPTION_JSON] = {"json", 0, NULL, NULL, "the same as -o json"},
    [OPTION_COLOR] =
        {"color", 0, "WHEN", NULL,
         "auto (default: on a terminal, unless NO_COLOR is set or TERM is dumb), always or never"},
    [OPTION_HELP] = {"help", 'h', NULL, NULL, "print how to use the command, with all its flags"},
    [OPTION_VERSION] = {"version", 0, NULL, NULL, "print the version of this program"},
};

const struct option *option(enum option_id id)
{
    return &options[id];
}

bool option_of(enum option_id id, const struct command *command)
{
    const char *names = options[id].commands;

    return names && command ? word_in(command->name, names) : !names;
}

int usage_error(const struct invocation *in, const char *fmt, ...)
{
    char text[ERROR_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fputs("greedylr: ", stderr);
    put_safe(stderr, text, 0);
    fprintf(stderr, "\nTry greedylr help%s%s.\n", in->command ? " " : "",
            in->command ? in->command->name : "");
    return EXIT_USAGE;
}

bool time_parse(const char *text, long *ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 36e5}};
    char number[20];
    size_t n = strspn(text, "0123456789.");
    double value;

    if (n >= sizeof(number)) return false;
    snprintf(number, sizeof(number), "%.*s", (int)n, text);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(units[i].name, text + n) || !number_parse(number, &value)) continue;
        value *= units[i].ms;
        *ms = value <= 864e5 ? (long)value : 0;
        return *ms > 0;
    }
    return false;
}

/* ---- flags ---- */

bool flag_find(const struct command *command, const char *name, struct flag *out)
{
    *out = (struct flag){0};
    for (int i = 0; i < OPTIONS; i++) {
        if (!option_of(i, command) || !same_flag(name, options[i].name)) continue;
        out->is_option = true;
        out->id = i;
        out->value = options[i].argument ? VALUE_ALWAYS : VALUE_NEVER;
        return true;
    }
    if (!command || !fields_find(command->request, name, &out->field)) return false;
    if (word_in(out->field.path, command->without)) return false;
    out->value = field_is_flag(&out->field) || field_is_message(&out->field) ? VALUE_MAYBE : VALUE_ALWAYS;
    return true;
}

bool flag_takes(const struct flag *flag, const char *next)
{
    if (flag->value != VALUE_MAYBE) return flag->value == VALUE_ALWAYS;
    if (field_is_message(&flag->field)) return *next == '{' || *next == '@';
    return !strcmp(next, "true") || !strcmp(next, "false");
}

struct offering {
    const struct command *command;
    struct nearest near;
};

static int offer_field(void *arg, const struct field *field)
{
    struct offering *o = arg;

    if (!word_in(field->path, o->command->without)) nearest_offer(&o->near, field->path + field->flag);
    return 0;
}

static int unknown_flag(const struct invocation *in, const char *name)
{
    const struct command *command = in->command;
    struct offering o = {.command = command};
    const char *where = command ? command->name : "greedylr";

    if (!strcmp(name, "token"))
        return usage_error(
            in, "--token: a token on the command line can be read by everybody on this machine, and "
                "stays in the shell's history; use --token-file FILE or GREEDYLR_TOKEN");
    nearest_begin(&o.near, name);
    for (int i = 0; i < OPTIONS; i++) {
        if (option_of(i, command)) nearest_offer(&o.near, options[i].name);
    }
    if (command) fields_walk(command->request, offer_field, &o);
    const char *meant = nearest_word(&o.near);
    return usage_error(in, "--%s: %s has no such flag%s%s%s%s", name, where,
                       command ? "" : " in front of a command", meant ? "; did you mean --" : "",
                       meant ? meant : "", meant ? "?" : "");
}

int unknown_command(const struct invocation *in, const char *name)
{
    struct nearest near;
    size_t n;
    const struct command *all = commands(&n);

    nearest_begin(&near, name);
    for (size_t i = 0; i < n; i++)
        nearest_offer(&near, all[i].name);
    const char *meant = nearest_word(&near);
    return usage_error(in, "%s: there is no such command%s%s%s", name, meant ? "; did you mean " : "",
                       meant ? meant : "", meant ? "?" : "");
}

/* ---- values ---- */

bool is_job_id(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    return n > 0 && n <= 128 && !text[n] && *text != '.' && *text != '-';
}

/* Whether field is the job asked for, which has one, and a later word is a job too: that was meant. */
static bool is_other_job(const struct invocation *in, const struct field *field)
{
    const char *later = in->command->arguments[1].field;

    return later && !strcmp(later, "spec.job") && !strcmp(field->path, "job") &&
           json_object_get(in->request, "job");
}

/* The job is part of the request's path, so that what is no id must not get there. */
static int set_field(struct invocation *in, const struct field *field, const char *value)
{
    char error[ERROR_MAX];
    json_t *target = field_is_message(field) ? in->objects : in->request;

    if (!strcmp(field->desc->name, "job") && !is_job_id(value))
        return usage_error(in,
                           "\"%.140s\": a job's id is 1 to 128 of A-Z a-z 0-9 . _ - and does not start with "
                           "a dot or a dash",
                           value);
    if (is_other_job(in, field)) {
        char usage[100];
        command_usage(in->command, usage, sizeof(usage));
        return usage_error(in,
                           "--job: given twice, %s and %s; the new job's id is the second word: greedylr %s",
                           json_string_value(json_object_get(in->request, "job")), value, usage);
    }
    return field_set(target, field, value, error, sizeof(error)) ? usage_error(in, "%s", error) : 0;
}

static int add_set(struct invocation *in, const char *value)
{
    const char *equals = strchr(value, '=');

    if (!equals || equals == value || !equals[1])
        return usage_error(in, "--set %.80s: must be NAME=VALUE, as in --set patience=3", value);
    if (in->n_sets == SETS_MAX) return usage_error(in, "--set: at most %d of them", SETS_MAX);
    in->sets[in->n_sets++] = value;
    return 0;
}

static int set_output(struct invocation *in, const char *value)
{
    static const char *const formats[] = {"table", "json", "csv"};

    for (int i = 0; i < 3; i++) {
        if (strcmp(value, formats[i])) continue;
        in->output = (enum output)i;
        return 0;
    }
    return usage_error(in, "--output %s: must be table, json or csv", value);
}

static int set_option(struct invocation *in, enum option_id id, const char *value)
{
    if (id == OPTION_JOB && !is_job_id(value))
        return usage_error(in, "--job %.140s: is no job's id; greedylr list shows the jobs", value);
    if (id == OPTION_SET && add_set(in, value)) return EXIT_USAGE;
    in->options[id] = value ? value : "";
    switch (id) {
    case OPTION_TIMEOUT:
        if (time_parse(value, &in->timeout_ms)) return 0;
        return usage_error(in, "--timeout %s: must be a time like 500ms, 10s or 2m, at most 24h", value);
    case OPTION_INTERVAL:
        if (time_parse(value, &in->interval_ms) && in->interval_ms >= INTERVAL_MIN_MS) return 0;
        return usage_error(in, "--interval %s: must be a time from 100ms to 24h, like 5s", value);
    case OPTION_COLOR:
        if (paper_set_colour(value)) return 0;
        return usage_error(in, "--color %s: must be auto, always or never", value);
    case OPTION_JSON: return set_output(in, "json");
    case OPTION_OUTPUT: return set_output(in, value);
    default: return 0;
    }
}

/* Whether what stands behind --losses does not begin as a list of numbers does. */
static bool is_file_of_values(const struct field *field, const char *value)
{
    char first[40];
    double number;

    if (strcmp(field->path, "losses") || *value == '[') return false;
    snprintf(first, sizeof(first), "%.*s", (int)strcspn(value, ","), value);
    return !nonfinite_name(first) && !number_parse(first, &number);
}

static int set_flag(struct invocation *in, const struct flag *flag, const char *name, const char *value)
{
    if (value && flag->value == VALUE_NEVER) return usage_error(in, "--%s: takes no value", name);
    if (!value && flag->value == VALUE_ALWAYS)
        return usage_error(in, "--%s: needs a value, %s", name,
                           flag->is_option ? options[flag->id].argument : field_type(&flag->field));
    if (flag->is_option) return set_option(in, flag->id, value);
    return is_file_of_values(&flag->field, value) ? set_option(in, OPTION_LOSSES_FILE, value)
                                                  : set_field(in, &flag->field, value);
}

/* ---- words ---- */

/* A word that begins with dashes, and the next one if that is its value; *i moves on. */
static int take_flag(struct invocation *in, int argc, char **argv, int *i)
{
    const char *word = argv[*i], *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL;
    char name[FIELD_PATH_MAX];
    struct flag flag;

    if (word[1] == '-') {
        snprintf(name, sizeof(name), "%.*s", (int)(equals ? equals - word - 2 : FIELD_PATH_MAX - 1),
                 word + 2);
    } else {
        snprintf(name, sizeof(name), "%s", word);
        value = word[2] ? word + 2 : NULL;
        for (int id = 0; id < OPTIONS; id++) {
            if (options[id].letter == word[1] && option_of(id, in->command))
                snprintf(name, sizeof(name), "%s", options[id].name);
        }
    }
    if (*name == '-')
        return usage_error(in, "%s: there is no such flag; flags begin with two dashes, save -o and -h",
                           word);
    if (!flag_find(in->command, name, &flag)) return unknown_flag(in, name);
    if (!value && *i + 1 < argc && flag_takes(&flag, argv[*i + 1])) value = argv[++*i];
    return set_flag(in, &flag, name, value);
}

static int take_command(struct invocation *in, const char *word)
{
    in->command = command_find(word);
    if (!in->command) return unknown_command(in, word);
    if (in->command->request) {
        in->request = need(json_object());
        in->objects = need(json_object());
    }
    return 0;
}

static int take_argument(struct invocation *in, const char *word)
{
    const struct argument *argument = &in->command->arguments[in->n_words];
    struct field field;
    char error[ERROR_MAX], *content;
    int rc;

    if (in->n_words == ARGUMENTS_MAX || !argument->name) {
        char usage[100];
        command_usage(in->command, usage, sizeof(usage));
        return usage_error(in, "%s: one word too many; it is: greedylr %s", word, usage);
    }
    in->words[in->n_words++] = word;
    if (!argument->field) return 0;
    if (!fields_find(in->command->request, argument->field, &field)) abort(); /* the tables disagree */
    if (!argument->file) return set_field(in, &field, word);
    content = file_read(word, error, sizeof(error));
    if (!content) return usage_error(in, "%s", error);
    rc = set_field(in, &field, content);
    free(content);
    return rc;
}

static int take_word(struct invocation *in, const char *word)
{
    return in->command ? take_argument(in, word) : take_command(in, word);
}

/* A number below zero is a value. */
static bool is_flag_word(const char *word)
{
    return word[0] == '-' && word[1] && !isdigit((unsigned char)word[1]) && word[1] != '.';
}

static bool asks_for_help(struct invocation *in, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!in->command) in->command = command_find(argv[i]);
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) in->options[OPTION_HELP] = "";
    }
    if (in->options[OPTION_HELP]) return true;
    in->command = NULL;
    return false;
}

/* Whether an argument's field was given, by a word or by its flag. */
static bool is_given(const struct invocation *in, size_t argument)
{
    const struct argument *a = &in->command->arguments[argument];
    const json_t *at = in->request;
    const char *name = a->field;

    if (argument < in->n_words || *a->name == '[') return true;
    if (name && !strncmp(name, "spec.", 5)) {
        at = json_object_get(at, "spec");
        name += 5;
    }
    return name && json_object_get(at, name);
}

static int check_complete(const struct invocation *in)
{
    const struct command *command = in->command;
    char usage[100];

    if (!command) return 0;
    for (size_t i = 0; i < ARGUMENTS_MAX && command->arguments[i].name; i++) {
        if (is_given(in, i)) continue;
        command_usage(command, usage, sizeof(usage));
        return usage_error(in, "%s is missing: greedylr %s", command->arguments[i].name, usage);
    }
    if (in->output == OUTPUT_CSV && !command_has_csv(command))
        return usage_error(in, "--output csv: %s does not answer with a list; use json", command->name);
    return 0;
}

/* A settings file with a few flags behind it: whatever the order, the flags win. */
static void merge_objects(struct invocation *in)
{
    json_t *merged = in->objects;

    if (!in->request) return;
    if (json_object_update_recursive(merged, in->request)) need(NULL);
    in->objects = in->request;
    in->request = merged;
}

int invocation_parse(struct invocation *in, int argc, char **argv)
{
    bool words_only = false;
    int rc = 0;

    *in = (struct invocation){0};
    if (asks_for_help(in, argc, argv)) return 0;
    for (int i = 1; i < argc && !rc; i++) {
        if (!words_only && !strcmp(argv[i], "--"))
            words_only = true;
        else if (!words_only && is_flag_word(argv[i]))
            rc = take_flag(in, argc, argv, &i);
        else
            rc = take_word(in, argv[i]);
    }
    if (rc || in->options[OPTION_VERSION]) return rc;
    merge_objects(in);
    return check_complete(in);
}

void invocation_free(struct invocation *in)
{
    json_decref(in->request);
    json_decref(in->objects);
    in->request = in->objects = NULL;
}
