/* What may come next: commands, flags, the words a flag takes, jobs. */
#include "cli/complete.h"

#include "cli/arguments.h"
#include "cli/call.h"
#include "cli/docs.h"
#include "cli/run.h"
#include "cli/settings.h"
#include "cli/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAEMON_MS 300
#define JOBS_MAX  200

struct completing {
    struct invocation in; /* what is known from the words before */
    const char *typed;
    bool words_only;                /* behind "--" */
    char front[FIELD_PATH_MAX + 3]; /* "--flag=" where that is one word with what is typed */
};

/* A candidate that begins as typed is printed with that beginning; front is a part of it. */
static void offer(const struct completing *c, const char *front, const char *word, const char *about)
{
    size_t n = strlen(c->typed);
    char text[300];

    snprintf(text, sizeof(text), "%s%s", front, word);
    bool fits = *front ? same_flag_start(text, c->typed) : !strncmp(text, c->typed, n);
    if (fits) printf("%s%s%s\t%.*s\n", c->front, c->typed, text + n, (int)strcspn(about, ".;"), about);
}

static void offer_word(const struct completing *c, const char *word)
{
    offer(c, "", word, "");
}

static void offer_commands(const struct completing *c)
{
    size_t n;
    const struct command *all = commands(&n);

    for (size_t i = 0; i < n; i++)
        offer(c, "", all[i].name, all[i].summary);
}

static int offer_field(void *arg, const struct field *field)
{
    const struct completing *c = arg;
    const char *name = field->path + field->flag;
    struct flag flag;

    /* An option of the same name has been offered. */
    if (flag_find(c->in.command, name, &flag) && !flag.is_option)
        offer(c, "--", name, docs_of(field->message->short_name, field->desc->name));
    return 0;
}

static void offer_flags(struct completing *c)
{
    const struct command *command = c->in.command;

    if (command) fields_walk(command->request, offer_field, c);
    for (int i = 0; i < OPTIONS; i++) {
        if (option_of(i, command)) offer(c, "--", option(i)->name, option(i)->help);
    }
}

/* ---- jobs ---- */

static void offer_jobs(const struct completing *c)
{
    const struct command *list = command_find("list");
    json_t *request = json_pack("{s:s, s:i}", "prefix", c->typed, "page_size", JOBS_MAX), *answer = NULL,
           *job;
    char *path = request ? command_path(list, request) : NULL;
    struct transport_reply reply = {0};
    struct transport *t = NULL;
    size_t i;

    if (path && !session_open(&c->in, &t) && !transport_call(t, "GET", path, NULL, NULL, DAEMON_MS, &reply))
        answer = json_loads(reply.body, 0, NULL);
    json_array_foreach(json_object_get(answer, "jobs"), i, job)
    {
        const char *name = json_string_value(json_object_get(job, "job"));
        const char *status = json_string_value(json_object_get(job, "status"));
        if (name) offer(c, "", name, status ? status : "");
    }
    json_decref(answer);
    json_decref(request);
    transport_reply_clear(&reply);
    transport_free(t);
    free(path);
}

/* ---- values ---- */

static void each_word(void *arg, const char *word, size_t len)
{
    char copy[40];

    snprintf(copy, sizeof(copy), "%.*s", (int)len, word);
    offer_word(arg, copy);
}

static void offer_words(const struct completing *c, const char *words)
{
    for (size_t n; *words; words += n, words += *words == ' ') {
        n = strcspn(words, " ");
        each_word((void *)c, words, n);
    }
}

static void offer_setting(void *arg, const char *name, const struct field *field)
{
    char front[FIELD_PATH_MAX + 2];

    snprintf(front, sizeof(front), "%s=", name);
    offer(arg, "", front, docs_of(field->message->short_name, field->desc->name));
}

static void offer_policy(void *arg, const char *name)
{
    offer_word(arg, name);
}

static void offer_output(const struct completing *c)
{
    offer(c, "", "table", "for people");
    offer(c, "", "json", "the daemon's answer as it is");
    if (!c->in.command || command_has_csv(c->in.command)) offer(c, "", "csv", "for spreadsheets");
}

static void offer_option_values(struct completing *c, enum option_id id)
{
    const char *policy = c->in.options[OPTION_POLICY];

    switch (id) {
    case OPTION_CA_FILE:
    case OPTION_FILE:
    case OPTION_TOKEN_FILE:
    case OPTION_LOSSES_FILE:
    case OPTION_SVG: puts(":files"); break;
    case OPTION_OUTPUT: offer_output(c); break;
    case OPTION_JOB: offer_jobs(c); break;
    case OPTION_POLICY: settings_policies(offer_policy, c); break;
    case OPTION_SET: settings_names(policy ? policy : "greedy", offer_setting, c); break;
    case OPTION_SORT: offer_words(c, "final min max raises cuts resets plateaued"); break;
    case OPTION_TOP_SORT: offer_words(c, "activity job status step best lr change round"); break;
    case OPTION_LOG: offer_words(c, "rate value both none"); break;
    case OPTION_COLOR: offer_words(c, "auto always never"); break;
    case OPTION_ROLE: offer_words(c, "observe report admin"); break;
    default: break;
    }
}

static void offer_field_values(struct completing *c, const struct field *field)
{
    if (!strcmp(field->desc->name, "job")) {
        offer_jobs(c);
    } else if (!strcmp(field->path, "losses")) {
        puts(":files");
    } else if (field_is_flag(field)) {
        offer_word(c, "true");
        offer_word(c, "false");
    } else if (field->desc->type == PROTOBUF_C_TYPE_STRING &&
               field->desc->label != PROTOBUF_C_LABEL_REPEATED) {
        docs_words(docs_of(field->message->short_name, field->desc->name), each_word, c);
    }
}

static void offer_argument(struct completing *c)
{
    const struct argument *argument;

    if (!c->in.command) {
        offer_commands(c);
        return;
    }
    if (c->in.n_words == ARGUMENTS_MAX) return;
    argument = &c->in.command->arguments[c->in.n_words];
    if (!argument->name) return;
    if (argument->file) {
        puts(":files");
    } else if (argument->field) {
        if (!strcmp(argument->field, "job")) offer_jobs(c);
    } else if (c->in.command->run == run_completion) {
        offer_word(c, "bash");
        offer_word(c, "zsh");
    } else if (c->in.command->run == run_token) {
        offer_word(c, "create");
        offer_word(c, "list");
        offer_word(c, "revoke");
    } else {
        offer_commands(c);
    }
}

/* ---- the words before ---- */

/* A flag's name without dashes and value. */
static bool find_flag(const struct completing *c, const char *word, struct flag *flag)
{
    char name[FIELD_PATH_MAX];

    if (!strcmp(word, "-o")) word = "--output";
    if (strncmp(word, "--", 2)) return false;
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    return flag_find(c->in.command, name, flag);
}

static void take_word(struct completing *c, const char *word)
{
    if (!c->in.command)
        c->in.command = command_find(word);
    else if (c->in.n_words < ARGUMENTS_MAX)
        c->in.n_words++;
}

/* Goes through the words before the last; *pending is the flag whose value the last one is. */
static bool take_words(struct completing *c, int n, char **words, struct flag *pending)
{
    bool waits = false;

    for (int i = 0; i + 1 < n; i++) {
        const char *word = words[i], *value = strchr(word, '=');
        if (waits && !strcmp(word, "=")) continue;
        if (waits) {
            if (pending->is_option) c->in.options[pending->id] = word;
            /* bash: --set, name, =, value */
            waits =
                pending->is_option && pending->id == OPTION_SET && i + 1 < n && !strcmp(words[i + 1], "=");
        } else if (!strcmp(word, "--")) {
            c->words_only = true;
        } else if (!c->words_only && find_flag(c, word, pending)) {
            bool cut = i + 1 < n && !strcmp(words[i + 1], "="); /* bash: --flag, =, value */
            if (value && pending->is_option) c->in.options[pending->id] = value + 1;
            waits = !value && (cut || flag_takes(pending, words[i + 1]));
        } else if (*word != '-') {
            take_word(c, word);
        }
    }
    return waits;
}

int complete(int n, char **words)
{
    struct completing c = {.typed = n > 0 ? words[n - 1] : ""};
    struct flag flag;
    const char *equals = strchr(c.typed, '=');
    bool value = take_words(&c, n, words, &flag);

    if (!freopen("/dev/null", "w", stderr)) return EXIT_OK; /* the shell's line is no place for messages */
    if (!value && equals && !c.words_only && find_flag(&c, c.typed, &flag)) {
        value = true;
        snprintf(c.front, sizeof(c.front), "%.*s", (int)(equals + 1 - c.typed), c.typed);
        c.typed = equals + 1;
    } else if (value && !strcmp(c.typed, "=")) {
        c.typed = "";
    }
    if (value && flag.is_option)
        offer_option_values(&c, flag.id);
    else if (value)
        offer_field_values(&c, &flag.field);
    else if (*c.typed == '-' && !c.words_only)
        offer_flags(&c);
    else
        offer_argument(&c);
    return finish_output();
}

/* ---- scripts ---- */

static const char bash_script[] = "# Completion of greedylr for bash.  Made by greedylr completion bash.\n"
                                  "_greedylr() {\n"
                                  "    local line\n"
                                  "    COMPREPLY=()\n"
                                  "    while IFS= read -r line; do\n"
                                  "        if [[ $line == :files ]]; then\n"
                                  "            compopt -o default 2>/dev/null\n"
                                  "        else\n"
                                  "            COMPREPLY+=(\"${line%%$'\\t'*}\")\n"
                                  "            [[ $line == *=$'\\t'* ]] && compopt -o nospace 2>/dev/null\n"
                                  "        fi\n"
                                  "    done < <(\"${COMP_WORDS[0]/#\\~/$HOME}\" " COMPLETE_COMMAND
                                  " \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
                                  "}\n"
                                  "complete -F _greedylr greedylr\n";

static const char zsh_script[] =
    "#compdef greedylr\n"
    "# Completion of greedylr for zsh.  Made by greedylr completion zsh.\n"
    "_greedylr() {\n"
    "    local line\n"
    "    local -a found tail\n"
    "    for line in \"${(@f)$(\"${words[1]/#\\~/$HOME}\" " COMPLETE_COMMAND
    " \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
    "        if [[ $line == :files ]]; then\n"
    "            _files\n"
    "            return\n"
    "        fi\n"
    "        [[ $line == *=$'\\t'* ]] && tail=(-S '')\n"
    "        [[ -n $line ]] && found+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\")\n"
    "    done\n"
    "    (( $#found )) && _describe greedylr found \"${tail[@]}\"\n"
    "}\n"
    "if [[ $funcstack[1] == _greedylr ]]; then\n"
    "    _greedylr \"$@\"\n"
    "else\n"
    "    compdef _greedylr greedylr\n"
    "fi\n";

int run_completion(const struct invocation *in)
{
    const char *shell = in->words[0];

    if (!strcmp(shell, "bash"))
        fputs(bash_script, stdout);
    else if (!strcmp(shell, "zsh"))
        fputs(zsh_script, stdout);
    else
        return usage_error(in, "%s: there is completion for bash and zsh", shell);
    return finish_output();
}
