/* A policy's parameters as a table: one row per field gives its name (the same as in the contract), kind,
 * place in the policy's struct and range.  The shell fills and prints parameters through the table, so that a
 * new policy needs no code outside its own file. */
#ifndef GREEDYLRD_CORE_PARAMS_H
#define GREEDYLRD_CORE_PARAMS_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum param_kind {
    PARAM_F64,        /* double */
    PARAM_U32,        /* uint32_t */
    PARAM_BOOL,       /* bool */
    PARAM_WORD,       /* uint8_t: index into words */
    PARAM_F64_LIST,   /* struct f64_list: one per group; a single value stands for every group */
    PARAM_U32_LIST,   /* struct u32_list: 1 to U32_LIST_MAX numbers that have nothing to do with groups */
    PARAM_F64_VECTOR, /* struct f64_list: 1 to F64_VECTOR_MAX numbers that have nothing to do with groups */
    PARAM_HASH,       /* char[PARAM_HASH_LEN + 1]: that many lower-case hex digits */
};

#define U32_LIST_MAX   1000
#define F64_VECTOR_MAX 64
#define PARAM_HASH_LEN 16

/* Owned by the spec that holds them. */
struct f64_list {
    double *v;
    uint32_t n;
};
struct u32_list {
    uint32_t *v;
    uint32_t n;
};

enum param_flag {
    PARAM_LO_OPEN = 1,  /* lo itself is outside */
    PARAM_HI_OPEN = 2,  /* hi itself is outside */
    PARAM_FIXED = 4,    /* cannot change on a live job */
    PARAM_REQUIRED = 8, /* has no default */
};

struct param_def {
    const char *name;
    enum param_kind kind;
    uint32_t flags;
    size_t offset; /* into the policy's params struct */
    double lo, hi; /* range of F64, U32 and the elements of lists; hi = INFINITY: any finite value */
    const char *const *words; /* PARAM_WORD: the allowed words, NULL at the end */
};

/* A value on its way into or out of a params struct. */
struct param_value {
    enum param_kind kind;
    double f64;
    uint32_t u32;
    bool boolean;
    const char *word;     /* of a WORD or a HASH; borrowed */
    const double *list;   /* borrowed */
    const uint32_t *u32s; /* borrowed */
    uint32_t n;           /* elements of list or u32s */
};

/* Index of the row named name, or -1. */
int param_find(const struct param_def *defs, size_t n, const char *name);

/* Checks value against def and stores it in params (lists are copied).
 * Errors: ST_FIELD_INVALID, "must be in (0, 1), got 1.5" without the field's path, which the caller wraps
 * around it; ST_OUT_OF_MEMORY. */
int param_set(void *params, const struct param_def *def, const struct param_value *value,
              struct error *err) WARN_UNUSED;

/* Reads a parameter; word and lists are borrowed from params. */
struct param_value param_get(const void *params, const struct param_def *def);

/* Gives the rows that are not in `given` (bit i: row i) the values of `defaults`, a params struct.  A list
 * that has no elements there is left alone: only the policy knows what it depends on.  `policy` is its name.
 * Errors: ST_FIELD_REQUIRED for a row that has no default: "exponential.gamma: is required; give a number,
 * finite and above 0"; ST_OUT_OF_MEMORY. */
int params_fill(const char *policy, void *params, uint64_t given, const void *defaults,
                const struct param_def *defs, size_t n, struct error *err) WARN_UNUSED;

/* Deep copy into zeroed memory; ST_OUT_OF_MEMORY leaves dst cleared. */
int params_copy(void *dst, const void *src, const struct param_def *defs, size_t n) WARN_UNUSED;

/* Gives take the bytes of every row, in order: params of one table whose bytes are the same are equal. */
void params_bytes(const void *params, const struct param_def *defs, size_t n,
                  void (*take)(void *arg, const void *bytes, size_t n), void *arg);

/* Frees the lists inside params, not params itself. */
void params_clear(void *params, const struct param_def *defs, size_t n);

/* Replaces list by n copies of value, or by v[0..n). */
int f64_list_fill(struct f64_list *list, double value, uint32_t n) WARN_UNUSED;
int f64_list_set(struct f64_list *list, const double *v, uint32_t n) WARN_UNUSED;
int u32_list_set(struct u32_list *list, const uint32_t *v, uint32_t n) WARN_UNUSED;

#endif
