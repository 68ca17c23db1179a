/* The table of commands, and how a request becomes a path, a query and a body. */
#include "cli/command.h"

#include "cli/run.h"
#include "cli/simulate.h"
#include "cli/text.h"

#include "greedylr/v1/scheduler.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define JOB              "/v1/jobs/{job}"
#define REQUEST(message) &greedylr__v1__##message##_request__descriptor
#define THE_JOB                                                                                              \
    {                                                                                                        \
        "JOB", "job", false                                                                                  \
    }

static const struct command rows[] = {
    {.name = "create",
     .summary = "create a job",
     .rpc = "CreateJob",
     .request = REQUEST(create_job),
     .method = "POST",
     .path = "/v1/jobs",
     .body = BODY_SPEC,
     .answer = ANSWER_JOB,
     .arguments = {{"JOB", "spec.job", false}},
     .run = run_request},
    {.name = "report",
     .summary = "report a value, get the decision it leads to",
     .rpc = "Report",
     .request = REQUEST(report),
     .method = "POST",
     .path = JOB ":report",
     .body = BODY_JSON,
     .answer = ANSWER_DECISION,
     .waits = true,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "lr",
     .summary = "the rates to use now, one a line",
     .rpc = "GetLr",
     .request = REQUEST(get_lr),
     .method = "GET",
     .path = JOB "/lr",
     .answer = ANSWER_TEXT,
     .waits = true,
     .accept = "text/plain",
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "get",
     .summary = "a job: where it stands and every setting in force",
     .rpc = "GetJob",
     .request = REQUEST(get_job),
     .method = "GET",
     .path = JOB,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "list",
     .summary = "the jobs",
     .rpc = "ListJobs",
     .request = REQUEST(list_jobs),
     .method = "GET",
     .path = "/v1/jobs",
     .answer = ANSWER_JOBS,
     .run = run_pages},
    {.name = "top",
     .summary = "the jobs as they go on, live",
     .about = "Keys: j and k or the arrows move, Enter draws the job, s sorts by the next column and r the "
              "other way "
              "round, / searches in the names, q ends.  CHANGE is the rate by the one the job began with, "
              "LAST the last "
              "decision and its age, ROUND the ranks that a waiting step has and lacks.",
     .request = REQUEST(list_jobs),
     .without = "page_size page_token",
     .answer = ANSWER_JOBS,
     .run = run_top},
    {.name = "history",
     .summary = "the decisions of a job",
     .rpc = "ListDecisions",
     .request = REQUEST(list_decisions),
     .method = "GET",
     .path = JOB "/decisions",
     .answer = ANSWER_DECISIONS,
     .arguments = {THE_JOB},
     .run = run_pages},
    {.name = "watch",
     .summary = "decisions as they are made, until Ctrl-C",
     .rpc = "WatchJob",
     .request = REQUEST(watch_job),
     .method = "GET",
     .path = JOB ":watch",
     .answer = ANSWER_DECISIONS,
     .arguments = {THE_JOB},
     .run = run_watch},
    {.name = "plot",
     .summary = "values and rates of a job, drawn on the terminal",
     .about = "The values above, the rates below them; raises, cuts, resets and what was done to the job are "
              "marked.  "
              "What a rewind went back behind is left out.",
     .request = REQUEST(get_job),
     .answer = ANSWER_NONE,
     .arguments = {THE_JOB},
     .run = run_plot},
    {.name = "begin",
     .summary = "a restarted training run begins its next attempt",
     .rpc = "BeginAttempt",
     .request = REQUEST(begin_attempt),
     .method = "POST",
     .path = JOB ":begin",
     .body = BODY_JSON,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "rewind",
     .summary = "go back to the state after a step",
     .rpc = "RewindJob",
     .request = REQUEST(rewind_job),
     .method = "POST",
     .path = JOB ":rewind",
     .body = BODY_JSON,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "fork",
     .summary = "start another job from a state of this one",
     .rpc = "ForkJob",
     .request = REQUEST(fork_job),
     .method = "POST",
     .path = JOB ":fork",
     .body = BODY_JSON,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB, {"NEW", "spec.job", false}},
     .run = run_request},
    {.name = "set",
     .summary = "override the rates of a job",
     .rpc = "SetLr",
     .request = REQUEST(set_lr),
     .method = "POST",
     .path = JOB ":setLr",
     .body = BODY_JSON,
     .answer = ANSWER_DECISION,
     .arguments = {THE_JOB, {"LR", "lr", false}},
     .run = run_request},
    {.name = "pause",
     .summary = "record reports, change nothing",
     .rpc = "PauseJob",
     .request = REQUEST(pause_job),
     .method = "POST",
     .path = JOB ":pause",
     .body = BODY_JSON,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "resume",
     .summary = "end a pause, open a finished job again",
     .rpc = "ResumeJob",
     .request = REQUEST(resume_job),
     .method = "POST",
     .path = JOB ":resume",
     .body = BODY_JSON,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "finish",
     .summary = "the run is over: refuse reports",
     .rpc = "FinishJob",
     .request = REQUEST(finish_job),
     .method = "POST",
     .path = JOB ":finish",
     .body = BODY_JSON,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "update",
     .summary = "change settings of a live job",
     .rpc = "UpdateJob",
     .request = REQUEST(update_job),
     .method = "PATCH",
     .path = JOB,
     .body = BODY_JSON,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "delete",
     .summary = "delete a job and its history",
     .rpc = "DeleteJob",
     .request = REQUEST(delete_job),
     .method = "DELETE",
     .path = JOB,
     .answer = ANSWER_NONE,
     .arguments = {THE_JOB},
     .run = run_delete},
    {.name = "import",
     .summary = "take over the state_dict of a scheduler, as JSON",
     .rpc = "ImportState",
     .request = REQUEST(import_state),
     .method = "PUT",
     .path = JOB "/state",
     .body = BODY_STATE,
     .answer = ANSWER_JOB,
     .arguments = {THE_JOB, {"FILE", "state_dict", true}},
     .run = run_request},
    {.name = "export",
     .summary = "print the state as a state_dict, as JSON",
     .rpc = "ExportState",
     .request = REQUEST(export_state),
     .method = "GET",
     .path = JOB "/state",
     .answer = ANSWER_TEXT,
     .arguments = {THE_JOB},
     .run = run_request},
    {.name = "simulate",
     .summary = "what settings would decide on a list of values",
     .about = WHAT_IF_NOTE,
     .rpc = "Simulate",
     .request = REQUEST(simulate),
     .method = "POST",
     .path = "/v1/simulate",
     .body = BODY_JSON,
     .answer = ANSWER_SIMULATION,
     .run = run_simulate},
    {.name = "replay",
     .summary = "what other settings would have decided on a job's values",
     .about =
         "Takes the recorded values in order, without those that a rewind went back behind, and simulates "
         "the "
         "job's settings on them from the initial rates, with the changes.  Overrides, pauses, updates, "
         "imports, "
         "the state of a fork and a report's lr_cap are not replayed; the output names them.  " WHAT_IF_NOTE,
     .request = REQUEST(get_job),
     .answer = ANSWER_SIMULATION,
     .arguments = {THE_JOB},
     .run = run_replay},
    {.name = "sweep",
     .summary = "what a grid of settings would decide on the same values",
     .about = "A row for each combination of the values that --set names, at most 1,000, on the values of a "
              "file or "
              "a job; the other settings are the job's, or those of the flags.  " WHAT_IF_NOTE,
     .request = REQUEST(simulate),
     .answer = ANSWER_SIMULATION,
     .run = run_sweep},
    {.name = "token",
     .summary = "make, list and revoke the tokens of a token file",
     .about = "create prints a new token, once, and adds its hash to the file, with --role and --prefix; "
              "list shows "
              "what is in the file; revoke takes the token with --id out.  The daemon reads its file again "
              "at SIGHUP.",
     .arguments = {{"ACTION", NULL, false}},
     .run = run_token},
    {.name = "doctor",
     .summary = "what is wrong between here and the daemon, and what to do",
     .about = "Looks at the address, proxies, name, connection, certificate, clocks, versions, store, token "
              "and disk, a line "
              "each, and changes nothing.  Exit status 1 if one of them fails.",
     .run = run_doctor},
    {.name = "health",
     .summary = "whether the daemon takes reports",
     .method = "GET",
     .path = "/readyz?verbose",
     .answer = ANSWER_TEXT,
     .run = run_health},
    {.name = "version",
     .summary = "versions of this program and of the daemon",
     .method = "GET",
     .path = "/version",
     .answer = ANSWER_TEXT,
     .run = run_version},
    {.name = "completion",
     .summary = "print the completion script for bash or zsh",
     .arguments = {{"SHELL", NULL, false}},
     .run = run_completion},
    {.name = "help",
     .summary = "how to use a command, and its flags",
     .arguments = {{"[COMMAND]", NULL, false}},
     .run = run_help},
};

const struct command *commands(size_t *n)
{
    *n = sizeof(rows) / sizeof(rows[0]);
    return rows;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!strcmp(rows[i].name, name)) return &rows[i];
    }
    return NULL;
}

bool word_in(const char *word, const char *words)
{
    size_t n = strlen(word);

    for (const char *at = words ? words : ""; *at; at += strcspn(at, " "), at += *at == ' ') {
        if (strcspn(at, " ") == n && !strncmp(at, word, n)) return true;
    }
    return false;
}

void command_usage(const struct command *command, char *out, size_t size)
{
    size_t len = (size_t)snprintf(out, size, "%s", command->name);

    for (size_t i = 0; i < ARGUMENTS_MAX && command->arguments[i].name && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, " %s", command->arguments[i].name);
}

bool command_has_csv(const struct command *command)
{
    return command->answer == ANSWER_JOBS || command->answer == ANSWER_DECISIONS ||
           command->answer == ANSWER_SIMULATION;
}

/* ---- requests ---- */

static void put_percent(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     (c && strchr("._-~", c));
        if (plain)
            fputc(c, out);
        else
            fprintf(out, "%%%02X", c);
    }
}

static void put_query(FILE *out, const json_t *request, bool job_in_path)
{
    char separator = '?';
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)request, name, value)
    {
        if (job_in_path && !strcmp(name, "job")) continue;
        char *text = value_text(value, EXACT, ',');
        fprintf(out, "%c%s=", separator, name);
        put_percent(out, text);
        free(text);
        separator = '&';
    }
}

char *command_path(const struct command *command, const json_t *request)
{
    const char *hole = strstr(command->path, "{job}"),
               *job = json_string_value(json_object_get(request, "job"));
    char *path = NULL;
    size_t len;
    FILE *out = need(open_memstream(&path, &len));

    if (hole) {
        fwrite(command->path, 1, (size_t)(hole - command->path), out);
        put_percent(out, job ? job : "");
        fputs(hole + strlen("{job}"), out);
    } else {
        fputs(command->path, out);
    }
    if (command->body == BODY_QUERY && request) put_query(out, request, hole);
    end_text(out, &path);
    return path;
}

char *command_body(const struct command *command, const json_t *request)
{
    json_t *body = NULL, *empty = NULL;
    char *text = NULL;

    switch (command->body) {
    case BODY_QUERY: return NULL;
    case BODY_STATE: return need(strdup(json_string_value(json_object_get(request, "state_dict"))));
    case BODY_SPEC: body = json_object_get(request, "spec"); break;
    case BODY_JSON: body = (json_t *)request; break;
    }
    if (!body) body = empty = need(json_object());
    text = need(json_dumps(body, JSON_COMPACT));
    json_decref(empty);
    return text;
}
