/* What the tests of the store share: a data directory of their own, jobs and decisions that differ in every
 * column. */
#ifndef GREEDYLRD_TESTS_TEST_STORE_HELP_H
#define GREEDYLRD_TESTS_TEST_STORE_HELP_H

#include "core/shadow.h"
#include "store/store.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fix {
    char dir[96];
    struct store *store;
    struct store_reader *reader;
    struct error err;
};

#define OK(call, fix) cr_assert_eq((call), 0, "%s", (fix)->err.message)

static inline void fix_open(struct fix *f, uint32_t history_limit)
{
    const struct store_options options = {.history_limit = history_limit};

    OK(store_open(f->dir, &options, &f->store, &f->err), f);
    OK(store_reader_open(f->store, &f->reader, &f->err), f);
}

static inline void fix_begin_in(struct fix *f, const char *base)
{
    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "%s/greedylrd-store-XXXXXX", access(base, W_OK) ? "/tmp" : base);
    cr_assert(mkdtemp(f->dir));
    strcat(f->dir, "/data");
    fix_open(f, 0);
}

static inline void fix_close(struct fix *f)
{
    store_reader_close(f->reader);
    OK(store_close(f->store, &f->err), f);
    f->store = NULL;
}

static inline void fix_begin(struct fix *f)
{
    fix_begin_in(f, "/tmp");
}

/* Removes a directory made by these tests, files only below it. */
static inline void help_remove(const char *dir)
{
    static const char *const names[] = {
        "greedylr.db", "greedylr.db-wal", "greedylr.db-shm", "greedylr.db.new", "lock", "filler"};
    char path[512];

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static inline void fix_end(struct fix *f)
{
    if (f->store) fix_close(f);
    help_remove(f->dir);
    *strrchr(f->dir, '/') = '\0';
    rmdir(f->dir);
}

/* Copies the database and its log as they are at this moment, as a crash would leave them. */
static inline void help_copy(const char *from, const char *to)
{
    static const char *const names[] = {"greedylr.db", "greedylr.db-wal"};
    static char buffer[1 << 16];
    char path[512];

    cr_assert_eq(mkdir(to, 0700), 0);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", from, names[i]);
        int in = open(path, O_RDONLY);
        if (in < 0) continue;
        snprintf(path, sizeof(path), "%s/%s", to, names[i]);
        int out = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        cr_assert(out >= 0);
        for (ssize_t n; (n = read(in, buffer, sizeof(buffer))) > 0;)
            cr_assert_eq(write(out, buffer, (size_t)n), n);
        close(in);
        close(out);
    }
}

/* A decision of which every column depends on its revision. */
struct made {
    struct job_decision decision;
    double lrs[GROUPS_MAX];
    uint8_t state[24], shadow[256];
    char request_id[32];
};

/* Two shadows, whose rates and reasons depend on the revision. */
static inline void make_shadow(struct made *m)
{
    struct job_decision *d = &m->decision;
    struct state_io io = {.out = m->shadow};

    shadow_record_begin(&io, 2);
    shadow_record_add(&io, "one", ACTION_CUT, m->lrs, d->groups, d->reason);
    shadow_record_add(&io, "two", d->action, m->lrs, d->groups, "");
    cr_assert_leq(io.pos, sizeof(m->shadow));
    d->shadow = m->shadow;
    d->shadow_len = io.pos;
}

static inline struct made *make_decision(struct made *m, uint64_t uid, uint32_t revision)
{
    struct job_decision *d = &m->decision;

    memset(m, 0, sizeof(*m));
    *d = (struct job_decision){.revision = revision,
                               .attempt = revision / 50,
                               .step = revision * 10,
                               .has_step = true,
                               .action = (enum action)(revision % ACTION_OVERRIDE),
                               .time_us = 1700000000000000 + (int64_t)revision * 1000 + (int64_t)(uid % 1000),
                               .value = 1.0 / revision,
                               .has_value = true,
                               .smoothed = 0.1 * revision,
                               .has_smoothed = revision % 2,
                               .best = -1.0 / (double)uid,
                               .has_best = revision % 3,
                               .num_good = revision % 7,
                               .num_bad = revision % 5,
                               .stage = (enum stage)(revision % 3),
                               .at_min = revision % 2,
                               .at_max = revision % 3 == 1,
                               .plateaued = revision % 5 == 1,
                               .applied_mismatch = revision % 7 == 1,
                               .groups = 1 + revision % 3,
                               .lrs = m->lrs};
    for (uint32_t g = 0; g < d->groups; g++)
        m->lrs[g] = 0.1 / (revision + g);
    snprintf(d->reason, sizeof(d->reason), "reason %" PRIu32 " of %" PRIu64, revision, uid);
    if (revision % 4 == 0) snprintf(m->request_id, sizeof(m->request_id), "request-%" PRIu32, revision);
    snprintf((char *)m->state, sizeof(m->state), "state %" PRIu32, revision);
    if (revision % 3 == 2) make_shadow(m);
    return m;
}

static inline struct store_change change_of(uint64_t uid, const struct made *m)
{
    return (struct store_change){.uid = uid,
                                 .expected_revision = m->decision.revision - 1,
                                 .op = STORE_JOB_KEEP,
                                 .decision = &m->decision,
                                 .request_id = m->request_id,
                                 .state = m->state,
                                 .state_len = sizeof(m->state)};
}

static inline int try_decide(struct fix *f, uint64_t uid, uint32_t revision)
{
    struct made m;
    struct store_change change = change_of(uid, make_decision(&m, uid, revision));

    return store_commit(f->store, &change, 1, &f->err);
}

/* In batches, as the writer commits. */
static inline void decide(struct fix *f, uint64_t uid, uint32_t from, uint32_t to)
{
    enum { BATCH = 40 };
    static struct made made[BATCH];
    struct store_change changes[BATCH];

    for (uint32_t r = from; r <= to;) {
        size_t n = 0;

        for (; n < BATCH && r <= to; n++, r++)
            changes[n] = change_of(uid, make_decision(&made[n], uid, r));
        OK(store_commit(f->store, changes, n, &f->err), f);
    }
}

static inline struct store_job make_job(uint64_t uid, const char *name, const char *labels)
{
    static char created[] = "{\"lr\":0.1}", effective[] = "{\"lr\":[0.1]}";
    static uint8_t state[] = "initial";
    struct store_job job = {.uid = uid,
                            .created = created,
                            .spec = created,
                            .effective = effective,
                            .labels = (char *)(uintptr_t)labels,
                            .create_us = 1700000000000001,
                            .update_us = 1700000000000002,
                            .status = JOB_ACTIVE,
                            .state = state,
                            .state_len = sizeof(state)};

    strcpy(job.name, name);
    return job;
}

static inline void create_job(struct fix *f, uint64_t uid, const char *name, const char *labels)
{
    struct store_job job = make_job(uid, name, labels);
    struct store_change change = {.uid = uid, .op = STORE_JOB_CREATE, .job = &job};

    OK(store_commit(f->store, &change, 1, &f->err), f);
}

/* As many rows more of the pass under way, which begins with them. */
static inline void fold_some(struct fix *f, unsigned rows)
{
    for (unsigned i = 0; i < rows; i += STORE_STEP_ROWS)
        OK(store_maintain(f->store, false, &f->err), f);
}

static inline void fold(struct fix *f)
{
    OK(store_maintain(f->store, true, &f->err), f);
    cr_assert_eq(store_backlog(f->store), 0);
}

static inline bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

/* Everything a decision says, as text. */
static inline void describe(const struct store_entry *e, char *out, size_t size)
{
    const struct job_decision *d = &e->decision;
    int n = snprintf(
        out, size, "%u %u %u%d a%d t%" PRId64 " v%a%d s%a%d b%a%d %u %u g%d %d%d%d%d%d '%s' '%s'",
        d->revision, d->attempt, d->step, d->has_step, (int)d->action, d->time_us, d->value, d->has_value,
        d->smoothed, d->has_smoothed, d->best, d->has_best, d->num_good, d->num_bad, (int)d->stage, d->at_min,
        d->at_max, d->plateaued, d->applied_mismatch, d->superseded, d->reason, e->request_id);

    for (uint32_t g = 0; g < d->groups; g++)
        n += snprintf(out + n, size - (size_t)n, " %a", d->lrs[g]);
    for (size_t i = 0; i < d->shadow_len; i++)
        n += snprintf(out + n, size - (size_t)n, "%s%02x", i ? "" : " shadow ", d->shadow[i]);
}

/* Collects what a listing hands out. */
struct listing {
    uint32_t n, stop_after;
    uint32_t first, last;
    char *text;
};

static inline int listing_add(void *arg, const struct store_entry *entry)
{
    struct listing *l = arg;
    char line[1024];

    describe(entry, line, sizeof(line));
    size_t old = l->text ? strlen(l->text) : 0;
    l->text = realloc(l->text, old + strlen(line) + 2);
    sprintf(l->text + old, "%s\n", line);
    if (!l->n++) l->first = entry->decision.revision;
    cr_assert(l->n == 1 || entry->decision.revision > l->last);
    l->last = entry->decision.revision;
    return l->stop_after && l->n == l->stop_after;
}

static inline struct listing list_all(struct fix *f, uint64_t uid)
{
    const struct store_decisions_query query = {.uid = uid, .superseded = true, .limit = UINT32_MAX};
    struct listing l = {0};

    OK(store_list_decisions(f->reader, &query, listing_add, &l, &f->err), f);
    return l;
}

/* What decisions 1..n of the job should read back as. */
static inline void check_history(struct fix *f, uint64_t uid, uint32_t from, uint32_t to)
{
    struct listing l = list_all(f, uid), expected = {0};

    for (uint32_t r = from; r <= to; r++) {
        struct made m;
        struct store_entry e = {0};

        make_decision(&m, uid, r);
        if (!m.decision.has_smoothed) m.decision.smoothed = 0;
        if (!m.decision.has_best) m.decision.best = 0;
        e.decision = m.decision;
        strcpy(e.request_id, m.request_id);
        listing_add(&expected, &e);
    }
    cr_assert_eq(l.n, expected.n, "%u decisions instead of %u", l.n, expected.n);
    if (l.n) cr_assert_str_eq(l.text, expected.text);
    free(l.text);
    free(expected.text);
}

#endif
