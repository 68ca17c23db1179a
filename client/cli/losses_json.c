/* First everything is parsed, then the key is chosen among all that have numbers, then the values are taken:
 * a log may begin with objects that have none. */
#include "cli/losses_json.h"

#include "cli/pick.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 256

struct reader {
    const char *path, *unit; /* unit: "line" or "element" */
    json_t *items;           /* numbers and objects */
    size_t *where;           /* line, or element from 1, of each */
    size_t cap;
    char *error;
    size_t size;
};

static int wrong(const struct reader *r, size_t where, const char *what, const char *got)
{
    snprintf(r->error, r->size, "%s, %s %zu: %s%.80s", r->path, r->unit, where, what, got);
    return -1;
}

/* ---- what jansson does not read ---- */

/* The text with bare NaN, Infinity and -Infinity in quotes; the caller frees it.  A string ends with its
 * line. */
static char *quote_nonfinite(const char *text)
{
    static const char *const names[] = {"NaN", "Infinity", "-Infinity"};
    char *out = NULL;
    size_t len;
    FILE *file = need(open_memstream(&out, &len));
    bool inside = false;

    while (*text) {
        size_t n = 0;
        for (int i = 0; i < 3 && !inside && !n; i++)
            n = strncmp(text, names[i], strlen(names[i])) ? 0 : strlen(names[i]);
        if (n) {
            fprintf(file, "\"%.*s\"", (int)n, text);
            text += n;
            continue;
        }
        if (inside && *text == '\\' && text[1] && text[1] != '\n')
            fputc(*text++, file);
        else if (*text == '"')
            inside = !inside;
        fputc(*text++, file);
    }
    end_text(file, &out);
    return out;
}

/* ---- parsing ---- */

static int add_item(struct reader *r, json_t *item, size_t where)
{
    size_t n = json_array_size(r->items);

    if (n == r->cap) r->where = need(realloc(r->where, (r->cap = r->cap ? r->cap * 2 : 64) * sizeof(size_t)));
    r->where[n] = where;
    return json_array_append_new(r->items, item);
}

static int parse_list(struct reader *r, const char *text)
{
    json_error_t why;
    json_t *list = json_loads(text, 0, &why), *item;
    size_t i;
    int rc = 0;

    if (!list) return wrong(r, (size_t)why.line, "is no JSON: ", why.text);
    r->unit = "element";
    json_array_foreach(list, i, item) rc = rc ? rc : add_item(r, json_incref(item), i + 1);
    json_decref(list);
    return rc;
}

static int parse_lines(struct reader *r, const char *text)
{
    for (size_t line = 1; *text; line++) {
        size_t n = strcspn(text, "\n");
        if (strspn(text, " \t\r") < n) {
            json_error_t why;
            json_t *item = json_loadb(text, n, JSON_DECODE_ANY, &why);
            if (!item) return wrong(r, line, "is no JSON: ", why.text);
            if (add_item(r, item, line)) return -1;
        }
        text += n + (text[n] == '\n');
    }
    return 0;
}

/* ---- values ---- */

static bool is_value(const json_t *value)
{
    return json_is_number(value) || (json_is_string(value) && nonfinite_name(json_string_value(value)));
}

/* Names of members that are numbers somewhere, in the order in which they come. */
static size_t find_keys(const struct reader *r, const char **keys)
{
    size_t n = 0, i, k;
    const char *name;
    json_t *item, *value;

    json_array_foreach(r->items, i, item)
    {
        json_object_foreach(item, name, value)
        {
            for (k = 0; k < n && strcmp(keys[k], name); k++)
                ;
            if (k == n && n < KEYS_MAX && is_value(value)) keys[n++] = name;
        }
    }
    return n;
}

static int take_value(const struct reader *r, size_t i, const json_t *value, json_t *values)
{
    if (!value || json_is_null(value)) return 0;
    if (!is_value(value)) {
        char *got = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        wrong(r, r->where[i], "must be a number, got ", got ? got : "");
        free(got);
        return -1;
    }
    if (json_is_string(value))
        return json_array_append_new(values, json_string(nonfinite_name(json_string_value(value))));
    return json_array_append(values, (json_t *)value);
}

static int take_values(const struct reader *r, const char *wanted, json_t *values)
{
    const char *keys[KEYS_MAX], *key = NULL;
    char why[400];
    size_t n = find_keys(r, keys), i;
    json_t *item;

    if (n) {
        int chosen = pick_column(keys, n, wanted, why, sizeof(why));
        if (chosen < 0) {
            snprintf(r->error, r->size, "%s: %s", r->path, why);
            return -1;
        }
        key = keys[chosen];
    }
    json_array_foreach(r->items, i, item)
    {
        const json_t *value = json_is_object(item) ? json_object_get(item, key ? key : "") : item;
        if (take_value(r, i, value, values)) return -1;
    }
    return 0;
}

json_t *losses_json(const char *path, const char *text, const char *key, char *error, size_t size)
{
    struct reader r = {
        .path = path, .unit = "line", .items = need(json_array()), .error = error, .size = size};
    char *clean = quote_nonfinite(text);
    json_t *values = need(json_array());
    int rc = text[strspn(text, " \t\r\n")] == '[' ? parse_list(&r, clean) : parse_lines(&r, clean);

    if (!rc) rc = take_values(&r, key, values);
    if (rc) json_decref(values);
    json_decref(r.items);
    free(r.where);
    free(clean);
    return rc ? NULL : values;
}
