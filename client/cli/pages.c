/* Lists, page after page.
 *
 * As JSON the pages become one document with the daemon's own text of every element: a page's list is cut out
 * of its body and put behind the one before.  Where the caller asks for a page, exactly that page is shown.
 */
#include "cli/run.h"

#include "cli/call.h"
#include "cli/picture.h"
#include "cli/show.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 1000 /* the most a page may have */

struct pages {
    const struct invocation *in;
    struct transport *t;
    const char *list;      /* the answer's member that is the list */
    struct rows *rows;     /* NULL: JSON */
    struct series *series; /* what to draw; NULL: nothing */
    bool silent;           /* the picture is all there is to show */
    size_t n;              /* pages shown */
};

/* Behind the string that begins at text. */
static const char *skip_string(const char *text)
{
    for (text++; *text && *text != '"'; text++) {
        if (*text == '\\' && text[1]) text++;
    }
    return *text ? text + 1 : text;
}

/* The inside of the list that is the member name of a JSON object, which is valid. */
static const char *list_inside(const char *json, const char *name, size_t *len)
{
    size_t n = strlen(name), depth = 0;
    const char *at = json, *start = NULL;

    while (*at) {
        if (*at == '"') {
            bool is_name = depth == 1 && !strncmp(at + 1, name, n) && at[n + 1] == '"';
            at = skip_string(at);
            if (is_name && !start && *at == ':') {
                at += 1 + strspn(at + 1, " ");
                if (*at == '[') start = at + 1;
            }
            continue;
        }
        if (*at == '[' || *at == '{') depth++;
        if ((*at == ']' || *at == '}') && --depth == 1 && start) {
            *len = (size_t)(at - start);
            return start;
        }
        at++;
    }
    *len = 0;
    return json;
}

static void show_json(struct pages *p, const char *body, bool last)
{
    size_t len;
    const char *inside;

    if (!p->n && last) {
        print_text(body);
        return;
    }
    inside = list_inside(body, p->list, &len);
    if (!p->n)
        printf("{\"%s\":[", p->list);
    else if (len)
        putchar(',');
    fwrite(inside, 1, len, stdout);
    if (last) puts("]}");
}

static void show_rows(struct pages *p, const json_t *answer)
{
    json_t *row;
    size_t i;

    json_array_foreach(json_object_get(answer, p->list), i, row) rows_add(p->rows, row);
    rows_print(p->rows);
}

static void collect(struct pages *p, const json_t *answer)
{
    json_t *row;
    size_t i;

    json_array_foreach(json_object_get(answer, p->list), i, row)
    {
        if (!json_is_true(json_object_get(row, "superseded"))) series_add(p->series, NAN, row, NULL);
    }
}

/* Asks for the page and shows it; *token is the next one's, NULL after the last. */
static int show_page(struct pages *p, bool single, json_t *request, char **token)
{
    struct transport_reply reply;
    char *path = command_path(p->in->command, request);
    int rc = session_call(p->in, p->t, path, NULL, NULL, &reply);

    free(path);
    if (rc) return rc;
    json_t *answer = reply_json(p->t, reply.body);
    const char *next = json_string_value(json_object_get(answer, "next_page_token"));
    *token = next && !single ? need(strdup(next)) : NULL;
    if (answer && p->series) collect(p, answer);
    if (answer && p->rows)
        show_rows(p, answer);
    else if (answer && !p->silent)
        show_json(p, reply.body, !*token);
    rc = answer ? finish_output() : EXIT_NO_ANSWER;
    if (!rc && single && next && p->rows) say("there is more: --page-token %s", next);
    p->n++;
    json_decref(answer);
    transport_reply_clear(&reply);
    return rc;
}

static int show_all(struct pages *p, bool single)
{
    json_t *request = p->in->request;
    char *token = NULL;
    int rc;

    if (!single && json_object_set_new(request, "page_size", json_integer(PAGE_SIZE))) need(NULL);
    do {
        if (token && json_object_set_new(request, "page_token", json_string(token))) need(NULL);
        free(token);
        token = NULL;
        rc = show_page(p, single, request, &token);
    } while (!rc && token);
    free(token);
    return rc;
}

int run_pages(const struct invocation *in)
{
    bool single = json_object_get(in->request, "page_size") || json_object_get(in->request, "page_token") ||
                  json_object_get(in->request, "max_points");
    struct pages p = {.in = in, .list = in->command->answer == ANSWER_JOBS ? "jobs" : "decisions"};
    int rc = picture_check(in);

    if (!rc) rc = session_open(in, &p.t);
    if (rc) return rc;
    p.silent = picture_is_all(in);
    if (picture_wanted(in))
        p.series = series_new(json_string_value(json_object_get(in->request, "job")), "step", "rate", NULL);
    if (in->output != OUTPUT_JSON && !p.silent)
        p.rows = rows_new(in->command->answer, in->output == OUTPUT_CSV);
    rc = show_all(&p, single);
    if (!rc && p.series) rc = picture_show(in, p.series);
    if (!rc) rc = finish_output();
    series_free(p.series);
    rows_free(p.rows);
    transport_free(p.t);
    return rc;
}
