/* The command line: which command, which options, which request. */
#ifndef GREEDYLR_CLI_ARGUMENTS_H
#define GREEDYLR_CLI_ARGUMENTS_H

#include "cli/command.h"
#include "cli/fields.h"

#include <stdbool.h>

enum option_id {
    OPTION_URL,
    OPTION_TOKEN_FILE,
    OPTION_CA_FILE,
    OPTION_TIMEOUT,
    OPTION_OUTPUT,
    OPTION_YES,
    OPTION_LOSSES_FILE,
    OPTION_LOSSES_COLUMN,
    OPTION_JOB,
    OPTION_SET,
    OPTION_POLICY,
    OPTION_FOLLOW,
    OPTION_LAST,
    OPTION_FROM_STEP,
    OPTION_TO_STEP,
    OPTION_SORT,
    OPTION_PLOT,
    OPTION_SVG,
    OPTION_LOG,
    OPTION_TOP_SORT,
    OPTION_ONCE,
    OPTION_INTERVAL,
    OPTION_FILE,
    OPTION_ID,
    OPTION_ROLE,
    OPTION_PREFIX,
    OPTION_JOBS,
    OPTION_REQUESTS,
    OPTION_ROUNDS,
    OPTION_WATCHERS,
    OPTION_NOTE,
    OPTION_JSON,
    OPTION_COLOR,
    OPTION_HELP,
    OPTION_VERSION,
    OPTIONS
};

/* A flag that is no field of a request. */
struct option {
    const char *name;
    char letter;          /* short form; 0: none */
    const char *argument; /* NULL: takes no value */
    const char *commands; /* those that have it, with spaces; NULL: all have it */
    const char *help;
};

/* The table's row. */
const struct option *option(enum option_id id);
/* Whether a command (NULL: none yet) has it. */
bool option_of(enum option_id id, const struct command *command);

/* What a name behind two dashes stands for. */
struct flag {
    bool is_option;
    enum option_id id;  /* of an option */
    struct field field; /* of a field */
    enum { VALUE_NEVER, VALUE_MAYBE, VALUE_ALWAYS } value;
};

/* name: without dashes.  Options first, then the request's fields; false if command (NULL: none yet) has none
 * such. */
bool flag_find(const struct command *command, const char *name, struct flag *out);
/* Whether the next word is the value of a flag that may go without one. */
bool flag_takes(const struct flag *flag, const char *next);

enum output { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_CSV };

#define SETS_MAX 16

struct invocation {
    const struct command *command; /* NULL: none was given */
    json_t *request;               /* fields that were given; NULL: the command has no request */
    json_t *objects;               /* while parsing: fields given as objects, which single fields override */
    const char *words[ARGUMENTS_MAX]; /* those after the command's name */
    size_t n_words;
    const char *options[OPTIONS]; /* as given, "" for those without value; NULL: not given */
    const char *sets[SETS_MAX];   /* every --set, in order */
    size_t n_sets;
    enum output output;
    long timeout_ms;  /* 0: not given */
    long interval_ms; /* 0: not given */
};

/* Fills *in, which invocation_free takes in any case; keeps pointers into argv.  Returns 0, or EXIT_USAGE
 * after saying what is wrong.  With --help or --version nothing else is checked. */
int invocation_parse(struct invocation *in, int argc, char **argv);
void invocation_free(struct invocation *in);

/* Says what is wrong with the command line on standard error, and where help is; returns EXIT_USAGE. */
int usage_error(const struct invocation *in, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same for a command that does not exist, with the one that is nearest. */
int unknown_command(const struct invocation *in, const char *name);

/* Whether text may be the id of a job. */
bool is_job_id(const char *text);

/* A time like 500ms, 1.5s, 2m or 1h in milliseconds, above 0 and at most a day; false if it is none. */
bool time_parse(const char *text, long *ms);

#endif
