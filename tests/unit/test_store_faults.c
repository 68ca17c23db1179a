/* Every write, truncation and sync of the store failing, once or for ever: what was acknowledged is there
 * afterwards, what was refused as "full" is not, and a failed sync is the end.
 *
 * The calls are interposed: SQLite's shared library finds these functions before libc's. */
#include "test_store_help.h"

#include <sys/syscall.h>

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at);
int fdatasync(int fd);
int ftruncate64(int fd, off64_t length);

enum call { CALL_WRITE = 1, CALL_SYNC = 2, CALL_TRUNCATE = 4 };

static struct {
    int calls; /* which ones count */
    int nth;   /* 0: no fault; 1: the next one fails */
    bool forever;
    int error;
    int hits;
} fault;

static bool fails(enum call call)
{
    if (!(fault.calls & (int)call) || !fault.nth) return false;
    if (fault.nth > 1) {
        fault.nth--;
        return false;
    }
    if (!fault.forever) fault.nth = 0;
    fault.hits++;
    errno = fault.error;
    return true;
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
    if (!fails(CALL_WRITE)) return syscall(SYS_pwrite64, fd, buf, n, at);
    if (n > 1 && fault.hits % 2) return syscall(SYS_pwrite64, fd, buf, n / 2, at); /* short, then the error */
    return -1;
}

int fdatasync(int fd)
{
    return fails(CALL_SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int ftruncate64(int fd, off64_t length)
{
    return fails(CALL_TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

struct run {
    uint32_t acknowledged; /* decisions of the job */
    bool failed;           /* STORE_FAILED: one more may be there */
};

/* Judges one call; false: the store is done for. */
static bool went_on(struct fix *f, struct run *run, int rc)
{
    if (rc == 0) return true;
    cr_assert_eq(rc, (int)f->err.status);
    cr_assert(rc == ST_STORE_FULL || rc == ST_STORE_FAILED, "%d: %s", rc, f->err.message);
    if (fault.calls == CALL_SYNC) cr_assert_eq(rc, ST_STORE_FAILED, "a failed sync: %s", f->err.message);
    if (fault.error == EIO) cr_assert_eq(rc, ST_STORE_FAILED, "EIO: %s", f->err.message);
    run->failed = rc == ST_STORE_FAILED;
    return !run->failed;
}

static void work(struct fix *f, struct run *run)
{
    for (int i = 0; i < 30; i++) {
        int rc = try_decide(f, 1, run->acknowledged + 1);

        if (rc == 0) run->acknowledged++;
        if (!went_on(f, run, rc)) return;
        if (i % 8 == 5 && !went_on(f, run, store_maintain(f->store, i % 16 == 5, &f->err))) return;
        if (i % 12 == 7 && !went_on(f, run, store_probe(f->store, &f->err))) return;
    }
}

/* One run with its fault, then a look at what is left; whether the fault came at all. */
static bool run_once(int calls, int nth, bool forever, int error)
{
    struct fix f;
    struct run run = {0};

    memset(&fault, 0, sizeof(fault));
    fix_begin_in(&f, "/dev/shm"); /* thousands of runs: real syncs would take minutes */
    create_job(&f, 1, "a", "");
    fault.calls = calls;
    fault.error = error;
    fault.forever = forever;
    fault.nth = nth;
    work(&f, &run);
    if (run.failed) cr_assert_eq(try_decide(&f, 1, run.acknowledged + 1), ST_STORE_FAILED, "never again");
    store_reader_close(f.reader);
    int rc = store_close(f.store, &f.err);
    cr_assert(rc == 0 || rc == ST_STORE_FULL || rc == ST_STORE_FAILED);
    if (calls == CALL_SYNC && fault.hits)
        cr_assert(run.failed || rc == ST_STORE_FAILED, "a failed sync was hidden");
    fault.nth = 0;
    fix_open(&f, 0);
    struct listing l = list_all(&f, 1);
    cr_assert(l.n == run.acknowledged || (run.failed && l.n == run.acknowledged + 1),
              "%u decisions, %u acknowledged, calls %d, call %d, forever %d, %s: %s", l.n, run.acknowledged,
              calls, nth, forever, strerror(error), f.err.message);
    free(l.text);
    check_history(&f, 1, 1, l.n);
    if (!run.failed && fault.hits && !forever) decide(&f, 1, l.n + 1, l.n + 3);
    fix_end(&f);
    return fault.hits > 0;
}

static void run_every(int calls, int error)
{
    int nth = 1;

    for (int forever = 0; forever < 2; forever++) {
        for (nth = 1; run_once(calls, nth, forever, error); nth++)
            ;
        cr_assert_gt(nth, 5, "the fault never came: the calls are not interposed");
    }
}

Test(store, every_failing_sync_is_the_end)
{
    run_every(CALL_SYNC, EIO);
    run_every(CALL_SYNC, ENOSPC);
}

Test(store, every_write_without_room_is_survived)
{
    run_every(CALL_WRITE, ENOSPC);
    run_every(CALL_WRITE, EDQUOT);
}

Test(store, every_failing_write_loses_nothing_acknowledged)
{
    run_every(CALL_WRITE, EIO);
}

Test(store, a_failing_truncation_loses_nothing)
{
    run_once(CALL_TRUNCATE, 1, true, EIO);
    run_once(CALL_TRUNCATE, 1, true, ENOSPC);
}
