/* Histories and lists, read by the pool's threads with readers of their own, so that a long one does not hold
 * up the loop.  They show durable state only. */
#include "server/service_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTS_BETWEEN_LOOKS 4096 /* at whether anybody still wants them */

/* A page of something, on its way. */
struct listing {
    struct offload base;
    uint64_t uid;
    uint32_t limit;
    uint32_t after_revision;
    void *items;
    size_t n;          /* up to limit + 1, if there is more */
    struct thin *thin; /* while a history is thinned out */
    uint32_t *chosen;  /* [limit] */
    uint32_t seen;     /* points */
};

static struct listing *listing_of(struct offload *o)
{
    return (struct listing *)(void *)o;
}

static size_t page_of(const struct listing *l)
{
    return l->n > l->limit ? l->limit : l->n;
}

/* Room for one more element, as a realloc'd array that doubles. */
static void *grow(void **items, size_t n, size_t size)
{
    if ((n & (n - 1)) == 0) {
        void *more = realloc(*items, (n ? n * 2 : 1) * size);
        if (!more) return NULL;
        *items = more;
    }
    return (char *)*items + n * size;
}

/* ---- ListDecisions ---- */

struct kept_entry {
    struct job_decision decision;
    double *held; /* what the decision borrows */
};

static int keep_entry(void *arg, const struct store_entry *entry)
{
    struct listing *l = arg;
    struct kept_entry *kept = grow(&l->items, l->n, sizeof(*kept));

    if (kept) {
        kept->decision = entry->decision;
        kept->held = decision_hold(&kept->decision);
    }
    if (!kept || !kept->held) return error_set(&l->base.err, ST_OUT_OF_MEMORY, "out of memory");
    l->n++;
    return 0;
}

static struct store_decisions_query decisions_query(const struct listing *l)
{
    const Greedylr__V1__ListDecisionsRequest *request = (const void *)l->base.call->request;

    return (struct store_decisions_query){.uid = l->uid,
                                          .after_revision = l->after_revision,
                                          .has_from = request->has_from_step,
                                          .has_to = request->has_to_step,
                                          .from_step = request->from_step,
                                          .to_step = request->to_step,
                                          .superseded = request->has_superseded && request->superseded,
                                          .limit = l->limit + 1};
}

static void run_list_decisions(struct offload *o)
{
    struct listing *l = listing_of(o);
    const struct store_decisions_query query = decisions_query(l);
    struct store_reader *reader = offload_reader(o);
    struct error err;

    if (!reader) return;
    if (store_list_decisions(reader, &query, keep_entry, l, &err) && !o->err.status) o->err = err;
}

static void answer_decisions(struct offload *o)
{
    const Greedylr__V1__ListDecisionsRequest *request = (const void *)o->call->request;
    Greedylr__V1__ListDecisionsResponse answer = GREEDYLR__V1__LIST_DECISIONS_RESPONSE__INIT;
    const struct listing *l = listing_of(o);
    const struct kept_entry *kept = l->items;
    size_t n = page_of(l);
    decision_message *messages = calloc(n + 1, sizeof(*messages));
    decision_message **list = calloc(n + 1, sizeof(*list));
    Google__Protobuf__Timestamp *times = calloc(n + 1, sizeof(*times));
    size_t made = 0;
    char token[16];

    if (messages && list && times) {
        for (; made < n &&
               !convert_decision(&kept[made].decision, request->job, &messages[made], &times[made], &o->err);
             made++)
            list[made] = &messages[made];
    }
    if (made == n && messages && list && times) {
        answer.decisions = list;
        answer.n_decisions = n;
        if (l->n > n) {
            snprintf(token, sizeof(token), "r%" PRIu32, kept[n - 1].decision.revision);
            answer.next_page_token = token;
        }
        offload_answer(o, &answer.base);
    } else {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
    }
    while (made)
        convert_decision_clear(&messages[--made]);
    free(times);
    free(list);
    free(messages);
}

static void clear_decisions(struct offload *o)
{
    struct kept_entry *kept = listing_of(o)->items;

    for (size_t i = 0; i < listing_of(o)->n; i++)
        free(kept[i].held);
    free(kept);
}

static const struct offload_kind list_decisions = {
    .run = run_list_decisions, .answer = answer_decisions, .clear = clear_decisions};

/* The same with max_points: as many as a plot needs, of however many there are. */

static int take_point(void *arg, const struct thin_point *point)
{
    struct listing *l = arg;

    thin_add(l->thin, point);
    return ++l->seen % POINTS_BETWEEN_LOOKS == 0 && offload_unwanted(&l->base);
}

static size_t choose_points(void *arg, const uint32_t **revisions)
{
    struct listing *l = arg;

    *revisions = l->chosen;
    return thin_choose(l->thin, l->chosen);
}

static void run_thin_decisions(struct offload *o)
{
    static const struct store_thinning how = {.point = take_point, .pick = choose_points, .each = keep_entry};
    struct listing *l = listing_of(o);
    const struct store_decisions_query query = decisions_query(l);
    struct store_reader *reader = offload_reader(o);
    struct error err;

    if (!reader) return;
    l->thin = malloc(thin_size(l->limit));
    l->chosen = calloc(l->limit, sizeof(*l->chosen));
    if (!l->thin || !l->chosen) {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
        return;
    }
    thin_init(l->thin, l->limit);
    if (store_thin_decisions(reader, &query, &how, l, &err) && !o->err.status) o->err = err;
}

static void clear_thinned(struct offload *o)
{
    clear_decisions(o);
    free(listing_of(o)->thin);
    free(listing_of(o)->chosen);
}

static const struct offload_kind thin_decisions = {
    .lane = LANE_SCANS, .run = run_thin_decisions, .answer = answer_decisions, .clear = clear_thinned};

static int check_points(const Greedylr__V1__ListDecisionsRequest *request, struct error *err)
{
    if (!request->has_max_points) return 0;
    if (request->has_page_size || (request->page_token && *request->page_token))
        return error_set(err, ST_FIELD_INVALID,
                         "%s: not together with max_points, which answers the whole range at once; leave one "
                         "of them out",
                         request->has_page_size ? "page_size" : "page_token");
    if (request->max_points < THIN_MIN)
        return error_set(err, ST_FIELD_INVALID, "max_points: must be at least %d, got %u", THIN_MIN,
                         (unsigned)request->max_points);
    return 0;
}

static int parse_revision_token(const char *token, uint32_t *out, struct error *err)
{
    char *end = NULL;
    unsigned long long value = 0;

    if (!token || !*token) return 0;
    errno = 0;
    if (token[0] == 'r' && token[1] >= '0' && token[1] <= '9') value = strtoull(token + 1, &end, 10);
    if (!end || *end || errno || value > UINT32_MAX)
        return error_set(err, ST_PAGE_TOKEN_INVALID,
                         "page_token: \"%.40s\" is not a next_page_token of this method; start without it",
                         token);
    *out = (uint32_t)value;
    return 0;
}

void handle_list_decisions(struct service *service, struct call *call)
{
    const Greedylr__V1__ListDecisionsRequest *request = (const void *)call->request;
    struct listing *l;
    struct error err;
    struct job *job;
    uint32_t after = 0;

    if (service_find_durable(service, call->token, request->job, &job, &err)) goto fail;
    if (parse_revision_token(request->page_token, &after, &err)) goto fail;
    if (check_points(request, &err)) goto fail;
    l = calloc(1, sizeof(*l));
    if (l) {
        l->uid = job->uid;
        l->after_revision = after;
        l->limit = page_limit(request->has_page_size, request->page_size);
        if (request->has_max_points)
            l->limit = request->max_points < POINTS_MAX ? request->max_points : POINTS_MAX;
    }
    offload_start(service, call, request->has_max_points ? &thin_decisions : &list_decisions,
                  (struct offload *)(void *)l);
    return;

fail:
    call_fail(call, &err);
}

/* ---- ListJobs ---- */

struct kept_job {
    char name[JOB_ID_MAX + 1];
    char uid[17];
    Greedylr__V1__Job message;
    Greedylr__V1__JobState state;
    struct job_spec *spec;
    struct job_state *durable;
    Google__Protobuf__Timestamp created, updated;
    uint64_t id;
    struct round *round; /* the open one, as the store has it, and those behind it; or NULL */
    bool starved;        /* no memory for that */
    uint32_t behind, last_step;
    struct round_view view;
};

static int fill_kept_job(struct kept_job *kept, const struct store_job *row, struct error *err)
{
    spec_message *effective = NULL;
    int rc = service_parse_spec(row->effective, &effective, err);

    if (!rc) rc = convert_live_spec(effective, &kept->spec, err);
    if (effective) greedylr__v1__job_spec__free_unpacked(effective, NULL);
    if (rc) return rc;
    kept->durable = calloc(1, job_state_size(kept->spec));
    if (!kept->durable) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    rc = job_state_decode(kept->spec, row->state, row->state_len, kept->durable, err);
    if (rc) return rc;
    return service_parse_spec(row->spec, &kept->message.spec, err);
}

static void clear_kept_job(struct kept_job *kept)
{
    if (kept->message.spec) greedylr__v1__job_spec__free_unpacked(kept->message.spec, NULL);
    convert_state_clear(&kept->state);
    spec_free(kept->spec);
    free(kept->durable);
    free(kept->round);
    free(kept);
}

static int keep_job(void *arg, const struct store_job *row)
{
    struct listing *l = arg;
    struct kept_job **slot = grow(&l->items, l->n, sizeof(*slot));
    struct kept_job *kept = calloc(1, sizeof(*kept));

    if (!slot || !kept) {
        free(kept);
        return error_set(&l->base.err, ST_OUT_OF_MEMORY, "out of memory");
    }
    kept->id = row->uid;
    greedylr__v1__job__init(&kept->message);
    memcpy(kept->name, row->name, sizeof(kept->name));
    snprintf(kept->uid, sizeof(kept->uid), "%016" PRIx64, row->uid);
    convert_time(row->create_us, &kept->created);
    convert_time(row->update_us, &kept->updated);
    if (fill_kept_job(kept, row, &l->base.err)) {
        clear_kept_job(kept);
        return (int)l->base.err.status;
    }
    *slot = kept;
    l->n++;
    return 0;
}

/* What the store has of a job's rounds; ascending by step. */
static int keep_contribution(void *arg, const struct store_contribution *c)
{
    struct kept_job *kept = arg;
    const struct job_state *state = kept->durable;

    if (c->attempt != state->attempt || (state->has_step && c->step <= state->step)) return 0;
    if (kept->round && c->step != kept->round->step) {
        kept->behind += c->step != kept->last_step;
        kept->last_step = c->step;
        return 0;
    }
    if (!kept->round) {
        kept->round = malloc(round_size(c->ranks.world_size));
        kept->starved = !kept->round;
        if (kept->starved) return ST_OUT_OF_MEMORY;
        round_open(kept->round, c->attempt, c->step, &c->ranks);
        kept->last_step = c->step;
    }
    if (c->rank >= kept->round->ranks.world_size || kept->round->reports[c->rank].order) return 0;
    kept->round->reports[c->rank] = c->report;
    kept->round->n++;
    return 0;
}

static int read_rounds(struct listing *l, struct store_reader *reader, struct error *err)
{
    struct kept_job **kept = l->items;

    for (size_t i = 0; i < l->n; i++) {
        if (kept[i]->spec->ranks.world_size < 2) continue;
        if (store_list_contributions(reader, kept[i]->id, keep_contribution, kept[i], err))
            return (int)err->status;
        if (kept[i]->starved) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    return 0;
}

static int status_word(const char *word)
{
    for (int i = 0; word && job_status_words[i]; i++) {
        if (!strcmp(job_status_words[i], word)) return i;
    }
    return -1;
}

/* What both the request and the token ask ids to begin with; NULL: there is no such id. */
static const char *list_prefix(const struct call *call)
{
    const Greedylr__V1__ListJobsRequest *request = (const void *)call->request;
    const char *asked = request->prefix ? request->prefix : "", *own = call->token ? call->token->prefix : "";

    if (auth_sees(call->token, asked)) return asked;
    return strncmp(own, asked, strlen(asked)) ? NULL : own;
}

static void run_list_jobs(struct offload *o)
{
    const Greedylr__V1__ListJobsRequest *request = (const void *)o->call->request;
    const char *prefix = list_prefix(o->call);
    struct listing *l = listing_of(o);
    const struct store_jobs_query query = {.after = request->page_token ? request->page_token : "",
                                           .prefix = prefix,
                                           .label = request->label,
                                           .status = status_word(request->state),
                                           .limit = l->limit + 1};
    struct store_reader *reader = prefix ? offload_reader(o) : NULL;
    struct error err;

    if (!reader) return;
    int rc = store_list_jobs(reader, &query, keep_job, l, &err);
    if (!rc && !o->err.status) rc = read_rounds(l, reader, &err);
    if (rc && !o->err.status) o->err = err;
}

/* The open round: memory's, where memory has read the job's rounds. */
static void fill_open_round(const struct job *job, struct kept_job *kept)
{
    const struct job_state *state = kept->durable;

    if (job && job->rounds_loaded) {
        if (!job->rounds) return;
        fill_round(job->rounds->round, rounds_count(job) - 1, &kept->view);
    } else {
        if (!kept->round || kept->round->attempt != state->attempt ||
            (state->has_step && kept->round->step <= state->step))
            return;
        fill_round(kept->round, kept->behind, &kept->view);
    }
    kept->state.open_round = &kept->view.message;
}

/* What memory knows that is newer than the folded row: the durable state of a job that reported since. */
static int fill_list_item(struct service *service, struct kept_job *kept, struct error *err)
{
    struct job *job = jobs_peek(service->jobs, kept->name);
    const struct job_spec *spec = kept->spec;
    Greedylr__V1__Job *m = &kept->message;

    if (job && (!job->durable || job->uid != kept->id)) job = NULL;
    if (job && job->durable->revision > kept->durable->revision) {
        size_t size = job_state_size(job->durable_spec);
        struct job_state *copy = malloc(size);
        if (!copy) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        memcpy(copy, job->durable, size);
        free(kept->durable);
        kept->durable = copy;
        spec = job->durable_spec;
        if (job->update_us) convert_time(job->update_us, &kept->updated);
    }
    m->job = kept->name;
    m->uid = kept->uid;
    m->status = (char *)(uintptr_t)job_status_words[kept->durable->status];
    m->has_revision = m->has_attempt = 1;
    m->revision = kept->durable->revision;
    m->attempt = kept->durable->attempt;
    if (convert_state(spec, kept->durable, &kept->state, err)) return (int)err->status;
    fill_open_round(job, kept);
    m->state = &kept->state;
    m->create_time = &kept->created;
    m->update_time = &kept->updated;
    return 0;
}

static void merge_jobs(struct offload *o)
{
    struct listing *l = listing_of(o);
    struct kept_job **kept = l->items;

    for (size_t i = 0; i < page_of(l); i++) {
        if (fill_list_item(o->service, kept[i], &o->err)) return;
    }
}

static void answer_jobs(struct offload *o)
{
    const struct listing *l = listing_of(o);
    struct kept_job **kept = l->items;
    Greedylr__V1__ListJobsResponse answer = GREEDYLR__V1__LIST_JOBS_RESPONSE__INIT;
    size_t n = page_of(l);
    Greedylr__V1__Job **list = calloc(n + 1, sizeof(*list));

    if (list) {
        for (size_t i = 0; i < n; i++)
            list[i] = &kept[i]->message;
        answer.jobs = list;
        answer.n_jobs = n;
        if (l->n > n) answer.next_page_token = kept[n - 1]->name;
        offload_answer(o, &answer.base);
    } else {
        (void)error_set(&o->err, ST_OUT_OF_MEMORY, "out of memory");
    }
    free(list);
}

static void clear_jobs(struct offload *o)
{
    struct listing *l = listing_of(o);
    struct kept_job **kept = l->items;

    for (size_t i = 0; i < l->n; i++)
        clear_kept_job(kept[i]);
    free(kept);
}

static const struct offload_kind list_jobs = {
    .run = run_list_jobs, .merge = merge_jobs, .answer = answer_jobs, .clear = clear_jobs};

void handle_list_jobs(struct service *service, struct call *call)
{
    const Greedylr__V1__ListJobsRequest *request = (const void *)call->request;
    struct listing *l;
    struct error err;

    if (request->state && status_word(request->state) < 0) {
        (void)error_set(&err, ST_FIELD_INVALID, "state: must be active, paused or finished, got \"%.40s\"",
                        request->state);
        goto fail;
    }
    if (request->page_token && *request->page_token && !job_id_valid(request->page_token)) {
        (void)error_set(&err, ST_PAGE_TOKEN_INVALID,
                        "page_token: \"%.40s\" is not a next_page_token of this method; start without it",
                        request->page_token);
        goto fail;
    }
    l = calloc(1, sizeof(*l));
    if (l) l->limit = page_limit(request->has_page_size, request->page_size);
    offload_start(service, call, &list_jobs, (struct offload *)(void *)l);
    return;

fail:
    call_fail(call, &err);
}
