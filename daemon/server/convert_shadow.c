/* Shadows in messages: what they decided, and where they stand.
 *
 * Happy path: everything a message needs is one block, which begins with the list of pointers, so that
 * freeing the list frees all of it.  Failure: out of memory, and the message has no shadows. */
#include "server/convert.h"

#include "core/shadow.h"

#include <stdlib.h>
#include <string.h>

/* ---- decisions ---- */

/* One shadow's part; rates and texts follow the array of these. */
struct said_part {
    Greedylr__V1__ShadowDecision message;
    char name[SHADOW_NAME_MAX + 1];
    char reason[DECISION_REASON_MAX];
};

static void fill_said(const struct shadow_said *said, struct said_part *part, double *lrs)
{
    Greedylr__V1__ShadowDecision *m = &part->message;

    greedylr__v1__shadow_decision__init(m);
    memcpy(part->name, said->name, sizeof(part->name));
    memcpy(part->reason, said->reason, sizeof(part->reason));
    memcpy(lrs, said->lrs, said->groups * sizeof(double));
    m->name = part->name;
    m->reason = part->reason;
    m->action = (char *)(uintptr_t)action_words[said->action];
    m->has_lr = 1;
    m->lr = lrs[0];
    m->lrs = lrs;
    m->n_lrs = said->groups;
}

int convert_said(const struct job_decision *d, decision_message *out, struct error *err)
{
    struct shadow_reader reader = shadow_read(d->shadow, d->shadow_len);
    size_t n = reader.left, list = n * sizeof(void *), parts = n * sizeof(struct said_part);
    struct shadow_said said;

    if (!n) return 0;
    char *block = calloc(1, list + parts + n * d->groups * sizeof(double));
    if (!block) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    struct said_part *part = (struct said_part *)(void *)(block + list);
    double *lrs = (double *)(void *)(block + list + parts);

    out->shadow = (Greedylr__V1__ShadowDecision **)(void *)block;
    /* A record of other groups never comes this far: who reads one from the store checks it. */
    for (; out->n_shadow < n && shadow_next(&reader, &said) && said.groups == d->groups; out->n_shadow++) {
        fill_said(&said, part, lrs);
        out->shadow[out->n_shadow] = &part++->message;
        lrs += d->groups;
    }
    return 0;
}

void convert_decision_clear(decision_message *message)
{
    free(message->shadow);
    message->shadow = NULL;
    message->n_shadow = 0;
}

double *decision_hold(struct job_decision *decision)
{
    size_t rates = decision->groups * sizeof(double);
    double *block = malloc(rates + decision->shadow_len + 1);

    if (!block) return NULL;
    memcpy(block, decision->lrs, rates);
    decision->lrs = block;
    if (decision->shadow) {
        memcpy(block + decision->groups, decision->shadow, decision->shadow_len);
        decision->shadow = (const uint8_t *)(const void *)(block + decision->groups);
    }
    return block;
}

/* ---- states ---- */

/* The name is copied: an update may replace the settings before the message is written. */
struct state_part {
    Greedylr__V1__ShadowState message;
    Greedylr__V1__JobState state;
    char name[SHADOW_NAME_MAX + 2];
};

int convert_state(const struct job_spec *spec, const struct job_state *state, Greedylr__V1__JobState *out,
                  struct error *err)
{
    size_t n = spec->n_shadows, list = n * sizeof(void *);

    convert_own_state(spec, state, out);
    if (!n) return 0;
    char *block = calloc(1, list + n * sizeof(struct state_part));
    if (!block) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    struct state_part *parts = (struct state_part *)(void *)(block + list);

    out->shadow = (Greedylr__V1__ShadowState **)(void *)block;
    for (uint32_t i = 0; i < n; i++) {
        struct state_part *part = &parts[i];
        const struct shadow *shadow = &spec->shadows[i];

        greedylr__v1__shadow_state__init(&part->message);
        memcpy(part->name, shadow->name, sizeof(part->name));
        part->message.name = part->name;
        convert_own_state(shadow->spec, job_shadow_state(spec, state, i), &part->state);
        part->message.state = &part->state;
        out->shadow[out->n_shadow++] = &part->message;
    }
    return 0;
}

void convert_state_clear(Greedylr__V1__JobState *message)
{
    free(message->shadow);
    message->shadow = NULL;
    message->n_shadow = 0;
}
