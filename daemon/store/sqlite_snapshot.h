/* A database as it is at one moment, read without writing anything. */
#ifndef GREEDYLRD_STORE_SQLITE_SNAPSHOT_H
#define GREEDYLRD_STORE_SQLITE_SNAPSHOT_H

#include "core/status.h"

#include <sqlite3.h>
#include <stdbool.h>

struct snapshot {
    sqlite3 *db; /* in a transaction that has begun to read */
    int lock;    /* keeps daemons from starting, -1: none */
    bool live;   /* a daemon runs on it */
    long pid;    /* its process, 0: not known */
    char path[4096];
};

/* Of DIR/greedylr.db and its log.  Next to a daemon it is one more reader; else a lock on DIR/lock keeps
 * daemons from starting, and files are opened for reading only, so that not even an index of the log is left
 * behind. Errors: ST_DATA_DIR_UNREADABLE, ST_DATA_DAMAGED (no database, or not one), ST_STORE_FAILED (it
 * cannot be read). */
int snapshot_open(const char *dir, struct snapshot *out, struct error *err) WARN_UNUSED;
/* Of a file that nobody else has open. */
int snapshot_open_file(const char *path, struct snapshot *out, struct error *err) WARN_UNUSED;
void snapshot_close(struct snapshot *snapshot);

#endif
