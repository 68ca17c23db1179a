/* Pages are read one after the other; a job that goes on meanwhile adds to the last of them. */
#include "cli/recorded.h"

#include "cli/call.h"
#include "cli/progress.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 1000

/* Whether the page goes on where the decisions end: what does not may go on for ever. */
static bool goes_on(const json_t *decisions, const json_t *page)
{
    size_t n = json_array_size(decisions), new = json_array_size(page);
    json_t *last = json_object_get(json_array_get(decisions, n ? n - 1 : 0), "revision");
    json_t *first = json_object_get(json_array_get(page, 0), "revision");

    return new && (!n || json_integer_value(first) > json_integer_value(last));
}

static int fetch_page(const struct invocation *in, struct transport *t, json_t *query, json_t *decisions,
                      bool *more)
{
    json_t *page = NULL;
    int rc = session_json(in, t, "history", query, &page);

    if (rc) return rc;
    if (json_object_get(page, "next_page_token") && !goes_on(decisions, json_object_get(page, "decisions"))) {
        say("%s answered with pages that do not go on; check --url or GREEDYLR_URL", transport_url(t));
        json_decref(page);
        return EXIT_NO_ANSWER;
    }
    json_t *token = json_object_get(page, "next_page_token");
    *more = json_is_string(token);
    if (json_array_extend(decisions, json_object_get(page, "decisions"))) need(NULL);
    if (*more && json_object_set(query, "page_token", token)) need(NULL);
    json_decref(page);
    return 0;
}

static int set_query(const struct invocation *in, json_t *query)
{
    const char *to = in->options[OPTION_TO_STEP];
    struct field field;
    char error[300];

    if (json_object_set_new(query, "page_size", json_integer(PAGE_SIZE))) need(NULL);
    if (!to) return 0;
    if (!fields_find(command_find("history")->request, "to_step", &field)) abort(); /* the contract has it */
    return field_set(query, &field, to, error, sizeof(error)) ? usage_error(in, "%s", error) : 0;
}

static void take_values(struct recorded *r)
{
    json_t *decision;
    size_t i;

    json_array_foreach(r->decisions, i, decision)
    {
        json_t *value = json_object_get(decision, "value");
        if (value && json_array_append(r->values, value)) need(NULL);
    }
}

int recorded_fetch(const struct invocation *in, struct transport *t, const char *job, struct recorded *out)
{
    json_t *query = json_pack("{s:s}", "job", job);
    struct progress progress;
    bool more = true;
    int rc = set_query(in, need(query));

    *out = (struct recorded){.decisions = need(json_array()), .values = need(json_array())};
    if (!rc) {
        json_t *name = json_pack("{s:s}", "job", job);
        rc = session_json(in, t, "get", need(name), &out->job);
        json_decref(name);
    }
    progress_begin(&progress, "revisions", (size_t)json_integer_value(json_object_get(out->job, "revision")));
    while (!rc && more) {
        rc = fetch_page(in, t, query, out->decisions, &more);
        progress_to(&progress, json_array_size(out->decisions));
    }
    progress_end(&progress);
    json_decref(query);
    if (!rc) take_values(out);
    if (!rc && !json_array_size(out->values)) {
        say("%s has no reports%s%s: there is nothing to decide on", job,
            in->options[OPTION_TO_STEP] ? " up to step " : "",
            in->options[OPTION_TO_STEP] ? in->options[OPTION_TO_STEP] : "");
        rc = EXIT_REFUSED;
    }
    if (rc) recorded_clear(out);
    return rc;
}

void recorded_clear(struct recorded *r)
{
    json_decref(r->job);
    json_decref(r->decisions);
    json_decref(r->values);
    *r = (struct recorded){0};
}
