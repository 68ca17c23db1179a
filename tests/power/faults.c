/* Failing calls: a story is told again and again, and each time another of its calls fails.
 *
 * What was acknowledged is there afterwards, on the disk as it is and after a power loss; what was refused as
 * "full" is not; a failed sync, and every error that is not a full disk, is the end; a reader that cannot
 * read says so and never that there is nothing. */
#include "faults.h"

#include "story.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS  24
#define LOSSES 3 /* power losses behind each fault, if every call is to fail */

struct row {
    const char *name;
    uint32_t calls;
    int error;
    bool shorten;
};
static const struct row rows[] = {
    {"open, EIO", CALL_OPEN, EIO, false},
    {"read, EIO", CALL_READ, EIO, false},
    {"write, EIO", CALL_WRITE, EIO, false},
    {"short write, EIO", CALL_WRITE, EIO, true},
    {"write, ENOSPC", CALL_WRITE, ENOSPC, false},
    {"short write, ENOSPC", CALL_WRITE, ENOSPC, true},
    {"write, EDQUOT", CALL_WRITE, EDQUOT, false},
    {"truncate, EIO", CALL_TRUNCATE, EIO, false},
    {"truncate, ENOSPC", CALL_TRUNCATE, ENOSPC, false},
    {"sync, EIO", CALL_SYNC, EIO, false},
    {"sync, ENOSPC", CALL_SYNC, ENOSPC, false},
    {"delete, EIO", CALL_DELETE, EIO, false},
    {"size, EIO", CALL_SIZE, EIO, false},
    {"lock, EIO", CALL_LOCK, EIO, false},
    {"index, EIO", CALL_SHM, EIO, false},
    {"index, ENOSPC", CALL_SHM, ENOSPC, false},
    {"directory, EIO", CALL_NAMES, EIO, false},
    {"directory, ENOSPC", CALL_NAMES, ENOSPC, false},
    {"anything, EIO", CALL_ALL, EIO, false},
};

static struct story told, checked;
static const char *problem; /* of this run, the first */
static char text[500];

static void wrong(const char *what, int rc)
{
    if (problem) return;
    snprintf(text, sizeof(text), "%s: status %d: %.300s", what, rc, told.err.message);
    problem = text;
}

/* Whether a call may answer so under this fault. */
static void judge(const struct row *row, const char *what, int rc)
{
    bool opening = !told.store || !told.reader;

    if (!rc) return;
    if ((int)told.err.status != rc || !told.err.message[0]) wrong("without an error", rc);
    if (rc == ST_DATA_DIR_UNREADABLE && opening && (row->calls & CALL_NAMES)) return;
    if (rc != ST_STORE_FAILED && rc != ST_STORE_FULL) wrong(what, rc);
    if (rc == ST_STORE_FULL && row->error == EIO) wrong("EIO is told as a full disk", rc);
    if (rc == ST_STORE_FULL && row->calls == CALL_SYNC) wrong("a failed sync is told as a full disk", rc);
}

static void read_all(const struct row *row)
{
    const char *missing = NULL;

    if (!told.reader) return;
    judge(row, "reading", story_read(&told, &missing));
    if (missing) wrong(missing, 0);
}

/* Until the store is done for; whether it ever was. */
static bool tell(const struct row *row)
{
    bool fatal = false;

    for (int i = 0; i < STEPS && told.n_calls + 4 < STORY_CALLS; i++) {
        bool was_open = told.reader != NULL;
        int rc = story_step(&told);

        judge(row, "working", rc);
        fatal |= rc == ST_STORE_FAILED;
        if (rc == ST_STORE_FAILED && was_open && told.store) {
            told.err.message[0] = '\0';
            if (store_commit(told.store, &(struct store_change){.uid = 1}, 1, &told.err) != ST_STORE_FAILED)
                wrong("it went on after the end", 0);
            break;
        }
        if (i % 3 == 2) read_all(row);
    }
    return fatal;
}

static void check_survivors(struct disk *disk, const struct model *sure, const struct model *more,
                            const char *where)
{
    struct model found;
    const char *found_problem = story_survives(&checked, disk, sure, more, &found);

    if (found_problem && !problem) {
        snprintf(text, sizeof(text), "%s: %.400s", where, found_problem);
        problem = text;
    }
    disk_free(disk);
}

/* n cuts between the fault and the end, the last one at the end. */
static void check_losses(const struct disk *disk, const struct model *nothing, size_t from, int n)
{
    struct crash *crash = crash_new(disk);
    size_t at = from;

    for (int i = 0; i < n && !problem; i++) {
        struct model sure, more;

        at += i == n - 1 ? disk->n_ops - at : disk_random() % (disk->n_ops - at + 1);
        bool two = story_at(&told, nothing, at, &sure, &more);
        crash_advance(crash, at);
        check_survivors(crash_disk(crash), &sure, two ? &more : NULL, "after a power loss");
    }
    crash_free(crash);
}

/* The story with its fault; false: the fault never came. */
static bool run_once(uint64_t seed, const struct row *row, int nth, bool forever, int losses)
{
    static const struct model nothing;
    struct disk *disk = disk_new();
    struct model sure, more;

    problem = NULL;
    disk_seed(seed);
    disk_record(disk);
    story_begin(&told, disk, &nothing);
    disk_fault = (struct disk_fault){
        .calls = row->calls, .nth = nth, .forever = forever, .shorten = row->shorten, .error = row->error};
    bool fatal = tell(row);
    int rc = told.store ? story_close(&told) : 0;
    if (rc && rc != ST_STORE_FAILED && rc != ST_STORE_FULL) wrong("closing", rc);
    if (row->calls == CALL_SYNC && disk_fault.hits && !fatal && rc != ST_STORE_FAILED)
        wrong("a failed sync was hidden", rc);
    bool hit = disk_fault.hits > 0;
    size_t from = disk_fault.first_op;
    disk_fault.nth = 0;
    bool two = story_at(&told, &nothing, disk->n_ops, &sure, &more);
    check_survivors(disk_copy(disk), &sure, two ? &more : NULL, "opened again");
    if (hit && !problem) check_losses(disk, &nothing, from, losses);
    disk_free(disk);
    facts_free();
    return hit;
}

/* From one failing call to the next: a story syncs some dozens of times and reads hundreds. */
static int stride(const struct row *row, const struct faults *faults, int nth)
{
    bool many = row->calls & (CALL_READ | CALL_WRITE | CALL_LOCK | CALL_SIZE | CALL_SHM);

    return faults->every || nth <= 4 ? 1 : 1 + (int)(disk_random() % (many ? 128 : 2));
}

static void run_row(uint64_t seed, const struct row *row, struct faults *faults)
{
    for (int forever = 0; forever < 2; forever++) {
        int hits = 0;

        for (int nth = 1;; nth += stride(row, faults, nth)) {
            bool hit = run_once(seed, row, nth, forever, faults->every ? LOSSES : 1);

            hits += hit;
            if (problem)
                printf("---- seed %" PRIu64 ", call %d of %s, %s: %s ----\n", seed, nth, row->name,
                       forever ? "for ever" : "once", problem);
            *(problem ? &faults->failed : &faults->passed) += 1;
            if (!hit || faults->failed > 20) break;
        }
        if (!hits) printf("%s: no such call in this story\n", row->name);
    }
}

/* ---- a full disk ---- */

/* The room may be what the WAL takes: with free pages in the database, a checkpoint is enough to go on. */
static const char *room_in_the_log(void)
{
    static const struct model nothing;
    struct disk *disk = disk_new();
    const char *what = NULL;
    int rc = 0;

    disk_seed(1);
    story_begin(&told, disk, &nothing);
    if (story_open(&told)) what = "opening";
    for (int i = 0; i < 60 && !what; i++)
        if (story_commit(&told)) what = "working";
    if (!what && (store_maintain(told.store, true, &told.err) || story_clear(&told) || story_close(&told) ||
                  story_open(&told)))
        what = "making free pages";
    for (int i = 0; i < DISK_NAMES; i++)
        if (disk->names[i].inode >= 0) disk->capacity += disk->inodes[disk->names[i].inode].size;
    disk->capacity += 100000;
    told.n_calls = 0;
    for (int i = 0; i < 100 && !rc && !what; i++)
        rc = story_commit(&told);
    if (!what && rc != ST_STORE_FULL) what = "the disk did not fill";
    if (!what && store_probe(told.store, &told.err)) what = "it did not recover";
    told.n_calls = 0;
    if (!what && story_commit(&told)) what = "no commit afterwards";
    disk->capacity = 0;
    if (!what && store_maintain(told.store, true, &told.err)) what = "folding afterwards";
    if (!what) what = model_differs(&told.model, told.reader);
    (void)story_close(&told);
    disk_free(disk);
    facts_free();
    return what;
}

/* ---- a failed sync, a new start, a power loss ---- */

/* What the sync was to keep is still read at the next start, and may be on no disk. */
static const char *restart_after_failed_sync(uint64_t seed)
{
    static const struct model nothing;
    struct disk *disk = disk_new();
    const char *what = NULL;

    problem = NULL;
    disk_seed(seed);
    disk_record(disk);
    story_begin(&told, disk, &nothing);
    if (story_open(&told)) what = "opening";
    for (int i = 0; i < 4 && !what; i++)
        if (story_commit(&told)) what = "working";
    disk_fault = (struct disk_fault){.calls = CALL_SYNC, .nth = 1, .error = EIO};
    if (!what && story_close(&told) != ST_STORE_FAILED) what = "the failed sync was hidden";
    disk_fault.nth = 0;
    if (!what && story_open(&told)) what = "opening again";
    for (int i = 0; i < 4 && !what; i++)
        if (story_commit(&told)) what = "working on";
    if (!what) check_losses(disk, &nothing, disk->n_ops, 1);
    disk_use(disk);
    (void)story_close(&told);
    disk_free(disk);
    facts_free();
    return what ? what : problem;
}

static void count(const char *what, const char *problem_found, struct faults *faults)
{
    if (problem_found) printf("%s: %s: %s\n", what, problem_found, told.err.message);
    *(problem_found ? &faults->failed : &faults->passed) += 1;
}

void faults_run(uint64_t seed, struct faults *faults)
{
    count("a log as large as the disk", room_in_the_log(), faults);
    for (uint64_t i = 0; i < 16; i++)
        count("a start after a failed sync", restart_after_failed_sync(seed + i), faults);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        run_row(seed, &rows[i], faults);
}
