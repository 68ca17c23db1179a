/* What each part of a report costs, without a network: cost all|PART [REPORTS [JOBS [RANKS [UNFOLDED]]]]
 *
 * A report goes the way that it goes in the daemon: JSON to a message, the step, its state as bytes, a batch
 * of 32 committed to a store in DIR (TMPDIR or /tmp), folded whenever so much waits as in the daemon, the
 * answer as JSON. `all` prints the time of each part; a part's name does the same work and counts its own
 * instructions, where callgrind is told --toggle-collect=part_NAME.  With RANKS the jobs' reports come as
 * rounds of so many ranks.  POLICY=learned in the environment takes another policy than greedy. */
#include "core/job.h"
#include "core/round.h"
#include "rpc/buf.h"
#include "rpc/route.h"
#include "server/convert.h"
#include "store/store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH    32
#define NOINLINE __attribute__((noinline, noclone))
#define BODY_MAX 128

enum part { DECODE, ROUND, STEP, STATE, COMMIT, FOLD, ENCODE, PARTS };
static const char *const part_names[PARTS] = {"decode", "round", "step", "state", "commit", "fold", "encode"};

struct task {
    char name[32];
    struct job_state *state, *next;
    struct round *round;
};

struct made {
    struct job_decision decision;
    double lr;
    uint8_t *state;
    size_t len, cap;
    struct task *task;
};

static struct job_spec *spec;
static struct store *store;
static struct made batch[BATCH];
static struct error err;
static struct rpc_route route; /* of all of them */
static double seconds[PARTS];
static uint64_t answered; /* bytes, so that nothing is left out */

static void need(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "cost: %s: %s\n", what, err.message);
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The names of these are what callgrind is told. */

NOINLINE void part_decode(const struct rpc_request *request, double *loss);
NOINLINE void part_round(struct task *task, uint32_t step, double loss, struct job_event *event);
NOINLINE void part_step(struct task *task, const struct job_event *event, struct made *made);
NOINLINE void part_state(struct task *task, struct made *made);
NOINLINE void part_commit(size_t n);
NOINLINE void part_fold(void);
NOINLINE void part_encode(const struct made *made, struct buf *out);

void part_decode(const struct rpc_request *request, double *loss)
{
    struct rpc_call call;
    const char *allow;

    need(!route_match(request->method, request->target, &route, &allow, &err) &&
             !route_decode(request, &route, &call, &err),
         "decode");
    *loss = ((const Greedylr__V1__ReportRequest *)(const void *)call.message)->loss;
    rpc_call_clear(&call);
}

void part_round(struct task *task, uint32_t step, double loss, struct job_event *event)
{
    struct round *round = task->round;

    round_open(round, 0, step, &spec->ranks);
    for (uint32_t rank = 0; rank < spec->ranks.world_size; rank++) {
        const struct round_report report = {loss + rank * 1e-3, 1, INFINITY, NAN, 0, true};

        need(round_add(round, rank, &report), "round");
    }
    need(round_ready(round), "round");
    round_event(round, task->state, event);
}

void part_step(struct task *task, const struct job_event *event, struct made *made)
{
    struct job_state *next = task->next;

    need(!job_step(spec, task->state, event, next, &made->decision, &err), "step");
    task->next = task->state;
    task->state = next;
}

void part_state(struct task *task, struct made *made)
{
    made->len = job_state_encoded_size(spec, task->state);
    if (made->len > made->cap) {
        made->cap = made->len;
        made->state = realloc(made->state, made->cap);
        need(made->state != NULL, "memory");
    }
    job_state_encode(spec, task->state, made->state);
}

void part_commit(size_t n)
{
    struct store_change changes[BATCH] = {0};

    for (size_t i = 0; i < n; i++) {
        const struct made *m = &batch[i];

        changes[i] = (struct store_change){.uid = (uint64_t)(uintptr_t)m->task,
                                           .expected_revision = m->decision.revision - 1,
                                           .op = STORE_JOB_KEEP,
                                           .decision = &m->decision,
                                           .state = m->state,
                                           .state_len = m->len};
    }
    need(!store_commit(store, changes, n, &err), "commit");
}

void part_fold(void)
{
    need(!store_maintain(store, false, &err), "fold");
}

void part_encode(const struct made *made, struct buf *out)
{
    const struct rpc_call call = {.route = route, .codec = CODEC_JSON, .timeout_ms = -1};
    Google__Protobuf__Timestamp time;
    decision_message message;
    const char *type;

    need(!convert_decision(&made->decision, made->task->name, &message, &time, &err) &&
             !rpc_encode(&call, &message.base, out, &type, &err),
         "encode");
    convert_decision_clear(&message);
}

#define TIMED(part, call)                                                                                    \
    do {                                                                                                     \
        double start = now();                                                                                \
        call;                                                                                                \
        seconds[part] += now() - start;                                                                      \
    } while (0)

static void make_spec(uint32_t ranks)
{
    const double lr = 0.1;
    const char *name = getenv("POLICY");
    const struct policy *policy = policy_find(name ? name : "greedy");

    need(policy, "POLICY: no such policy");
    spec = spec_new(policy);
    need(spec && !f64_list_set(&spec->lr, &lr, 1), "spec");
    spec->ranks.world_size = ranks;
    need(!spec_resolve(spec, &err), "spec");
}

static void make_job(struct task *task, size_t i, const struct job_spec *as)
{
    static char text[] = "{\"lr\":[0.1],\"greedy\":{\"patience\":10}}", none[] = "";
    struct store_job row = {.created = text, .spec = text, .effective = text, .labels = none};
    struct store_change change = {.uid = (uint64_t)(uintptr_t)task, .op = STORE_JOB_CREATE, .job = &row};
    uint8_t state[1024];

    snprintf(task->name, sizeof(task->name), "job-%06zu", i);
    task->state = malloc(job_state_size(as));
    task->next = malloc(job_state_size(as));
    task->round = malloc(round_size(as->ranks.world_size));
    need(task->state && task->next && task->round, "memory");
    job_init(as, task->state);
    strcpy(row.name, task->name);
    row.uid = change.uid;
    row.state_len = job_state_encoded_size(as, task->state);
    row.state = state;
    need(row.state_len <= sizeof(state), "state");
    job_state_encode(as, task->state, state);
    need(!store_commit(store, &change, 1, &err), "create");
}

static void report(struct task *task, uint32_t step, size_t i, struct made *made)
{
    char body[BODY_MAX], target[64];
    double loss = 0;
    int n = snprintf(body, sizeof(body), "{\"loss\":%.6f}", 1 + (double)(i * 7919 % 10007) / 5003);

    snprintf(target, sizeof(target), "/v1/jobs/%s:report", task->name);
    const struct rpc_request request = {.method = "POST",
                                        .target = target,
                                        .content_type = "application/json",
                                        .body = (const uint8_t *)body,
                                        .len = (size_t)n};
    struct job_event event = {.kind = EVENT_REPORT, .time_us = INT64_C(1767225600123456) + (int64_t)i};

    for (uint32_t rank = 0; rank < spec->ranks.world_size; rank++)
        TIMED(DECODE, part_decode(&request, &loss));
    event.report.value = loss;
    event.report.lr_cap = INFINITY;
    event.report.applied_lr = NAN;
    if (spec->ranks.world_size > 1) TIMED(ROUND, part_round(task, step, loss, &event));
    made->task = task;
    TIMED(STEP, part_step(task, &event, made));
    made->lr = made->decision.lrs[0];
    made->decision.lrs = &made->lr;
    TIMED(STATE, part_state(task, made));
}

static void answer(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (uint32_t rank = 0; rank < spec->ranks.world_size; rank++) {
            struct buf out = {0};

            TIMED(ENCODE, part_encode(&batch[i], &out));
            answered += out.len;
            buf_free(&out);
        }
    }
}

static void run(struct task *tasks, size_t jobs, size_t reports, size_t unfolded)
{
    size_t n = 0;

    for (size_t i = 0; i < reports; i++) {
        report(&tasks[i % jobs], (uint32_t)(i / jobs) + 1, i, &batch[n++]);
        if (n < BATCH && i + 1 < reports) continue;
        TIMED(COMMIT, part_commit(n));
        answer(n);
        for (size_t rows = 0; rows < n && store_backlog(store) >= unfolded; rows += STORE_STEP_ROWS)
            TIMED(FOLD, part_fold());
        n = 0;
    }
    /* The rest, so that every report has paid for its folding. */
    while (store_has_work(store))
        TIMED(FOLD, part_fold());
}

int main(int argc, char **argv)
{
    size_t reports = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
    size_t jobs = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;
    uint32_t ranks = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
    const char *base = getenv("TMPDIR");
    char dir[256], command[300];

    snprintf(dir, sizeof(dir), "%s/greedylrd-cost-XXXXXX", base ? base : "/tmp");
    if (argc < 2 || !reports || !jobs || !ranks || !mkdtemp(dir)) {
        fputs("usage: cost all|PART [REPORTS [JOBS [RANKS [UNFOLDED]]]]\n", stderr);
        return 2;
    }
    struct task *tasks = calloc(jobs, sizeof(*tasks));
    need(tasks && !store_open(dir, NULL, &store, &err), "start");
    make_spec(ranks);
    for (size_t i = 0; i < jobs; i++)
        make_job(&tasks[i], i, spec);
    run(tasks, jobs, reports, argc > 5 ? strtoul(argv[5], NULL, 10) : 16384);
    printf("%zu reports of %zu jobs x %u ranks, %" PRIu64
           " bytes answered, CPU of each part in us a decision:\n",
           reports, jobs, ranks, answered);
    for (int p = 0; p < PARTS; p++)
        printf("%-8s %8.3f\n", part_names[p], seconds[p] * 1e6 / (double)reports);
    need(!store_close(store, &err), "end");
    snprintf(command, sizeof(command), "rm -r '%s'", dir);
    return system(command) != 0;
}
