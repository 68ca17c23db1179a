/* SQLite's way to the disk in memory: a VFS that behaves as SQLite's own for Unix does, down to the codes of
 * its errors and to syncing the directory of a new log with the log's first sync. */
#include "disk_impl.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHM_REGIONS 4

struct file {
    sqlite3_file base;
    struct disk *disk;
    int inode, name;
    int lock;                  /* SQLITE_LOCK_... held */
    bool syncs_dir;            /* with its next sync */
    uint8_t shared, exclusive; /* slots of the index locked, as bits */
    bool uses_shm;
};

const char *disk_lie;
static int last_errno;

static struct file *file_of(sqlite3_file *base)
{
    return (struct file *)base;
}

static struct disk_inode *inode_of(const struct file *file)
{
    return &file->disk->inodes[file->inode];
}

static int failed(int code)
{
    last_errno = errno;
    return code;
}

/* ---- contents ---- */

static int vfs_read(sqlite3_file *base, void *out, int n, sqlite3_int64 at)
{
    const struct disk_inode *inode = inode_of(file_of(base));
    size_t have = (size_t)at < inode->size ? inode->size - (size_t)at : 0;

    if (disk_fails(CALL_READ)) return failed(SQLITE_IOERR_READ);
    if (have > (size_t)n) have = (size_t)n;
    if (have) memcpy(out, inode->bytes + at, have);
    if (have == (size_t)n) return SQLITE_OK;
    memset((char *)out + have, 0, (size_t)n - have);
    return SQLITE_IOERR_SHORT_READ;
}

static int no_room_or(int code)
{
    return failed(errno == ENOSPC ? SQLITE_FULL : code);
}

static int vfs_write(sqlite3_file *base, const void *bytes, int n, sqlite3_int64 at)
{
    struct file *file = file_of(base);

    if (disk_fails(CALL_WRITE)) {
        int error = errno;
        if (disk_fault.shorten) (void)disk_write(file->disk, file->inode, (uint64_t)at, bytes, (size_t)n / 2);
        errno = error;
        return no_room_or(SQLITE_IOERR_WRITE);
    }
    if (disk_write(file->disk, file->inode, (uint64_t)at, bytes, (size_t)n))
        return no_room_or(SQLITE_IOERR_WRITE);
    return SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct file *file = file_of(base);

    if (disk_fails(CALL_TRUNCATE)) return failed(SQLITE_IOERR_TRUNCATE);
    return disk_truncate(file->disk, file->inode, (uint64_t)size) ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static bool lies(const struct file *file)
{
    const char *name = file->disk->names[file->name].name;
    size_t n = strlen(name), end = disk_lie ? strlen(disk_lie) : 0;

    return disk_lie && n >= end && strcmp(name + n - end, disk_lie) == 0;
}

static int vfs_sync(sqlite3_file *base, int flags)
{
    struct file *file = file_of(base);

    if (lies(file)) return SQLITE_OK;
    if (disk_fails(CALL_SYNC)) {
        disk_sync(file->disk, file->inode, false);
        return failed(SQLITE_IOERR_FSYNC);
    }
    disk_sync(file->disk, file->inode, true);
    if (file->syncs_dir) disk_sync_dir(file->disk);
    file->syncs_dir = false;
    return SQLITE_OK;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *out)
{
    if (disk_fails(CALL_SIZE)) return failed(SQLITE_IOERR_FSTAT);
    *out = (sqlite3_int64)inode_of(file_of(base))->size;
    return SQLITE_OK;
}

/* ---- locks of the file ---- */

static void let_go(struct file *file, int level)
{
    struct disk_inode *inode = inode_of(file);

    if (file->lock >= SQLITE_LOCK_EXCLUSIVE && level < SQLITE_LOCK_EXCLUSIVE) inode->exclusive--;
    if (file->lock >= SQLITE_LOCK_RESERVED && level < SQLITE_LOCK_RESERVED) inode->reserved--;
    if (file->lock >= SQLITE_LOCK_SHARED && level < SQLITE_LOCK_SHARED) inode->shared--;
    file->lock = level;
}

static int vfs_lock(sqlite3_file *base, int level)
{
    struct file *file = file_of(base);
    struct disk_inode *inode = inode_of(file);

    if (file->lock >= level) return SQLITE_OK;
    if (disk_fails(CALL_LOCK)) return failed(SQLITE_IOERR_LOCK);
    if (file->lock < SQLITE_LOCK_SHARED) {
        if (inode->exclusive) return SQLITE_BUSY;
        inode->shared++;
        file->lock = SQLITE_LOCK_SHARED;
    }
    if (level >= SQLITE_LOCK_RESERVED && file->lock < SQLITE_LOCK_RESERVED) {
        if (inode->reserved) return SQLITE_BUSY;
        inode->reserved++;
        file->lock = SQLITE_LOCK_RESERVED;
    }
    if (level >= SQLITE_LOCK_EXCLUSIVE) {
        if (inode->shared > 1) return SQLITE_BUSY;
        inode->exclusive++;
        file->lock = SQLITE_LOCK_EXCLUSIVE;
    }
    return SQLITE_OK;
}

static int vfs_unlock(sqlite3_file *base, int level)
{
    if (file_of(base)->lock > level) let_go(file_of(base), level);
    return SQLITE_OK;
}

static int vfs_reserved(sqlite3_file *base, int *out)
{
    *out = inode_of(file_of(base))->reserved > 0;
    return SQLITE_OK;
}

/* ---- the index of the log ---- */

static int vfs_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out)
{
    struct file *file = file_of(base);
    struct disk_inode *inode = inode_of(file);

    *out = NULL;
    if (disk_fails(CALL_SHM)) return failed(SQLITE_IOERR_SHMMAP);
    if (region >= SHM_REGIONS) abort();
    if (!file->uses_shm) inode->shm_users++;
    file->uses_shm = true;
    if (!inode->shm[region] && extend) inode->shm[region] = calloc(1, (size_t)size);
    *out = inode->shm[region];
    return SQLITE_OK;
}

static void unlock_slot(struct file *file, int slot)
{
    struct disk_inode *inode = inode_of(file);
    uint8_t bit = (uint8_t)(1 << slot);

    if (file->shared & bit) inode->shm_shared[slot]--;
    if (file->exclusive & bit) inode->shm_exclusive[slot]--;
    file->shared &= (uint8_t)~bit;
    file->exclusive &= (uint8_t)~bit;
}

static int vfs_shm_lock(sqlite3_file *base, int first, int n, int flags)
{
    struct file *file = file_of(base);
    struct disk_inode *inode = inode_of(file);
    bool shared = flags & SQLITE_SHM_SHARED;

    for (int i = first; i < first + n && (flags & SQLITE_SHM_UNLOCK); i++)
        unlock_slot(file, i);
    if (flags & SQLITE_SHM_UNLOCK) return SQLITE_OK;
    if (disk_fails(CALL_LOCK)) return failed(SQLITE_IOERR_SHMLOCK);
    for (int i = first; i < first + n; i++) {
        uint8_t bit = (uint8_t)(1 << i);

        if (inode->shm_exclusive[i] && !(file->exclusive & bit)) return SQLITE_BUSY;
        if (!shared && inode->shm_shared[i] > (file->shared & bit ? 1 : 0)) return SQLITE_BUSY;
    }
    for (int i = first; i < first + n; i++) {
        uint8_t bit = (uint8_t)(1 << i);

        if ((shared ? file->shared : file->exclusive) & bit) continue;
        (*(shared ? &inode->shm_shared : &inode->shm_exclusive))[i]++;
        *(shared ? &file->shared : &file->exclusive) |= bit;
    }
    return SQLITE_OK;
}

static void vfs_shm_barrier(sqlite3_file *base)
{
}

static int vfs_shm_unmap(sqlite3_file *base, int gone)
{
    struct file *file = file_of(base);
    struct disk_inode *inode = inode_of(file);

    if (!file->uses_shm) return SQLITE_OK;
    for (int i = 0; i < 8; i++)
        unlock_slot(file, i);
    file->uses_shm = false;
    if (--inode->shm_users) return SQLITE_OK;
    for (int i = 0; i < SHM_REGIONS; i++) {
        free(inode->shm[i]);
        inode->shm[i] = NULL;
    }
    return SQLITE_OK;
}

/* ---- the rest of a file ---- */

static int vfs_close(sqlite3_file *base)
{
    (void)vfs_shm_unmap(base, 0);
    let_go(file_of(base), SQLITE_LOCK_NONE);
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int what, void *arg)
{
    return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *base)
{
    return 4096;
}

static int vfs_traits(sqlite3_file *base)
{
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {.iVersion = 2,
                                           .xClose = vfs_close,
                                           .xRead = vfs_read,
                                           .xWrite = vfs_write,
                                           .xTruncate = vfs_truncate,
                                           .xSync = vfs_sync,
                                           .xFileSize = vfs_size,
                                           .xLock = vfs_lock,
                                           .xUnlock = vfs_unlock,
                                           .xCheckReservedLock = vfs_reserved,
                                           .xFileControl = vfs_control,
                                           .xSectorSize = vfs_sector,
                                           .xDeviceCharacteristics = vfs_traits,
                                           .xShmMap = vfs_shm_map,
                                           .xShmLock = vfs_shm_lock,
                                           .xShmBarrier = vfs_shm_barrier,
                                           .xShmUnmap = vfs_shm_unmap};

/* ---- files ---- */

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *out_flags)
{
    const int logs = SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL;
    struct file *file = file_of(base);
    struct disk *disk = disk_current;
    int name, inode;

    base->pMethods = NULL;
    if (!disk_is_ours(path)) abort(); /* temporary files are in memory: PRAGMA temp_store */
    name = disk_name(disk, path);
    inode = disk->names[name].inode;
    if (disk_fails(CALL_OPEN)) return failed(SQLITE_CANTOPEN);
    if (inode < 0 && !(flags & SQLITE_OPEN_CREATE)) {
        errno = ENOENT;
        return failed(SQLITE_CANTOPEN);
    }
    if (inode < 0) inode = disk_create(disk, name);
    *file = (struct file){.base.pMethods = &methods, .disk = disk, .inode = inode, .name = name};
    file->syncs_dir = (flags & SQLITE_OPEN_CREATE) && (flags & logs);
    if (out_flags) *out_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    int name = disk_name(disk_current, path);

    if (disk_current->names[name].inode < 0) return SQLITE_IOERR_DELETE_NOENT;
    if (disk_fails(CALL_DELETE)) return failed(SQLITE_IOERR_DELETE);
    disk_unlink(disk_current, name);
    if (sync_dir) disk_sync_dir(disk_current);
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    int inode = disk_current->names[disk_name(disk_current, path)].inode;

    /* As SQLite's own: an empty file does not exist for whom asks whether it does. */
    *out = inode >= 0 && (flags != SQLITE_ACCESS_EXISTS || disk_current->inodes[inode].size > 0);
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int n, char *out)
{
    snprintf(out, (size_t)n, "%s", path);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *out)
{
    for (int i = 0; i < n; i++)
        out[i] = (char)disk_random();
    return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    return us;
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
    *out = 2460000.5;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
    return last_errno;
}

static sqlite3_vfs vfs_disk = {.iVersion = 1,
                               .szOsFile = sizeof(struct file),
                               .mxPathname = 256,
                               .zName = "disk",
                               .xOpen = vfs_open,
                               .xDelete = vfs_delete,
                               .xAccess = vfs_access,
                               .xFullPathname = vfs_full_path,
                               .xRandomness = vfs_randomness,
                               .xSleep = vfs_sleep,
                               .xCurrentTime = vfs_time,
                               .xGetLastError = vfs_last_error};

int disk_register(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    return sqlite3_vfs_register(&vfs_disk, 1);
}
