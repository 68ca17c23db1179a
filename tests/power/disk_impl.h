/* What disk.c offers vfs.c: files by name, changes that are recorded, faults. */
#ifndef GREEDYLRD_TESTS_POWER_DISK_IMPL_H
#define GREEDYLRD_TESTS_POWER_DISK_IMPL_H

#include "disk.h"

extern struct disk *disk_current;

/* The place of a path's name in disk->names; -1: no more room or not ours. */
int disk_name(struct disk *disk, const char *path);
bool disk_is_ours(const char *path);
/* Whether this call is to fail; sets errno. */
bool disk_fails(enum disk_call call);

int disk_create(struct disk *disk, int name);
void disk_unlink(struct disk *disk, int name);
void disk_rename(struct disk *disk, int from, int to);
void disk_sync_dir(struct disk *disk);
/* 0, or -1 where the disk is full. */
int disk_write(struct disk *disk, int inode, uint64_t at, const void *bytes, size_t len);
int disk_truncate(struct disk *disk, int inode, uint64_t size);
void disk_sync(struct disk *disk, int inode, bool works);

#endif
