/* The model of the policy "learned": 22 features of a run, one linear layer with a bias, limits of a step,
 * and the envelope of what it was trained on.  Part of a job's settings, so that its history can be replayed
 * exactly whatever model a daemon starts with. */
#ifndef GREEDYLRD_CORE_LEARNED_MODEL_H
#define GREEDYLRD_CORE_LEARNED_MODEL_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

#define LEARNED_FEATURES    22
#define LEARNED_WEIGHTS     (LEARNED_FEATURES + 1) /* the last is the bias */
#define LEARNED_FEATURE_SET 1 /* of learned_features.c; another definition is another number */
#define LEARNED_HASH_LEN    16

struct learned_model {
    uint32_t feature_set;
    double up, down; /* most that a report multiplies or divides the rate by, above 1 */
    double weights[LEARNED_WEIGHTS];
    double lo[LEARNED_FEATURES], hi[LEARNED_FEATURES]; /* what each feature was in training */
};

/* What a weights file says besides: where the model comes from. */
struct learned_origin {
    uint32_t seed;
    uint32_t config; /* hash of the trainer's settings */
};

/* Their names in weights files and reasons, without the bias. */
extern const char *const learned_feature_names[LEARNED_FEATURES];

/* The one that a job without one gets, unless the shell has another (struct job_spec). */
extern const struct learned_model learned_default_model;
extern const struct learned_origin learned_default_origin;

/* 64 bits over the numbers (FNV-1a over their bits, little-endian), as 16 hex digits: tells models apart; no
 * protection against somebody who wants two to look alike. */
void learned_hash(const struct learned_model *model, char out[LEARNED_HASH_LEN + 1]);

/* A weights file as text, and back (learned_file.c says what it looks like).  Writing returns the length that
 * there is, like snprintf.  Reading n bytes of `name`: ST_FIELD_INVALID, "weights.txt:7: ..., what to do". */
size_t learned_write(const struct learned_model *model, const struct learned_origin *origin, char *out,
                     size_t size);
int learned_read(const char *name, const char *text, size_t n, struct learned_model *model,
                 struct learned_origin *origin, struct error *err) WARN_UNUSED;

#endif
