/* The shadows of a job: each has a spec and a state like a job's, and is stepped by the same code on the same
 * reports.
 *
 * Happy path: they lie behind the policy's block, one after the other, and every copy of a state takes them
 * along: a pause rests them because reports of a pause change nothing, a rewind restores them because the
 * bytes of the past have them, and an override does not reach them because it changes the job's own part
 * alone. Nothing here can fail but what cannot happen: a shadow refuses no value. */
#include "core/job_impl.h"

#include "core/shadow.h"

#include <string.h>

/* Where the shadow's state begins; i == n_shadows: where the record does. */
static size_t offset_of(const struct job_spec *spec, uint32_t i)
{
    size_t at = job_own_size(spec);

    for (uint32_t k = 0; k < i; k++)
        at += job_state_size(spec->shadows[k].spec);
    return at;
}

size_t job_shadows_size(const struct job_spec *spec)
{
    size_t room = (shadow_record_room(spec) + 7) / 8 * 8;

    return spec->n_shadows ? offset_of(spec, spec->n_shadows) - job_own_size(spec) + room : 0;
}

static struct job_state *shadow_of(const struct job_spec *spec, struct job_state *state, uint32_t i)
{
    return (struct job_state *)(void *)((char *)state + offset_of(spec, i));
}

const struct job_state *job_shadow_state(const struct job_spec *spec, const struct job_state *state,
                                         uint32_t i)
{
    return (const struct job_state *)(const void *)((const char *)state + offset_of(spec, i));
}

void job_shadows_init(const struct job_spec *spec, struct job_state *state)
{
    for (uint32_t i = 0; i < spec->n_shadows; i++)
        job_init(spec->shadows[i].spec, shadow_of(spec, state, i));
}

void job_shadows_carry(const struct job_spec *old_spec, const struct job_state *from,
                       const struct job_spec *new_spec, struct job_state *to)
{
    for (uint32_t i = 0; i < new_spec->n_shadows; i++) {
        const struct shadow *shadow = &new_spec->shadows[i];
        int was = spec_same_shadow(old_spec, shadow);

        if (was < 0)
            job_init(shadow->spec, shadow_of(new_spec, to, i));
        else
            job_state_carry(old_spec->shadows[was].spec, job_shadow_state(old_spec, from, (uint32_t)was),
                            shadow->spec, shadow_of(new_spec, to, i));
    }
}

int job_shadows_step(const struct job_spec *spec, struct job_state *next, const struct job_event *event,
                     struct job_decision *decision, struct error *err)
{
    struct state_io io = {.out = (uint8_t *)next + offset_of(spec, spec->n_shadows)};
    struct job_event same = *event;

    if (!spec->n_shadows) return ST_OK;
    /* The step that the job takes it for: a shadow that came later has not seen the one before. */
    same.report.has_step = same.report.has_attempt = true;
    same.report.step = next->step;
    same.report.attempt = next->attempt;
    shadow_record_begin(&io, spec->n_shadows);
    for (uint32_t i = 0; i < spec->n_shadows; i++) {
        struct job_state *shadow = shadow_of(spec, next, i);
        struct policy_outcome out;

        shadow->status = next->status;
        int rc = job_take_report(spec->shadows[i].spec, shadow, &same, &out, err);

        if (rc) return rc;
        shadow_record_add(&io, spec->shadows[i].name, out.action, job_lrs(shadow), shadow->groups,
                          out.reason);
    }
    decision->shadow = io.out;
    decision->shadow_len = io.pos;
    return ST_OK;
}
