/* Text of state dicts: what Python writes is read, what is written Python reads. */
#include "rpc/state_dict.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static int status(const char *text, struct error *err)
{
    struct state_dict *dict = NULL;
    int rc = state_dict_parse(text, &dict, err);

    cr_expect_eq(rc == 0, dict != NULL);
    state_dict_free(dict);
    return rc;
}

Test(rpc_state_dict, values_of_every_kind)
{
    struct state_dict *dict = NULL;
    struct error err = {0};

    cr_assert_eq(
        state_dict_parse("{\"i\": 3, \"f\": 3.0, \"n\": NaN, \"p\": Infinity, \"m\": -Infinity, \"b\": true, "
                         "\"z\": null, \"t\": \"min\", \"l\": [1, 0.5, NaN, -Infinity], \"e\": [], "
                         "\"d\": {\"a\": 1, \"v\": [2, 3]}, \"o\": {}, \"x\": [\"a\"], \"h\": 1e999, "
                         "\"dd\": {\"q\": {\"r\": 1}}}",
                         &dict, &err),
        0, "%s", err.message);
    const struct scheduler_dict *items = state_dict_items(dict);

    cr_assert_eq(items->n, 16);
#define ITEM(name) dict_find(items, name)
    cr_assert(ITEM("i")->kind == DICT_WHOLE && ITEM("i")->number == 3);
    cr_assert(ITEM("f")->kind == DICT_NUMBER && ITEM("f")->number == 3);
    cr_assert(ITEM("n")->kind == DICT_NUMBER && isnan(ITEM("n")->number));
    cr_assert(ITEM("p")->number == INFINITY && ITEM("m")->number == -INFINITY);
    cr_assert(ITEM("b")->kind == DICT_BOOL && ITEM("b")->boolean);
    cr_assert_null(ITEM("z"));
    cr_assert(ITEM("t")->kind == DICT_TEXT && strcmp(ITEM("t")->text, "min") == 0);
    cr_assert(ITEM("l")->kind == DICT_LIST && ITEM("l")->n == 4 && ITEM("l")->list[1] == 0.5);
    cr_assert(isnan(ITEM("l")->list[2]) && ITEM("l")->list[3] == -INFINITY);
    cr_assert(ITEM("e")->kind == DICT_LIST && ITEM("e")->n == 0);
    cr_assert(ITEM("d.a")->number == 1 && ITEM("d.v")->list[1] == 3);
    cr_assert(ITEM("o")->kind == DICT_OTHER && ITEM("x")->kind == DICT_OTHER);
    cr_assert_str_eq(ITEM("h")->text, "a number beyond a double");
    cr_assert_str_eq(ITEM("dd.q")->text, "a dict");
#undef ITEM
    state_dict_free(dict);
}

Test(rpc_state_dict, what_is_no_dict)
{
    static const struct {
        const char *text;
        enum status status;
        const char *part;
    } bad[] = {
        {NULL, ST_FIELD_REQUIRED, "state_dict: is required"},
        {" \n", ST_FIELD_REQUIRED, "json.dumps(scheduler.state_dict())"},
        {"[1]", ST_BODY_INVALID, "must be a JSON object"},
        {"NaN", ST_BODY_INVALID, "must be a JSON object"},
        {"{\"a\": 1", ST_BODY_INVALID, "near line 1"},
        {"{\"a\": 1} x", ST_BODY_INVALID, "end of file expected"},
        {"{\"a\": 1, \"a\": 2}", ST_BODY_INVALID, "duplicate"},
        {"{'a': 1}", ST_BODY_INVALID, "must be the JSON of json.dumps"},
        {"{\"a\": tensor(1)}", ST_BODY_INVALID, "must be the JSON of json.dumps"},
        {"{\"a\": 123456789012345678901234567890}", ST_BODY_INVALID, "too big integer"},
        {"{\"a\": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}", ST_BODY_INVALID, "nested deeper"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};

        cr_expect_eq((enum status)status(bad[i].text, &err), bad[i].status, "%s", bad[i].text);
        cr_expect_not_null(strstr(err.message, bad[i].part), "%s: %s", bad[i].text, err.message);
    }
}

Test(rpc_state_dict, written_as_python_does)
{
    static const double list[] = {1, 0.1, NAN, -0.0, 1e300};
    struct dict_item items[] = {
        {.key = "w", .kind = DICT_WHOLE, .number = 4294967295.0},
        {.key = "f", .kind = DICT_NUMBER, .number = 2},
        {.key = "e", .kind = DICT_NUMBER, .number = 1e-8},
        {.key = "i", .kind = DICT_NUMBER, .number = -INFINITY},
        {.key = "d.a", .kind = DICT_WHOLE, .number = 3},
        {.key = "d.l", .kind = DICT_LIST, .list = list, .n = 5},
        {.key = "x.b", .kind = DICT_BOOL, .boolean = true},
        {.key = "t", .kind = DICT_TEXT, .text = "min"},
        {.key = "z", .kind = DICT_NULL},
        {.key = "y.n", .kind = DICT_LIST},
    };
    struct scheduler_dict dict = {items, sizeof(items) / sizeof(items[0]), 0};
    struct buf out = {0};
    struct error err = {0};

    cr_assert_eq(state_dict_print(&dict, &out, &err), 0);
    char *text = buf_take(&out, NULL);

    cr_assert_str_eq(text,
                     "{\"w\": 4294967295, \"f\": 2.0, \"e\": 1e-08, \"i\": -Infinity, \"d\": {\"a\": 3, "
                     "\"l\": [1.0, 0.1, NaN, -0.0, 1e+300]}, \"x\": {\"b\": true}, \"t\": \"min\", "
                     "\"z\": null, \"y\": {\"n\": []}}");
    struct state_dict *back = NULL;

    cr_assert_eq(state_dict_parse(text, &back, &err), 0, "%s", err.message);
    cr_assert_eq(state_dict_items(back)->n, 10);
    state_dict_free(back);
    free(text);
    dict.n = 0;
    cr_assert_eq(state_dict_print(&dict, &out, &err), 0);
    text = buf_take(&out, NULL);
    cr_assert_str_eq(text, "{}");
    free(text);
}
