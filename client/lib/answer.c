/* JSON to structs by a table of fields, so that a field is one line. */
#include "lib/answer.h"

#include "lib/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { NUMBER, TEXT, UINT, FLAG };
#define FIELD(kind, name)                                                                                    \
    {                                                                                                        \
        kind, #name, offsetof(struct glr_decision, name)                                                     \
    }
static const struct {
    enum kind kind;
    const char *name;
    size_t offset;
} fields[] = {
    FIELD(NUMBER, value),    FIELD(NUMBER, smoothed), FIELD(NUMBER, best),
    FIELD(TEXT, action),     FIELD(TEXT, reason),     FIELD(TEXT, stage),
    FIELD(TEXT, policy),     FIELD(TEXT, actor),      FIELD(TEXT, time),
    FIELD(UINT, step),       FIELD(UINT, attempt),    FIELD(UINT, revision),
    FIELD(UINT, num_good),   FIELD(UINT, num_bad),    FIELD(UINT, ranks),
    FIELD(FLAG, at_min),     FIELD(FLAG, at_max),     FIELD(FLAG, plateaued),
    FIELD(FLAG, duplicate),  FIELD(FLAG, conflict),   FIELD(FLAG, applied_mismatch),
    FIELD(FLAG, superseded),
};

static double number_of(const json_t *value)
{
    const char *text = json_string_value(value);

    if (json_is_number(value)) return json_number_value(value);
    if (!text) return NAN;
    return !strcmp(text, "Infinity") ? INFINITY : !strcmp(text, "-Infinity") ? -INFINITY : NAN;
}

uint32_t answer_uint(const json_t *object, const char *key)
{
    return (uint32_t)json_integer_value(json_object_get(object, key));
}

json_t *answer_from_number(double x)
{
    return isnan(x)   ? json_string("NaN")
           : isinf(x) ? json_string(x > 0 ? "Infinity" : "-Infinity")
                      : json_real(x);
}

void answer_clear(struct answer *answer)
{
    json_decref(answer->json);
    free(answer->lrs);
    *answer = (struct answer){0};
}

enum glr_code answer_take(struct answer *answer, json_t *json)
{
    const json_t *lrs = json_object_get(json, "lrs");
    size_t groups = json_array_size(lrs);

    answer->json = json;
    answer->groups = groups;
    answer->lrs = calloc(groups ? groups : 1, sizeof *answer->lrs);
    if (!answer->lrs) {
        answer_clear(answer);
        return error_memory();
    }
    bool usable = groups > 0;
    for (size_t i = 0; i < groups; i++) {
        answer->lrs[i] = number_of(json_array_get(lrs, i));
        usable = usable && answer->lrs[i] >= 0 && isfinite(answer->lrs[i]);
    }
    if (usable) return GLR_OK;
    answer_clear(answer);
    return error_foreign("an answer without usable rates");
}

void answer_rates(const struct answer *answer, uint32_t revision, struct glr_rates *rates)
{
    *rates = (struct glr_rates){
        .size = sizeof *rates,
        .lr = answer->lrs[0],
        .lrs = answer->lrs,
        .groups = answer->groups,
        .step = answer_uint(answer->json, "step"),
        .has_step = json_object_get(answer->json, "step"),
        .revision = revision,
    };
}

static void fill(char *at, enum kind kind, const json_t *value)
{
    double number = number_of(value);
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    uint32_t uint = (uint32_t)json_integer_value(value);
    bool flag = json_is_true(value);

    switch (kind) {
    case NUMBER: memcpy(at, &number, sizeof number); break;
    case TEXT: memcpy(at, &text, sizeof text); break;
    case UINT: memcpy(at, &uint, sizeof uint); break;
    case FLAG: memcpy(at, &flag, sizeof flag); break;
    }
}

void answer_decision(const struct answer *answer, struct glr_decision *decision)
{
    *decision = (struct glr_decision){
        .size = sizeof *decision,
        .lr = answer->lrs[0],
        .lrs = answer->lrs,
        .groups = answer->groups,
        .has_step = json_object_get(answer->json, "step"),
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        fill((char *)decision + fields[i].offset, fields[i].kind,
             json_object_get(answer->json, fields[i].name));
}
