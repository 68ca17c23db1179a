/* A backup: a copy of the database as it is at one moment.
 *
 * Happy path: a reader of one moment, next to a daemon or without one, copies page by page into FILE.partial;
 * the copy is synced and inspected, and only then gets its name.  The moment is that of the reader's
 * transaction, so a daemon that writes meanwhile neither waits nor makes the copy start over (as it would if
 * each step were a transaction of its own); its log grows by what it writes until the copy is done, and
 * shrinks at its next checkpoint.  The copy is made in steps with pauses of their length, and what is
 * written is sent to the disk as it comes, so that the daemon's syncs do not wait for all of it.  Failure
 * modes: whatever fails removes FILE.partial; one that a kill left is written over. */
#include "store/inspect.h"

#include "store/sqlite_db.h"
#include "store/sqlite_lock.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STEP_PAGES   256
#define PAUSE_MAX_NS 100000000

struct copy {
    char path[4096]; /* FILE.partial */
    int fd;
    sqlite3 *db;
};

static int failed(const char *path, struct error *err)
{
    int saved = errno;

    return error_set(err, saved == ENOSPC || saved == EDQUOT ? ST_STORE_FULL : ST_STORE_FAILED, "%s: %s",
                     path, strerror(saved));
}

static int taken(const char *file, struct error *err)
{
    return error_set(err, ST_CONFIG_INVALID, "%s exists already; give another name, or remove it", file);
}

/* In the data directory a name may be one that the database itself uses, now or later: a log, a journal. */
static int check_place(const char *dir, const char *file, struct error *err)
{
    const char *slash = strrchr(file, '/');
    char parent[4096] = ".";
    struct stat own, place;

    if (slash && (size_t)snprintf(parent, sizeof(parent), "%.*s", slash == file ? 1 : (int)(slash - file),
                                  file) >= sizeof(parent))
        return error_set(err, ST_CONFIG_INVALID, "the name of the backup is too long");
    if (stat(dir, &own) || stat(parent, &place) || own.st_dev != place.st_dev || own.st_ino != place.st_ino)
        return 0;
    return error_set(err, ST_CONFIG_INVALID,
                     "%s is in the data directory; put the backup elsewhere, best on another disk", file);
}

/* Byte 0 is locked, and no byte that SQLite would lock. */
static int copy_open(const char *file, struct copy *c, struct error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    struct stat st;
    int rc;

    if (lstat(file, &st) == 0) return taken(file, err);
    if ((size_t)snprintf(c->path, sizeof(c->path), "%s.partial", file) >= sizeof(c->path) - 8)
        return error_set(err, ST_CONFIG_INVALID, "the name of the backup is too long");
    c->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->fd < 0) return failed(c->path, err);
    if (fcntl(c->fd, F_OFD_SETLK, &lock)) {
        close(c->fd);
        return error_set(err, ST_CONFIG_INVALID, "%s is being written by another backup", c->path);
    }
    rc = fchmod(c->fd, 0600) || ftruncate(c->fd, 0) ? failed(c->path, err) : 0;
    if (!rc) rc = db_open_vfs(c->path, SQLITE_OPEN_READWRITE, "unix-none", &c->db, err);
    if (rc) goto err_file;
    rc = db_exec(c->db, "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF", "setting up the backup", err);
    if (!rc) return 0;
    db_close(c->db);
err_file:
    unlink(c->path);
    close(c->fd);
    return rc;
}

/* As long as the step took: half of the time is the daemon's. */
static void pause_after(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns = (now.tv_sec - start->tv_sec) * 1000000000LL + (now.tv_nsec - start->tv_nsec);
    struct timespec pause = {.tv_nsec = ns < PAUSE_MAX_NS ? (long)ns : PAUSE_MAX_NS};
    nanosleep(&pause, NULL);
}

static int copy_pages(const struct snapshot *s, const struct copy *c, struct error *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(c->db, "main", s->db, "main");
    int code = SQLITE_OK;

    while (backup && code == SQLITE_OK) {
        struct timespec start;

        clock_gettime(CLOCK_MONOTONIC, &start);
        code = sqlite3_backup_step(backup, STEP_PAGES);
        if (code != SQLITE_OK) break;
        (void)sync_file_range(c->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        if (s->live) pause_after(&start);
    }
    if (sqlite3_backup_finish(backup) == SQLITE_OK && code == SQLITE_DONE) return 0;
    (void)db_error(c->db, "copying the database", err);
    return error_wrap(err, "%s", c->path);
}

/* The name must not be there, and must not take another's place. */
static int give_name(const struct copy *c, const char *file, struct error *err)
{
    struct stat st;
    char dir[4096];
    char *slash;

    if (renameat2(AT_FDCWD, c->path, AT_FDCWD, file, RENAME_NOREPLACE)) {
        if (errno != EINVAL && errno != ENOSYS) return errno == EEXIST ? taken(file, err) : failed(file, err);
        /* The file system cannot do it in one. */
        if (lstat(file, &st) == 0) return taken(file, err);
        if (rename(c->path, file)) return failed(file, err);
    }
    snprintf(dir, sizeof(dir), "%s", file);
    slash = strrchr(dir, '/');
    if (slash == dir)
        slash[1] = '\0';
    else if (slash)
        *slash = '\0';
    return data_dir_sync(slash ? dir : ".", err);
}

int store_backup(const char *dir, const char *file, const struct inspector *in, struct inspected *out,
                 struct error *err)
{
    struct copy c = {.fd = -1};
    struct snapshot s;
    int64_t version;
    int rc = check_place(dir, file, err);

    if (!rc) rc = copy_open(file, &c, err);
    if (rc) return rc;
    rc = snapshot_open(dir, &s, err);
    if (!rc) {
        rc = schema_check(s.db, s.path, &version, err);
        if (!rc) rc = copy_pages(&s, &c, err);
        snapshot_close(&s);
    }
    db_close(c.db);
    if (!rc && fsync(c.fd)) rc = failed(c.path, err);
    if (!rc) rc = store_inspect_file(c.path, in, out, err);
    if (!rc) rc = in->accepts(in->arg, err);
    if (!rc) rc = give_name(&c, file, err);
    if (rc) unlink(c.path);
    close(c.fd);
    return rc;
}
