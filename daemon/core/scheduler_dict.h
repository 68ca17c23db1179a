/* The state_dict of a scheduler in a training process, as names and plain values, and what it means to a job.
 *
 * A policy that decides as such a scheduler does has a scheduler_form: which keys the dict has, which of them
 * are parameters, and how the others translate to and from the policy's state.  Of which scheduler a dict is
 * follows from its keys. */
#ifndef GREEDYLRD_CORE_SCHEDULER_DICT_H
#define GREEDYLRD_CORE_SCHEDULER_DICT_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job_spec;
struct job_state;

enum dict_kind {
    DICT_NULL,
    DICT_BOOL,
    DICT_WHOLE,  /* number, without a fraction; Python's int */
    DICT_NUMBER, /* number; may be NaN or infinite; Python's float */
    DICT_TEXT,
    DICT_LIST,  /* of numbers */
    DICT_OTHER, /* what no scheduler has; text says what it is */
};

/* Borrows everything it points to. */
struct dict_item {
    const char *key; /* "factor"; of a dict inside the dict "_streaming_avg.sum" */
    enum dict_kind kind;
    bool boolean;
    double number;
    const char *text;
    const double *list;
    uint32_t n;
};

/* What an export writes fits into so many items. */
#define DICT_ITEMS_MAX 32

struct scheduler_dict {
    struct dict_item *items;
    size_t n, cap;
};

enum dict_flag {
    DICT_OPTIONAL = 1, /* may be missing or null */
    DICT_MARK = 2, /* a dict with this key is of this scheduler, or of one earlier in the table of policies */
    DICT_IGNORED = 4, /* says nothing about decisions: any value will do */
};

struct dict_row {
    const char *key;
    enum dict_kind kind;
    unsigned flags;
    const char *param;  /* the policy's parameter of the same value, or NULL */
    const char *remedy; /* what to do where it is missing; NULL: give the whole dict */
};

struct scheduler_form {
    const char *name; /* "GreedyLR (Transformers)" */
    const struct dict_row *rows;
    size_t n_rows;
    const char *initial_key; /* where the initial rates are */
    bool knows_initial;      /* false: initial_key has the current ones, for want of better */

    /* Sets the parameters that the dict implies without naming them. */
    int (*imply)(struct job_spec *spec, struct error *err);
    /* Fills an initialised state from a dict whose rows have been checked.  ST_STATE_INVALID. */
    int (*read)(const struct scheduler_dict *dict, const struct job_spec *spec, void *state,
                struct error *err);
    /* Sets the keys that are no parameters, apart from last_epoch.  ST_STATE_NOT_EXPORTABLE. */
    int (*write)(const struct job_spec *spec, const void *state, struct scheduler_dict *dict,
                 struct error *err);
};

/* The spec that a dict implies, resolved; freed with spec_free.  With `base`, the spec of an existing job,
 * the dict must be of the same scheduler and number of groups, and what it says nothing about stays as it is
 * (ranks, strict, ramp, anneal, shadows; the initial rates where the dict does not know them).  Messages
 * begin with "state_dict.KEY". Errors: ST_STATE_INVALID, ST_OUT_OF_MEMORY. */
int scheduler_dict_spec(const struct scheduler_dict *dict, const struct job_spec *base, struct job_spec **out,
                        struct error *err) WARN_UNUSED;

/* The state that it implies, into job_state_size(spec) bytes.  With `base`, the state of an existing job, the
 * last step, the attempt and the status are its own.  A ramp is over, and an anneal counts the dict's
 * reports. Shadows are as at creation: the caller carries those of the base over.  ST_STATE_INVALID. */
int scheduler_dict_state(const struct scheduler_dict *dict, const struct job_spec *spec,
                         const struct job_state *base, struct job_state *state,
                         struct error *err) WARN_UNUSED;

/* The scheduler's name, for reasons: "GreedyLR (Transformers)". */
const char *scheduler_dict_name(const struct job_spec *spec);

/* Writes a state as a dict; dict->items has room for DICT_ITEMS_MAX and borrows from spec and state.
 * ST_STATE_NOT_EXPORTABLE: the message says why. */
int scheduler_dict_export(const struct job_spec *spec, const struct job_state *state,
                          struct scheduler_dict *dict, struct error *err) WARN_UNUSED;

/* For forms.  Looking up: NULL for a key that is missing or null. */
const struct dict_item *dict_find(const struct scheduler_dict *dict, const char *key);
/* A number without a fraction from lo to hi.  ST_STATE_INVALID. */
int dict_whole(const struct scheduler_dict *dict, const char *key, double lo, double hi, double *out,
               struct error *err) WARN_UNUSED;
int dict_u32(const struct scheduler_dict *dict, const char *key, uint32_t *out,
             struct error *err) WARN_UNUSED;
/* A number that is no NaN. */
int dict_number(const struct scheduler_dict *dict, const char *key, double *out,
                struct error *err) WARN_UNUSED;
/* Exactly n rates, finite and at least 0. */
int dict_rates(const struct scheduler_dict *dict, const char *key, uint32_t n, double *out,
               struct error *err) WARN_UNUSED;
/* Replaces the item of this key, or adds it. */
void dict_set(struct scheduler_dict *dict, struct dict_item item);

#endif
