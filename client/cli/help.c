/* Help, from the tables and the contract's comments. */
#include "cli/run.h"

#include "cli/arguments.h"
#include "cli/call.h"
#include "cli/docs.h"
#include "cli/paper.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define INDENT  6
#define SUMMARY 21 /* where what a command does begins */

static void put_indented(const char *text)
{
    printf("%*s", INDENT, "");
    put_lines(stdout, text, INDENT, INDENT);
}

/* A heading, broken into lines as everything here. */
static void put_title(const char *text)
{
    bool colour = paper().colour;

    fputs(colour ? STYLE_BOLD : "", stdout);
    put_lines(stdout, text, 0, 0);
    fputs(colour ? STYLE_PLAIN : "", stdout);
}

static void print_option(const struct option *o)
{
    printf("  --%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    if (o->letter) printf(", -%c%s%s", o->letter, o->argument ? " " : "", o->argument ? o->argument : "");
    putchar('\n');
    put_indented(o->help);
}

static void print_options(const struct command *command, bool own)
{
    for (int i = 0; i < OPTIONS; i++) {
        if (option_of(i, command) && own == (option(i)->commands != NULL)) print_option(option(i));
    }
}

static bool has_own(const struct command *command)
{
    for (int i = 0; i < OPTIONS; i++) {
        if (option(i)->commands && option_of(i, command)) return true;
    }
    return false;
}

/* Fields that are arguments have no need to be listed, nor those behind an option of the same name or that
 * the command is without. */
static bool is_argument(const struct command *command, const struct field *field)
{
    if (word_in(field->path, command->without)) return true;
    for (size_t i = 0; i < ARGUMENTS_MAX && command->arguments[i].name; i++) {
        const char *name = command->arguments[i].field;
        if (name && !strcmp(name, field->path)) return true;
    }
    struct flag flag;
    return flag_find(command, field->path + field->flag, &flag) && flag.is_option;
}

static int print_field(void *arg, const struct field *field)
{
    const struct command *command = arg;

    if (is_argument(command, field)) return 0;
    printf("  --%s %s\n", field->path + field->flag, field_type(field));
    put_indented(docs_of(field->message->short_name, field->desc->name));
    return 0;
}

static int is_any(void *arg, const struct field *field)
{
    return !is_argument(arg, field);
}

static void help_command(const struct command *command)
{
    char usage[100], what[100];
    bool fields = fields_walk(command->request, is_any, (void *)command);

    command_usage(command, usage, sizeof(usage));
    printf("Usage: greedylr %s%s\n\n", usage, fields || has_own(command) ? " [--FLAG VALUE]..." : "");
    snprintf(what, sizeof(what), "%c%s.", toupper((unsigned char)command->summary[0]), command->summary + 1);
    put_lines(stdout, command->rpc ? docs_of("rpc", command->rpc) : what, 0, 0);
    if (command->about) put_lines(stdout, command->about, 0, 0);
    if (fields) {
        printf("\n");
        put_title("Flags (lists with commas or as JSON; dashes are as good as underscores):");
        fields_walk(command->request, print_field, (void *)command);
    }
    if (!fields && has_own(command)) putchar('\n');
    print_options(command, true);
    printf("\n");
    put_title("Flags of every command:");
    print_options(command, false);
}

static void help_all(void)
{
    size_t n;
    const struct command *all = commands(&n);
    char usage[100];

    puts("Usage: greedylr COMMAND [ARGUMENT]... [--FLAG VALUE]...\n");
    put_lines(stdout, "Talks to greedylrd, which decides the learning rates of training jobs.", 0, 0);
    putchar('\n');
    put_title("Commands:");
    for (size_t i = 0; i < n; i++) {
        command_usage(&all[i], usage, sizeof(usage));
        printf("  %-17s  ", usage);
        put_lines(stdout, all[i].summary, SUMMARY, SUMMARY);
    }
    puts("");
    put_title("Flags of every command (greedylr help COMMAND lists its own):");
    print_options(NULL, false);
    putchar('\n');
    put_lines(stdout,
              "Exit status: 0 done, 1 the daemon refused or the output cannot be written, 2 usage, 3 no "
              "answer from "
              "the daemon, 4 there is no such job or step.",
              0, 0);
}

int run_help(const struct invocation *in)
{
    const struct command *command = in->command;

    if (in->n_words) command = command_find(in->words[0]);
    if (in->n_words && !command) return unknown_command(in, in->words[0]);
    if (!command || (!in->n_words && command->run == run_help && !in->options[OPTION_HELP]))
        help_all();
    else
        help_command(command);
    return finish_output();
}
