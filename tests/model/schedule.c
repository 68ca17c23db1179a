/* One schedule: many simulated ranks and a few operators, a writer that is slow, a disk that is full, a
 * process that is killed, all drawn from the seed.
 *
 * After each step the two must agree on the changes that were queued, on the calls that are answered by now
 * and on every answer; after each restart and at the end on all jobs and histories. */
#include "schedule.h"

#include "reference.h"
#include "world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static uint64_t rng, seed_now;
static bool tracing;
static jmp_buf differs;
static struct tally *tally;
static uint64_t now;
static uint32_t limit; /* calls since the start that the reference has room for */

/* How this schedule is: percent. */
static struct style {
    uint32_t hasty;                          /* each call is stored and answered at once */
    uint32_t commits, delivers, folds, time; /* of the other steps */
    uint32_t crashes, fails;
} style;

static uint32_t pick(uint32_t n)
{
    uint64_t x = (rng += 0x9e3779b97f4a7c15u);

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ (x >> 31)) >> 33) % n;
}

static bool chance(uint32_t percent)
{
    return pick(100) < percent;
}

/* ---- telling ---- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list ap;

    if (!tracing) return;
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    fflush(stdout);
}

static void differ(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void differ(const char *format, ...)
{
    va_list ap;

    printf("DIFFERS (seed %llu): ", (unsigned long long)seed_now);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    longjmp(differs, 1);
}

/* Into one of a few buffers in turn. */
static const char *text_of(const struct ref_answer *a)
{
    static char buffers[4][320];
    static uint32_t at;
    char *out = buffers[at++ % 4];
    const char *const shapes[] = {"", "decision", "job", "rates", "done"};

    if (!a) return "nothing";
    if (a->status) {
        snprintf(out, 320, "%s", status_info(a->status)->reason);
        return out;
    }
    snprintf(out, 320,
             "%s %s%s revision %u attempt %u step %s%u reports %u lr %.17g value %g best %g good %u bad %u "
             "stage %u ranks %u%s%s%s",
             shapes[a->shape], a->action, a->job_status, a->revision, a->attempt, a->has_step ? "" : "none/",
             a->step, a->reports, a->lr, a->value, a->best, a->num_good, a->num_bad, a->stage, a->ranks,
             a->duplicate ? " duplicate" : "", a->conflict ? " conflict" : "",
             a->superseded ? " superseded" : "");
    return out;
}

static void say_request(uint32_t call, const struct ref_request *q)
{
    static const char *const words[CALL_KINDS] = {"create", "report", "rewind", "begin",  "fork",
                                                  "set_lr", "pause",  "resume", "finish", "update",
                                                  "delete", "get_lr", "get_job"};

    say("call %u: %s %c", call, words[q->kind], 'a' + q->job);
    if (q->kind == CALL_FORK) say(" to %c", 'a' + q->other);
    if (q->has_step) say(" step %u", q->step);
    if (q->initial) say(" initial");
    if (q->has_attempt) say(" attempt %u", q->attempt);
    if (q->kind == CALL_REPORT) say(" rank %u value %g", q->rank, q->value);
    if (q->weight > 0) say(" weight %g", q->weight);
    if (q->lr_cap > 0) say(" lr_cap %g", q->lr_cap);
    if (q->request_id) say(" request_id r%u", q->request_id);
    if (q->has_wait) say(" wait %u ms", q->wait_ms);
    if (q->kind == CALL_SET_LR) say(" lr %g", q->lr);
    if (q->kind == CALL_CREATE || q->kind == CALL_UPDATE)
        say(" patience %u window %u max_lr %g world_size %u quorum %u", q->settings.patience,
            q->settings.window, q->settings.max_lr, q->settings.world_size, q->settings.quorum);
    if (q->kind == CALL_CREATE)
        say(" reduce %d deadline %u ms warmup %u cooldown %u strict %d", (int)q->settings.reduce,
            q->settings.deadline_ms, q->settings.warmup, q->settings.cooldown, q->settings.strict);
    if (q->kind == CALL_CREATE || q->kind == CALL_UPDATE)
        say(" guard_ratio %g guard_factor %g total_reports %u fraction %g", q->settings.guard_ratio,
            q->settings.guard_factor, q->settings.total_reports, q->settings.fraction);
    say("\n");
}

/* ---- comparing ---- */

static bool seen[REF_CALLS];

static void compare(void)
{
    for (uint32_t i = 0; i < ref_n_calls; i++) {
        const struct ref_answer *got = world_answer(i);
        const struct ref_answer *want = ref_calls[i].answered ? &ref_calls[i].answer : NULL;

        if (seen[i] && got) continue; /* it cannot change any more */
        if (!got && !want) continue;
        if (got && want && ref_calls[i].has_newer && !memcmp(got, &ref_calls[i].newer, sizeof(*got)))
            want = got;
        if (!got || !want || memcmp(got, want, sizeof(*got)) != 0)
            differ("call %u got %s; the reference says %s", i, text_of(got), text_of(want));
        say("    call %u: %s\n", i, text_of(got));
        seen[i] = true;
        tally->answers++;
    }
    if (world_submitted() != ref_queued())
        differ("%u changes are queued; the reference says %u", world_submitted(), ref_queued());
}

/* The writer has a batch: the reference takes the same. */
static void take(bool has_batch)
{
    if (!has_batch) return;
    if (world_batch() != ref_untaken())
        differ("the batch has %u changes; the reference says %u", world_batch(), ref_untaken());
    ref_take();
}

static void settle(void)
{
    tally->steps++;
    take(world_wake());
    compare();
}

/* ---- what happens around the calls ---- */

static void write_step(bool is_stored)
{
    enum writer_at at = world_writer();

    if (at == WRITER_IDLE) return;
    if (at == WRITER_COMMIT) {
        say("the writer %s %u changes\n", is_stored ? "stores" : "fails with", world_batch());
        ref_commit(is_stored);
        tally->failures += !is_stored;
    } else {
        say("the writer folds a step\n");
    }
    take(world_go(is_stored));
    settle();
}

static void deliver(void)
{
    say("the loop hears of it\n");
    world_deliver();
    ref_deliver();
    settle();
}

static bool busy(void)
{
    return world_writer() != WRITER_IDLE || ref_untaken();
}

static void find_room(void)
{
    say("there is room again\n");
    world_find_room();
    ref_room();
    settle();
}

/* Everything that is queued becomes durable and is answered. */
static void calm(void)
{
    for (uint32_t i = 0; busy() || i < 2; i++) {
        if (i > 1000) differ("the writer never comes to rest");
        if (world_writer() == WRITER_IDLE)
            settle();
        else
            write_step(true);
        deliver();
        if (ref_full()) find_room();
    }
}

static void pass_time(uint64_t ms)
{
    uint64_t until = now + ms, at, want;

    say("%u ms pass\n", (unsigned)ms);
    do {
        at = world_pass_deadline(until);
        want = ref_pass_deadline(until);
        if (at != want)
            differ("the next deadline is at %llu; the reference says %llu", (unsigned long long)at,
                   (unsigned long long)want);
        if (at) settle();
    } while (at);
    now = until;
    world_set_time(now);
    ref_set_time(now);
}

static void fold(void)
{
    if (world_writer() != WRITER_IDLE || ref_untaken()) return;
    say("the writer is idle for long\n");
    (void)world_idle();
    settle();
}

static void started(void)
{
    memset(seen, 0, sizeof(seen));
    world_set_time(now);
    limit = REF_CALLS - 30;
}

/* ---- looking at everything ---- */

static void look_at_job(uint32_t job)
{
    const struct ref_request q = {.kind = CALL_GET_JOB, .job = job};
    struct ref_answer got[REF_HISTORY + 1], want;
    uint32_t call = ref_call(&q), n, step, reported;

    world_call(call, &q);
    settle();
    if (!ref_stored_job(job, &want)) return;
    if (memcmp(world_answer(call), &want, sizeof(want)) != 0)
        differ("job %c is %s; the reference says %s", 'a' + job, text_of(world_answer(call)), text_of(&want));
    struct ref_hint hint;
    ref_hint(job, &hint);
    if (world_open_round(&step, &reported) != (hint.n_rounds > 0) ||
        (hint.n_rounds && (step != hint.rounds[0] || reported != hint.reported)))
        differ("job %c has %s open round (step %u, %u reports); the reference says %u rounds, step %u, %u "
               "reports",
               'a' + job, world_open_round(&step, &reported) ? "an" : "no", step, reported, hint.n_rounds,
               hint.rounds[0], hint.reported);
    n = world_history(got, REF_HISTORY + 1);
    for (uint32_t i = 0; i < n || ref_stored_entry(job, i, &want); i++) {
        bool has = ref_stored_entry(job, i, &want);

        if (i < n && got[i].revision != (i ? got[i - 1].revision + 1 : got[0].revision))
            differ("the history of job %c goes from revision %u to %u", 'a' + job, got[i - 1].revision,
                   got[i].revision);
        if (i >= n || !has || memcmp(&got[i], &want, sizeof(want)) != 0)
            differ("entry %u of job %c is %s; the reference says %s", i, 'a' + job,
                   text_of(i < n ? &got[i] : NULL), text_of(has ? &want : NULL));
    }
    if (!ref_replays(job)) differ("job %c is not as if what was undone had never happened", 'a' + job);
}

/* With nothing on its way. */
static void look_at_all(void)
{
    for (uint32_t job = 0; job < REF_JOBS; job++)
        look_at_job(job);
}

static void crash(void)
{
    say("kill -9, and a new start\n");
    tally->crashes++;
    tally->calls += ref_n_calls;
    tally->changes += ref_queued();
    world_crash();
    ref_crash();
    world_start();
    started();
    settle();
    if (chance(50)) look_at_all();
}

/* Everybody who waits is told, and everything is folded. */
static void restart(void)
{
    say("a stop in good order, and a new start\n");
    tally->restarts++;
    calm();
    world_release();
    ref_release();
    pass_time(0);
    compare();
    tally->calls += ref_n_calls;
    tally->changes += ref_queued();
    for (uint32_t i = 0; i < ref_n_calls; i++) {
        if (!ref_calls[i].answered) differ("call %u would wait for ever", i);
    }
    world_stop();
    ref_crash();
    world_start();
    started();
    settle();
    look_at_all();
}

/* ---- calls ---- */

static void make_settings(struct ref_settings *s)
{
    static const uint32_t worlds[] = {1, 1, 2, 2, 3, 3, 4, 5};

    memset(s, 0, sizeof(*s));
    s->lr = 0.1;
    s->factor = pick(2) ? 0.5 : 0.8;
    s->min_lr = 1e-4;
    s->max_lr = pick(2) ? 1 : 0.3;
    s->threshold = 1e-3;
    s->patience = pick(3);
    s->warmup = pick(3);
    s->cooldown = pick(3);
    s->window = pick(2) ? 0 : 1 + pick(REF_WINDOW);
    s->median = s->window && pick(2);
    s->world_size = worlds[pick(8)];
    s->quorum = 1 + pick(s->world_size);
    s->deadline_ms = 1000 * (2 + pick(3));
    s->reduce = pick(3) ? MEAN : (enum ref_reduce)pick(5);
    s->strict = chance(15);
    s->guard_ratio = pick(2) ? 0 : 1.1 + 0.2 * pick(3);
    s->guard_factor = pick(2) ? 0.5 : 0.9;
    if (pick(2)) return;
    s->total_reports = 2 + pick(20);
    s->fraction = 0.25 * (1 + pick(4));
}

static uint32_t pick_step(const struct ref_hint *h)
{
    uint32_t last = h->n_rounds ? h->rounds[h->n_rounds - 1] : h->has_step ? h->step : 0;

    if (chance(60)) return h->n_rounds ? h->rounds[pick(h->n_rounds < 3 ? h->n_rounds : 3)] : last + 1;
    if (h->n_past && chance(45)) return h->past[pick(h->n_past)];
    if (chance(70)) return last + 1 + pick(2);
    return pick(16);
}

/* The loss of a step and rank: a curve that falls and bends, the same for every retry. */
static double loss_of(uint32_t step, uint32_t rank)
{
    static const double bends[] = {0, 0.4, -0.2, 0.9, 0, -0.3, 0.1};

    if (chance(2)) return pick(2) ? NAN : INFINITY;
    if (chance(12)) return 0.25 * (1 + pick(8));
    return 3.0 / (1 + step / 4.0) + bends[step % 7] + rank / 16.0;
}

static void make_report(struct ref_request *q, const struct ref_hint *h)
{
    q->has_step = chance(h->world_size > 1 ? 98 : 70);
    if (q->has_step) q->step = pick_step(h);
    q->rank = chance(97) ? pick(h->world_size) : pick(REF_RANKS);
    q->value = loss_of(q->has_step ? q->step : pick(10), q->rank);
    if (chance(30)) q->weight = 1 + pick(5);
    if (chance(5)) q->lr_cap = 0.01 * (1 + pick(20));
    if (!q->has_step && chance(60)) q->request_id = 1 + pick(6);
    q->has_attempt = chance(25);
    if (!q->has_attempt) goto wait;
    q->attempt = h->attempt;
    if (chance(25))
        q->attempt += 1 + pick(2);
    else if (q->attempt && chance(25))
        q->attempt--;
wait:
    q->has_wait = chance(50);
    if (q->has_wait) q->wait_ms = 1 + pick(4500);
}

static void make_rewind(struct ref_request *q, const struct ref_hint *h)
{
    q->initial = chance(20);
    if (!q->initial) q->step = h->n_past && chance(85) ? h->past[pick(h->n_past)] : pick(12);
    q->has_step = !q->initial;
    q->has_attempt = chance(50);
    if (!q->has_attempt) return;
    q->attempt = h->attempt + pick(3);
    if (q->attempt && chance(20)) q->attempt--;
}

static void make_update(struct ref_request *q)
{
    struct ref_settings *s = &q->settings;

    s->patience = pick(4);
    s->window = 1 + pick(REF_WINDOW);
    s->max_lr = 0.15 + 0.25 * pick(4);
    s->world_size = 1 + pick(REF_RANKS);
    s->quorum = 1 + pick(s->world_size);
    s->guard_ratio = pick(2) ? 0 : 1.2;
    s->total_reports = pick(2) ? 0 : 2 + pick(20);
}

static enum ref_kind pick_kind(bool exists)
{
    static const struct {
        enum ref_kind kind;
        uint32_t weight;
    } rows[] = {{CALL_REPORT, 700}, {CALL_REWIND, 55}, {CALL_BEGIN, 20},  {CALL_FORK, 15},
                {CALL_SET_LR, 15},  {CALL_PAUSE, 15},  {CALL_RESUME, 25}, {CALL_FINISH, 10},
                {CALL_UPDATE, 40},  {CALL_DELETE, 8},  {CALL_GET_LR, 50}, {CALL_GET_JOB, 20},
                {CALL_CREATE, 10}};
    uint32_t total = 0, at;

    if (!exists && chance(80)) return CALL_CREATE;
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        total += rows[i].weight;
    at = pick(total);
    for (uint32_t i = 0;; i++) {
        if (at < rows[i].weight) return rows[i].kind;
        at -= rows[i].weight;
    }
}

static struct ref_request make_call(void)
{
    struct ref_request q;
    struct ref_hint h;

    memset(&q, 0, sizeof(q));
    q.job = chance(70) ? 0 : 1 + pick(REF_JOBS - 1);
    ref_hint(q.job, &h);
    q.kind = pick_kind(h.exists);
    if (!h.exists) h.world_size = 1;
    switch (q.kind) {
    case CALL_CREATE:
        if (h.exists && chance(70))
            q.settings = h.created;
        else
            make_settings(&q.settings);
        if (h.forked)
            q.kind = CALL_GET_JOB; /* the spec that a fork was created with is its parent's affair */
        break;
    case CALL_REPORT: make_report(&q, &h); break;
    case CALL_REWIND: make_rewind(&q, &h); break;
    case CALL_UPDATE: make_update(&q); break;
    case CALL_BEGIN:
    case CALL_FORK:
        q.has_step = chance(50);
        if (q.has_step) q.step = h.n_past && chance(85) ? h.past[pick(h.n_past)] : pick(12);
        q.other = pick(REF_JOBS);
        break;
    case CALL_SET_LR: q.lr = chance(90) ? 0.02 * (1 + pick(7)) : 7; break;
    case CALL_GET_LR:
        q.has_step = chance(80);
        if (!q.has_step) break;
        q.step = pick_step(&h);
        q.has_wait = chance(60);
        q.wait_ms = q.has_wait ? 1 + pick(4500) : 0;
        break;
    default: break;
    }
    return q;
}

static void one_call(void)
{
    struct ref_request q = make_call();
    uint32_t call;

    if (ref_n_calls >= limit) return;
    say_request(ref_n_calls, &q);
    call = ref_call(&q);
    world_call(call, &q);
    settle();
    tally->rewinds += q.kind == CALL_REWIND;
    tally->rounds += q.kind == CALL_REPORT && !world_answer(call);
    if (!chance(style.hasty)) return;
    if (world_writer() == WRITER_COMMIT) write_step(!chance(style.fails));
    deliver();
}

static void cancel_one(void)
{
    for (uint32_t tries = 0; ref_n_calls && tries < 8; tries++) {
        uint32_t call = pick(ref_n_calls);

        if (ref_calls[call].answered) continue;
        say("the caller of %u leaves\n", call);
        ref_cancel(call);
        world_cancel(call);
        settle();
        return;
    }
}

/* ---- the schedule ---- */

static void pick_style(void)
{
    static const uint32_t hasty[] = {95, 70, 30, 0};

    style = (struct style){.hasty = hasty[pick(4)],
                           .commits = 5 + pick(25),
                           .delivers = 5 + pick(20),
                           .folds = pick(10),
                           .time = 1 + pick(6),
                           .crashes = pick(3) ? pick(3) : 0,
                           .fails = pick(3) ? 0 : 5};
}

static void one_step(void)
{
    static const uint32_t spans[] = {500, 1000, 2000, 3000, 5000};
    uint32_t at = pick(100);
    const struct style *s = &style;

    if (ref_full() && chance(25)) find_room();
    if (at < s->commits)
        write_step(!chance(s->fails));
    else if ((at -= s->commits) < s->delivers)
        deliver();
    else if ((at -= s->delivers) < s->folds)
        fold();
    else if ((at -= s->folds) < s->time)
        pass_time(busy() ? 500 : spans[pick(5)]);
    else if ((at -= s->time) < s->crashes)
        crash();
    else if (at == 99 && chance(50))
        restart();
    else if (at >= 97)
        cancel_one();
    else
        one_call();
}

static void end(void)
{
    say("the end\n");
    calm();
    for (int i = 0; i < 3; i++) {
        pass_time(REF_WAIT_MAX + 1000);
        calm();
    }
    for (uint32_t i = 0; i < ref_n_calls; i++) {
        if (!ref_calls[i].answered) differ("call %u waits for ever", i);
    }
    look_at_all();
    if (chance(50)) {
        for (int i = 0; i < 20; i++) {
            fold();
            write_step(true);
        }
        deliver();
        look_at_all();
    }
    if (chance(70))
        crash();
    else
        restart();
    look_at_all();
}

bool schedule_run(uint64_t seed, bool trace, struct tally *counts)
{
    rng = seed_now = seed;
    tracing = trace;
    tally = counts;
    now = 0;
    if (setjmp(differs)) return false;
    pick_style();
    world_begin(seed);
    ref_begin();
    started();
    for (uint32_t n = 15 + pick(60); n > 0; n--)
        one_step();
    end();
    tally->calls += ref_n_calls;
    tally->changes += ref_queued();
    world_stop();
    return true;
}
