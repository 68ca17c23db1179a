/* GreedyLR as in Transformers: its state_dict.
 *
 * The dict has every setting; with smooth there is a dict in it, _streaming_avg.  Happy path: greedy_read and
 * greedy_write copy key by key.  Failures: values that no scheduler can have (ST_STATE_INVALID); a job of the
 * greedylr dialect that decides as no such scheduler would (ST_STATE_NOT_EXPORTABLE). */
#include "core/greedy.h"

#include <string.h>

#define SMOOTHED (DICT_MARK | DICT_OPTIONAL)

static const struct dict_row rows[] = {
    {"factor", DICT_NUMBER, 0, "factor", NULL},
    {"min_lrs", DICT_LIST, 0, "min_lr", NULL},
    {"max_lrs", DICT_LIST, DICT_MARK, "max_lr", NULL},
    {"patience", DICT_WHOLE, 0, "patience", NULL},
    {"verbose", DICT_BOOL, DICT_OPTIONAL | DICT_IGNORED, NULL, NULL},
    {"cooldown", DICT_WHOLE, 0, "cooldown", NULL},
    {"warmup", DICT_WHOLE, DICT_MARK, "warmup", NULL},
    {"cooldown_counter", DICT_WHOLE, 0, NULL, NULL},
    {"warmup_counter", DICT_WHOLE, DICT_MARK, NULL, NULL},
    {"mode", DICT_TEXT, 0, "mode", NULL},
    {"threshold", DICT_NUMBER, 0, "threshold", NULL},
    {"threshold_mode", DICT_TEXT, 0, "threshold_mode", NULL},
    {"best", DICT_NUMBER, 0, NULL, NULL},
    {"num_bad_epochs", DICT_WHOLE, 0, NULL, NULL},
    {"num_good_epochs", DICT_WHOLE, DICT_MARK, NULL, NULL},
    {"eps", DICT_NUMBER, 0, "eps", NULL},
    {"last_epoch", DICT_WHOLE, 0, NULL, NULL},
    {"smooth", DICT_BOOL, DICT_MARK, "smooth", NULL},
    {"window_size", DICT_WHOLE, DICT_MARK, "window_size", NULL},
    {"reset_start", DICT_WHOLE, DICT_MARK, NULL, NULL},
    {"reset_start_original", DICT_WHOLE, DICT_MARK, "reset_start", NULL},
    {"_last_lr", DICT_LIST, 0, NULL, NULL},
    {"_init_lrs", DICT_LIST, DICT_MARK, NULL, NULL},
    /* There where smooth is true. */
    {"_streaming_avg", DICT_OTHER, SMOOTHED, NULL, NULL},
    {"_streaming_avg.window_size", DICT_WHOLE, SMOOTHED, NULL, NULL},
    {"_streaming_avg.values", DICT_LIST, SMOOTHED, NULL, NULL},
    {"_streaming_avg.sum", DICT_NUMBER, SMOOTHED, NULL, NULL},
};

static int imply_dialect(struct job_spec *spec, struct error *err)
{
    int row = param_find(greedy_param_defs, GREEDY_PARAMS, "dialect");

    return spec_set_param(spec, (size_t)row,
                          &(struct param_value){.kind = PARAM_WORD, .word = "transformers"}, err);
}

/* Two counters of which at most one runs. */
static int one_of_two(const struct scheduler_dict *dict, const char *a, const char *b, uint32_t *va,
                      uint32_t *vb, struct error *err)
{
    int rc = dict_u32(dict, a, va, err);

    if (rc == ST_OK) rc = dict_u32(dict, b, vb, err);
    if (rc || !*va || !*vb) return rc;
    return error_set(err, ST_STATE_INVALID,
                     "state_dict.%s: is %u while %s is %u; one of them is always 0: give a state_dict as the "
                     "scheduler wrote it",
                     a, *va, b, *vb);
}

static int read_resets(const struct scheduler_dict *dict, const struct greedy_params *p,
                       struct greedy_state *s, struct error *err)
{
    double left = 0;
    /* At 0 it would have reset. */
    int rc = dict_whole(dict, "reset_start", p->reset_start ? 1 : 0, INT32_MAX, &left, err);

    s->resets_left = (int32_t)left;
    return rc;
}

static int read_window(const struct scheduler_dict *dict, const struct job_spec *spec, struct smooth *w,
                       struct error *err)
{
    static const char *const keys[] = {"_streaming_avg.window_size", "_streaming_avg.values",
                                       "_streaming_avg.sum"};
    const struct greedy_params *p = spec->params;
    double size = 0;

    for (size_t i = 0; i < 3; i++) {
        bool there = dict_find(dict, keys[i]);

        if (there && !p->smooth)
            return error_set(err, ST_STATE_INVALID,
                             "state_dict.%s: is there while smooth is false; remove _streaming_avg", keys[i]);
        if (!there && p->smooth)
            return error_set(
                err, ST_STATE_INVALID,
                "state_dict.%s: is missing while smooth is true; give all of scheduler.state_dict()",
                keys[i]);
    }
    if (!p->smooth) return ST_OK;
    int rc = dict_whole(dict, keys[0], p->window_size, p->window_size, &size, err);

    if (rc) return rc;
    const struct dict_item *values = dict_find(dict, keys[1]);

    if (values->n > p->window_size)
        return error_set(err, ST_STATE_INVALID,
                         "state_dict.%s: must have at most window_size %u values, got %u", keys[1],
                         p->window_size, values->n);
    /* A NaN here is a fact: it poisons the sum, in the daemon as in Python. */
    w->acc = dict_find(dict, keys[2])->number;
    w->count = values->n;
    if (values->n) memcpy(w->values, values->list, values->n * sizeof(w->values[0]));
    return ST_OK;
}

static int greedy_read(const struct scheduler_dict *dict, const struct job_spec *spec, void *state,
                       struct error *err)
{
    struct greedy_state *s = state;
    uint32_t cooldown = 0, warmup = 0;
    int rc = dict_number(dict, "best", &s->best, err);

    if (rc == ST_OK)
        rc = one_of_two(dict, "num_good_epochs", "num_bad_epochs", &s->num_good, &s->num_bad, err);
    if (rc == ST_OK) rc = one_of_two(dict, "warmup_counter", "cooldown_counter", &warmup, &cooldown, err);
    if (rc == ST_OK) rc = read_resets(dict, spec->params, s, err);
    if (rc == ST_OK) rc = dict_rates(dict, "_last_lr", spec->lr.n, s->data, err);
    if (rc) return rc;
    s->stage = warmup ? STAGE_WARMUP : cooldown ? STAGE_COOLDOWN : STAGE_NONE;
    s->stage_left = warmup ? warmup : cooldown;
    return read_window(dict, spec, greedy_smooth(spec, s), err);
}

/* Whether Transformers' scheduler would decide as this job does, for finite values. */
static int check_expressible(const struct job_spec *spec, const struct greedy_state *s, struct error *err)
{
    const struct greedy_params *p = spec->params;
    bool stages = p->cooldown || p->warmup || s->stage != STAGE_NONE;

    if (p->stage_mode != GREEDY_HOLD && stages)
        return error_set(err, ST_STATE_NOT_EXPORTABLE,
                         "state: the stages of GreedyLR (Transformers) rest, those of this job do not; set "
                         "greedy.stage_mode to hold first");
    if (p->dialect == GREEDY_TRANSFORMERS) return ST_OK;
    if (p->guard_ratio > 0)
        return error_set(err, ST_STATE_NOT_EXPORTABLE,
                         "state: GreedyLR (Transformers) has no guard, this job has guard_ratio %.6g; set "
                         "greedy.guard_ratio to 0 first",
                         p->guard_ratio);
    if (p->smooth)
        return error_set(err, ST_STATE_NOT_EXPORTABLE,
                         "state: GreedyLR (Transformers) does not smooth as the greedylr dialect does; set "
                         "greedy.smooth to false first");
    if (spec->on_nonfinite != NONFINITE_BAD)
        return error_set(
            err, ST_STATE_NOT_EXPORTABLE,
            "state: to GreedyLR (Transformers) a NaN is a worse value, to this job on_nonfinite is %s; "
            "set it to bad first",
            on_nonfinite_words[spec->on_nonfinite]);
    return ST_OK;
}

static void write_window(const struct greedy_params *p, const struct smooth *w, struct scheduler_dict *dict)
{
    dict_set(dict, (struct dict_item){
                       .key = "_streaming_avg.window_size", .kind = DICT_WHOLE, .number = p->window_size});
    dict_set(dict, (struct dict_item){
                       .key = "_streaming_avg.values", .kind = DICT_LIST, .list = w->values, .n = w->count});
    dict_set(dict, (struct dict_item){.key = "_streaming_avg.sum", .kind = DICT_NUMBER, .number = w->acc});
}

static int greedy_write(const struct job_spec *spec, const void *state, struct scheduler_dict *dict,
                        struct error *err)
{
    const struct greedy_params *p = spec->params;
    const struct greedy_state *s = state;
    uint32_t cooldown = s->stage == STAGE_COOLDOWN ? s->stage_left : 0;
    uint32_t warmup = s->stage == STAGE_WARMUP ? s->stage_left : 0;
    double resets = s->resets_left;

    if (check_expressible(spec, s, err)) return ST_STATE_NOT_EXPORTABLE;
    if (!greedy_resets(p)) {
        /* What is off here is out of reach there. */
        resets = INT32_MAX;
        dict_set(dict,
                 (struct dict_item){.key = "reset_start_original", .kind = DICT_WHOLE, .number = INT32_MAX});
    }
#define WHOLE(name, value)                                                                                   \
    dict_set(dict, (struct dict_item){.key = name, .kind = DICT_WHOLE, .number = value})
    WHOLE("cooldown_counter", cooldown);
    WHOLE("warmup_counter", warmup);
    WHOLE("num_bad_epochs", s->num_bad);
    WHOLE("num_good_epochs", s->num_good);
    WHOLE("reset_start", resets);
#undef WHOLE
    dict_set(dict, (struct dict_item){.key = "best", .kind = DICT_NUMBER, .number = s->best});
    dict_set(dict,
             (struct dict_item){.key = "_last_lr", .kind = DICT_LIST, .list = s->data, .n = spec->lr.n});
    dict_set(dict,
             (struct dict_item){.key = "_init_lrs", .kind = DICT_LIST, .list = spec->lr.v, .n = spec->lr.n});
    if (p->smooth) write_window(p, greedy_smooth(spec, (struct greedy_state *)(uintptr_t)s), dict);
    return ST_OK;
}

const struct scheduler_form greedy_form = {
    .name = "GreedyLR (Transformers)",
    .rows = rows,
    .n_rows = sizeof(rows) / sizeof(rows[0]),
    .initial_key = "_init_lrs",
    .knows_initial = true,
    .imply = imply_dialect,
    .read = greedy_read,
    .write = greedy_write,
};
