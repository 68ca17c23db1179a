/* Commands that are one request, or little more. */
#include "cli/run.h"

#include "cli/call.h"
#include "cli/show.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Opens, asks, shows; answered, where it is not NULL, is shown instead of the answer's table. */
static int ask(const struct invocation *in, const char *answered)
{
    bool as_json = in->output == OUTPUT_JSON || !in->command->accept;
    struct transport_reply reply;
    struct transport *t;
    char *path, *body;
    int rc = session_open(in, &t);

    if (rc) return rc;
    path = command_path(in->command, in->request);
    body = command_body(in->command, in->request);
    rc = session_call(in, t, path, body, as_json ? NULL : in->command->accept, &reply);
    if (!rc) {
        if (answered && in->output != OUTPUT_JSON)
            print_text(answered);
        else
            rc = show_reply(in, t, &reply);
        transport_reply_clear(&reply);
        if (!rc) rc = finish_output();
    }
    free(path);
    free(body);
    transport_free(t);
    return rc;
}

int run_request(const struct invocation *in)
{
    return ask(in, NULL);
}

/* ---- delete ---- */

static bool confirmed(const char *job)
{
    char answer[16];

    fprintf(stderr, "Delete job %s and its whole history?  Type yes: ", job);
    fflush(stderr);
    return fgets(answer, sizeof(answer), stdin) && !strcmp(answer, "yes\n");
}

int run_delete(const struct invocation *in)
{
    const char *job = json_string_value(json_object_get(in->request, "job"));
    char done[200];

    if (!in->options[OPTION_YES]) {
        if (!isatty(STDIN_FILENO))
            return usage_error(in, "delete: there is no terminal to ask on; --yes deletes %s without asking",
                               job);
        if (!confirmed(job)) {
            say("nothing was deleted");
            return EXIT_REFUSED;
        }
    }
    snprintf(done, sizeof(done), "%s is deleted", job);
    return ask(in, done);
}

/* ---- the daemon itself ---- */

int run_health(const struct invocation *in)
{
    struct transport_reply reply;
    struct transport *t;
    int rc = session_open(in, &t);

    if (rc) return rc;
    if (transport_call(t, "GET", in->command->path, NULL, "text/plain", session_timeout(in), &reply)) {
        rc = session_no_answer(t);
    } else {
        bool known = strstr(reply.body, "readyz ");
        if (!known) {
            rc = session_refused(in, t, reply.status, reply.body);
        } else {
            print_text(reply.body);
            rc = finish_output();
            if (!rc && reply.status != 200) {
                say("%s is not ready", transport_url(t));
                rc = EXIT_REFUSED;
            }
        }
        transport_reply_clear(&reply);
    }
    transport_free(t);
    return rc;
}

int run_version(const struct invocation *in)
{
    if (in->output != OUTPUT_JSON) puts("greedylr " GREEDYLRD_VERSION);
    struct transport_reply reply;
    struct transport *t;
    int rc = session_open(in, &t);

    if (rc) return rc;
    fflush(stdout);
    rc = session_call(in, t, in->command->path, NULL, NULL, &reply);
    if (!rc) {
        json_t *answer = reply_json(t, reply.body);
        const char *name = json_string_value(json_object_get(answer, "name"));
        const char *version = json_string_value(json_object_get(answer, "version"));

        if (in->output == OUTPUT_JSON) {
            print_text(reply.body);
        } else if (name && version) {
            put_safe(stdout, name, 0);
            putchar(' ');
            put_safe(stdout, version, 0);
            printf(" at %s\n", transport_url(t));
        }
        rc = answer ? finish_output() : EXIT_NO_ANSWER;
        json_decref(answer);
        transport_reply_clear(&reply);
    }
    transport_free(t);
    return rc;
}
