/* A disk in memory that remembers in which order it was written, so that what a power loss would have left of
 * it can be rebuilt; and SQLite's and the store's way to it.
 *
 * disk_use() makes one the current disk: SQLite's default VFS, and the file calls that the store makes itself
 * (the linker wraps them), work on it for paths below DISK_DIR; there is no real file.  One thread.
 *
 * What a crash may do to calls that no sync has made durable, file by file: each write is lost, kept, or
 * torn, in sectors of 512 or 4096 bytes or at any byte, in any order, and the part that was not kept may hold
 * anything; a changed size is lost or kept by itself; each name that was made, removed or renamed is so or
 * not until the directory is synced.  A failed sync may lose for good what it should have kept, as Linux
 * does.  Two things are taken for granted, as SQLite does for this VFS: a write damages no byte outside its
 * range (SQLITE_IOCAP_POWERSAFE_OVERWRITE), and what a successful sync covered stays. */
#ifndef GREEDYLRD_TESTS_POWER_DISK_H
#define GREEDYLRD_TESTS_POWER_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_DIR    "/disk-of-power"
#define DISK_NAMES  8
#define DISK_INODES 256

struct disk_inode {
    uint8_t *bytes;
    size_t size, cap;
    uint8_t *shm[4]; /* the WAL's index, gone with its last user */
    uint32_t shm_users;
    uint8_t shm_shared[8], shm_exclusive[8];
    uint32_t shared, reserved, exclusive; /* handles with such a lock */
};

enum disk_op_kind {
    DISK_WRITE,
    DISK_TRUNCATE,
    DISK_SYNC,
    DISK_SYNC_FAILED,
    DISK_CREATE,
    DISK_UNLINK,
    DISK_RENAME,
    DISK_SYNC_DIR
};
struct disk_op {
    enum disk_op_kind kind;
    int inode, name, to; /* names by their place in disk.names */
    uint64_t at;         /* of a write; the size for TRUNCATE */
    size_t len;
    uint8_t *bytes;
};

struct disk {
    struct {
        char name[32];
        int inode; /* -1: no such file */
    } names[DISK_NAMES];
    struct disk_inode inodes[DISK_INODES];
    int n_inodes;
    uint64_t capacity; /* bytes; 0: no limit */
    bool recording;
    struct disk_op *ops;
    size_t n_ops, cap_ops;
};

struct disk *disk_new(void);
/* The files; nothing of the record, and of a disk that nobody uses. */
struct disk *disk_copy(const struct disk *disk);
void disk_free(struct disk *disk);
/* Records from here on; what is there is durable. */
void disk_record(struct disk *disk);
void disk_use(struct disk *disk);
/* Makes the VFS SQLite's default; 0. */
int disk_register(void);
/* Random numbers for SQLite (the salts of its WAL) and for crashes: the same seed, the same run. */
void disk_seed(uint64_t seed);
uint64_t disk_random(void);

/* Calls that fail: the nth of these kinds (1: the next), and with forever all after it. */
enum disk_call {
    CALL_OPEN = 1,
    CALL_READ = 2,
    CALL_WRITE = 4,
    CALL_TRUNCATE = 8,
    CALL_SYNC = 16,
    CALL_DELETE = 32,
    CALL_SIZE = 64,
    CALL_LOCK = 128,
    CALL_SHM = 256,
    CALL_NAMES = 512, /* the store's own: open, unlink, rename, stat, sync of the directory */
    CALL_ALL = 1023
};
struct disk_fault {
    uint32_t calls;
    int nth; /* 0: none */
    bool forever, shorten;
    int error;
    int hits;
    size_t first_op; /* operations of the disk before the first hit */
};
extern struct disk_fault disk_fault;

/* Lies to plant, to see that they are found: syncs of files whose name ends so are answered and not done. */
extern const char *disk_lie;

/* A power loss after the first `at` operations, for growing `at`. */
struct crash;
struct crash *crash_new(const struct disk *disk);
void crash_free(struct crash *crash);
void crash_advance(struct crash *crash, size_t at);
/* What it might leave, by disk_random(). */
struct disk *crash_disk(const struct crash *crash);

#endif
