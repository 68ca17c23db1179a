/* Shadows: each decides what a job of its own decides, and the job what it decides without them. */
#include "test_core_random.h"

#include "core/shadow.h"

/* ---- a job with shadows beside jobs without ---- */

#define ROUNDS 400

static const struct policy *random_policy(void)
{
    uint32_t n = 0;

    while (policy_at(n))
        n++;
    return policy_at(below(n));
}

static void add_copy(struct job_spec *spec, const char *name, const struct job_spec *of)
{
    struct job_spec *shadow = spec_add_shadow(spec, name, of->policy);

    cr_assert_not_null(shadow);
    cr_assert_eq(params_copy(shadow->params, of->params, of->policy->params, of->policy->n_params), ST_OK);
    shadow->params_given = of->params_given;
    shadow->ramp = of->ramp;
    shadow->anneal = of->anneal;
    shadow->on_nonfinite = of->on_nonfinite;
    shadow->on_nonfinite_given = of->on_nonfinite_given;
}

struct stand {
    struct help_job job, plain, own[SHADOWS_MAX];
    uint32_t n;
    void *past[3 + SHADOWS_MAX][REPORTS + 1]; /* states by step; of job, plain and own */
};

static struct help_job *member(struct stand *s, uint32_t i)
{
    return i == 0 ? &s->job : i == 1 ? &s->plain : &s->own[i - 2];
}

static void stand_begin(struct stand *s)
{
    struct job_spec *plain = random_spec(random_policy(), NULL), *spec = spec_copy(plain);

    memset(s, 0, sizeof(*s));

    for (uint32_t want = 1 + below(SHADOWS_MAX); s->n < want;) {
        struct job_spec *own = random_spec(random_policy(), &plain->lr);
        char name[16];

        snprintf(name, sizeof(name), "s%u", s->n);
        add_copy(spec, name, own);
        s->own[s->n++] = help_job_take(own);
    }
    struct error err = {0};

    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    s->job = help_job_take(spec);
    s->plain = help_job_take(plain);
}

static void keep_past(struct stand *s, uint32_t step)
{
    for (uint32_t i = 0; i < s->n + 2; i++) {
        size_t size = job_state_size(member(s, i)->spec);

        free(s->past[i][step]);
        s->past[i][step] = malloc(size);
        memcpy(s->past[i][step], member(s, i)->state, size);
    }
}

static void stand_end(struct stand *s)
{
    for (uint32_t i = 0; i < s->n + 2; i++) {
        for (int k = 0; k <= REPORTS; k++)
            free(s->past[i][k]);
        help_job_free(member(s, i));
    }
}

static bool same_rates(const double *a, const double *b, uint32_t n)
{
    return memcmp(a, b, n * sizeof(*a)) == 0;
}

/* The job decided as the plain one, each shadow as its own job. */
static void check_decided(struct stand *s, const char *where)
{
    const struct job_decision *d = &s->job.d, *p = &s->plain.d;
    struct shadow_reader reader = shadow_read(d->shadow, d->shadow_len);
    struct shadow_said said;
    uint32_t i = 0;

    cr_assert_eq(shadow_record_check(d->shadow, d->shadow_len, d->groups, &s->job.err), ST_OK);
    cr_assert_leq(d->shadow_len, shadow_record_room(s->job.spec));
    cr_assert(same_rates(d->lrs, p->lrs, d->groups), "%s", where);
    cr_assert_eq(d->action, p->action);
    cr_assert_str_eq(d->reason, p->reason);
    cr_assert(p->shadow == NULL);
    for (; shadow_next(&reader, &said); i++) {
        const struct job_decision *own = &s->own[i].d;

        cr_assert_str_eq(said.name, s->job.spec->shadows[i].name);
        cr_assert_eq(said.action, own->action, "%s, %s (%s): %s, alone %s", where, said.name,
                     s->own[i].spec->policy->name, said.reason, own->reason);
        cr_assert_str_eq(said.reason, own->reason);
        cr_assert(said.groups == own->groups && same_rates(said.lrs, own->lrs, own->groups), "%s, %s: %a, %a",
                  where, said.name, said.lrs[0], own->lrs[0]);
    }
    cr_assert_eq(i, s->n);
}

/* The states: the shadow's bytes are its own job's, but for where that is in its own history. */
static void check_states(struct stand *s)
{
    cr_assert(memcmp(s->job.state, s->plain.state, job_state_size(s->plain.spec)) == 0);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct job_spec *spec = s->own[i].spec;
        const struct job_state *shadow = job_shadow_state(s->job.spec, s->job.state, i);
        size_t head = sizeof(struct job_state);

        cr_assert(memcmp((const char *)shadow + head, (const char *)s->own[i].state + head,
                         job_state_size(spec) - head) == 0,
                  "%s", spec->policy->name);
        cr_assert_eq(shadow->reports, s->own[i].state->reports);
        cr_assert_eq(shadow->ramp_done, s->own[i].state->ramp_done);
        cr_assert_eq(shadow->anneal_done, s->own[i].state->anneal_done);
        cr_assert_eq(shadow->step, s->own[i].state->step);
        cr_assert_eq(shadow->has_step, s->own[i].state->has_step);
    }
}

/* As a restart does. */
static void write_and_read(struct help_job *job)
{
    size_t n = job_state_encoded_size(job->spec, job->state);
    uint8_t *bytes = malloc(n);

    job_state_encode(job->spec, job->state, bytes);
    memset(job->next, 0xa5, job_state_size(job->spec));
    cr_assert_eq(job_state_decode(job->spec, bytes, n, job->next, &job->err), ST_OK, "%s", job->err.message);
    free(bytes);
    struct job_state *swap = job->state;

    job->state = job->next;
    job->next = swap;
}

static void all(struct stand *s, const struct job_event *event, uint32_t step)
{
    for (uint32_t i = 0; i < s->n + 2; i++) {
        struct job_event mine = *event;

        if (event->kind == EVENT_RESTORE) mine.restore.to = s->past[i][step];
        cr_assert_eq(help_step(member(s, i), &mine), ST_OK, "%s", member(s, i)->err.message);
    }
}

/* One event: mostly a report. */
static void happen(struct stand *s, double *loss)
{
    const struct job_state *state = s->job.state;
    uint32_t what = below(20), step = state->has_step ? state->step : 0;
    struct job_event event = {.time_us = 5};
    double lrs[GROUPS];

    if (what == 0) {
        event.kind = EVENT_STATUS;
        event.status.action = state->status == JOB_PAUSED ? ACTION_RESUME : ACTION_PAUSE;
        all(s, &event, 0);
    } else if (what == 1) {
        event.kind = EVENT_SET_LR;
        memcpy(lrs, job_lrs(s->plain.state), state->groups * sizeof(double));
        for (uint32_t i = 0; i < state->groups; i++)
            lrs[i] *= 1 + 1e-3;
        event.set_lr.lrs = lrs;
        int rc = help_step(&s->job, &event);

        cr_assert_eq(help_step(&s->plain, &event), rc, "out of bounds for both, or for none");
    } else if (what == 2) {
        event.kind = EVENT_BEGIN;
        all(s, &event, 0);
    } else if (what == 3 && step) {
        event.kind = EVENT_RESTORE;
        event.restore.action = ACTION_REWIND;
        event.restore.why = "back";
        all(s, &event, 1 + below(step));
    } else if (what == 4) {
        for (uint32_t i = 0; i < s->n + 2; i++)
            write_and_read(member(s, i));
    } else if (step < REPORTS) {
        event = random_report(loss);
        event.report.has_step = below(2);
        event.report.step = step + 1;
        all(s, &event, 0);
        check_decided(s, "report");
        keep_past(s, step + 1);
    }
}

Test(core_shadow, each_is_a_job_of_its_own, .timeout = 120)
{
    life = rng_seed("each_is_a_job_of_its_own");
    for (int round = 0; round < ROUNDS; round++) {
        static struct stand s;
        double loss = 2;

        stand_begin(&s);
        for (int i = 0; i < 100; i++) {
            happen(&s, &loss);
            check_states(&s);
        }
        stand_end(&s);
    }
}

/* ---- other settings ---- */

/* greedy with shadows "a" (plateau) and "b" (greedy). */
static struct help_job pair_job(void)
{
    struct job_spec *spec = help_raw_spec("0.1", "smooth=false patience=0");
    struct error err = {0};

    cr_assert_not_null(spec_add_shadow(spec, "a", policy_find("plateau")));
    cr_assert_not_null(spec_add_shadow(spec, "b", NULL));
    cr_assert_eq(help_set_all(spec->shadows[0].spec, "patience=0 factor=0.5", &err), ST_OK);
    cr_assert_eq(help_set_all(spec->shadows[1].spec, "smooth=false patience=1", &err), ST_OK);
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    return help_job_take(spec);
}

static void update(struct help_job *job, struct job_spec *changed)
{
    struct job_event event = {.kind = EVENT_UPDATE, .update = {changed, "shadow"}};

    changed->live = true;
    cr_assert_eq(spec_resolve(changed, &job->err), ST_OK, "%s", job->err.message);
    job->next = realloc(job->next, job_state_size(changed));
    cr_assert_eq(job_step(job->spec, job->state, &event, job->next, &job->d, &job->err), ST_OK);
    cr_assert(job->d.shadow == NULL, "no answer to a report");
    job->state = realloc(job->state, job_state_size(changed));
    memcpy(job->state, job->next, job_state_size(changed));
    spec_free(job->spec);
    job->spec = changed;
}

Test(core_shadow, the_same_name_and_kind_goes_on_and_others_start)
{
    struct help_job job = pair_job();
    struct job_spec *changed = spec_copy(job.spec);
    struct error err = {0};

    for (int i = 0; i < 3; i++)
        help_report(&job, 2 + i);
    double a = job_lrs(job_shadow_state(job.spec, job.state, 0))[0];

    cr_assert_lt(a, 0.1);
    /* "b" becomes a plateau, "c" is new, "a" is last and has other bounds. */
    for (uint32_t i = 0; i < changed->n_shadows; i++)
        spec_free(changed->shadows[i].spec);
    changed->n_shadows = 0;
    cr_assert_not_null(spec_add_shadow(changed, "b", policy_find("plateau")));
    cr_assert_not_null(spec_add_shadow(changed, "c", NULL));
    cr_assert_not_null(spec_add_shadow(changed, "a", policy_find("plateau")));
    cr_assert_eq(help_set_all(changed->shadows[2].spec, "min_lr=0.04", &err), ST_OK);
    update(&job, changed);

    const struct job_state *kept = job_shadow_state(job.spec, job.state, 2);

    cr_assert_eq(kept->reports, 3);
    cr_assert_eq(job_lrs(kept)[0], 0.04, "%a of %a: an update clamps", job_lrs(kept)[0], a);
    for (uint32_t i = 0; i < 2; i++) {
        const struct job_state *fresh = job_shadow_state(job.spec, job.state, i);

        cr_assert_eq(fresh->reports, 0);
        cr_assert(!fresh->has_step);
        cr_assert_eq(job_lrs(fresh)[0], 0.1);
    }
    help_report(&job, 9);
    cr_assert_eq(job_shadow_state(job.spec, job.state, 0)->step, 4, "the job's step");
    write_and_read(&job);
    cr_assert_eq(job_shadow_state(job.spec, job.state, 1)->reports, 1);
    help_job_free(&job);
}

Test(core_shadow, another_dialect_or_ramp_starts_afresh)
{
    struct help_job job = pair_job();
    struct job_spec *changed = spec_copy(job.spec);
    struct error err = {0};

    help_report(&job, 2);
    changed->shadows[0].spec->ramp = (struct ramp){3, 0.5};
    cr_assert_eq(help_set_all(changed->shadows[1].spec, "dialect=transformers smoothing=mean", &err), ST_OK);
    update(&job, changed);
    cr_assert_eq(job_shadow_state(job.spec, job.state, 0)->reports, 0);
    cr_assert_eq(job_lrs(job_shadow_state(job.spec, job.state, 0))[0], 0.05);
    cr_assert_eq(job_shadow_state(job.spec, job.state, 1)->reports, 0);
    help_job_free(&job);
}

/* ---- what is refused ---- */

static void refused(struct job_spec *spec, enum status status, const char *message)
{
    struct error err = {0};

    cr_assert_eq((enum status)spec_resolve(spec, &err), status, "%s", err.message);
    cr_assert(strstr(err.message, message) == err.message, "%s", err.message);
    spec_free(spec);
}

static struct job_spec *with_names(const char *first, const char *second)
{
    struct job_spec *spec = help_raw_spec("0.1", "");

    cr_assert_not_null(spec_add_shadow(spec, first, NULL));
    if (second) cr_assert_not_null(spec_add_shadow(spec, second, policy_find("plateau")));
    return spec;
}

Test(core_shadow, what_is_refused_is_named_by_its_path)
{
    char longest[80] = "";
    struct job_spec *spec;
    struct error err = {0};

    memset(longest, 'x', SHADOW_NAME_MAX);
    spec = with_names(longest, "y");
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    spec_free(spec);
    memset(longest, 'x', SHADOW_NAME_MAX + 7);
    refused(with_names(longest, NULL), ST_FIELD_INVALID, "shadow[0].name: must be 1 to 64 of");
    refused(with_names("", NULL), ST_FIELD_REQUIRED, "shadow[0].name: is required");
    refused(with_names("a", ".b"), ST_FIELD_INVALID, "shadow[1].name: must be 1 to 64 of");
    refused(with_names("a", "a"), ST_FIELD_INVALID, "shadow[1].name: must be another than");

    spec = with_names("a", "b");
    spec->shadows[1].spec->on_nonfinite = NONFINITE_REJECT;
    refused(spec, ST_FIELD_INVALID, "shadow[1].on_nonfinite: must be bad, skip or cut, got reject");
    spec = with_names("a", "b");
    spec->shadows[1].spec->ramp = (struct ramp){3, 1.5};
    refused(spec, ST_FIELD_INVALID, "shadow[1].ramp.start_factor: must be in (0, 1], got 1.5");
    spec = with_names("a", "b");
    cr_assert_eq(help_set_all(spec->shadows[0].spec, "min_lr=0.2", &err), ST_OK);
    refused(spec, ST_FIELD_INVALID, "shadow[0].greedy.min_lr: must be above 0 and at most lr 0.1, got 0.2");

    spec = with_names("a", "b");
    for (int i = 2; i <= SHADOWS_MAX; i++) {
        char name[16];

        snprintf(name, sizeof(name), "c%d", i);
        cr_assert_not_null(spec_add_shadow(spec, name, NULL));
    }
    refused(spec, ST_FIELD_INVALID, "shadow: must be at most 8, got 9");
}

/* ---- bytes ---- */

Test(core_shadow, a_state_with_other_shadows_is_damaged)
{
    struct help_job job = pair_job();
    struct job_spec *other = spec_copy(job.spec);

    help_report(&job, 1);
    size_t n = job_state_encoded_size(job.spec, job.state);
    uint8_t *bytes = malloc(n);

    job_state_encode(job.spec, job.state, bytes);
    for (size_t cut = 0; cut < n; cut++)
        cr_assert_eq(job_state_decode(job.spec, bytes, cut, job.next, &job.err), ST_DATA_DAMAGED);
    strcpy(other->shadows[0].name, "z");
    cr_assert_eq(job_state_decode(other, bytes, n, job.next, &job.err), ST_DATA_DAMAGED, "another name");
    strcpy(other->shadows[0].name, "a");
    spec_free(other->shadows[--other->n_shadows].spec);
    cr_assert_eq(job_state_decode(other, bytes, n, job.next, &job.err), ST_DATA_DAMAGED, "one more");
    spec_free(other);
    free(bytes);
    help_job_free(&job);
}

/* The largest: its bytes fit, and a copy of the spec is whole. */
Test(core_shadow, eight_of_256_groups)
{
    struct job_spec *spec = spec_new(NULL);
    double lrs[GROUPS_MAX];
    struct error err = {0};

    for (int i = 0; i < GROUPS_MAX; i++)
        lrs[i] = 0.1 / (i + 1);
    cr_assert_eq(f64_list_set(&spec->lr, lrs, GROUPS_MAX), ST_OK);
    for (int i = 0; i < SHADOWS_MAX; i++) {
        char name[SHADOW_NAME_MAX + 1];

        memset(name, 'a' + i, SHADOW_NAME_MAX);
        name[SHADOW_NAME_MAX] = '\0';
        struct job_spec *shadow = spec_add_shadow(spec, name, policy_at((size_t)i % 2));

        if (shadow->policy == policy_default())
            cr_assert_eq(help_set_all(shadow, "window_size=1000", &err), ST_OK, "%s", err.message);
    }
    cr_assert_eq(spec_resolve(spec, &err), ST_OK, "%s", err.message);
    struct help_job job = help_job_take(spec_copy(spec));

    spec_free(spec);
    for (int i = 0; i < 5; i++) {
        help_report(&job, 1.0 / (i + 1));
        cr_assert_eq(shadow_record_check(job.d.shadow, job.d.shadow_len, GROUPS_MAX, &err), ST_OK);
        cr_assert_leq(job.d.shadow_len, shadow_record_room(job.spec));
    }
    write_and_read(&job);
    help_report(&job, 0.01);
    help_job_free(&job);
}
