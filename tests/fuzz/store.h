/* What the targets of the store share: a small database, made once, that every input damages in its own way;
 * and its use by a daemon: open, read everything, commit, fold, close.
 *
 * Whatever the bytes are, each call works or refuses by one of the statuses that its header names, and what
 * is handed out is within the documented ranges. */
#ifndef GREEDYLRD_TESTS_FUZZ_STORE_H
#define GREEDYLRD_TESTS_FUZZ_STORE_H

#include "core/policy.h"
#include "job.h"
#include "server/convert.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const store_files[] = {"greedylr.db", "greedylr.db-wal"};
#define STORE_FILES 2

/* The database and its log as a crash left them. */
static struct {
    char dir[64];
    uint8_t *bytes[STORE_FILES];
    size_t len[STORE_FILES];
} made;

static inline void store_path(const char *file, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s", made.dir, file);
}

static inline void store_write(size_t file, const uint8_t *bytes, size_t len)
{
    char path[PATH_MAX];

    store_path(store_files[file], path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "%s: %s", path, strerror(errno));
    close(fd);
}

static inline void store_keep(size_t file)
{
    char path[PATH_MAX];
    struct stat st;

    store_path(store_files[file], path);
    int fd = open(path, O_RDONLY);
    MUST(fd >= 0 && !fstat(fd, &st), "%s: %s", path, strerror(errno));
    made.len[file] = (size_t)st.st_size;
    made.bytes[file] = malloc(made.len[file]);
    MUST(made.bytes[file] && read(fd, made.bytes[file], made.len[file]) == st.st_size, "%s", path);
    close(fd);
}

/* ---- the database ---- */

struct made_job {
    struct job_spec *spec;
    struct job_state *state, *next;
    struct store_job row;
    char *text;
};

#define MADE_JOBS 2
static struct made_job jobs[MADE_JOBS];
static const char *const job_texts[MADE_JOBS] = {
    "{\"lr\":[0.1,0.2],\"greedy\":{\"patience\":1},\"labels\":[\"k=v\"]}",
    "{\"lr\":[0.1],\"shadow\":[{\"name\":\"p\",\"plateau\":{\"patience\":0}}]}",
};

static inline struct job_spec *spec_of(const char *text, struct error *err)
{
    ProtobufCMessage *message = NULL;
    struct job_spec *spec = NULL;

    if (json_decode(&greedylr__v1__job_spec__descriptor, text, strlen(text), "", &message, err)) return NULL;
    if (convert_live_spec((const spec_message *)(const void *)message, &spec, err)) spec = NULL;
    protobuf_c_message_free_unpacked(message, NULL);
    return spec;
}

static inline void create_job(struct store *store, size_t i)
{
    struct made_job *job = &jobs[i];
    struct error err = {0};

    job->text = strdup(job_texts[i]);
    job->spec = spec_of(job->text, &err);
    MUST(job->spec, "%s", err.message);
    job->state = new_state(job->spec);
    job->next = new_state(job->spec);
    job_init(job->spec, job->state);
    job->row = (struct store_job){.uid = i + 1,
                                  .created = job->text,
                                  .spec = job->text,
                                  .effective = job->text,
                                  .labels = (char *)(uintptr_t)(i ? "" : "k=v"),
                                  .create_us = 1700000000000000,
                                  .update_us = 1700000000000000};
    job->row.name[0] = (char)('a' + i);
    job->row.state = must_encode(job->spec, job->state, &job->row.state_len);
    struct store_change change = {.uid = job->row.uid, .op = STORE_JOB_CREATE, .job = &job->row};
    MUST(!store_commit(store, &change, 1, &err), "%s", err.message);
}

/* One report's decision; every third takes back the two before it, as a rewind does. */
static inline void decide(struct store *store, size_t i, double value)
{
    struct made_job *job = &jobs[i];
    struct job_decision decision;
    struct error err = {0};
    struct job_event event = {.kind = EVENT_REPORT,
                              .time_us = 1700000000000000,
                              .report = {.value = value, .lr_cap = INFINITY, .applied_lr = NAN}};
    char request_id[16];
    static const uint8_t round[12] = {1};

    MUST(!job_step(job->spec, job->state, &event, job->next, &decision, &err), "%s", err.message);
    snprintf(request_id, sizeof(request_id), "r%u", decision.revision);
    struct store_change change = {.uid = job->row.uid,
                                  .expected_revision = job->state->revision,
                                  .decision = &decision,
                                  .request_id = request_id,
                                  .round = decision.revision % 2 ? round : NULL,
                                  .round_len = sizeof(round),
                                  .supersedes = decision.revision % 3 == 0,
                                  .superseded_after = decision.revision - 3};
    uint8_t *state = must_encode(job->spec, job->next, &change.state_len);

    change.state = state;
    MUST(!store_commit(store, &change, 1, &err), "%s", err.message);
    free(state);
    memcpy(job->state, job->next, job_state_size(job->spec));
}

static inline void contribute(struct store *store, size_t i)
{
    struct store_contribution contribution = {
        .step = 100,
        .rank = 1,
        .ranks = {.world_size = 4, .quorum = 2, .reduce = REDUCE_MEDIAN},
        .report = {.value = 0.5, .weight = 2, .lr_cap = INFINITY, .applied_lr = NAN, .order = 1}};
    struct store_change change = {
        .uid = i + 1, .expected_revision = jobs[i].state->revision, .contribution = &contribution};
    struct error err = {0};

    MUST(!store_commit(store, &change, 1, &err), "%s", err.message);
}

static inline void store_make(const char *name)
{
    struct store *store = NULL;
    struct error err = {0};

    snprintf(made.dir, sizeof(made.dir), "%s/greedylrd-%s-%ld",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", name, (long)getpid());
    MUST(!store_open(made.dir, NULL, &store, &err), "%s", err.message);
    for (size_t i = 0; i < MADE_JOBS; i++)
        create_job(store, i);
    for (int n = 0; n < 20; n++) {
        decide(store, 0, n % 5 ? 1.0 / n : NAN);
        if (n < 4) decide(store, 1, n);
        if (n == 14) MUST(!store_maintain(store, true, &err), "%s", err.message);
    }
    contribute(store, 1);
    for (size_t f = 0; f < STORE_FILES; f++)
        store_keep(f);
    MUST(!store_close(store, &err), "%s", err.message);
}

/* For atexit: what is left of the directory. */
static inline void store_remove(void)
{
    static const char *const names[] = {"greedylr.db", "greedylr.db-wal", "greedylr.db-shm",
                                        "greedylr.db.new", "lock"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        store_path(names[i], path);
        unlink(path);
    }
    rmdir(made.dir);
}

/* ---- its use ---- */

#define ONE_OF(rc, err, ...) must_be_one_of(rc, err, (const int[]){__VA_ARGS__, -1})
static inline void must_be_one_of(int rc, const struct error *err, const int *allowed)
{
    if (!rc) return;
    must_tell(err, rc);
    while (*allowed >= 0 && *allowed != rc)
        allowed++;
    MUST(*allowed >= 0, "%s: %s", status_info((enum status)rc)->reason, err->message);
}

static inline int on_entry(void *arg, const struct store_entry *entry)
{
    const struct job_decision *d = &entry->decision;
    struct error err = {0};
    uint32_t *last = arg;

    MUST(d->action < ACTION_COUNT && d->stage <= STAGE_COOLDOWN, "action %d", (int)d->action);
    MUST(d->groups <= GROUPS_MAX && d->lrs == entry->lrs, "%u groups", d->groups);
    MUST(strnlen(d->reason, sizeof(d->reason)) < sizeof(d->reason), "reason");
    MUST(strnlen(d->actor, sizeof(d->actor)) < sizeof(d->actor), "actor");
    MUST(strnlen(entry->request_id, sizeof(entry->request_id)) < sizeof(entry->request_id), "request_id");
    MUST(!d->shadow || !shadow_record_check(d->shadow, d->shadow_len, d->groups, &err), "%s", err.message);
    *last = d->revision;
    return 0;
}

static inline int on_contribution(void *arg, const struct store_contribution *c)
{
    MUST(c->ranks.world_size >= 1 && c->ranks.world_size <= RANKS_MAX && c->rank < c->ranks.world_size,
         "rank %u of %u", c->rank, c->ranks.world_size);
    MUST(c->ranks.quorum >= 1 && c->ranks.quorum <= c->ranks.world_size, "quorum %u", c->ranks.quorum);
    MUST(c->ranks.reduce <= REDUCE_FIRST, "reduce %d", (int)c->ranks.reduce);
    return 0;
}

/* As the service does with a row when it needs the job. */
static inline void load_job(const struct store_job *row)
{
    static const uint8_t draws[] = {0, 1, 2, 7};
    struct input in = {draws, sizeof(draws)};
    struct error err = {0};

    MUST(row->created && row->spec && row->effective && row->labels, "a text is missing");
    MUST(row->status <= JOB_FINISHED, "status %d", (int)row->status);
    struct job_spec *spec = spec_of(row->effective, &err);

    if (!spec) {
        must_tell(&err, (int)err.status);
        return;
    }
    struct job_state *state = new_state(spec);
    int rc = job_state_decode(spec, row->state, row->state_len, state, &err);

    ONE_OF(rc, &err, ST_DATA_DAMAGED);
    if (!rc && state->revision < UINT32_MAX - 4) must_step(spec, state, &in, 4);
    free(state);
    spec_free(spec);
}

static inline int on_job(void *arg, const struct store_job *row)
{
    load_job(row);
    return 0;
}

static inline void read_job(struct store_reader *reader, uint64_t uid)
{
    const struct store_decisions_query query = {.uid = uid, .superseded = true, .limit = 1000};
    struct store_entry *entry = malloc(sizeof(*entry));
    struct store_state state;
    struct error err = {0};
    uint32_t last = 0;
    uint8_t *round = NULL;
    char *settings = NULL;
    bool newest;
    size_t len;

    MUST(entry, "out of memory");
    int rc = store_list_decisions(reader, &query, on_entry, &last, &err);
    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_STORE_FAILED);
    rc = store_find_step(reader, uid, 3, entry, &err);
    ONE_OF(rc, &err, ST_STEP_IN_PAST, ST_DATA_DAMAGED, ST_STORE_FAILED);
    if (!rc) on_entry(&last, entry), store_entry_clear(entry);
    rc = store_find_request(reader, uid, "r4", entry, &err);
    ONE_OF(rc, &err, ST_STEP_IN_PAST, ST_DATA_DAMAGED, ST_STORE_FAILED);
    if (!rc) on_entry(&last, entry), store_entry_clear(entry);
    for (int match = STORE_STATE_AT; match <= STORE_STATE_FIRST; match++) {
        rc = store_find_state(reader, uid, (enum store_state_match)match, 5, &state, &err);
        ONE_OF(rc, &err, ST_STEP_NOT_FOUND, ST_DATA_DAMAGED, ST_STORE_FAILED);
        if (!rc) free(state.bytes);
    }
    rc = store_get_settings(reader, uid, 3, &settings, &newest, &err);
    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_STORE_FAILED);
    if (!rc) free(settings);
    rc = store_get_round(reader, uid, 3, &round, &len, &err);
    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_STORE_FAILED);
    if (!rc) free(round);
    rc = store_list_contributions(reader, uid, on_contribution, NULL, &err);
    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_STORE_FAILED);
    free(entry);
}

static inline void read_all(struct store *store)
{
    const struct store_jobs_query all = {.after = "", .status = -1, .limit = 100},
                                  some = {
                                      .after = "", .prefix = "a", .label = "k=v", .status = 0, .limit = 1};
    struct store_reader *reader = NULL;
    struct store_job row;
    struct error err = {0};
    int rc = store_reader_open(store, &reader, &err);

    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_STORE_FAILED);
    if (rc) return;
    rc = store_list_jobs(reader, &all, on_job, NULL, &err);
    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_STORE_FAILED);
    rc = store_list_jobs(reader, &some, on_job, NULL, &err);
    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_STORE_FAILED);
    rc = store_get_job(reader, "a", &row, &err);
    ONE_OF(rc, &err, ST_JOB_NOT_FOUND, ST_DATA_DAMAGED, ST_STORE_FAILED);
    if (!rc) load_job(&row), store_job_clear(&row);
    for (uint64_t uid = 1; uid <= MADE_JOBS; uid++)
        read_job(reader, uid);
    store_reader_close(reader);
}

static inline void write_some(struct store *store)
{
    const struct made_job *job = &jobs[0];
    struct job_decision decision = {.revision = job->state->revision + 1,
                                    .action = ACTION_HOLD,
                                    .groups = job->spec->lr.n,
                                    .lrs = job_lrs(job->state),
                                    .reason = "one more"};
    struct store_change change = {.uid = 1,
                                  .expected_revision = job->state->revision,
                                  .decision = &decision,
                                  .state = job->row.state,
                                  .state_len = job->row.state_len,
                                  .supersedes = true,
                                  .superseded_after = 2};
    struct error err = {0};
    int rc = store_commit(store, &change, 1, &err);

    ONE_OF(rc, &err, ST_STORE_STALE, ST_STORE_FULL, ST_STORE_FAILED);
    if (rc) return;
    rc = store_maintain(store, true, &err);
    ONE_OF(rc, &err, ST_STORE_FULL, ST_STORE_FAILED);
}

/* As a daemon that is started on the directory as it is. */
static inline void store_use(void)
{
    struct store *store = NULL;
    struct error err = {0};
    char path[PATH_MAX];
    int rc = store_open(made.dir, NULL, &store, &err);

    ONE_OF(rc, &err, ST_DATA_DAMAGED, ST_DATA_NEWER, ST_STORE_FAILED);
    if (!rc) {
        read_all(store);
        write_some(store);
        read_all(store);
        rc = store_close(store, &err);
        ONE_OF(rc, &err, ST_STORE_FULL, ST_STORE_FAILED, ST_DATA_DAMAGED);
    }
    store_path("greedylr.db-shm", path);
    unlink(path);
}

#endif
