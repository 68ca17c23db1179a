/* The data directory and its lock: one daemon at a time. */
#ifndef GREEDYLRD_STORE_SQLITE_LOCK_H
#define GREEDYLRD_STORE_SQLITE_LOCK_H

#include "core/status.h"

#include <stddef.h>

/* Creates dir (0700) where missing and locks DIR/lock, which then holds our pid.  *fd is the lock.
 * Errors: ST_DATA_DIR_IN_USE, ST_DATA_DIR_UNREADABLE, ST_STORE_FULL. */
int data_dir_lock(const char *dir, int *fd, struct error *err) WARN_UNUSED;
void data_dir_unlock(int fd);

/* Which other process has locks of SQLite's on the database at path, for people: "process 123 (sqlite3)", or
 * "another program" where it cannot be told.  *shm: a descriptor of the index of its log, -1 at first; to be
 * closed after this process's connections are, for a close ends all of its process's locks on the file.
 * NULL: no connection is open. */
void data_dir_holder(const char *path, int *shm, char *out, size_t size);

/* Whether what lies beside the database, its log and the like, is a file where it is there at all; a pipe
 * would hold up whoever opens it.  path: the database's.  ST_DATA_DAMAGED names what is none. */
int data_dir_beside(const char *path, struct error *err) WARN_UNUSED;

/* Makes the directory's entries durable. */
int data_dir_sync(const char *dir, struct error *err) WARN_UNUSED;

#endif
