/* What is refused, and what a full disk does. */
#include "test_store_help.h"

#include "store/sqlite_schema.h"

#include <sched.h>
#include <sys/mount.h>

static void database_path(const struct fix *f, char out[128])
{
    snprintf(out, 128, "%.90s/greedylr.db", f->dir);
}

/* Overwrites bytes of the closed database. */
static void poke(const struct fix *f, off_t at, const void *bytes, size_t n)
{
    char path[128];

    database_path(f, path);
    int fd = open(path, O_RDWR);
    cr_assert(fd >= 0);
    cr_assert_eq(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

static int reopen(struct fix *f)
{
    f->err.message[0] = '\0';
    int rc = store_open(f->dir, NULL, &f->store, &f->err);
    if (rc) f->store = NULL;
    return rc;
}

static off_t file_size(const struct fix *f)
{
    struct stat st;
    char path[128];

    database_path(f, path);
    cr_assert_eq(stat(path, &st), 0);
    return st.st_size;
}

Test(store, a_second_daemon_is_refused_by_pid)
{
    struct fix f;
    struct store *second;
    char pid[32];

    fix_begin(&f);
    cr_assert_eq(store_open(f.dir, NULL, &second, &f.err), ST_DATA_DIR_IN_USE);
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    cr_assert(strstr(f.err.message, pid), "%s", f.err.message);
    cr_assert(strstr(f.err.message, f.dir), "%s", f.err.message);
    fix_close(&f);
    fix_open(&f, 0); /* the file stays, the lock does not */
    fix_end(&f);
}

Test(store, files_are_the_owners_alone)
{
    static const char *const names[] = {"", "/greedylr.db", "/greedylr.db-wal", "/greedylr.db-shm", "/lock"};
    struct fix f;
    struct stat st;
    char path[128];

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "%.90s%s", f.dir, names[i]);
        cr_assert_eq(stat(path, &st), 0, "%s", path);
        cr_assert_eq(st.st_mode & 0777, i ? 0600 : 0700, "%s", path);
    }
    fix_end(&f);
}

Test(store, a_directory_that_cannot_be_made_is_unreadable)
{
    struct store *store;
    struct error err;

    cr_assert_eq(store_open("/proc/greedylrd/data", NULL, &store, &err), ST_DATA_DIR_UNREADABLE);
    cr_assert_eq(store_open("/dev/null", NULL, &store, &err), ST_DATA_DIR_UNREADABLE);
}

Test(store, a_newer_database_is_refused_by_name)
{
    struct fix f;
    const uint8_t version[] = {0, 0, 0, SCHEMA_VERSION + 1}, ours[] = {0, 0, 0, SCHEMA_VERSION};

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    fix_close(&f);
    poke(&f, 60, version, 4); /* user_version of the header */
    cr_assert_eq(reopen(&f), ST_DATA_NEWER);
    char named[32];
    snprintf(named, sizeof(named), "version %d", SCHEMA_VERSION + 1);
    cr_assert(strstr(f.err.message, named), "%s", f.err.message);
    poke(&f, 60, ours, 4);
    OK(reopen(&f), &f);
    cr_assert_eq(store_job_count(f.store), 1);
    OK(store_close(f.store, &f.err), &f);
    f.store = NULL;
    fix_end(&f);
}

Test(store, a_file_that_is_not_ours_is_refused_and_left_alone)
{
    struct fix f;
    const uint8_t other[] = {1, 2, 3, 4}, zero[4] = {0};
    char path[128];

    fix_begin(&f);
    fix_close(&f);
    off_t size = file_size(&f);
    poke(&f, 68, other, 4); /* application_id */
    cr_assert_eq(reopen(&f), ST_DATA_DAMAGED);
    poke(&f, 68, zero, 4);
    cr_assert_eq(reopen(&f), ST_DATA_DAMAGED);
    poke(&f, 0, "this is no database", 19);
    cr_assert_eq(reopen(&f), ST_DATA_DAMAGED);
    cr_assert_eq(file_size(&f), size);
    database_path(&f, path);
    cr_assert_eq(truncate(path, 20), 0);
    cr_assert_eq(reopen(&f), ST_DATA_DAMAGED);
    cr_assert_eq(truncate(path, 0), 0);
    cr_assert_eq(reopen(&f), ST_DATA_DAMAGED, "an empty file is not a fresh start");
    cr_assert_eq(file_size(&f), 0);
    fix_end(&f);
}

Test(store, a_log_without_its_database_is_refused)
{
    struct fix f, g = {0};
    char path[128];

    fix_begin(&f);
    create_job(&f, 1, "a", "");
    snprintf(g.dir, sizeof(g.dir), "%.80s-copy", f.dir);
    help_copy(f.dir, g.dir);
    database_path(&g, path);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(reopen(&g), ST_DATA_DAMAGED);
    help_remove(g.dir);
    fix_end(&f);
}

/* Reads everything there is; the statuses it may meet. */
static void use_all(struct fix *f)
{
    const struct store_decisions_query query = {.uid = 1, .superseded = true, .limit = UINT32_MAX};
    struct listing l = {0};
    struct store_entry e;
    struct store_job job;
    int rc = store_reader_open(f->store, &f->reader, &f->err);

    if (rc) {
        cr_assert(rc == ST_DATA_DAMAGED || rc == ST_STORE_FAILED, "%d: %s", rc, f->err.message);
        return;
    }
    if (!store_get_job(f->reader, "a", &job, &f->err)) store_job_clear(&job);
    rc = store_find_step(f->reader, 1, 10, &e, &f->err);
    cr_assert(rc == 0 || rc == ST_DATA_DAMAGED || rc == ST_STEP_IN_PAST, "%d: %s", rc, f->err.message);
    if (!rc) store_entry_clear(&e);
    rc = store_list_decisions(f->reader, &query, listing_add, &l, &f->err);
    cr_assert(rc == 0 || rc == ST_DATA_DAMAGED, "%d: %s", rc, f->err.message);
    free(l.text);
    store_reader_close(f->reader);
}

Test(store, garbage_anywhere_is_an_error_and_never_a_crash)
{
    struct fix f;
    uint8_t garbage[300], kept[sizeof(garbage)];
    char path[128];
    int refused = 0;

    fix_begin(&f);
    create_job(&f, 1, "a", "k=v");
    decide(&f, 1, 1, 200);
    fix_close(&f);
    database_path(&f, path);
    srand(20);
    for (off_t at = 0; at + (off_t)sizeof(garbage) < file_size(&f); at += 1021) {
        int fd = open(path, O_RDWR);
        cr_assert_eq(pread(fd, kept, sizeof(kept), at), (ssize_t)sizeof(kept));
        close(fd);
        for (size_t i = 0; i < sizeof(garbage); i++)
            garbage[i] = (uint8_t)rand();
        poke(&f, at, garbage, sizeof(garbage));
        int rc = reopen(&f);
        if (rc) {
            cr_assert(rc == ST_DATA_DAMAGED || rc == ST_STORE_FAILED || rc == ST_DATA_NEWER, "%d: %s", rc,
                      f.err.message);
            refused++;
        } else {
            use_all(&f);
            (void)!store_close(f.store, &f.err);
            f.store = NULL;
        }
        poke(&f, at, kept, sizeof(kept));
    }
    cr_assert_gt(refused, 0);
    fix_open(&f, 0); /* every byte put back */
    check_history(&f, 1, 1, 200);
    fix_end(&f);
}

/* ---- full disk ---- */

/* Takes what room there is. */
static void fill(const struct fix *f)
{
    static const char block[512];
    char path[128];

    snprintf(path, sizeof(path), "%.90s/filler", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    close(fd);
}

static void make_room(const struct fix *f)
{
    char path[128];

    snprintf(path, sizeof(path), "%.90s/filler", f->dir);
    cr_assert_eq(unlink(path), 0);
}

/* Decides, folds and probes until the disk is full in one of them; returns the last durable revision. */
static uint32_t run_into_full_disk(struct fix *f, uint32_t revision, int variant)
{
    for (int i = 0; i < 100000; i++) {
        int rc = try_decide(f, 1, revision + 1);

        if (!rc) revision++;
        if (!rc && i % 7 == variant) rc = store_maintain(f->store, variant % 2, &f->err);
        if (!rc && i % 11 == variant) rc = store_probe(f->store, &f->err);
        if (!rc) continue;
        cr_assert_eq(rc, ST_STORE_FULL, "%s", f->err.message);
        cr_assert_eq(f->err.status, ST_STORE_FULL);
        return revision;
    }
    cr_assert_fail("the disk never filled");
    return 0;
}

static void check_full_disk(struct fix *f)
{
    uint32_t revision = 0;
    struct fix crashed = {0};

    strcpy(crashed.dir, "/tmp/greedylrd-crashed-XXXXXX");
    cr_assert(mkdtemp(crashed.dir));
    strcat(crashed.dir, "/data");
    fix_open(f, 0);
    create_job(f, 1, "a", "");
    for (int cycle = 0; cycle < 21; cycle++) {
        fill(f);
        uint32_t reached = run_into_full_disk(f, revision, cycle % 7);
        check_history(f, 1, 1, reached); /* reads go on, and what was acknowledged is there */
        help_copy(f->dir, crashed.dir);
        fix_open(&crashed, 0);
        check_history(&crashed, 1, 1, reached); /* and nothing else, if the power goes now */
        fix_close(&crashed);
        help_remove(crashed.dir);
        make_room(f);
        OK(store_probe(f->store, &f->err), f);
        revision = reached;
        decide(f, 1, revision + 1, revision + 5);
        revision += 5;
        if (cycle % 3 == 0) fold(f);
        if (cycle % 5 == 0) {
            fix_close(f);
            fix_open(f, 0);
        }
        check_history(f, 1, 1, revision);
    }
    fix_close(f);
    fix_end(&crashed);
}

Test(store, a_full_disk_loses_nothing_and_passes)
{
    struct fix f = {0};
    char mounted[] = "/tmp/greedylrd-full-XXXXXX";

    cr_assert(mkdtemp(mounted));
    /* The mount is this test's process's own and goes with it. */
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", mounted, "tmpfs", 0, "size=2m")) {
        rmdir(mounted);
        cr_skip("mounting a small tmpfs is not permitted here: %s", strerror(errno));
    }
    snprintf(f.dir, sizeof(f.dir), "%s/data", mounted);
    check_full_disk(&f);
    umount2(mounted, MNT_DETACH);
    rmdir(mounted);
}
