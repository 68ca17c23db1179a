/* ImportState: the state_dict of a scheduler as JSON, of either dialect.  What is imported and exported again
 * imports to the same state, and is exported the same. */
#include "job.h"

#include "core/scheduler_dict.h"
#include "rpc/state_dict.h"

struct imported {
    struct job_spec *spec;
    struct job_state *state;
};

static int import(const char *text, struct imported *out, struct error *err)
{
    struct state_dict *dict = NULL;
    int rc = state_dict_parse(text, &dict, err);

    *out = (struct imported){0};
    if (rc) return rc;
    rc = scheduler_dict_spec(state_dict_items(dict), NULL, &out->spec, err);
    if (!rc) {
        out->state = new_state(out->spec);
        rc = scheduler_dict_state(state_dict_items(dict), out->spec, NULL, out->state, err);
    }
    state_dict_free(dict);
    return rc;
}

static void discard(struct imported *imported)
{
    spec_free(imported->spec);
    free(imported->state);
}

/* NULL: this state cannot be exported, which err says. */
static char *export(const struct imported *imported, struct error *err)
{
    struct dict_item items[DICT_ITEMS_MAX];
    struct scheduler_dict dict = {items, 0, DICT_ITEMS_MAX};
    struct buf text = {0};
    int rc = scheduler_dict_export(imported->spec, imported->state, &dict, err);

    if (rc) return NULL;
    MUST(!state_dict_print(&dict, &text, err), "%s", err->message);
    return buf_take(&text, NULL);
}

static void must_come_back(const struct imported *first)
{
    struct imported second;
    struct error err = {0};
    char *text = export(first, &err);

    if (!text) {
        must_tell(&err, (int)err.status);
        MUST(err.status == ST_STATE_NOT_EXPORTABLE, "%s", err.message);
        return;
    }
    MUST(!import(text, &second, &err), "%s: %s", err.message, text);
    size_t n, m;
    uint8_t *a = must_encode(first->spec, first->state, &n), *b = must_encode(second.spec, second.state, &m);
    MUST(n == m && !memcmp(a, b, n), "another state from %s", text);
    char *again = export(&second, &err);
    MUST(again && !strcmp(text, again), "%s became %s", text, again ? again : err.message);
    free(a);
    free(b);
    free(text);
    free(again);
    discard(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t draws[] = {0, 1, 2, 7, 6, 8, 9, 10, 11, 0x83};
    struct input in = {data, size}, steps = {draws, sizeof(draws)};
    struct imported imported;
    struct error err = {0};
    char *text = take_rest(&in, NULL);
    int rc = import(text, &imported, &err);

    if (rc) {
        must_tell(&err, rc);
    } else {
        must_be_rates(job_lrs(imported.state), imported.spec->lr.n);
        must_come_back(&imported);
        must_step(imported.spec, imported.state, &steps, 10);
    }
    discard(&imported);
    free(text);
    return 0;
}
