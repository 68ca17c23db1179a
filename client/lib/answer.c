/* JSON to structs by tables of fields, so that a field is one line. */
#include "lib/answer.h"

#include "lib/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(name)                                                                                          \
    {                                                                                                        \
#name, offsetof(struct glr_decision, name)                                                           \
    }
struct field {
    const char *name;
    size_t offset;
};
static const struct field numbers[] = {FIELD(lr), FIELD(value), FIELD(smoothed), FIELD(best)};
static const struct field texts[] = {FIELD(action), FIELD(reason), FIELD(stage),
                                     FIELD(policy), FIELD(actor),  FIELD(time)};
static const struct field uints[] = {FIELD(step),     FIELD(attempt), FIELD(revision),
                                     FIELD(num_good), FIELD(num_bad), FIELD(ranks)};
static const struct field flags[] = {FIELD(at_min),    FIELD(at_max),   FIELD(plateaued),
                                     FIELD(duplicate), FIELD(conflict), FIELD(applied_mismatch),
                                     FIELD(superseded)};
#define EACH(f, table) (const struct field *f = table; f < table + sizeof table / sizeof *table; f++)

static double number_of(const json_t *value)
{
    const char *text = json_string_value(value);

    if (json_is_number(value)) return json_number_value(value);
    if (!text) return NAN;
    return !strcmp(text, "Infinity") ? INFINITY : !strcmp(text, "-Infinity") ? -INFINITY : NAN;
}

double answer_number(const json_t *object, const char *key)
{
    return number_of(json_object_get(object, key));
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

void answer_decision(const struct answer *answer, struct glr_decision *decision)
{
    char *at = (char *)decision;

    *decision = (struct glr_decision){.size = sizeof *decision, .lrs = answer->lrs, .groups = answer->groups};
    decision->has_step = json_object_get(answer->json, "step");
    for
        EACH(f, numbers)
        {
            double x = answer_number(answer->json, f->name);
            memcpy(at + f->offset, &x, sizeof x);
        }
    for
        EACH(f, texts)
        {
            const char *text = json_string_value(json_object_get(answer->json, f->name));
            if (!text) text = "";
            memcpy(at + f->offset, &text, sizeof text);
        }
    for
        EACH(f, uints)
        {
            uint32_t n = answer_uint(answer->json, f->name);
            memcpy(at + f->offset, &n, sizeof n);
        }
    for
        EACH(f, flags)
        {
            bool set = json_is_true(json_object_get(answer->json, f->name));
            memcpy(at + f->offset, &set, sizeof set);
        }
}
