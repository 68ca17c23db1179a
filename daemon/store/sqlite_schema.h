/* The database file: where it is, what is in it, which versions there are. */
#ifndef GREEDYLRD_STORE_SQLITE_SCHEMA_H
#define GREEDYLRD_STORE_SQLITE_SCHEMA_H

#include "core/status.h"

#include <sqlite3.h>
#include <stdint.h>

#define SCHEMA_VERSION 4

/* The writer's connection to DIR/greedylr.db, created where missing, checked, migrated to SCHEMA_VERSION, in
 * WAL mode with synchronous=FULL and no automatic checkpoints. Errors: ST_DATA_NEWER, ST_DATA_DAMAGED (not
 * ours, or not what it should be), ST_STORE_FULL, ST_STORE_FAILED, ST_DATA_DIR_UNREADABLE. */
int schema_open(const char *dir, sqlite3 **out, struct error *err) WARN_UNUSED;

/* Whose file is it, and how old?  Reads only.  ST_DATA_NEWER, ST_DATA_DAMAGED. */
int schema_check(sqlite3 *db, const char *path, int64_t *version, struct error *err) WARN_UNUSED;
/* Takes a database from its version to SCHEMA_VERSION, in one transaction. */
int schema_migrate(sqlite3 *db, int64_t version, struct error *err) WARN_UNUSED;

/* A reader's connection to the same, which must be open for writing. */
int schema_open_reader(const char *path, sqlite3 **out, struct error *err) WARN_UNUSED;

#endif
