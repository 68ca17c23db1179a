/* The disk in memory: files, their record, faults, and the file calls that the store makes itself.
 *
 * Happy path: every change is made to the live file at once, as a file system's cache would show it, and
 * noted. Failure modes: a full disk (capacity), and the faults of disk_fault. */
#include "disk_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct disk *disk_current;
struct disk_fault disk_fault;
static uint64_t seed;

void disk_seed(uint64_t value)
{
    seed = value;
}

uint64_t disk_random(void) /* splitmix64 */
{
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

bool disk_fails(enum disk_call call)
{
    if (!(disk_fault.calls & call) || !disk_fault.nth) return false;
    if (disk_fault.nth > 1) {
        disk_fault.nth--;
        return false;
    }
    if (!disk_fault.forever) disk_fault.nth = 0;
    if (!disk_fault.hits++) disk_fault.first_op = disk_current->n_ops;
    errno = disk_fault.error;
    return true;
}

struct disk *disk_new(void)
{
    struct disk *disk = calloc(1, sizeof(*disk));

    if (!disk) abort();
    for (int i = 0; i < DISK_NAMES; i++)
        disk->names[i].inode = -1;
    return disk;
}

struct disk *disk_copy(const struct disk *from)
{
    struct disk *disk = disk_new();

    memcpy(disk->names, from->names, sizeof(disk->names));
    disk->n_inodes = from->n_inodes;
    for (int i = 0; i < from->n_inodes; i++) {
        struct disk_inode *inode = &disk->inodes[i];

        inode->size = inode->cap = from->inodes[i].size;
        inode->bytes = malloc(inode->cap + 1);
        if (!inode->bytes) abort();
        if (inode->size) memcpy(inode->bytes, from->inodes[i].bytes, inode->size);
    }
    return disk;
}

void disk_free(struct disk *disk)
{
    for (int i = 0; i < disk->n_inodes; i++) {
        free(disk->inodes[i].bytes);
        for (int k = 0; k < 4; k++)
            free(disk->inodes[i].shm[k]);
    }
    for (size_t i = 0; i < disk->n_ops; i++)
        free(disk->ops[i].bytes);
    free(disk->ops);
    free(disk);
}

void disk_use(struct disk *disk)
{
    disk_current = disk;
}

/* ---- changes ---- */

static void note(struct disk *disk, struct disk_op op, const void *bytes)
{
    if (!disk->recording) return;
    if (disk->n_ops == disk->cap_ops) {
        disk->cap_ops = disk->cap_ops ? 2 * disk->cap_ops : 1024;
        disk->ops = realloc(disk->ops, disk->cap_ops * sizeof(*disk->ops));
        if (!disk->ops) abort();
    }
    if (op.len) {
        op.bytes = malloc(op.len);
        if (!op.bytes) abort();
        memcpy(op.bytes, bytes, op.len);
    }
    disk->ops[disk->n_ops++] = op;
}

void disk_record(struct disk *disk)
{
    disk->recording = true;
    for (int i = 0; i < DISK_NAMES; i++) {
        const struct disk_inode *inode;
        int at = disk->names[i].inode;

        if (at < 0) continue;
        inode = &disk->inodes[at];
        note(disk, (struct disk_op){.kind = DISK_CREATE, .inode = at, .name = i}, NULL);
        note(disk, (struct disk_op){.kind = DISK_WRITE, .inode = at, .len = inode->size}, inode->bytes);
        note(disk, (struct disk_op){.kind = DISK_SYNC, .inode = at}, NULL);
    }
    note(disk, (struct disk_op){.kind = DISK_SYNC_DIR}, NULL);
}

int disk_create(struct disk *disk, int name)
{
    int inode = disk->n_inodes++;

    if (inode == DISK_INODES) abort();
    disk->inodes[inode] = (struct disk_inode){0};
    disk->names[name].inode = inode;
    note(disk, (struct disk_op){.kind = DISK_CREATE, .inode = inode, .name = name}, NULL);
    return inode;
}

void disk_unlink(struct disk *disk, int name)
{
    disk->names[name].inode = -1;
    note(disk, (struct disk_op){.kind = DISK_UNLINK, .name = name}, NULL);
}

void disk_rename(struct disk *disk, int from, int to)
{
    int inode = disk->names[from].inode;

    disk->names[to].inode = inode;
    disk->names[from].inode = -1;
    note(disk, (struct disk_op){.kind = DISK_RENAME, .inode = inode, .name = from, .to = to}, NULL);
}

void disk_sync_dir(struct disk *disk)
{
    note(disk, (struct disk_op){.kind = DISK_SYNC_DIR}, NULL);
}

static uint64_t used(const struct disk *disk)
{
    uint64_t bytes = 0;

    for (int i = 0; i < DISK_NAMES; i++)
        if (disk->names[i].inode >= 0) bytes += disk->inodes[disk->names[i].inode].size;
    return bytes;
}

static void resize(struct disk_inode *inode, size_t size)
{
    if (size > inode->cap) {
        inode->cap = size + size / 2 + 4096;
        inode->bytes = realloc(inode->bytes, inode->cap);
        if (!inode->bytes) abort();
    }
    if (size > inode->size) memset(inode->bytes + inode->size, 0, size - inode->size);
    inode->size = size;
}

int disk_write(struct disk *disk, int at_inode, uint64_t at, const void *bytes, size_t len)
{
    struct disk_inode *inode = &disk->inodes[at_inode];

    if (at + len > inode->size) {
        if (disk->capacity && used(disk) + at + len - inode->size > disk->capacity) {
            errno = ENOSPC;
            return -1;
        }
        resize(inode, at + len);
    }
    memcpy(inode->bytes + at, bytes, len);
    note(disk, (struct disk_op){.kind = DISK_WRITE, .inode = at_inode, .at = at, .len = len}, bytes);
    return 0;
}

int disk_truncate(struct disk *disk, int inode, uint64_t size)
{
    resize(&disk->inodes[inode], size);
    note(disk, (struct disk_op){.kind = DISK_TRUNCATE, .inode = inode, .at = size}, NULL);
    return 0;
}

void disk_sync(struct disk *disk, int inode, bool works)
{
    note(disk, (struct disk_op){.kind = works ? DISK_SYNC : DISK_SYNC_FAILED, .inode = inode}, NULL);
}

/* ---- names ---- */

bool disk_is_ours(const char *path)
{
    return path && strncmp(path, DISK_DIR, strlen(DISK_DIR)) == 0;
}

int disk_name(struct disk *disk, const char *path)
{
    const char *name = path + strlen(DISK_DIR) + 1;

    if (!disk_is_ours(path)) return -1;
    for (int i = 0; i < DISK_NAMES; i++) {
        if (!disk->names[i].name[0]) snprintf(disk->names[i].name, sizeof(disk->names[i].name), "%s", name);
        if (strcmp(disk->names[i].name, name) == 0) return i;
    }
    abort();
}

/* ---- the store's own calls ---- */

int __real_stat(const char *path, struct stat *st);
int __real_access(const char *path, int mode);
int __real_open(const char *path, int flags, ...);
int __real_unlink(const char *path);
int __real_rename(const char *from, const char *to);
int __real_mkdir(const char *path, mode_t mode);
int __real_fsync(int fd);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_access(const char *path, int mode);
int __wrap_open(const char *path, int flags, ...);
int __wrap_unlink(const char *path);
int __wrap_rename(const char *from, const char *to);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_fsync(int fd);

static int no_such_file(void)
{
    errno = ENOENT;
    return -1;
}

int __wrap_stat(const char *path, struct stat *st)
{
    if (!disk_is_ours(path)) return __real_stat(path, st);
    int inode = disk_current->names[disk_name(disk_current, path)].inode;
    if (inode < 0) return no_such_file();
    if (disk_fails(CALL_NAMES)) return -1;
    *st = (struct stat){.st_mode = S_IFREG | 0600, .st_size = (off_t)disk_current->inodes[inode].size};
    return 0;
}

int __wrap_access(const char *path, int mode)
{
    return disk_is_ours(path) ? 0 : __real_access(path, mode);
}

/* The lock and the directory, and what is created empty for SQLite to open: descriptors of nothing. */
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    int name;

    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    if (!disk_is_ours(path)) return __real_open(path, flags, mode);
    if (disk_fails(CALL_NAMES)) return -1;
    if ((flags & O_EXCL) && (name = disk_name(disk_current, path)) >= 0) disk_create(disk_current, name);
    return memfd_create("power", MFD_CLOEXEC);
}

int __wrap_unlink(const char *path)
{
    int name;

    if (!disk_is_ours(path)) return __real_unlink(path);
    name = disk_name(disk_current, path);
    if (disk_current->names[name].inode < 0) return no_such_file();
    if (disk_fails(CALL_NAMES)) return -1;
    disk_unlink(disk_current, name);
    return 0;
}

int __wrap_rename(const char *from, const char *to)
{
    if (!disk_is_ours(from)) return __real_rename(from, to);
    if (disk_fails(CALL_NAMES)) return -1;
    disk_rename(disk_current, disk_name(disk_current, from), disk_name(disk_current, to));
    return 0;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    if (!disk_is_ours(path)) return __real_mkdir(path, mode);
    errno = EEXIST;
    return -1;
}

/* The store syncs nothing itself but the directory. */
int __wrap_fsync(int fd)
{
    if (disk_fails(CALL_NAMES)) return -1;
    disk_sync_dir(disk_current);
    return 0;
}
