/* Parameters through their table.
 *
 * Happy path: param_set checks the kind, then the range, then stores.  Failures: ST_FIELD_INVALID with what
 * is allowed and what came, params unchanged; ST_OUT_OF_MEMORY for lists, params unchanged. */
#include "core/params.h"

#include "core/spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(type, params, def)       ((type *)(void *)((char *)(params) + (def)->offset))
#define AT_CONST(type, params, def) ((const type *)(const void *)((const char *)(params) + (def)->offset))

int param_find(const struct param_def *defs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(defs[i].name, name) == 0) return (int)i;
    }
    return -1;
}

/* "in (0, 1)", "finite and above 0"; of whole numbers "at least 1" */
static const char *range_text(char *out, size_t size, const struct param_def *def)
{
    char lo[DOUBLE_TEXT_MAX], hi[DOUBLE_TEXT_MAX];

    double_text(lo, def->lo);
    double_text(hi, def->hi);
    if ((def->kind == PARAM_U32 || def->kind == PARAM_U32_LIST) && def->hi >= UINT32_MAX)
        snprintf(out, size, "at least %s", lo);
    else if (isinf(def->hi))
        snprintf(out, size, "finite and %s %s", def->flags & PARAM_LO_OPEN ? "above" : "at least", lo);
    else
        snprintf(out, size, "in %c%s, %s%c", def->flags & PARAM_LO_OPEN ? '(' : '[', lo, hi,
                 def->flags & PARAM_HI_OPEN ? ')' : ']');
    return out;
}

static bool in_range(const struct param_def *def, double v)
{
    if (!isfinite(v)) return false;
    if (def->flags & PARAM_LO_OPEN ? v <= def->lo : v < def->lo) return false;
    return !(def->flags & PARAM_HI_OPEN ? v >= def->hi : v > def->hi);
}

static int check(const struct param_def *def, double v, struct error *err)
{
    char range[3 * DOUBLE_TEXT_MAX], got[DOUBLE_TEXT_MAX];

    if (in_range(def, v)) return ST_OK;
    double_text(got, v);
    return error_set(err, ST_FIELD_INVALID, "must be %s, got %s", range_text(range, sizeof(range), def), got);
}

/* One of n elements; says which where there are several. */
static int check_element(const struct param_def *def, double v, uint32_t i, uint32_t n, struct error *err)
{
    if (check(def, v, err) == ST_OK) return ST_OK;
    size_t len = err && n > 1 ? strlen(err->message) : 0;

    if (len) snprintf(err->message + len, sizeof(err->message) - len, " at index %u", i);
    return ST_FIELD_INVALID;
}

static int set_word(void *params, const struct param_def *def, const char *word, struct error *err)
{
    char allowed[160] = "";

    for (size_t i = 0; def->words[i]; i++) {
        if (word && strcmp(def->words[i], word) == 0) {
            *AT(uint8_t, params, def) = (uint8_t)i;
            return ST_OK;
        }
        size_t n = strlen(allowed);
        snprintf(allowed + n, sizeof(allowed) - n, "%s\"%s\"",
                 !i                  ? ""
                 : def->words[i + 1] ? ", "
                                     : " or ",
                 def->words[i]);
    }
    return error_set(err, ST_FIELD_INVALID, "must be %s, got \"%.64s\"", allowed, word ? word : "");
}

static int set_list(void *params, const struct param_def *def, const double *v, uint32_t n, struct error *err)
{
    uint32_t most = def->kind == PARAM_F64_VECTOR ? F64_VECTOR_MAX : GROUPS_MAX;

    if (n == 0 || n > most)
        return error_set(err, ST_FIELD_INVALID, "must have 1 to %u values, got %u", most, n);
    for (uint32_t i = 0; i < n; i++) {
        if (check_element(def, v[i], i, n, err)) return ST_FIELD_INVALID;
    }
    if (f64_list_set(AT(struct f64_list, params, def), v, n))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return ST_OK;
}

static int set_u32_list(void *params, const struct param_def *def, const uint32_t *v, uint32_t n,
                        struct error *err)
{
    if (n == 0 || n > U32_LIST_MAX)
        return error_set(err, ST_FIELD_INVALID, "must have 1 to %d values, got %u", U32_LIST_MAX, n);
    for (uint32_t i = 0; i < n; i++) {
        if (check_element(def, v[i], i, n, err)) return ST_FIELD_INVALID;
    }
    if (u32_list_set(AT(struct u32_list, params, def), v, n))
        return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    return ST_OK;
}

static int set_hash(void *params, const struct param_def *def, const char *hash, struct error *err)
{
    const char *text = hash ? hash : "";

    if (strlen(text) != PARAM_HASH_LEN || strspn(text, "0123456789abcdef") != PARAM_HASH_LEN)
        return error_set(err, ST_FIELD_INVALID, "must be %d lower-case hex digits, got \"%.40s\"",
                         PARAM_HASH_LEN, text);
    memcpy(AT(char, params, def), text, PARAM_HASH_LEN + 1);
    return ST_OK;
}

static const char *const kind_words[] = {
    "a number",          "a whole number",          "true or false",     "a word",
    "a list of numbers", "a list of whole numbers", "a list of numbers", "hex digits"};

int param_set(void *params, const struct param_def *def, const struct param_value *value, struct error *err)
{
    if (def->kind == PARAM_F64_LIST && value->kind == PARAM_F64)
        return set_list(params, def, &value->f64, 1, err);
    if (def->kind != value->kind)
        return error_set(err, ST_FIELD_INVALID, "must be %s", kind_words[def->kind]);

    switch (def->kind) {
    case PARAM_F64:
        if (check(def, value->f64, err)) return ST_FIELD_INVALID;
        *AT(double, params, def) = value->f64;
        return ST_OK;
    case PARAM_U32:
        if (check(def, value->u32, err)) return ST_FIELD_INVALID;
        *AT(uint32_t, params, def) = value->u32;
        return ST_OK;
    case PARAM_BOOL: *AT(bool, params, def) = value->boolean; return ST_OK;
    case PARAM_WORD: return set_word(params, def, value->word, err);
    case PARAM_F64_LIST:
    case PARAM_F64_VECTOR: return set_list(params, def, value->list, value->n, err);
    case PARAM_HASH: return set_hash(params, def, value->word, err);
    case PARAM_U32_LIST: return set_u32_list(params, def, value->u32s, value->n, err);
    }
    return error_set(err, ST_INTERNAL, "unknown kind of parameter");
}

struct param_value param_get(const void *params, const struct param_def *def)
{
    struct param_value value = {.kind = def->kind};

    switch (def->kind) {
    case PARAM_F64: value.f64 = *AT_CONST(double, params, def); break;
    case PARAM_U32: value.u32 = *AT_CONST(uint32_t, params, def); break;
    case PARAM_BOOL: value.boolean = *AT_CONST(bool, params, def); break;
    case PARAM_WORD: value.word = def->words[*AT_CONST(uint8_t, params, def)]; break;
    case PARAM_HASH: value.word = AT_CONST(char, params, def); break;
    case PARAM_F64_LIST:
    case PARAM_F64_VECTOR:
        value.list = AT_CONST(struct f64_list, params, def)->v;
        value.n = AT_CONST(struct f64_list, params, def)->n;
        break;
    case PARAM_U32_LIST:
        value.u32s = AT_CONST(struct u32_list, params, def)->v;
        value.n = AT_CONST(struct u32_list, params, def)->n;
        break;
    }
    return value;
}

static int copy_one(void *dst, const void *src, const struct param_def *def)
{
    const struct f64_list *list;
    const struct u32_list *u32s;

    switch (def->kind) {
    case PARAM_F64: *AT(double, dst, def) = *AT_CONST(double, src, def); return ST_OK;
    case PARAM_U32: *AT(uint32_t, dst, def) = *AT_CONST(uint32_t, src, def); return ST_OK;
    case PARAM_BOOL: *AT(bool, dst, def) = *AT_CONST(bool, src, def); return ST_OK;
    case PARAM_WORD: *AT(uint8_t, dst, def) = *AT_CONST(uint8_t, src, def); return ST_OK;
    case PARAM_HASH: memcpy(AT(char, dst, def), AT_CONST(char, src, def), PARAM_HASH_LEN + 1); return ST_OK;
    case PARAM_F64_LIST:
    case PARAM_F64_VECTOR:
        list = AT_CONST(struct f64_list, src, def);
        return f64_list_set(AT(struct f64_list, dst, def), list->v, list->n);
    case PARAM_U32_LIST:
        u32s = AT_CONST(struct u32_list, src, def);
        return u32_list_set(AT(struct u32_list, dst, def), u32s->v, u32s->n);
    }
    return ST_INTERNAL;
}

int params_copy(void *dst, const void *src, const struct param_def *defs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (copy_one(dst, src, &defs[i])) {
            params_clear(dst, defs, n);
            return ST_OUT_OF_MEMORY;
        }
    }
    return ST_OK;
}

void params_bytes(const void *params, const struct param_def *defs, size_t n,
                  void (*take)(void *arg, const void *bytes, size_t n), void *arg)
{
    for (size_t i = 0; i < n; i++) {
        struct param_value v = param_get(params, &defs[i]);

        switch (defs[i].kind) {
        case PARAM_F64: take(arg, &v.f64, sizeof(v.f64)); break;
        case PARAM_U32: take(arg, &v.u32, sizeof(v.u32)); break;
        case PARAM_BOOL: take(arg, &v.boolean, sizeof(v.boolean)); break;
        case PARAM_WORD:
        case PARAM_HASH: take(arg, v.word, strlen(v.word) + 1); break;
        case PARAM_F64_LIST:
        case PARAM_F64_VECTOR:
            take(arg, &v.n, sizeof(v.n));
            if (v.n) take(arg, v.list, v.n * sizeof(*v.list));
            break;
        case PARAM_U32_LIST:
            take(arg, &v.n, sizeof(v.n));
            if (v.n) take(arg, v.u32s, v.n * sizeof(*v.u32s));
            break;
        }
    }
}

static int require(const char *policy, const struct param_def *def, struct error *err)
{
    bool ranged = def->kind != PARAM_BOOL && def->kind != PARAM_WORD && def->kind != PARAM_HASH;
    char range[3 * DOUBLE_TEXT_MAX] = "";

    if (ranged) range_text(range, sizeof(range), def);
    return error_set(err, ST_FIELD_REQUIRED, "%s.%s: is required; give %s%s%s", policy, def->name,
                     kind_words[def->kind], ranged ? ", " : "", range);
}

static bool is_list(enum param_kind kind)
{
    return kind == PARAM_F64_LIST || kind == PARAM_F64_VECTOR || kind == PARAM_U32_LIST;
}

static bool is_empty_list(const void *params, const struct param_def *def)
{
    struct param_value value = param_get(params, def);

    return is_list(def->kind) && value.n == 0;
}

int params_fill(const char *policy, void *params, uint64_t given, const void *defaults,
                const struct param_def *defs, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (given >> i & 1) continue;
        if (defs[i].flags & PARAM_REQUIRED) return require(policy, &defs[i], err);
        if (is_empty_list(defaults, &defs[i])) continue;
        if (copy_one(params, defaults, &defs[i]))
            return error_set(err, ST_OUT_OF_MEMORY, "%s.%s: out of memory", policy, defs[i].name);
    }
    return ST_OK;
}

void params_clear(void *params, const struct param_def *defs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (defs[i].kind == PARAM_F64_LIST || defs[i].kind == PARAM_F64_VECTOR) {
            struct f64_list *list = AT(struct f64_list, params, &defs[i]);

            free(list->v);
            *list = (struct f64_list){0};
        }
        if (defs[i].kind == PARAM_U32_LIST) {
            struct u32_list *list = AT(struct u32_list, params, &defs[i]);

            free(list->v);
            *list = (struct u32_list){0};
        }
    }
}

/* A copy of the elements into *out, NULL of none. */
static int copy_elements(const void *v, size_t size, void **out)
{
    *out = size ? malloc(size) : NULL;
    if (!size) return ST_OK;
    if (!*out) return ST_OUT_OF_MEMORY;
    memcpy(*out, v, size);
    return ST_OK;
}

int u32_list_set(struct u32_list *list, const uint32_t *v, uint32_t n)
{
    void *copy;

    if (copy_elements(v, n * sizeof(*v), &copy)) return ST_OUT_OF_MEMORY;
    free(list->v);
    *list = (struct u32_list){copy, n};
    return ST_OK;
}

int f64_list_set(struct f64_list *list, const double *v, uint32_t n)
{
    void *copy;

    if (copy_elements(v, n * sizeof(*v), &copy)) return ST_OUT_OF_MEMORY;
    free(list->v);
    *list = (struct f64_list){copy, n};
    return ST_OK;
}

int f64_list_fill(struct f64_list *list, double value, uint32_t n)
{
    double *v = NULL;

    if (n > 0) {
        v = malloc(n * sizeof(*v));
        if (!v) return ST_OUT_OF_MEMORY;
        for (uint32_t i = 0; i < n; i++)
            v[i] = value;
    }
    free(list->v);
    *list = (struct f64_list){v, n};
    return ST_OK;
}
