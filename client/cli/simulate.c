/* The daemon decides, in one request: it cannot go on where another simulation ended, which bounds the
 * values. */
#include "cli/simulate.h"

#include "cli/call.h"
#include "cli/losses.h"
#include "cli/paper.h"
#include "cli/picture.h"
#include "cli/run.h"
#include "cli/show.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_LIMIT 10000 /* of the daemon, unless it was started with another */

json_t *simulate_values(const struct invocation *in)
{
    char error[600];
    json_t *values =
        losses_read(in->options[OPTION_LOSSES_FILE], in->options[OPTION_LOSSES_COLUMN], error, sizeof(error));

    if (!values) usage_error(in, "%s", error);
    return values;
}

static void say_what_to_do(const struct invocation *in, size_t n)
{
    bool job = json_object_get(in->request, "job") || in->options[OPTION_JOB];

    if (n <= USUAL_LIMIT) return;
    fprintf(stderr,
            "  There are %zu values.  greedylrd --max-batch-entries %zu takes them (--max-batch-body, "
            "--max-simulated-rates);\n  %s.\n",
            n, n,
            job ? "--to-step N leaves out what came after a step"
                : "or give the first ones alone: head -n 10001 FILE | greedylr ... --losses-file -");
}

int simulate_call(const struct invocation *in, struct transport *t, json_t *request,
                  struct transport_reply *out)
{
    struct invocation simulate = *in;
    char *body;
    int rc;

    simulate.command = command_find("simulate");
    body = command_body(simulate.command, request);
    rc = session_call(&simulate, t, simulate.command->path, body, NULL, out);
    free(body);
    if (rc == EXIT_REFUSED) say_what_to_do(in, json_array_size(json_object_get(request, "losses")));
    return rc;
}

int simulate_json(const struct invocation *in, struct transport *t, json_t *request, json_t **out)
{
    struct transport_reply reply;
    int rc = simulate_call(in, t, request, &reply);

    if (rc) return rc;
    *out = reply_json(t, reply.body);
    transport_reply_clear(&reply);
    return *out ? 0 : EXIT_NO_ANSWER;
}

static int take_values(const struct invocation *in)
{
    json_t *values;

    if (!in->options[OPTION_LOSSES_FILE] && in->options[OPTION_LOSSES_COLUMN])
        return usage_error(in, "--losses-column: needs --losses-file");
    if (!in->options[OPTION_LOSSES_FILE]) {
        if (json_object_get(in->request, "losses")) return 0;
        return usage_error(in, "the values are missing: --losses 1.0,0.9,... or --losses FILE");
    }
    if (json_object_get(in->request, "losses"))
        return usage_error(in, "--losses and --losses-file: give one of the two");
    values = simulate_values(in);
    if (!values) return EXIT_USAGE;
    if (json_object_set_new(in->request, "losses", values)) need(NULL);
    return 0;
}

static int draw(const struct invocation *in, const struct transport *t, const char *body)
{
    const char *file = in->options[OPTION_LOSSES_FILE];
    struct series *s = series_new(file && strcmp(file, "-") ? file : "simulation", "report", "rate", NULL);
    json_t *answer = reply_json(t, body), *decision;
    size_t i;
    int rc = EXIT_NO_ANSWER;

    if (answer) {
        s->note = WHAT_IF_NOTE;
        json_array_foreach(json_object_get(answer, "decisions"), i, decision)
            series_add(s, NAN, decision, NULL);
        rc = picture_show(in, s);
    }
    json_decref(answer);
    series_free(s);
    return rc;
}

int run_simulate(const struct invocation *in)
{
    struct transport_reply reply;
    struct transport *t;
    int rc = picture_check(in);

    if (!rc) rc = take_values(in);
    if (!rc) rc = session_open(in, &t);
    if (rc) return rc;
    rc = simulate_call(in, t, in->request, &reply);
    if (!rc) {
        if (!picture_is_all(in)) rc = show_reply(in, t, &reply);
        if (!rc && picture_wanted(in)) rc = draw(in, t, reply.body);
        transport_reply_clear(&reply);
    }
    if (!rc && in->output == OUTPUT_TABLE) {
        putchar('\n');
        put_words(stdout, WHAT_IF_NOTE, 0, 0, paper().width);
    }
    if (!rc) rc = finish_output();
    transport_free(t);
    return rc;
}
