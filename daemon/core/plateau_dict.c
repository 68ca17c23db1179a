/* PyTorch's ReduceLROnPlateau: its state_dict.
 *
 * Versions differ: verbose is in older ones, default_min_lr in newer ones, and older ones have no _last_lr
 * before the first step.  The initial rates are in none of them. */
#include "core/plateau.h"

static const struct dict_row rows[] = {
    {"factor", DICT_NUMBER, 0, "factor", NULL},
    {"min_lrs", DICT_LIST, 0, "min_lr", NULL},
    {"default_min_lr", DICT_NUMBER, DICT_OPTIONAL | DICT_IGNORED, NULL, NULL},
    {"patience", DICT_WHOLE, 0, "patience", NULL},
    {"verbose", DICT_BOOL, DICT_OPTIONAL | DICT_IGNORED, NULL, NULL},
    {"cooldown", DICT_WHOLE, 0, "cooldown", NULL},
    {"cooldown_counter", DICT_WHOLE, DICT_MARK, NULL, NULL},
    {"mode", DICT_TEXT, 0, "mode", NULL},
    {"threshold", DICT_NUMBER, 0, "threshold", NULL},
    {"threshold_mode", DICT_TEXT, 0, "threshold_mode", NULL},
    {"best", DICT_NUMBER, 0, NULL, NULL},
    {"num_bad_epochs", DICT_WHOLE, DICT_MARK, NULL, NULL},
    {"mode_worse", DICT_NUMBER, DICT_OPTIONAL | DICT_IGNORED | DICT_MARK, NULL, NULL},
    {"eps", DICT_NUMBER, 0, "eps", NULL},
    {"last_epoch", DICT_WHOLE, 0, NULL, NULL},
    {"_last_lr", DICT_LIST, 0, NULL,
     "older PyTorch writes it after the first step; before, set it to [g[\"lr\"] for g in "
     "optimizer.param_groups]"},
};

static int plateau_read(const struct scheduler_dict *dict, const struct job_spec *spec, void *state,
                        struct error *err)
{
    struct plateau_state *s = state;
    int rc = dict_number(dict, "best", &s->best, err);

    if (rc == ST_OK) rc = dict_u32(dict, "num_bad_epochs", &s->num_bad, err);
    if (rc == ST_OK) rc = dict_u32(dict, "cooldown_counter", &s->cooldown_left, err);
    if (rc == ST_OK) rc = dict_rates(dict, "_last_lr", spec->lr.n, s->lrs, err);
    return rc;
}

static int plateau_write(const struct job_spec *spec, const void *state, struct scheduler_dict *dict,
                         struct error *err)
{
    const struct plateau_params *p = spec->params;
    const struct plateau_state *s = state;

    (void)err;
    dict_set(dict,
             (struct dict_item){.key = "cooldown_counter", .kind = DICT_WHOLE, .number = s->cooldown_left});
    dict_set(dict, (struct dict_item){.key = "best", .kind = DICT_NUMBER, .number = s->best});
    dict_set(dict, (struct dict_item){.key = "num_bad_epochs", .kind = DICT_WHOLE, .number = s->num_bad});
    dict_set(dict, (struct dict_item){
                       .key = "mode_worse", .kind = DICT_NUMBER, .number = policy_best_at_start(p->mode)});
    dict_set(dict, (struct dict_item){.key = "_last_lr", .kind = DICT_LIST, .list = s->lrs, .n = spec->lr.n});
    return ST_OK;
}

/* After greedy's in the table of policies: that one is known by keys of its own, and what is left with these
 * is this one's. */
const struct scheduler_form plateau_form = {
    .name = "ReduceLROnPlateau (PyTorch)",
    .rows = rows,
    .n_rows = sizeof(rows) / sizeof(rows[0]),
    .initial_key = "_last_lr",
    .read = plateau_read,
    .write = plateau_write,
};
