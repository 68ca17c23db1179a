/* SQLite connections: opening, running statements, errors as statuses, and doubles that keep every bit. */
#ifndef GREEDYLRD_STORE_SQLITE_DB_H
#define GREEDYLRD_STORE_SQLITE_DB_H

#include "core/status.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens an existing database.  Nothing is checked and nothing written yet; closing never checkpoints. */
int db_open(const char *path, bool readonly, sqlite3 **out, struct error *err) WARN_UNUSED;
/* The same with SQLite's flags and VFS. */
int db_open_vfs(const char *path, int flags, const char *vfs, sqlite3 **out, struct error *err) WARN_UNUSED;
void db_close(sqlite3 *db);

/* What the connection's last error means: ST_STORE_FULL (no room), ST_OVERLOADED (no descriptor),
 * ST_DATA_DAMAGED, ST_STORE_STALE (a constraint), ST_OUT_OF_MEMORY, otherwise ST_STORE_FAILED, every failed
 * sync included.  Call it before the statement is reset. */
int db_error(sqlite3 *db, const char *doing, struct error *err);

/* Runs statements that return nothing. */
int db_exec(sqlite3 *db, const char *sql, const char *doing, struct error *err) WARN_UNUSED;
/* The first column of the first row, or `missing` without a row or with NULL there. */
int db_integer(sqlite3 *db, const char *sql, int64_t missing, int64_t *out, struct error *err) WARN_UNUSED;

/* Prepares statements to be reused; on failure none is left. */
int db_prepare(sqlite3 *db, const char *const *sql, sqlite3_stmt **out, size_t n,
               struct error *err) WARN_UNUSED;
void db_finalize(sqlite3_stmt **statements, size_t n);
/* Steps a bound statement to its end and resets it. */
int db_run(sqlite3_stmt *statement, const char *doing, struct error *err) WARN_UNUSED;

/* Ends an open transaction without a trace; succeeds if there is none.  ST_OUT_OF_MEMORY: it is open still,
 * and has to be rolled back before the next one; ST_STORE_FAILED. */
int db_rollback(sqlite3 *db, struct error *err) WARN_UNUSED;

/* SQLite has neither NaN nor -0.0.  Those and the infinities go in as blobs of 8 bytes, little-endian, all
 * others as numbers that people can read; !has is NULL.  Several are one blob.  They return SQLite's code, as
 * its own binds do. */
int db_bind_double(sqlite3_stmt *statement, int at, bool has, double value);
int db_bind_doubles(sqlite3_stmt *statement, int at, const double *values, size_t n);
/* Reads up to max of them; ST_DATA_DAMAGED if there is something else. */
int db_column_doubles(sqlite3_stmt *statement, int at, double *out, size_t max, size_t *n,
                      struct error *err) WARN_UNUSED;

#endif
