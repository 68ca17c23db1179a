/* Answers of the daemon as the structs of the public header. */
#ifndef GREEDYLR_LIB_ANSWER_H
#define GREEDYLR_LIB_ANSWER_H

#include "lib/greedylr.h"

#include <jansson.h>

/* An answer and what was made of it.  Zero-initialised is none. */
struct answer {
    json_t *json;
    double *lrs;
    size_t groups;
};

void answer_clear(struct answer *answer);

/* Takes json (on failure as well) into an empty answer; its rates are those of "lrs". */
enum glr_code answer_take(struct answer *answer, json_t *json) __attribute__((warn_unused_result));

/* The rates or the decision that an answer holds; strings and lrs borrow from it.  rates: from GetLr's answer
 * or from a Job's state. */
void answer_rates(const struct answer *answer, uint32_t revision, struct glr_rates *rates);
void answer_decision(const struct answer *answer, struct glr_decision *decision);

/* 0 if it is absent. */
uint32_t answer_uint(const json_t *object, const char *key);
/* A double as the contract writes it, "NaN" and "Infinity" included; NULL: out of memory. */
json_t *answer_from_number(double x) __attribute__((warn_unused_result));

#endif
