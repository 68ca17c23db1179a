/* A database as it is at one moment, read without writing anything.
 *
 * Happy path: no daemon runs; a shared lock on DIR/lock keeps it so, and a VFS that opens files for reading
 * only reads the database with what its log holds: the log's index is built in memory (SQLite does that in
 * exclusive mode) instead of in greedylr.db-shm.  Without a log the file is immutable for the time being.
 * While a daemon runs, its lock is seen, and the connection is an ordinary reader of one transaction, which
 * needs the index that the daemon keeps.  Failure modes: what is missing or unreadable is told by name. */
#include "store/sqlite_snapshot.h"

#include "store/sqlite_db.h"
#include "store/sqlite_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READONLY_VFS "greedylrd-readonly"

static sqlite3_vfs *base;

static int open_readonly(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    (void)vfs;
    file->pMethods = NULL;
    if (!(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL))) return SQLITE_CANTOPEN;
    flags &= ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    return base->xOpen(base, name, file, flags | SQLITE_OPEN_READONLY, out);
}

static int delete_nothing(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    (void)name;
    (void)sync;
    return SQLITE_READONLY;
}

/* On the one without locks: SQLite's own need files that can be written. */
static int register_vfs(struct error *err)
{
    static sqlite3_vfs readonly;

    if (base) return 0;
    if (!(base = sqlite3_vfs_find("unix-none")))
        return error_set(err, ST_STORE_FAILED, "SQLite was built without its unix-none VFS");
    readonly = *base;
    readonly.zName = READONLY_VFS;
    readonly.pNext = NULL;
    readonly.xOpen = open_readonly;
    readonly.xDelete = delete_nothing;
    if (sqlite3_vfs_register(&readonly, 0) == SQLITE_OK) return 0;
    base = NULL;
    return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

static int unreadable(const char *path, struct error *err)
{
    int saved = errno;

    return error_set(err, ST_DATA_DIR_UNREADABLE, "%s: %s", path, strerror(saved));
}

/* "file:PATH?immutable=1", with everything that means something in a URI escaped. */
static void immutable_uri(const char *path, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "file:");

    for (; *path && n + 20 < size; path++) {
        bool plain = !strchr("%?#", *path);
        n += (size_t)snprintf(out + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*path);
    }
    snprintf(out + n, size - n, "?immutable=1");
}

static bool has_log(const char *path)
{
    char wal[sizeof(((struct snapshot *)NULL)->path) + 8];
    struct stat st;

    snprintf(wal, sizeof(wal), "%s-wal", path);
    return stat(wal, &st) == 0 && st.st_size > 0;
}

static int open_alone(const char *path, sqlite3 **out, struct error *err)
{
    char uri[3 * sizeof(((struct snapshot *)NULL)->path) + 32];
    bool log = has_log(path);
    int rc = register_vfs(err);

    if (rc) return rc;
    immutable_uri(path, uri, sizeof(uri));
    rc = db_open_vfs(log ? path : uri, SQLITE_OPEN_READONLY | (log ? 0 : SQLITE_OPEN_URI), READONLY_VFS, out,
                     err);
    if (rc) return rc;
    rc = db_exec(*out, "PRAGMA locking_mode=EXCLUSIVE", "opening the database", err);
    if (rc) db_close(*out);
    return rc;
}

static int begin(struct snapshot *s, struct error *err)
{
    int64_t ignored;
    int rc = s->live ? db_open(s->path, true, &s->db, err) : open_alone(s->path, &s->db, err);

    if (rc) return error_wrap(err, "%s", s->path);
    rc = db_exec(s->db, "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; BEGIN", "reading", err);
    if (!rc) rc = db_integer(s->db, "SELECT count(*) FROM sqlite_schema", 0, &ignored, err);
    if (!rc) return 0;
    db_close(s->db);
    return error_wrap(err, "%s", s->path);
}

/* Whether the file is there and may be one. */
static int look(const char *path, struct error *err)
{
    struct stat st;

    if (stat(path, &st)) {
        if (errno == ENOENT && has_log(path))
            return error_set(err, ST_DATA_DAMAGED,
                             "%s is missing, but its log %s-wal is there; find the file, or restore a backup",
                             path, path);
        if (errno == ENOENT)
            return error_set(err, ST_DATA_DIR_UNREADABLE,
                             "there is no %s: nothing was ever kept here, or it is another directory", path);
        return unreadable(path, err);
    }
    if (!S_ISREG(st.st_mode)) return error_set(err, ST_DATA_DAMAGED, "%s is not a file", path);
    if (access(path, R_OK)) return unreadable(path, err);
    if (data_dir_beside(path, err)) return (int)err->status;
    if (st.st_size == 0)
        return error_set(err, ST_DATA_DAMAGED, "%s is empty; restore a backup, or remove it to start afresh",
                         path);
    return 0;
}

/* A classic lock, so that a daemon that finds it can name our process. */
static int lock_out(const char *dir, struct snapshot *s, struct error *err)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    char path[sizeof(s->path)], pid[24] = "";
    struct stat st;

    snprintf(path, sizeof(path), "%s/lock", dir);
    s->lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (s->lock < 0) return errno == ENOENT ? 0 : unreadable(path, err); /* a copy of the database alone */
    if (fstat(s->lock, &st) || !S_ISREG(st.st_mode)) {
        close(s->lock);
        return error_set(err, ST_DATA_DIR_UNREADABLE, "%s is not a file", path);
    }
    if (fcntl(s->lock, F_SETLK, &lock) == 0) return 0;
    if (errno != EAGAIN && errno != EACCES) {
        int rc = unreadable(path, err);
        close(s->lock);
        return rc;
    }
    s->live = true;
    if (pread(s->lock, pid, sizeof(pid) - 1, 0) > 0) s->pid = atol(pid);
    return 0;
}

int snapshot_open(const char *dir, struct snapshot *out, struct error *err)
{
    struct stat st;
    int rc;

    *out = (struct snapshot){.lock = -1};
    if (stat(dir, &st)) return unreadable(dir, err);
    if (!S_ISDIR(st.st_mode)) return error_set(err, ST_DATA_DIR_UNREADABLE, "%s is not a directory", dir);
    if (access(dir, R_OK | X_OK)) return unreadable(dir, err);
    if ((size_t)snprintf(out->path, sizeof(out->path), "%s/greedylr.db", dir) >= sizeof(out->path) - 8)
        return error_set(err, ST_DATA_DIR_UNREADABLE, "the name of the data directory is too long");
    if ((rc = look(out->path, err)) || (rc = lock_out(dir, out, err))) return rc;
    rc = begin(out, err);
    if (rc && out->lock >= 0) close(out->lock);
    return rc;
}

int snapshot_open_file(const char *path, struct snapshot *out, struct error *err)
{
    *out = (struct snapshot){.lock = -1};
    if ((size_t)snprintf(out->path, sizeof(out->path), "%s", path) >= sizeof(out->path) - 8)
        return error_set(err, ST_DATA_DIR_UNREADABLE, "the name of the file is too long");
    int rc = look(path, err);
    return rc ? rc : begin(out, err);
}

void snapshot_close(struct snapshot *s)
{
    db_close(s->db);
    if (s->lock >= 0) close(s->lock);
    s->db = NULL;
    s->lock = -1;
}
