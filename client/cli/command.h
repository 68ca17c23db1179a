/* The table of commands: parsing, help, completion and the man page's list follow from it. */
#ifndef GREEDYLR_CLI_COMMAND_H
#define GREEDYLR_CLI_COMMAND_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct invocation;

/* Exit codes; the man page and --help say what they mean. */
enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NO_ANSWER = 3, EXIT_NOT_FOUND = 4 };

/* What a word after the command's name is. */
struct argument {
    const char *name;  /* "JOB"; in brackets it may be left out; NULL: no further one */
    const char *field; /* field of the request that it sets; NULL: none */
    bool file;         /* the word is a file's name, the field its content */
};

enum body {
    BODY_QUERY, /* none: fields go into the query */
    BODY_JSON,  /* the request */
    BODY_SPEC,  /* its member spec */
    BODY_STATE, /* the text of its member state_dict */
};

enum answer {
    ANSWER_NONE,
    ANSWER_TEXT, /* shown as it comes */
    ANSWER_JOB,
    ANSWER_JOBS,
    ANSWER_DECISION,
    ANSWER_DECISIONS,
    ANSWER_SIMULATION,
};

#define ARGUMENTS_MAX 3

struct command {
    const char *name;
    const char *summary; /* half a sentence */
    const char *about;   /* what its help says besides; NULL: nothing */
    const char *rpc;     /* of the contract; NULL: none */
    const ProtobufCMessageDescriptor *request;
    const char *method, *path; /* REST route */
    enum body body;
    enum answer answer;
    bool waits;          /* the daemon may answer late */
    const char *without; /* fields of the request that are no flags, with spaces; NULL: none */
    const char *accept;  /* what to ask for where the output is a table; NULL: JSON */
    struct argument arguments[ARGUMENTS_MAX];
    int (*run)(const struct invocation *in); /* returns an exit code */
};

/* Rows in the order of help; n is their number. */
const struct command *commands(size_t *n);
/* NULL: there is no such command. */
const struct command *command_find(const char *name);
/* Whether word is one of words, which have spaces between them; NULL: none. */
bool word_in(const char *word, const char *words);
/* The command's name and arguments: "fork JOB NEW"; out is terminated. */
void command_usage(const struct command *command, char *out, size_t size);
/* Whether its answer is a list, which CSV can hold. */
bool command_has_csv(const struct command *command);

/* Path of the request, with job and, for BODY_QUERY, query; the caller frees it. */
char *command_path(const struct command *command, const json_t *request);
/* Body of the request; NULL: none.  The caller frees it. */
char *command_body(const struct command *command, const json_t *request);

#endif
