/* What the targets share that step jobs: a run of reports in which rates stay what rates can be. */
#ifndef GREEDYLRD_TESTS_FUZZ_JOB_H
#define GREEDYLRD_TESTS_FUZZ_JOB_H

#include "core/job.h"
#include "core/shadow.h"
#include "message.h"

#include <math.h>

static inline struct job_state *new_state(const struct job_spec *spec)
{
    struct job_state *state = calloc(1, job_state_size(spec));

    MUST(state, "out of memory");
    return state;
}

/* The state as bytes, which read back as the same bytes.  The caller frees. */
static inline uint8_t *must_encode(const struct job_spec *spec, const struct job_state *state, size_t *len)
{
    size_t n = job_state_encoded_size(spec, state);
    uint8_t *bytes = malloc(n + 1), *again = malloc(n + 1);
    struct job_state *back = new_state(spec);
    struct error err = {0};

    MUST(bytes && again, "out of memory");
    job_state_encode(spec, state, bytes);
    MUST(!job_state_decode(spec, bytes, n, back, &err), "%s", err.message);
    MUST(job_state_encoded_size(spec, back) == n, "another size");
    job_state_encode(spec, back, again);
    MUST(!memcmp(bytes, again, n), "the state changed on its way");
    free(again);
    free(back);
    if (len) *len = n;
    return bytes;
}

static inline void must_be_rates(const double *lrs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        MUST(isfinite(lrs[i]) && lrs[i] >= 0, "rate %u is %g", i, lrs[i]);
}

static inline void must_be_decision(const struct job_spec *spec, const struct job_decision *d)
{
    struct error err = {0};

    MUST(d->groups == spec->lr.n, "%u groups", d->groups);
    MUST(d->action < ACTION_COUNT && d->reason[0], "action %d, reason %s", (int)d->action, d->reason);
    must_be_rates(d->lrs, d->groups);
    MUST(!d->shadow == !spec->n_shadows, "%u shadows", spec->n_shadows);
    if (d->shadow) MUST(!shadow_record_check(d->shadow, d->shadow_len, d->groups, &err), "%s", err.message);
}

/* Steps the state on values drawn from the input, at most n of them. */
static inline void must_step(const struct job_spec *spec, struct job_state *state, struct input *in, int n)
{
    static const double values[] = {1, 0.5, 0.25, 1e-3, 0, -1, 2, NAN, INFINITY, -INFINITY, 1e308, 5e-324};
    struct job_state *next = new_state(spec);
    struct job_decision decision;
    struct error err = {0};

    for (int i = 0; i < n; i++) {
        uint8_t draw = take_u8(in);
        struct job_event event = {
            .kind = EVENT_REPORT,
            .time_us = 1700000000000000,
            .report = {.value = values[draw % 12], .lr_cap = INFINITY, .applied_lr = NAN}};

        if (draw & 0x80) event.report.lr_cap = 1e-4;
        int rc = job_step(spec, state, &event, next, &decision, &err);

        if (rc) {
            must_tell(&err, rc);
            MUST(rc == ST_NONFINITE_REJECTED || rc == ST_JOB_FINISHED || rc == ST_FIELD_INVALID, "%s",
                 err.message);
            continue;
        }
        must_be_decision(spec, &decision);
        MUST(next->revision == state->revision + 1, "revision %u", next->revision);
        memcpy(state, next, job_state_size(spec));
    }
    free(must_encode(spec, state, NULL));
    free(next);
}

#endif
