/* Events: what job_step does with each kind of event in each state of a job. */
#include "test_core_help.h"

enum kind {
    REPORT,
    UPDATE,
    SET_LR,
    PAUSE,
    RESUME,
    FINISH,
    BEGIN,
    BEGIN_AT, /* an attempt given */
    REWIND,
    REWIND_ATTEMPT,
    FORK,
    IMPORT,
    KINDS
};
static const char *const kind_words[] = {"report", "update",         "set_lr", "pause",
                                         "resume", "finish",         "begin",  "begin at",
                                         "rewind", "rewind attempt", "fork",   "import"};

/* A job in the middle of its life: attempt 4, step 30, three reports; a state to go back to, of step 10. */
struct desk {
    struct help_job job;
    struct job_spec *changed;
    struct job_state *past;
    double lrs[2];
};

static struct job_event step_of(uint32_t step, double value)
{
    struct job_event event = help_event(value);

    event.report.has_step = true;
    event.report.step = step;
    return event;
}

static struct job_spec *ramp_spec(uint32_t ramp)
{
    struct job_spec *spec = help_raw_spec("0.1,0.2", "patience=1 smoothing=mean window_size=3");
    struct error err;

    if (ramp) spec->ramp = (struct ramp){ramp, 0.5};
    cr_assert_eq(spec_resolve(spec, &err), ST_OK);
    return spec;
}

static struct desk desk_begin(uint32_t ramp, enum job_status status)
{
    struct desk desk = {.job = help_job_take(ramp_spec(ramp)), .lrs = {0.05, 0.3}};
    struct error err;

    for (uint32_t step = 10; step <= 30; step += 10) {
        struct job_event event = step_of(step, 1.0 / step);

        event.report.has_attempt = true;
        event.report.attempt = step / 10 + 1;
        cr_assert_eq(help_step(&desk.job, &event), ST_OK);
        if (step > 10) continue;
        desk.past = malloc(job_state_size(desk.job.spec));
        memcpy(desk.past, desk.job.state, job_state_size(desk.job.spec));
    }
    desk.job.state->status = (uint8_t)status;
    desk.changed = spec_copy(desk.job.spec);
    cr_assert_eq(help_set_all(desk.changed, "max_lr=0.11,0.21 window_size=2", &err), ST_OK);
    cr_assert_eq(spec_resolve(desk.changed, &err), ST_OK);
    return desk;
}

static void desk_end(struct desk *desk)
{
    spec_free(desk->changed);
    free(desk->past);
    help_job_free(&desk->job);
}

static struct job_event event_of(const struct desk *desk, enum kind kind)
{
    struct job_event event = {.time_us = 77, .actor = "somebody"};

    switch (kind) {
    case REPORT: event = step_of(40, 1e-3); break;
    case UPDATE:
        event.kind = EVENT_UPDATE;
        event.update.spec = desk->changed;
        event.update.changed = "greedy.max_lr";
        break;
    case SET_LR:
        event.kind = EVENT_SET_LR;
        event.set_lr.lrs = desk->lrs;
        break;
    case PAUSE:
    case RESUME:
    case FINISH:
        event.kind = EVENT_STATUS;
        event.status.action = kind == PAUSE ? ACTION_PAUSE : kind == RESUME ? ACTION_RESUME : ACTION_FINISH;
        break;
    case BEGIN:
    case BEGIN_AT:
        event.kind = EVENT_BEGIN;
        event.begin.has_attempt = kind == BEGIN_AT;
        event.begin.attempt = 9;
        break;
    default:
        event.kind = EVENT_RESTORE;
        event.restore.action = kind == FORK ? ACTION_FORK : kind == IMPORT ? ACTION_IMPORT : ACTION_REWIND;
        event.restore.to = desk->past;
        event.restore.why = "back to step 10";
        event.restore.has_attempt = kind == REWIND_ATTEMPT;
        event.restore.attempt = 6;
        break;
    }
    event.time_us = 77;
    return event;
}

/* What becomes of each event in each status: the action and the status after it, or why it is refused. */
struct cell {
    int refused;
    enum action action;
    enum job_status status;
};
#define YES(action, status)                                                                                  \
    {                                                                                                        \
        0, ACTION_##action, JOB_##status                                                                     \
    }
#define NO                                                                                                   \
    {                                                                                                        \
        ST_JOB_FINISHED, ACTION_HOLD, JOB_FINISHED                                                           \
    }
static const struct cell table[KINDS][3] = {
    /*                   active                paused                finished */
    [REPORT] = {YES(RAISE, ACTIVE), YES(HOLD, PAUSED), NO},
    [UPDATE] = {YES(UPDATE, ACTIVE), YES(UPDATE, PAUSED), YES(UPDATE, FINISHED)},
    [SET_LR] = {YES(OVERRIDE, ACTIVE), YES(OVERRIDE, PAUSED), NO},
    [PAUSE] = {YES(PAUSE, PAUSED), YES(PAUSE, PAUSED), NO},
    [RESUME] = {YES(RESUME, ACTIVE), YES(RESUME, ACTIVE), YES(RESUME, ACTIVE)},
    [FINISH] = {YES(FINISH, FINISHED), YES(FINISH, FINISHED), YES(FINISH, FINISHED)},
    [BEGIN] = {YES(BEGIN, ACTIVE), YES(BEGIN, PAUSED), NO},
    [BEGIN_AT] = {YES(BEGIN, ACTIVE), YES(BEGIN, PAUSED), NO},
    [REWIND] = {YES(REWIND, ACTIVE), YES(REWIND, PAUSED), NO},
    [REWIND_ATTEMPT] = {YES(REWIND, ACTIVE), YES(REWIND, PAUSED), NO},
    [FORK] = {YES(FORK, ACTIVE), YES(FORK, PAUSED), NO},
    [IMPORT] = {YES(IMPORT, ACTIVE), YES(IMPORT, PAUSED), NO},
};

/* step, reports, attempt after the event: what moves which. */
static void check_place(const struct desk *desk, enum kind kind)
{
    const struct job_state *s = desk->job.state;
    bool back = kind == REWIND || kind == REWIND_ATTEMPT || kind == FORK || kind == IMPORT;
    uint32_t attempt = kind == BEGIN ? 5 : kind == BEGIN_AT ? 9 : kind == REWIND_ATTEMPT ? 6 : 4;

    cr_assert_eq(s->step, kind == REPORT ? 40u : back ? 10u : 30u, "%s", kind_words[kind]);
    cr_assert_eq(s->reports, kind == REPORT ? 4u : back ? 1u : 3u, "%s", kind_words[kind]);
    cr_assert_eq(s->attempt, attempt, "%s: %u", kind_words[kind], s->attempt);
    cr_assert_eq(s->revision, 4, "%s", kind_words[kind]);
    cr_assert_eq(s->has_rewound, kind == REWIND_ATTEMPT, "%s", kind_words[kind]);
    cr_assert_eq(s->rewound, kind == REWIND_ATTEMPT ? 6u : 0u, "%s", kind_words[kind]);
}

static void check_cell(uint32_t ramp, enum job_status status, enum kind kind)
{
    struct desk desk = desk_begin(ramp, status);
    struct cell want = table[kind][status];
    struct job_event event = event_of(&desk, kind);
    size_t n = job_state_size(desk.job.spec);
    void *before = malloc(n);
    const char *where = kind_words[kind];

    if (ramp && kind == REPORT && status == JOB_ACTIVE) want.action = ACTION_RAMP;
    memcpy(before, desk.job.state, n);
    cr_assert_eq(help_step(&desk.job, &event), want.refused, "%s, %s: %s", job_status_words[status], where,
                 desk.job.err.message);
    if (want.refused) {
        cr_assert(memcmp(before, desk.job.state, n) == 0, "%s changed something", where);
    } else {
        const struct job_decision *d = &desk.job.d;

        cr_assert(memcmp(before, desk.job.next, n) == 0, "%s changed the state before it", where);
        cr_assert_eq(d->action, want.action, "%s, %s: %s", job_status_words[status], where,
                     action_words[d->action]);
        cr_assert_eq(desk.job.state->status, want.status, "%s", where);
        cr_assert_eq(d->time_us, 77);
        cr_assert_str_eq(d->actor, kind == REPORT ? "" : "somebody");
        cr_assert_eq(d->has_value, kind == REPORT, "%s", where);
        cr_assert_eq(d->step, desk.job.state->step);
        cr_assert_eq(d->attempt, desk.job.state->attempt);
        check_place(&desk, kind);
    }
    free(before);
    desk_end(&desk);
}

Test(core_events, every_event_in_every_status)
{
    for (uint32_t ramp = 0; ramp <= 9; ramp += 9) {
        for (enum job_status status = JOB_ACTIVE; status <= JOB_FINISHED; status++) {
            for (enum kind kind = REPORT; kind < KINDS; kind++)
                check_cell(ramp, status, kind);
        }
    }
}

/* ---- restored states ---- */

/* Everything but where the job is in its own history. */
static void same_but_place(const struct job_spec *spec, const struct job_state *a, const struct job_state *b)
{
    struct job_state *x = malloc(job_state_size(spec)), *y = malloc(job_state_size(spec));

    memcpy(x, a, job_state_size(spec));
    memcpy(y, b, job_state_size(spec));
    x->revision = y->revision = 0;
    x->attempt = y->attempt = 0;
    x->status = y->status = 0;
    x->has_rewound = y->has_rewound = 0;
    x->rewound = y->rewound = 0;
    cr_assert(memcmp(x, y, job_state_size(spec)) == 0);
    free(x);
    free(y);
}

Test(core_events, a_restored_state_is_exact)
{
    for (enum kind kind = REWIND; kind < KINDS; kind++) {
        for (uint32_t ramp = 0; ramp <= 9; ramp += 9) {
            struct desk desk = desk_begin(ramp, JOB_ACTIVE);
            struct job_event event = event_of(&desk, kind);

            cr_assert_eq(help_step(&desk.job, &event), ST_OK);
            same_but_place(desk.job.spec, desk.job.state, desk.past);
            cr_assert_str_eq(desk.job.d.reason, "back to step 10");
            desk_end(&desk);
        }
    }
}

/* The decisions after a rewind are those of a job that never went on. */
Test(core_events, decisions_after_a_rewind_are_those_without_what_was_undone)
{
    for (uint32_t ramp = 0; ramp <= 4; ramp++) {
        struct help_job live = help_job_take(ramp_spec(ramp)), ref = help_job_take(ramp_spec(ramp));
        size_t n = job_state_size(live.spec);
        struct job_state *marks[40];

        for (uint32_t step = 1; step < 40; step++) {
            struct job_event event = step_of(step, 3 + sin(step * 1.7) - step / 30.0);

            cr_assert_eq(help_step(&live, &event), ST_OK);
            marks[step] = malloc(n);
            memcpy(marks[step], live.state, n);
        }
        for (uint32_t step = 1; step < 40; step++) {
            struct job_event back = {.kind = EVENT_RESTORE,
                                     .restore = {.action = ACTION_REWIND, .to = marks[step], .why = "back"}};
            struct job_event event = step_of(step, 3 + sin(step * 1.7) - step / 30.0);

            cr_assert_eq(help_step(&ref, &event), ST_OK);
            cr_assert_eq(help_step(&live, &back), ST_OK);
            same_but_place(live.spec, live.state, ref.state);
            event = step_of(step + 1, 9);
            cr_assert_eq(help_step(&live, &event), ST_OK);
        }
        for (uint32_t step = 1; step < 40; step++)
            free(marks[step]);
        help_job_free(&live);
        help_job_free(&ref);
    }
}

Test(core_events, a_rewind_may_begin_the_attempt_it_is_of)
{
    static const struct {
        uint32_t attempt; /* the job is at 4 */
        int want;
    } rows[] = {{0, ST_STALE_ATTEMPT}, {3, ST_STALE_ATTEMPT},         {4, 0}, {5, 0},
                {INT32_MAX, 0},        {UINT32_MAX, ST_FIELD_INVALID}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct desk desk = desk_begin(0, JOB_ACTIVE);
        struct job_event event = event_of(&desk, REWIND_ATTEMPT);

        event.restore.attempt = rows[i].attempt;
        cr_assert_eq(help_step(&desk.job, &event), rows[i].want, "attempt %u", rows[i].attempt);
        if (!rows[i].want) {
            cr_assert_eq(desk.job.state->attempt, rows[i].attempt);
            cr_assert(desk.job.state->has_rewound);
            cr_assert_eq(desk.job.state->rewound, rows[i].attempt);
        }
        desk_end(&desk);
    }
}

/* A plain rewind after one with an attempt leaves the mark of that attempt. */
Test(core_events, what_rewound_last_stays_over_a_plain_rewind)
{
    struct desk desk = desk_begin(0, JOB_ACTIVE);
    struct job_event event = event_of(&desk, REWIND_ATTEMPT);

    cr_assert_eq(help_step(&desk.job, &event), ST_OK);
    event = event_of(&desk, REWIND);
    cr_assert_eq(help_step(&desk.job, &event), ST_OK);
    cr_assert(desk.job.state->has_rewound);
    cr_assert_eq(desk.job.state->rewound, 6);
    cr_assert_eq(desk.job.state->attempt, 6);
    desk_end(&desk);
}

/* ---- attempts ---- */

Test(core_events, an_attempt_that_begins_is_a_later_one)
{
    static const struct {
        uint32_t now;
        bool has;
        uint32_t attempt;
        int want;
        uint32_t after;
    } rows[] = {{4, false, 0, 0, 5},
                {4, true, 5, 0, 5},
                {4, true, 900, 0, 900},
                {4, true, 4, ST_FIELD_INVALID, 0},
                {4, true, 0, ST_FIELD_INVALID, 0},
                {0, true, 0, ST_FIELD_INVALID, 0},
                {UINT32_MAX - 1, false, 0, 0, UINT32_MAX},
                {UINT32_MAX, false, 0, ST_FIELD_INVALID, 0},
                {UINT32_MAX, true, 0, ST_FIELD_INVALID, 0}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct desk desk = desk_begin(0, JOB_ACTIVE);
        struct job_event event = event_of(&desk, BEGIN);

        desk.job.state->attempt = rows[i].now;
        event.begin.has_attempt = rows[i].has;
        event.begin.attempt = rows[i].attempt;
        cr_assert_eq(help_step(&desk.job, &event), rows[i].want, "row %zu: %s", i, desk.job.err.message);
        if (!rows[i].want) cr_assert_eq(desk.job.state->attempt, rows[i].after, "row %zu", i);
        desk_end(&desk);
    }
}

/* ---- overrides ---- */

Test(core_events, an_override_keeps_to_the_bounds)
{
    static const struct {
        double first, second; /* bounds: lr/1000 to lr*10 of 0.1 and 0.2 */
        bool good;
    } rows[] = {{0.1, 0.2, true},   {1, 2, true},       {1e-4, 2e-4, true}, {1.0000001, 1, false},
                {0.5, 2.01, false}, {9e-5, 1, false},   {0.5, 1e-4, false}, {0, 0.1, false},
                {-0.1, 0.1, false}, {NAN, 0.1, false},  {0.1, NAN, false},  {INFINITY, 0.1, false},
                {0.1, 0, false},    {0.1, -0.0, false}, {2, 1, false}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (uint32_t ramp = 0; ramp <= 9; ramp += 9) {
            struct desk desk = desk_begin(ramp, JOB_ACTIVE);
            struct job_event event = event_of(&desk, SET_LR);

            desk.lrs[0] = rows[i].first;
            desk.lrs[1] = rows[i].second;
            event.set_lr.lrs = desk.lrs;
            cr_assert_eq(help_step(&desk.job, &event), rows[i].good ? 0 : ST_FIELD_INVALID, "row %zu: %s", i,
                         desk.job.err.message);
            if (rows[i].good) {
                cr_assert_eq(job_lrs(desk.job.state)[0], rows[i].first);
                cr_assert_eq(job_lrs(desk.job.state)[1], rows[i].second);
            }
            desk_end(&desk);
        }
    }
}

Test(core_events, an_override_keeps_counters_and_lasts)
{
    struct desk desk = desk_begin(0, JOB_ACTIVE);
    struct job_event event = event_of(&desk, SET_LR);
    struct policy_view before, after;

    job_view(desk.job.spec, desk.job.state, &before);
    cr_assert_eq(help_step(&desk.job, &event), ST_OK);
    job_view(desk.job.spec, desk.job.state, &after);
    cr_assert(before.best == after.best && before.num_good == after.num_good &&
              before.num_bad == after.num_bad && before.stage == after.stage);
    event = step_of(40, 9); /* worse once: nothing moves */
    cr_assert_eq(help_step(&desk.job, &event), ST_OK);
    cr_assert_eq(job_lrs(desk.job.state)[0], 0.05);
    desk_end(&desk);
}

Test(core_events, an_override_ends_the_ramp)
{
    struct desk desk = desk_begin(9, JOB_ACTIVE);
    struct job_event event = event_of(&desk, SET_LR);

    cr_assert_eq(help_step(&desk.job, &event), ST_OK);
    cr_assert(strstr(desk.job.d.reason, "ramp ends"));
    event = step_of(40, 1);
    cr_assert_eq(help_step(&desk.job, &event), ST_OK);
    cr_assert_neq(desk.job.d.action, ACTION_RAMP);
    cr_assert_eq(job_lrs(desk.job.state)[0], 0.05);
    desk_end(&desk);
}

/* ---- states ---- */

Test(core_events, carried_to_the_same_settings_a_state_is_the_same)
{
    static const char *const kinds[] = {"smooth=false",
                                        "smoothing=mean",
                                        "smoothing=median window_size=4",
                                        "smoothing=ema",
                                        "dialect=transformers smooth=true window_size=6",
                                        "cooldown=9 warmup=9 patience=0 reset_start=3"};

    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct help_job job = help_job("0.1,0.2", kinds[k]);

        for (int i = 0; i < 12; i++)
            help_report(&job, fabs(6.5 - i));
        job.state->attempt = 7;
        job.state->has_rewound = 1;
        job.state->rewound = 6;
        job.state->status = JOB_PAUSED;
        memset(job.next, 0xa5, job_state_size(job.spec));
        job_state_carry(job.spec, job.state, job.spec, job.next);
        cr_assert(memcmp(job.state, job.next, job_state_size(job.spec)) == 0, "%s", kinds[k]);
        help_job_free(&job);
    }
}

Test(core_events, carried_to_other_bounds_a_state_is_clamped)
{
    struct desk desk = desk_begin(0, JOB_PAUSED);
    struct job_state *to = malloc(job_state_size(desk.changed));

    job_state_carry(desk.job.spec, desk.job.state, desk.changed, to);
    for (int g = 0; g < 2; g++) {
        double most = g ? 0.21 : 0.11, was = job_lrs(desk.job.state)[g];
        cr_assert_eq(job_lrs(to)[g], was < most ? was : most);
    }
    cr_assert_gt(job_lrs(desk.job.state)[0], 0.11, "or this shows nothing");
    cr_assert_eq(to->revision, desk.job.state->revision, "carrying is no event");
    cr_assert_eq(to->status, JOB_PAUSED);
    cr_assert_eq(to->reports, 3);
    free(to);
    desk_end(&desk);
}

/* Bytes of version 2 have neither anneal_done nor the number of shadows (the last byte); those of version 1
 * have neither has_rewound, nor rewound, nor told_lr either: cut them out of what is written today. */
static void check_older(uint32_t ramp, uint8_t version)
{
    struct desk desk = desk_begin(ramp, JOB_PAUSED);
    struct help_job *job = &desk.job;
    size_t n = job_state_encoded_size(job->spec, job->state);
    uint8_t *bytes = malloc(n);
    /* version, length and name "greedy", four u32, two u8, ramp_done; has_rewound, rewound and told_lr */
    const size_t old = 1 + 1 + 6 + 4 * 4 + 2 + 4, then = 1 + 4 + 8;
    const size_t at = version == 1 ? old : old + then, lacks = version == 1 ? then + 4 : 4;

    if (version == 1) job->state->told_lr = job_lrs(job->state)[0];
    job_state_encode(job->spec, job->state, bytes);
    cr_assert_eq(bytes[0], 3);
    bytes[0] = version;
    memmove(bytes + at, bytes + at + lacks, n - at - lacks);
    n -= lacks + 1;
    memset(job->next, 0xff, job_state_size(job->spec));
    cr_assert_eq(job_state_decode(job->spec, bytes, n, job->next, &job->err), ST_OK, "%s", job->err.message);
    cr_assert_eq(job->next->anneal_done, job->state->reports);
    cr_assert(memcmp(job->next, job->state, job_state_size(job->spec)) == 0);
    cr_assert_eq(job_state_decode(job->spec, bytes, n - 1, job->next, &job->err), ST_DATA_DAMAGED);
    bytes[0] = 0;
    cr_assert_eq(job_state_decode(job->spec, bytes, n, job->next, &job->err), ST_DATA_DAMAGED);
    free(bytes);
    desk_end(&desk);
}

Test(core_events, bytes_of_older_versions_are_still_read)
{
    for (uint32_t ramp = 0; ramp <= 9; ramp += 9) {
        check_older(ramp, 1);
        check_older(ramp, 2);
    }
}

/* The bytes themselves, so that nobody changes them without a new version. */
struct old_bytes {
    const uint8_t *v;
    size_t n; /* without what greedy writes, which is the same in all of them, and the number of shadows */
};

static const uint8_t version_1[] = {1, 6, 'g', 'r', 'e', 'e', 'd', 'y', 3, 0, 0, 0, 2,    0,
                                    0, 0, 40,  0,   0,   0,   3,   0,   0, 0, 1, 1, 0,    0,
                                    0, 0, 1,   0,   0,   0,   0,   0,   0, 0, 0, 0, 0xe0, 0x3f};
static const uint8_t version_2[] = {2,    6, 'g', 'r', 'e', 'e', 'd', 'y', 3, 0, 0, 0,    2,   0,
                                    0,    0, 40,  0,   0,   0,   3,   0,   0, 0, 1, 1,    0,   0,
                                    0,    0, 1,   2,   0,   0,   0,   0,   0, 0, 0, 0,    0,   0xd0,
                                    0x3f, 1, 0,   0,   0,   0,   0,   0,   0, 0, 0, 0xe0, 0x3f};
/* anneal_done is 2. */
static const uint8_t version_3[] = {3, 6,  'g', 'r', 'e', 'e', 'd', 'y', 3, 0, 0, 0,    2,    0,   0,
                                    0, 40, 0,   0,   0,   3,   0,   0,   0, 1, 1, 0,    0,    0,   0,
                                    1, 2,  0,   0,   0,   0,   0,   0,   0, 0, 0, 0xd0, 0x3f, 2,   0,
                                    0, 0,  1,   0,   0,   0,   0,   0,   0, 0, 0, 0,    0xe0, 0x3f};

Test(core_events, bytes_as_they_were_written)
{
    static const struct old_bytes old[] = {
        {version_1, sizeof(version_1)}, {version_2, sizeof(version_2)}, {version_3, sizeof(version_3)}};
    struct job_event event = help_event(1);

    for (size_t version = 1; version <= 3; version++) {
        struct help_job job = help_job("0.5", "smooth=false");
        size_t n = job_state_encoded_size(job.spec, job.state), head = old[version - 1].n;
        /* What greedy writes, and in version 3 that there are no shadows. */
        size_t policy = n - sizeof(version_3) - (version < 3);
        uint8_t *now = malloc(n), *bytes = malloc(head + policy);

        job_state_encode(job.spec, job.state, now);
        memcpy(bytes, old[version - 1].v, head);
        memcpy(bytes + head, now + sizeof(version_3), policy);
        cr_assert_eq(job_state_decode(job.spec, bytes, head + policy, job.next, &job.err), ST_OK, "%s",
                     job.err.message);
        cr_assert_eq(job.next->revision, 3);
        cr_assert_eq(job.next->attempt, 2);
        cr_assert_eq(job.next->step, 40);
        cr_assert_eq(job.next->reports, 3);
        cr_assert_eq(job.next->anneal_done, version < 3 ? 3 : 2);
        cr_assert_eq(job.next->has_rewound, version > 1);
        cr_assert_eq(job.next->rewound, version > 1 ? 2 : 0);
        cr_assert_eq(job.next->told_lr, version > 1 ? 0.25 : 0.5);
        cr_assert(job.next->has_step);
        cr_assert_eq(job.next->status, JOB_PAUSED);
        cr_assert_eq(job_lrs(job.next)[0], 0.5);
        memcpy(job.state, job.next, job_state_size(job.spec));
        cr_assert_eq(help_step(&job, &event), ST_OK);
        cr_assert_eq(job.d.step, 41);
        free(now);
        free(bytes);
        help_job_free(&job);
    }
}

/* The same of version 2 (best 1.5 at step 20, one bad), which has no shadows: where the settings have some by
 * now, they start. */
Test(core_events, bytes_of_version_2_as_they_were_written)
{
    struct help_job job = help_job_take(help_raw_spec_of("plateau", "0.5", "patience=1"));
    static const uint8_t old[] = {
        2, 7, 'p', 'l', 'a', 't', 'e', 'a', 'u', 3, 0,    0,    0, 2, 0, 0, 0, 40, 0,    0,    0,    3,
        0, 0, 0,   1,   1,   0,   0,   0,   0,   1, 2,    0,    0, 0, 0, 0, 0, 0,  0,    0,    0xe0, 0x3f,
        1, 0, 0,   0,   0,   0,   0,   0,   0,   0, 0xe0, 0x3f, 0, 0, 0, 0, 0, 0,  0xf8, 0x3f, 1,    20,
        0, 0, 0,   1,   0,   0,   0,   0,   0,   0, 0,    0,    0, 0, 0, 0, 0, 0,  0xe0, 0x3f};

    for (int shadows = 0; shadows < 2; shadows++) {
        struct job_event event = help_event(2);

        if (shadows) cr_assert_not_null(spec_add_shadow(job.spec, "s", NULL));
        cr_assert_eq(spec_resolve(job.spec, &job.err), ST_OK);
        job.state = realloc(job.state, job_state_size(job.spec));
        job.next = realloc(job.next, job_state_size(job.spec));
        cr_assert_eq(job_state_decode(job.spec, old, sizeof(old), job.state, &job.err), ST_OK, "%s",
                     job.err.message);
        cr_assert_eq(job.state->revision, 3);
        cr_assert(job.state->has_rewound);
        cr_assert_eq(job.state->rewound, 2);
        cr_assert_eq(help_step(&job, &event), ST_OK);
        cr_assert_eq(job.d.action, ACTION_HOLD, "it is paused");
        cr_assert_eq(job.d.best, 1.5);
        cr_assert_eq(job.d.shadow_len > 0, shadows);
        if (shadows) cr_assert_eq(job_shadow_state(job.spec, job.state, 0)->reports, 1);
    }
    help_job_free(&job);
}
