/* The model of what was promised, and the store compared with it. */
#include "model.h"

#include "core/shadow.h"
#include "disk.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fact *facts;
static int64_t now = 1700000000000000;

void facts_free(void)
{
    while (facts) {
        struct fact *next = facts->next;
        free(facts);
        facts = next;
    }
}

static const char *text_of(uint32_t i)
{
    static char pool[MODEL_TEXTS][700];

    if (!pool[i][0]) /* of different lengths, so that some rows need more than a page */
        snprintf(pool[i], sizeof(pool[i]), "{\"lr\":0.%u,\"note\":\"%0*d\"}", i + 1, (int)(i * 41 + 1),
                 (int)i);
    return pool[i];
}

static const char *labels_of(uint32_t text)
{
    return text % 3 ? text % 2 ? "team=a" : "team=b\nk=v" : "";
}

static double draw_double(void)
{
    static const double odd[] = {0.0, -0.0, INFINITY, NAN, 5e-324, 0.1};
    uint64_t r = disk_random();

    return r % 8 == 0 ? odd[(r >> 8) % 6] : (double)(r >> 12) * 1e-12;
}

static void draw_numbers(struct fact *f, enum action action, uint32_t revision, uint64_t r)
{
    f->decision = (struct job_decision){.revision = revision,
                                        .attempt = revision / 20,
                                        .step = revision * 3,
                                        .has_step = true,
                                        .action = action,
                                        .time_us = now += 1000,
                                        .value = draw_double(),
                                        .has_value = true,
                                        .num_good = r % 7,
                                        .num_bad = (r >> 8) % 7,
                                        .stage = (enum stage)((r >> 16) % 3),
                                        .at_min = (r >> 20) & 1,
                                        .at_max = (r >> 21) & 1,
                                        .plateaued = (r >> 22) & 1,
                                        .applied_mismatch = (r >> 23) & 1,
                                        .has_smoothed = (r >> 24) & 1,
                                        .has_best = (r >> 25) & 1,
                                        .groups = 1 + (uint32_t)((r >> 28) % 3),
                                        .lrs = f->lrs};
    if (f->decision.has_smoothed) f->decision.smoothed = draw_double();
    if (f->decision.has_best) f->decision.best = draw_double();
    for (uint32_t g = 0; g < f->decision.groups; g++)
        f->lrs[g] = draw_double();
}

static const struct fact *draw_fact(enum action action, uint32_t revision)
{
    struct fact *f = calloc(1, sizeof(*f));
    uint64_t r = disk_random();
    struct job_decision *d;

    if (!f) abort();
    f->next = facts;
    facts = f;
    draw_numbers(f, action, revision, r);
    d = &f->decision;
    snprintf(d->reason, sizeof(d->reason), "%0*" PRIu32, (int)(1 + (r >> 40) % 100), revision);
    if ((r >> 32) % 4 == 0) snprintf(d->actor, sizeof(d->actor), "operator %" PRIu32, revision);
    if ((r >> 34) % 4 == 0) snprintf(f->request_id, sizeof(f->request_id), "request-%" PRIu32, revision);
    for (size_t i = 0; i < sizeof(f->state); i++)
        f->state[i] = (uint8_t)disk_random();
    if ((r >> 36) % 4 == 0) {
        static const double rates[3] = {0.1, 0.0,
                                        1e-300}; /* those of a shadow are rates that a job can have */
        struct state_io io = {.out = f->shadow};

        shadow_record_begin(&io, 1);
        shadow_record_add(&io, "one", ACTION_CUT, rates, d->groups, "because");
        d->shadow = f->shadow;
        d->shadow_len = io.pos;
    }
    if ((r >> 38) % 4 == 0) {
        f->round_len = sizeof(f->round);
        d->ranks = 2;
        memset(f->round, (int)(r & 0xff), sizeof(f->round));
    }
    return f;
}

/* ---- deeds ---- */

static uint32_t pick(uint32_t n)
{
    return (uint32_t)(disk_random() % n);
}

static void draw_contribution(struct deed *deed, const struct model_job *job)
{
    uint32_t world = 2 + pick(3), round = pick(2);

    deed->kind = DEED_CONTRIBUTE;
    deed->contribution = (struct store_contribution){
        .attempt = job->n / 20,
        .step = (job->n + 1) * 3 + round,
        .rank = pick(world),
        .ranks = {.world_size = world, .quorum = 1 + pick(world), .reduce = (enum reduce)pick(3)},
        .report = {.value = draw_double(),
                   .weight = 1 + pick(9),
                   .lr_cap = pick(2) ? 0.5 : INFINITY,
                   .applied_lr = pick(2) ? 0.25 : NAN,
                   .order = 1 + pick(world),
                   .recorded = true}};
}

static void draw_event(struct deed *deed, const struct model_job *job)
{
    static const enum action statuses[] = {ACTION_RESUME, ACTION_PAUSE, ACTION_FINISH};
    static const enum action others[] = {ACTION_OVERRIDE, ACTION_BEGIN, ACTION_FORK};
    uint32_t r = pick(100), next = job->n + 1;

    if (r < 10) {
        deed->kind = DEED_UPDATE;
        deed->fact = draw_fact(pick(4) ? ACTION_UPDATE : ACTION_IMPORT, next);
        deed->text = pick(MODEL_TEXTS);
    } else if (r < 18) {
        deed->kind = DEED_STATUS;
        deed->status = (enum job_status)pick(3);
        deed->fact = draw_fact(statuses[deed->status], next);
    } else if (r < 28 && job->n > 1) {
        deed->kind = DEED_REWIND;
        deed->superseded_after = pick(job->n);
        deed->fact = draw_fact(ACTION_REWIND, next);
    } else {
        deed->kind = DEED_DECIDE;
        deed->fact = draw_fact(r < 34 ? others[pick(3)] : (enum action)pick(ACTION_OVERRIDE), next);
    }
}

struct deed deed_draw(const struct model *model)
{
    struct deed deed = {.place = pick(MODEL_JOBS)};
    const struct model_job *job = &model->jobs[deed.place];
    uint32_t r = pick(100);

    deed.uid = job->uid;
    if (!job->uid) {
        deed.kind = DEED_CREATE;
        deed.uid = (disk_random() >> 1) | 1;
        deed.text = pick(MODEL_TEXTS);
        deed.time_us = now += 1000;
        deed.status = JOB_ACTIVE;
        if (pick(2)) deed.fact = draw_fact(pick(2) ? ACTION_HOLD : ACTION_FORK, 1);
    } else if (job->n + 1 >= MODEL_HISTORY || r < 3) {
        deed.kind = DEED_DELETE;
    } else if (r < 20 && job->n_waiting < MODEL_WAITING) {
        draw_contribution(&deed, job);
    } else {
        draw_event(&deed, job);
    }
    return deed;
}

static const uint8_t initial[32] = "initial";

static void fill_row(struct deed *deed, const struct model_job *job)
{
    bool creates = deed->kind == DEED_CREATE;
    uint32_t created = creates ? deed->text : job->created;

    deed->job = (struct store_job){.uid = deed->uid,
                                   .created = (char *)(uintptr_t)text_of(created),
                                   .spec = (char *)(uintptr_t)text_of(deed->text),
                                   .effective = (char *)(uintptr_t)text_of(deed->text),
                                   .labels = (char *)(uintptr_t)labels_of(deed->text),
                                   .create_us = creates ? deed->time_us : job->create_us,
                                   .update_us = deed->fact ? deed->fact->decision.time_us : deed->time_us,
                                   .revision = deed->fact ? deed->fact->decision.revision : 0,
                                   .status = creates ? JOB_ACTIVE : job->status,
                                   .state = (uint8_t *)(uintptr_t)(deed->fact ? deed->fact->state : initial),
                                   .state_len = sizeof(initial)};
    snprintf(deed->job.name, sizeof(deed->job.name), "job%u", deed->place);
}

struct store_change deed_change(struct deed *deed, const struct model *model)
{
    static const enum store_job_op ops[] = {
        [DEED_CREATE] = STORE_JOB_CREATE,  [DEED_UPDATE] = STORE_JOB_UPDATE, [DEED_STATUS] = STORE_JOB_STATUS,
        [DEED_DELETE] = STORE_JOB_DELETE,  [DEED_DECIDE] = STORE_JOB_KEEP,   [DEED_REWIND] = STORE_JOB_KEEP,
        [DEED_CONTRIBUTE] = STORE_JOB_KEEP};
    const struct model_job *job = &model->jobs[deed->place];
    struct store_change change = {.uid = deed->uid,
                                  .expected_revision = deed->kind == DEED_CREATE ? 0 : job->n,
                                  .op = ops[deed->kind],
                                  .status = deed->status};

    if (deed->kind == DEED_CREATE || deed->kind == DEED_UPDATE) {
        fill_row(deed, job);
        change.job = &deed->job;
    }
    if (deed->fact) {
        change.decision = &deed->fact->decision;
        change.request_id = deed->fact->request_id;
        change.state = deed->fact->state;
        change.state_len = sizeof(deed->fact->state);
        change.round = deed->fact->round_len ? deed->fact->round : NULL;
        change.round_len = deed->fact->round_len;
    }
    if (deed->kind == DEED_CONTRIBUTE) change.contribution = &deed->contribution;
    change.supersedes = change.drops_contributions = deed->kind == DEED_REWIND;
    change.superseded_after = deed->superseded_after;
    return change;
}

static void apply_contribution(struct model_job *job, const struct store_contribution *c)
{
    uint32_t i = 0;

    while (i < job->n_waiting && (job->waiting[i].attempt != c->attempt || job->waiting[i].step != c->step ||
                                  job->waiting[i].rank != c->rank))
        i++;
    job->waiting[i] = *c;
    job->waiting_since[i] = job->n;
    if (i == job->n_waiting) job->n_waiting++;
}

static void apply_fact(struct model_job *job, const struct fact *fact)
{
    job->history[job->n].superseded = false;
    job->history[job->n++].fact = fact;
}

static void apply_create(struct model_job *job, const struct deed *deed)
{
    *job = (struct model_job){.uid = deed->uid,
                              .created = deed->text,
                              .text = deed->text,
                              .create_us = deed->time_us,
                              .status = JOB_ACTIVE,
                              .n_settings = 1,
                              .settings = {{.revision = 0, .text = deed->text}}};
    snprintf(job->name, sizeof(job->name), "job%u", deed->place);
}

void deed_apply(struct model *model, const struct deed *deed)
{
    struct model_job *job = &model->jobs[deed->place];

    switch (deed->kind) {
    case DEED_CREATE: apply_create(job, deed); break;
    case DEED_DELETE: memset(job, 0, sizeof(*job)); return;
    case DEED_STATUS: job->status = deed->status; break;
    case DEED_CONTRIBUTE: apply_contribution(job, &deed->contribution); break;
    case DEED_REWIND:
        for (uint32_t i = deed->superseded_after; i < job->n; i++)
            if (action_is_undone(job->history[i].fact->decision.action)) job->history[i].superseded = true;
        job->n_waiting = 0;
        break;
    case DEED_UPDATE:
        job->text = deed->text;
        job->settings[job->n_settings].revision = deed->fact->decision.revision;
        job->settings[job->n_settings++].text = deed->text;
        break;
    case DEED_DECIDE: break;
    }
    if (deed->fact) apply_fact(job, deed->fact);
}

/* ---- comparing ---- */

static char told[256];

#define DIFFERS(...) (snprintf(told, sizeof(told), __VA_ARGS__), told)

static bool same(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static bool same_decision(const struct job_decision *a, const struct job_decision *b)
{
    if (a->revision != b->revision || a->attempt != b->attempt || a->step != b->step ||
        a->has_step != b->has_step || a->action != b->action || a->time_us != b->time_us ||
        a->has_value != b->has_value || !same(a->value, b->value) || a->has_smoothed != b->has_smoothed ||
        !same(a->smoothed, b->smoothed) || a->has_best != b->has_best || !same(a->best, b->best))
        return false;
    if (a->num_good != b->num_good || a->num_bad != b->num_bad || a->stage != b->stage ||
        a->at_min != b->at_min || a->at_max != b->at_max || a->plateaued != b->plateaued ||
        a->applied_mismatch != b->applied_mismatch || a->ranks != b->ranks || a->groups != b->groups)
        return false;
    return memcmp(a->lrs, b->lrs, a->groups * sizeof(double)) == 0 && strcmp(a->reason, b->reason) == 0 &&
           strcmp(a->actor, b->actor) == 0 && a->shadow_len == b->shadow_len &&
           (!a->shadow_len || memcmp(a->shadow, b->shadow, a->shadow_len) == 0);
}

/* What is being compared with a job of the model. */
struct look {
    const struct model *model;
    const struct model_job *job;
    struct store_reader *reader;
    uint32_t at, jobs;
    bool seen[MODEL_WAITING];
    const char *problem;
};

/* Whether the history limit may have taken a revision; promises keep some (store.h). */
static bool may_be_gone(const struct look *look, uint32_t revision)
{
    const struct fact *fact = look->job->history[revision - 1].fact;
    uint32_t limit = look->model->history_limit;

    return limit && revision + limit <= look->job->n && !fact->request_id[0] &&
           (revision > 1 || action_is_report(fact->decision.action));
}

static int look_at_entry(void *arg, const struct store_entry *entry)
{
    struct look *look = arg;
    const struct model_job *job = look->job;
    uint32_t revision = entry->decision.revision;

    while (look->at < revision && look->at <= job->n) {
        if (!may_be_gone(look, look->at))
            look->problem =
                DIFFERS("%s has %u decisions, revision %u is missing", job->name, job->n, look->at);
        look->at++;
    }
    if (revision > job->n || revision != look->at) {
        look->problem =
            DIFFERS("%s has %u decisions, and one of revision %u more", job->name, job->n, revision);
        return 1;
    }
    if (!same_decision(&entry->decision, &job->history[revision - 1].fact->decision) ||
        strcmp(entry->request_id, job->history[revision - 1].fact->request_id) != 0 ||
        entry->decision.superseded != job->history[revision - 1].superseded)
        look->problem = DIFFERS("%s: revision %u is not what it was", job->name, revision);
    look->at++;
    return look->problem != NULL;
}

static bool may_be_forgotten(const struct model_job *job, uint32_t i)
{
    for (uint32_t r = job->waiting_since[i]; r < job->n; r++) {
        const struct job_decision *d = &job->history[r].fact->decision;

        if (job->waiting[i].attempt < d->attempt || job->waiting[i].step <= d->step) return true;
    }
    return false;
}

static int look_at_contribution(void *arg, const struct store_contribution *c)
{
    struct look *look = arg;
    const struct model_job *job = look->job;

    for (uint32_t i = 0; i < job->n_waiting; i++) {
        const struct store_contribution *m = &job->waiting[i];

        if (m->attempt != c->attempt || m->step != c->step || m->rank != c->rank) continue;
        look->seen[i] = same(m->report.value, c->report.value) && same(m->report.weight, c->report.weight) &&
                        same(m->report.lr_cap, c->report.lr_cap) &&
                        isnan(m->report.applied_lr) == isnan(c->report.applied_lr) &&
                        m->report.order == c->report.order && m->ranks.world_size == c->ranks.world_size &&
                        m->ranks.quorum == c->ranks.quorum && m->ranks.reduce == c->ranks.reduce;
        if (!look->seen[i]) look->problem = DIFFERS("%s: a rank's report is not what it was", job->name);
        return 0;
    }
    look->problem = DIFFERS("%s: a rank's report that nobody made", job->name);
    return 1;
}

static const char *row_differs(const struct model_job *job, const struct store_job *row)
{
    const struct fact *newest = job->n ? job->history[job->n - 1].fact : NULL;

    if (row->uid != job->uid || row->revision != job->n || row->status != job->status ||
        row->create_us != job->create_us ||
        row->update_us != (newest ? newest->decision.time_us : job->create_us))
        return DIFFERS("%s: revision %u is %u, or status or times are not what they were", job->name, job->n,
                       row->revision);
    if (strcmp(row->created, text_of(job->created)) || strcmp(row->spec, text_of(job->text)) ||
        strcmp(row->effective, text_of(job->text)) || strcmp(row->labels, labels_of(job->text)))
        return DIFFERS("%s: its settings are not what they were", job->name);
    if (row->state_len != sizeof(initial) ||
        memcmp(row->state, newest ? newest->state : initial, row->state_len))
        return DIFFERS("%s: its state is not what it was", job->name);
    return NULL;
}

/* Settings that no decision needs which is kept for sure go with the history limit. */
static bool settings_may_be_gone(const struct look *look, uint32_t i)
{
    const struct model_job *job = look->job;
    uint32_t r = job->settings[i].revision ? job->settings[i].revision : 1;

    if (!look->model->history_limit || i + 1 == job->n_settings) return false;
    while (r < job->settings[i + 1].revision && may_be_gone(look, r))
        r++;
    return r >= job->settings[i + 1].revision;
}

static const char *settings_differ(const struct look *look)
{
    const struct model_job *job = look->job;
    struct error err;

    for (uint32_t i = 0; i < job->n_settings; i++) {
        char *text;
        bool newest;

        if (settings_may_be_gone(look, i)) continue;
        if (store_get_settings(look->reader, job->uid, job->settings[i].revision, &text, &newest, &err))
            return DIFFERS("%s: %.200s", job->name, err.message);
        bool right =
            strcmp(text, text_of(job->settings[i].text)) == 0 && newest == (i + 1 == job->n_settings);
        free(text);
        if (!right) return DIFFERS("%s: settings of revision %u", job->name, job->settings[i].revision);
    }
    return NULL;
}

/* States and rounds of the newest decisions: what rewinds and duplicates read. */
static const char *blobs_differ(const struct look *look)
{
    const struct model_job *job = look->job;
    struct error err;

    for (uint32_t r = job->n; r && r + 4 > job->n; r--) {
        const struct fact *fact = job->history[r - 1].fact;
        struct store_state state = {0};
        uint8_t *round;
        size_t len;

        if (store_get_round(look->reader, job->uid, r, &round, &len, &err))
            return DIFFERS("%s: %.200s", job->name, err.message);
        bool right = len == fact->round_len && (!len || memcmp(round, fact->round, len) == 0);
        free(round);
        if (!right && !may_be_gone(look, r)) return DIFFERS("%s: the round of revision %u", job->name, r);
        if (job->history[r - 1].superseded || !action_is_state(fact->decision.action)) continue;
        if (store_find_state(look->reader, job->uid, STORE_STATE_AT, fact->decision.step, &state, &err))
            return DIFFERS("%s: %.200s", job->name, err.message);
        right = state.revision == r && state.len == sizeof(fact->state) &&
                memcmp(state.bytes, fact->state, state.len) == 0;
        free(state.bytes);
        if (!right) return DIFFERS("%s: the state of revision %u", job->name, r);
    }
    return NULL;
}

static const char *job_differs(struct look *look)
{
    const struct model_job *job = look->job;
    const struct store_decisions_query query = {.uid = job->uid, .superseded = true, .limit = UINT32_MAX};
    struct error err;

    look->at = 1;
    memset(look->seen, 0, sizeof(look->seen));
    if (store_list_decisions(look->reader, &query, look_at_entry, look, &err))
        return DIFFERS("%s: %.200s", job->name, err.message);
    for (; !look->problem && look->at <= job->n; look->at++) {
        if (!may_be_gone(look, look->at))
            look->problem =
                DIFFERS("%s has %u decisions, revision %u is missing", job->name, job->n, look->at);
    }
    if (look->problem) return look->problem;
    if (store_list_contributions(look->reader, job->uid, look_at_contribution, look, &err))
        return DIFFERS("%s: %.200s", job->name, err.message);
    for (uint32_t i = 0; i < job->n_waiting && !look->problem; i++)
        if (!look->seen[i] && !may_be_forgotten(job, i))
            look->problem = DIFFERS("%s: the report of rank %u is missing", job->name, job->waiting[i].rank);
    if (!look->problem) look->problem = settings_differ(look);
    if (!look->problem) look->problem = blobs_differ(look);
    return look->problem;
}

static int count_job(void *arg, const struct store_job *row)
{
    struct look *look = arg;

    look->jobs++;
    for (uint32_t i = 0; i < MODEL_JOBS; i++) {
        look->job = &look->model->jobs[i];
        if (!look->job->uid || strcmp(look->job->name, row->name) != 0) continue;
        look->problem = row_differs(look->job, row);
        return look->problem != NULL;
    }
    look->problem = DIFFERS("there is a job %s", row->name);
    return 1;
}

const char *model_differs(const struct model *model, struct store_reader *reader)
{
    const struct store_jobs_query query = {.status = -1, .limit = 100};
    struct look look = {.model = model, .reader = reader};
    struct error err;
    uint32_t jobs = 0;

    if (store_list_jobs(reader, &query, count_job, &look, &err)) return DIFFERS("%.200s", err.message);
    for (uint32_t i = 0; i < MODEL_JOBS && !look.problem; i++) {
        look.job = &model->jobs[i];
        if (!look.job->uid) continue;
        jobs++;
        look.problem = job_differs(&look);
    }
    if (!look.problem && jobs != look.jobs)
        return DIFFERS("there are %u jobs instead of %u", look.jobs, jobs);
    return look.problem;
}
