/* The data directory and its lock.
 *
 * Happy path: mkdir, open DIR/lock, lock it, write our pid.  The kernel drops the lock when the process ends,
 * however it ends; the file stays.  Failure modes: another process holds the lock (its pid is in the file),
 * or the directory cannot be used at all.  A disk too full for the pid does not keep the daemon from
 * starting. */
#include "store/sqlite_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

static int unusable(const char *what, struct error *err)
{
    int saved = errno;

    if (saved == ENOSPC || saved == EDQUOT)
        return error_set(err, ST_STORE_FULL, "%s: %s", what, strerror(saved));
    return error_set(err, ST_DATA_DIR_UNREADABLE, "%s: %s", what, strerror(saved));
}

static int in_use(const char *dir, int fd, struct error *err)
{
    char pid[24] = "";
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    /* Those who only look have a lock that tells whose it is. */
    if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_RDLCK && lock.l_pid > 0)
        return error_set(err, ST_DATA_DIR_IN_USE,
                         "data directory %s is being read by process %ld, a --check or --backup; start again "
                         "when it has ended",
                         dir, (long)lock.l_pid);
    if (n > 0) pid[strspn(pid, "0123456789")] = '\0';
    return error_set(err, ST_DATA_DIR_IN_USE, "data directory %s is in use by process %s", dir,
                     pid[0] ? pid : "(unknown)");
}

/* For people and for the message above; the lock itself does not depend on it. */
static void write_pid(int fd)
{
    char pid[24];
    int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) == 0 && pwrite(fd, pid, (size_t)n, 0) != n && ftruncate(fd, 0)) return;
}

int data_dir_lock(const char *dir, int *fd, struct error *err)
{
    /* An open file description's lock: a second open in this process is refused as well. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[PATH_BYTES];
    struct stat st;
    int rc;

    if ((size_t)snprintf(path, sizeof(path), "%s/lock", dir) >= sizeof(path))
        return error_set(err, ST_DATA_DIR_UNREADABLE, "the name of the data directory is too long");
    if (mkdir(dir, 0700) && errno != EEXIST) return unusable(dir, err);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (*fd < 0) return unusable(path, err);
    if (fstat(*fd, &st) || !S_ISREG(st.st_mode)) {
        close(*fd);
        return error_set(err, ST_DATA_DIR_UNREADABLE, "%s is not a file", path);
    }
    if (fcntl(*fd, F_OFD_SETLK, &lock)) {
        rc = errno == EAGAIN || errno == EACCES ? in_use(dir, *fd, err) : unusable(path, err);
        close(*fd);
        return rc;
    }
    write_pid(*fd);
    return 0;
}

void data_dir_unlock(int fd)
{
    close(fd);
}

/* Locks of SQLite's: bytes of the log's index (writing, checkpointing, recovering, five of reading) and of
 * the database file (https://sqlite.org/walformat.html, https://sqlite.org/c3ref/c_shm_nlock.html). */
#define SHM_LOCKS  120
#define SHM_N      8
#define FILE_LOCKS 0x40000000
#define FILE_N     512

static bool find_holder(int fd, short type, off_t start, off_t len, char *out, size_t size)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    char path[48], name[32] = "";

    if (fd < 0 || fcntl(fd, F_GETLK, &lock) || lock.l_type == F_UNLCK || lock.l_pid <= 0) return false;
    snprintf(path, sizeof(path), "/proc/%ld/comm", (long)lock.l_pid);
    int comm = open(path, O_RDONLY | O_CLOEXEC);
    if (comm >= 0) {
        ssize_t n = read(comm, name, sizeof(name) - 1);
        name[n > 0 ? (size_t)n : 0] = '\0';
        name[strcspn(name, "\n")] = '\0';
        close(comm);
    }
    snprintf(out, size, *name ? "process %ld (%s)" : "process %ld", (long)lock.l_pid, name);
    return true;
}

void data_dir_holder(const char *path, int *shm, char *out, size_t size)
{
    char name[PATH_BYTES + 16];
    int fd = shm ? *shm : -1, file;

    snprintf(out, size, "another program");
    snprintf(name, sizeof(name), "%s-shm", path);
    if (fd < 0) fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool found = find_holder(fd, F_WRLCK, SHM_LOCKS, SHM_N, out, size);
    if (shm) {
        *shm = fd;
        return;
    }
    if (fd >= 0) close(fd);
    file = found ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    (void)find_holder(file, F_RDLCK, FILE_LOCKS, FILE_N, out, size);
    if (file >= 0) close(file);
}

int data_dir_beside(const char *path, struct error *err)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char name[PATH_BYTES + 16];
        struct stat st;

        snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        if (lstat(name, &st) == 0 && !S_ISREG(st.st_mode))
            return error_set(err, ST_DATA_DAMAGED,
                             "%s is not a file; find out who put it there, move it away", name);
    }
    return 0;
}

int data_dir_sync(const char *dir, struct error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) return unusable(dir, err);
    int failed = fsync(fd), saved = errno;
    close(fd);
    return failed ? error_set(err, ST_STORE_FAILED, "syncing %s: %s", dir, strerror(saved)) : 0;
}
