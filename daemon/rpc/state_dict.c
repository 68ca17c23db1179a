/* State dicts as text.
 *
 * Happy path: the pass in front of the parser marks NaN and infinities, the parser makes a tree, and the tree
 * is flattened by one level into items.  Printing goes the other way.  Failures: text that is no JSON object.
 */
#include "rpc/state_dict.h"

#include "core/spec.h"
#include "rpc/json_load.h"
#include "rpc/json_prepare.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state_dict {
    struct scheduler_dict dict;
    struct json_loaded loaded;
    double *numbers; /* of all lists */
    size_t n_numbers;
    char (*keys)[64]; /* of dicts inside the dict, by item */
};

/* What json_prepare found bare; NULL for every other value. */
static const char *bare_text(const json_t *value)
{
    return json_string_value(json_object_get(value, json_bare_key()));
}

static bool to_number(const json_t *value, double *out, enum dict_kind *kind)
{
    const char *bare = bare_text(value);

    *kind = json_is_integer(value) ? DICT_WHOLE : DICT_NUMBER;
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    if (!bare) return false;
    if (strcmp(bare, "NaN") == 0)
        *out = NAN;
    else if (strcmp(bare, "Infinity") == 0 || strcmp(bare, "-Infinity") == 0)
        *out = bare[0] == '-' ? -INFINITY : INFINITY;
    else
        return false; /* beyond a double */
    return true;
}

static void to_list(const json_t *value, struct state_dict *dict, struct dict_item *item)
{
    enum dict_kind kind;

    item->kind = DICT_LIST;
    item->n = (uint32_t)json_array_size(value);
    item->list = dict->numbers + dict->n_numbers;
    for (uint32_t i = 0; i < item->n; i++) {
        if (to_number(json_array_get(value, i), &dict->numbers[dict->n_numbers + i], &kind)) continue;
        *item = (struct dict_item){
            .key = item->key, .kind = DICT_OTHER, .text = "a list of something else than numbers"};
        return;
    }
    dict->n_numbers += item->n;
}

static void to_item(const json_t *value, const char *key, struct state_dict *dict)
{
    struct dict_item item = {.key = key};

    if (to_number(value, &item.number, &item.kind)) {
    } else if (json_is_null(value)) {
        item.kind = DICT_NULL;
    } else if (json_is_boolean(value)) {
        item.kind = DICT_BOOL;
        item.boolean = json_is_true(value);
    } else if (json_is_string(value)) {
        item.kind = DICT_TEXT;
        item.text = json_string_value(value);
    } else if (json_is_array(value)) {
        to_list(value, dict, &item);
    } else {
        item.kind = DICT_OTHER;
        item.text = bare_text(value) ? "a number beyond a double" : "a dict";
    }
    dict->dict.items[dict->dict.n++] = item;
}

static bool is_inner(const json_t *value)
{
    return json_is_object(value) && !bare_text(value) && json_object_size(value) > 0;
}

/* Room for every value: items, numbers of lists, names of inner items. */
static bool make_room(struct state_dict *dict)
{
    size_t items = 1, numbers = 1;
    const char *key, *inner_key;
    json_t *value, *inner;

    json_object_foreach(dict->loaded.root, key, value)
    {
        items++;
        numbers += json_array_size(value);
        if (!is_inner(value)) continue;
        json_object_foreach(value, inner_key, inner)
        {
            items++;
            numbers += json_array_size(inner);
        }
    }
    dict->dict.cap = items;
    dict->dict.items = calloc(items, sizeof(dict->dict.items[0]));
    dict->numbers = calloc(numbers, sizeof(dict->numbers[0]));
    dict->keys = calloc(items, sizeof(dict->keys[0]));
    return dict->dict.items && dict->numbers && dict->keys;
}

static void flatten(struct state_dict *dict)
{
    const char *key, *inner_key;
    json_t *value, *inner;

    json_object_foreach(dict->loaded.root, key, value)
    {
        if (!is_inner(value)) {
            to_item(value, key, dict);
            continue;
        }
        json_object_foreach(value, inner_key, inner)
        {
            char *name = dict->keys[dict->dict.n];

            snprintf(name, sizeof(dict->keys[0]), "%.30s.%.30s", key, inner_key);
            to_item(inner, name, dict);
        }
    }
}

static int load(const char *text, struct state_dict *dict, struct error *err)
{
    struct buf prepared = {0};
    json_error_t where;
    int rc = json_prepare(text, strlen(text), &prepared, err);

    if (!rc) {
        rc = json_load_text(prepared.data ? prepared.data : "", prepared.len, JSON_REJECT_DUPLICATES,
                            &dict->loaded, &where);
        if (rc == ST_OUT_OF_MEMORY)
            rc = error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        else if (rc)
            rc = error_set(
                err, ST_BODY_INVALID,
                "state_dict: must be the JSON of json.dumps(scheduler.state_dict()): %.120s, near line %d, "
                "column %d",
                where.text, where.line, where.column);
        else if (!json_is_object(dict->loaded.root) || bare_text(dict->loaded.root))
            rc = error_set(
                err, ST_BODY_INVALID,
                "state_dict: must be a JSON object, as json.dumps(scheduler.state_dict()) writes it");
    }
    buf_free(&prepared);
    return rc;
}

int state_dict_parse(const char *text, struct state_dict **out, struct error *err)
{
    if (!text || !text[strspn(text, " \t\r\n")])
        return error_set(err, ST_FIELD_REQUIRED,
                         "state_dict: is required, the JSON of json.dumps(scheduler.state_dict())");
    struct state_dict *dict = calloc(1, sizeof(*dict));

    if (!dict) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    int rc = load(text, dict, err);

    if (!rc && !make_room(dict)) rc = error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (rc) {
        state_dict_free(dict);
        return rc;
    }
    flatten(dict);
    *out = dict;
    return 0;
}

const struct scheduler_dict *state_dict_items(const struct state_dict *dict)
{
    return &dict->dict;
}

void state_dict_free(struct state_dict *dict)
{
    if (!dict) return;
    json_loaded_free(&dict->loaded);
    free(dict->dict.items);
    free(dict->numbers);
    free(dict->keys);
    free(dict);
}

/* ---- printing ---- */

/* As Python's repr: a float is seen to be one. */
static void print_number(double value, bool whole, struct buf *out)
{
    char text[DOUBLE_TEXT_MAX];

    double_text(text, value);
    buf_puts(out, text);
    if (!whole && isfinite(value) && !strpbrk(text, ".e")) buf_puts(out, ".0");
}

static void print_value(const struct dict_item *item, struct buf *out)
{
    switch (item->kind) {
    case DICT_BOOL: buf_puts(out, item->boolean ? "true" : "false"); break;
    case DICT_WHOLE: buf_printf(out, "%.0f", item->number); break;
    case DICT_NUMBER: print_number(item->number, false, out); break;
    case DICT_TEXT: buf_printf(out, "\"%s\"", item->text); break; /* words of the core's tables */
    case DICT_LIST:
        buf_puts(out, "[");
        for (uint32_t i = 0; i < item->n; i++) {
            if (i) buf_puts(out, ", ");
            print_number(item->list[i], false, out);
        }
        buf_puts(out, "]");
        break;
    case DICT_NULL:
    case DICT_OTHER: buf_puts(out, "null"); break;
    }
}

int state_dict_print(const struct scheduler_dict *dict, struct buf *out, struct error *err)
{
    size_t open = 0; /* bytes of the name of the dict we are in */
    const char *name = "";

    buf_puts(out, "{");
    for (size_t i = 0; i < dict->n; i++) {
        const char *key = dict->items[i].key, *dot = strchr(key, '.');
        size_t outer = dot ? (size_t)(dot - key) : 0;
        bool same = open && open == outer && strncmp(name, key, open) == 0;

        if (open && !same) buf_puts(out, "}");
        if (i) buf_puts(out, ", ");
        if (outer && !same) buf_printf(out, "\"%.*s\": {", (int)outer, key);
        name = key;
        open = outer;
        buf_printf(out, "\"%s\": ", dot ? dot + 1 : key);
        print_value(&dict->items[i], out);
    }
    buf_puts(out, open ? "}}" : "}");
    return out->failed ? error_set(err, ST_OUT_OF_MEMORY, "out of memory") : 0;
}
