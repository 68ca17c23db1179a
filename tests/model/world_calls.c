/* Calls as the service takes them, and its answers as the reference gives them. */
#include "world_calls.h"

#include "server/convert.h"
#include "server/jobs.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[REF_JOBS] = {"a", "b", "c"};
static const char *const reduce_names[] = {"mean", "min", "max", "median", "first"};

/* A call and everything its request points to. */
struct issued {
    struct call call;
    bool sent, answered;
    struct ref_answer answer;
    char request_id[16];
    double lr[1], max_lr[1], min_lr[1];
    Greedylr__V1__JobSpec spec;
    Greedylr__V1__Greedy greedy;
    Greedylr__V1__Ranks ranks;
    Greedylr__V1__Anneal anneal;
    Google__Protobuf__Duration duration;
    union {
        Greedylr__V1__CreateJobRequest create;
        Greedylr__V1__ReportRequest report;
        Greedylr__V1__RewindJobRequest rewind;
        Greedylr__V1__BeginAttemptRequest begin;
        Greedylr__V1__ForkJobRequest fork;
        Greedylr__V1__SetLrRequest set_lr;
        Greedylr__V1__PauseJobRequest pause;
        Greedylr__V1__ResumeJobRequest resume;
        Greedylr__V1__FinishJobRequest finish;
        Greedylr__V1__UpdateJobRequest update;
        Greedylr__V1__DeleteJobRequest delete;
        Greedylr__V1__GetLrRequest get_lr;
        Greedylr__V1__GetJobRequest get_job;
    } m;
};

static struct issued issued[REF_CALLS];
static uint32_t n_open;
static bool ignore, has_round;
static uint32_t round_step, round_reported;
static uint64_t job_uid; /* of the job that answered last */

uint32_t calls_count_changes(const struct change *first, const struct change *last)
{
    uint32_t n = 1;

    for (; first != last; first = first->next)
        n++;
    return n;
}

void calls_forget(void)
{
    assert(!n_open);
    memset(issued, 0, sizeof(issued));
    ignore = false;
}

void calls_ignore(void)
{
    ignore = true;
}

uint32_t calls_open(void)
{
    return n_open;
}

const struct ref_answer *world_answer(uint32_t call)
{
    return issued[call].answered ? &issued[call].answer : NULL;
}

bool world_open_round(uint32_t *step, uint32_t *reported)
{
    *step = round_step;
    *reported = round_reported;
    return has_round;
}

/* ---- answers ---- */

static uint32_t stage_number(const char *word)
{
    return !word || !strcmp(word, "none") ? 0 : !strcmp(word, "warmup") ? 1 : 2;
}

static double canonical(double value)
{
    return isnan(value) ? NAN : value;
}

static void take_decision(const Greedylr__V1__Decision *d, struct ref_answer *a)
{
    a->shape = SHAPE_DECISION;
    snprintf(a->action, sizeof(a->action), "%s", d->action);
    a->revision = d->revision;
    a->attempt = d->attempt;
    a->has_step = d->has_step != 0;
    a->step = d->step;
    a->lr = d->lr;
    a->value = d->has_value ? canonical(d->value) : 0;
    a->best = d->best;
    a->num_good = d->num_good;
    a->num_bad = d->num_bad;
    a->stage = stage_number(d->stage);
    a->ranks = d->ranks;
    a->duplicate = d->duplicate != 0;
    a->conflict = d->conflict != 0;
}

static void take_job(const Greedylr__V1__Job *j, struct ref_answer *a)
{
    const Greedylr__V1__JobState *s = j->state;

    a->shape = SHAPE_JOB;
    job_uid = strtoull(j->uid, NULL, 16);
    snprintf(a->job_status, sizeof(a->job_status), "%s", j->status);
    a->revision = j->revision;
    a->attempt = j->attempt;
    a->has_step = s->has_step != 0;
    a->step = s->step;
    a->reports = s->reports;
    a->lr = s->lr;
    a->best = s->best;
    a->num_good = s->num_good;
    a->num_bad = s->num_bad;
    a->stage = stage_number(s->stage);
    has_round = s->open_round != NULL;
    if (!has_round) return;
    round_step = s->open_round->step;
    round_reported = s->open_round->reported;
}

static void take_rates(const Greedylr__V1__GetLrResponse *r, struct ref_answer *a)
{
    a->shape = SHAPE_RATES;
    a->lr = r->lr;
    a->has_step = r->has_step != 0;
    a->step = r->step;
    a->revision = r->revision;
}

static void on_done(struct call *call, const ProtobufCMessage *answer, const struct error *err)
{
    struct issued *i = call->arg;
    struct ref_answer *a = &i->answer;

    if (i->answered || !i->sent) {
        fprintf(stderr, "a call was answered twice\n");
        abort();
    }
    i->answered = true;
    n_open--;
    if (ignore) return;
    memset(a, 0, sizeof(*a));
    if (err)
        a->status = err->status;
    else if (answer->descriptor == &greedylr__v1__decision__descriptor)
        take_decision((const void *)answer, a);
    else if (answer->descriptor == &greedylr__v1__job__descriptor)
        take_job((const void *)answer, a);
    else if (answer->descriptor == &greedylr__v1__get_lr_response__descriptor)
        take_rates((const void *)answer, a);
    else
        a->shape = SHAPE_EMPTY;
}

/* ---- requests ---- */

static char *name_of(uint32_t job)
{
    return (char *)(uintptr_t)names[job];
}

static void fill_ranks(struct issued *i, const struct ref_settings *s)
{
    greedylr__v1__ranks__init(&i->ranks);
    i->ranks.has_world_size = i->ranks.has_quorum = 1;
    i->ranks.world_size = s->world_size;
    i->ranks.quorum = s->quorum;
    i->spec.ranks = &i->ranks;
}

/* The guard, and the anneal where there is one. */
static void fill_rules(struct issued *i, const struct ref_settings *s)
{
    i->greedy.has_guard_ratio = 1;
    i->greedy.guard_ratio = s->guard_ratio;
    if (!s->total_reports) return;
    greedylr__v1__anneal__init(&i->anneal);
    i->anneal.has_total_reports = 1;
    i->anneal.total_reports = s->total_reports;
    i->spec.anneal = &i->anneal;
}

static void fill_create(struct issued *i, const struct ref_request *q)
{
    const struct ref_settings *s = &q->settings;
    Greedylr__V1__Greedy *g = &i->greedy;

    greedylr__v1__create_job_request__init(&i->m.create);
    greedylr__v1__job_spec__init(&i->spec);
    greedylr__v1__greedy__init(g);
    google__protobuf__duration__init(&i->duration);
    i->m.create.spec = &i->spec;
    i->spec.job = name_of(q->job);
    i->lr[0] = s->lr;
    i->spec.lr = i->lr;
    i->spec.n_lr = 1;
    i->spec.has_strict = 1;
    i->spec.strict = s->strict;
    fill_ranks(i, s);
    i->ranks.reduce = (char *)(uintptr_t)reduce_names[s->reduce];
    i->duration.seconds = s->deadline_ms / 1000;
    i->ranks.deadline = &i->duration;
    i->spec.policy_case = GREEDYLR__V1__JOB_SPEC__POLICY_GREEDY;
    i->spec.greedy = g;
    g->has_factor = g->has_patience = g->has_threshold = g->has_cooldown = g->has_warmup = g->has_smooth = 1;
    g->factor = s->factor;
    g->has_guard_factor = 1;
    g->guard_factor = s->guard_factor;
    fill_rules(i, s);
    i->anneal.has_fraction = 1;
    i->anneal.fraction = s->fraction;
    g->patience = s->patience;
    g->threshold = s->threshold;
    g->cooldown = s->cooldown;
    g->warmup = s->warmup;
    g->smooth = s->window != 0;
    g->has_window_size = s->window != 0;
    g->window_size = s->window;
    if (s->window) g->smoothing = (char *)(uintptr_t)(s->median ? "median" : "mean");
    i->min_lr[0] = s->min_lr;
    i->max_lr[0] = s->max_lr;
    g->min_lr = i->min_lr;
    g->max_lr = i->max_lr;
    g->n_min_lr = g->n_max_lr = 1;
}

static void fill_update(struct issued *i, const struct ref_request *q)
{
    const struct ref_settings *s = &q->settings;

    greedylr__v1__update_job_request__init(&i->m.update);
    greedylr__v1__job_spec__init(&i->spec);
    greedylr__v1__greedy__init(&i->greedy);
    i->m.update.job = name_of(q->job);
    i->m.update.spec = &i->spec;
    fill_ranks(i, s);
    i->spec.policy_case = GREEDYLR__V1__JOB_SPEC__POLICY_GREEDY;
    i->spec.greedy = &i->greedy;
    fill_rules(i, s);
    i->greedy.has_patience = 1;
    i->greedy.patience = s->patience;
    i->greedy.has_window_size = s->window != 0;
    i->greedy.window_size = s->window;
    i->max_lr[0] = s->max_lr;
    i->greedy.max_lr = i->max_lr;
    i->greedy.n_max_lr = 1;
}

static void fill_wait(struct issued *i, const struct ref_request *q, Google__Protobuf__Duration **wait)
{
    if (!q->has_wait) return;
    google__protobuf__duration__init(&i->duration);
    i->duration.seconds = q->wait_ms / 1000;
    i->duration.nanos = (int32_t)(q->wait_ms % 1000) * 1000000;
    *wait = &i->duration;
}

static void fill_report(struct issued *i, const struct ref_request *q)
{
    Greedylr__V1__ReportRequest *m = &i->m.report;

    greedylr__v1__report_request__init(m);
    m->job = name_of(q->job);
    m->has_step = q->has_step;
    m->step = q->step;
    m->reported_case = GREEDYLR__V1__REPORT_REQUEST__REPORTED_LOSS;
    m->loss = q->value;
    m->has_rank = 1;
    m->rank = q->rank;
    m->has_weight = q->weight > 0;
    m->weight = q->weight;
    m->has_attempt = q->has_attempt;
    m->attempt = q->attempt;
    m->has_lr_cap = q->lr_cap > 0;
    m->lr_cap = q->lr_cap;
    snprintf(i->request_id, sizeof(i->request_id), "r%u", q->request_id);
    if (q->request_id) m->request_id = i->request_id;
    fill_wait(i, q, &m->wait);
}

static void fill_rewind(struct issued *i, const struct ref_request *q)
{
    Greedylr__V1__RewindJobRequest *m = &i->m.rewind;

    greedylr__v1__rewind_job_request__init(m);
    m->job = name_of(q->job);
    m->has_attempt = q->has_attempt;
    m->attempt = q->attempt;
    if (q->initial) {
        m->target_case = GREEDYLR__V1__REWIND_JOB_REQUEST__TARGET_INITIAL;
        m->initial = 1;
    } else {
        m->target_case = GREEDYLR__V1__REWIND_JOB_REQUEST__TARGET_STEP;
        m->step = q->step;
    }
}

static void fill_begin(struct issued *i, const struct ref_request *q)
{
    greedylr__v1__begin_attempt_request__init(&i->m.begin);
    i->m.begin.job = name_of(q->job);
    i->m.begin.has_step = q->has_step;
    i->m.begin.step = q->step;
}

static void fill_fork(struct issued *i, const struct ref_request *q)
{
    greedylr__v1__fork_job_request__init(&i->m.fork);
    greedylr__v1__job_spec__init(&i->spec);
    i->m.fork.job = name_of(q->job);
    i->m.fork.has_step = q->has_step;
    i->m.fork.step = q->step;
    i->m.fork.spec = &i->spec;
    i->spec.job = name_of(q->other);
}

static void fill_set_lr(struct issued *i, const struct ref_request *q)
{
    greedylr__v1__set_lr_request__init(&i->m.set_lr);
    i->m.set_lr.job = name_of(q->job);
    i->lr[0] = q->lr;
    i->m.set_lr.lr = i->lr;
    i->m.set_lr.n_lr = 1;
}

static void fill_get_lr(struct issued *i, const struct ref_request *q)
{
    greedylr__v1__get_lr_request__init(&i->m.get_lr);
    i->m.get_lr.job = name_of(q->job);
    i->m.get_lr.has_step = q->has_step;
    i->m.get_lr.step = q->step;
    fill_wait(i, q, &i->m.get_lr.wait);
}

/* Requests of nothing but a job. */
#define FILL_PLAIN(name, message)                                                                            \
    static void fill_##name(struct issued *i, const struct ref_request *q)                                   \
    {                                                                                                        \
        greedylr__v1__##message##__init(&i->m.name);                                                         \
        i->m.name.job = name_of(q->job);                                                                     \
    }
FILL_PLAIN(pause, pause_job_request)
FILL_PLAIN(resume, resume_job_request)
FILL_PLAIN(finish, finish_job_request)
FILL_PLAIN(delete, delete_job_request)
FILL_PLAIN(get_job, get_job_request)

void calls_issue(struct service *service, uint32_t call, const struct ref_request *request)
{
    static const struct {
        const char *method;
        void (*fill)(struct issued *i, const struct ref_request *q);
    } rows[CALL_KINDS] = {
        [CALL_CREATE] = {"CreateJob", fill_create}, [CALL_REPORT] = {"Report", fill_report},
        [CALL_REWIND] = {"RewindJob", fill_rewind}, [CALL_BEGIN] = {"BeginAttempt", fill_begin},
        [CALL_FORK] = {"ForkJob", fill_fork},       [CALL_SET_LR] = {"SetLr", fill_set_lr},
        [CALL_PAUSE] = {"PauseJob", fill_pause},    [CALL_RESUME] = {"ResumeJob", fill_resume},
        [CALL_FINISH] = {"FinishJob", fill_finish}, [CALL_UPDATE] = {"UpdateJob", fill_update},
        [CALL_DELETE] = {"DeleteJob", fill_delete}, [CALL_GET_LR] = {"GetLr", fill_get_lr},
        [CALL_GET_JOB] = {"GetJob", fill_get_job},
    };
    struct issued *i = &issued[call];

    assert(!i->sent);
    i->sent = true;
    n_open++;
    rows[request->kind].fill(i, request);
    i->call = (struct call){.method = rows[request->kind].method,
                            .request = (const ProtobufCMessage *)(const void *)&i->m,
                            .done = on_done,
                            .arg = i,
                            .peer = "model",
                            .timeout_ms = -1};
    service_call(service, &i->call);
}

void world_cancel(uint32_t call)
{
    service_cancel(&issued[call].call);
}

/* ---- histories ---- */

struct listing {
    struct ref_answer *out;
    uint32_t n, max;
};

static int add_entry(void *arg, const struct store_entry *entry)
{
    struct listing *l = arg;
    struct ref_answer *a = &l->out[l->n++];
    Google__Protobuf__Timestamp time;
    decision_message message;
    struct error err;

    if (convert_decision(&entry->decision, "", &message, &time, &err)) abort();
    memset(a, 0, sizeof(*a));
    take_decision(&message, a);
    a->superseded = message.superseded != 0;
    convert_decision_clear(&message);
    return l->n == l->max;
}

uint32_t calls_history(struct store_reader *reader, struct ref_answer *out, uint32_t max)
{
    const struct store_decisions_query query = {.uid = job_uid, .superseded = true, .limit = max};
    struct listing l = {.out = out, .max = max};
    struct error err;

    if (store_list_decisions(reader, &query, add_entry, &l, &err)) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    return l.n;
}
