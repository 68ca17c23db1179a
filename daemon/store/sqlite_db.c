/* SQLite connections.
 *
 * Happy path: statements are prepared once, bound, run and reset.  Failure modes: every error goes through
 * db_error, which tells a full disk (the caller may go on), and a lock of another program's, from a failed
 * sync or any other write error (the process must end) and from damage. */
#include "store/sqlite_db.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define BUSY_MS 5000

int db_open(const char *path, bool readonly, sqlite3 **out, struct error *err)
{
    return db_open_vfs(path, readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, NULL, out, err);
}

int db_open_vfs(const char *path, int flags, const char *vfs, sqlite3 **out, struct error *err)
{
    sqlite3 *db = NULL;
    int rc;

    flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(path, &db, flags, vfs) != SQLITE_OK) {
        rc = db ? db_error(db, "opening the database", err)
                : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        sqlite3_close(db);
        return rc;
    }
    sqlite3_busy_timeout(db, BUSY_MS);
    /* Closing would checkpoint and hide the result. */
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    *out = db;
    return 0;
}

void db_close(sqlite3 *db)
{
    sqlite3_close(db);
}

static bool no_room(int code, int system_errno)
{
    if ((code & 0xff) == SQLITE_FULL) return true;
    if (system_errno != ENOSPC && system_errno != EDQUOT) return false;
    switch (code) {
    case SQLITE_IOERR_WRITE:
    case SQLITE_IOERR_TRUNCATE:
    case SQLITE_IOERR_SHMOPEN:
    case SQLITE_IOERR_SHMSIZE:
    case SQLITE_IOERR_SHMMAP:
    case SQLITE_CANTOPEN: return true;
    default: return false;
    }
}

static enum status status_of(int code, int system_errno)
{
    if (no_room(code, system_errno)) return ST_STORE_FULL;
    if ((code & 0xff) == SQLITE_CANTOPEN && (system_errno == EMFILE || system_errno == ENFILE))
        return ST_OVERLOADED;
    if (code == SQLITE_IOERR_NOMEM) return ST_OUT_OF_MEMORY;
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT: return ST_DATA_DAMAGED;
    case SQLITE_CONSTRAINT: return ST_STORE_STALE;
    case SQLITE_BUSY: return ST_STORE_HELD;
    case SQLITE_NOMEM: return ST_OUT_OF_MEMORY;
    default: return ST_STORE_FAILED;
    }
}

int db_error(sqlite3 *db, const char *doing, struct error *err)
{
    int code = sqlite3_extended_errcode(db), system_errno = sqlite3_system_errno(db);
    int primary = code & 0xff;

    if (primary != SQLITE_IOERR && primary != SQLITE_CANTOPEN) system_errno = 0;
    return error_set(err, status_of(code, system_errno), "%s: %s%s%s (SQLite error %d)", doing,
                     sqlite3_errmsg(db), system_errno ? ": " : "", system_errno ? strerror(system_errno) : "",
                     code);
}

int db_exec(sqlite3 *db, const char *sql, const char *doing, struct error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(db, doing, err);
}

int db_integer(sqlite3 *db, const char *sql, int64_t missing, int64_t *out, struct error *err)
{
    sqlite3_stmt *statement;
    int rc = 0, step;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        return db_error(db, "reading the database", err);
    step = sqlite3_step(statement);
    if (step == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL)
        *out = sqlite3_column_int64(statement, 0);
    else if (step == SQLITE_ROW || step == SQLITE_DONE)
        *out = missing;
    else
        rc = db_error(db, "reading the database", err);
    sqlite3_finalize(statement);
    return rc;
}

int db_prepare(sqlite3 *db, const char *const *sql, sqlite3_stmt **out, size_t n, struct error *err)
{
    memset(out, 0, n * sizeof(*out));
    for (size_t i = 0; i < n; i++) {
        int code = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &out[i], NULL);
        if (code == SQLITE_OK) continue;
        int rc = db_error(db, "the database's tables", err);
        db_finalize(out, n);
        /* Our own text is right, so a table or column is missing. */
        if (code == SQLITE_ERROR && err) err->status = ST_DATA_DAMAGED;
        return code == SQLITE_ERROR ? ST_DATA_DAMAGED : rc;
    }
    return 0;
}

void db_finalize(sqlite3_stmt **statements, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sqlite3_finalize(statements[i]);
        statements[i] = NULL;
    }
}

int db_run(sqlite3_stmt *statement, const char *doing, struct error *err)
{
    int step = sqlite3_step(statement), rc = 0;

    while (step == SQLITE_ROW)
        step = sqlite3_step(statement);
    if (step != SQLITE_DONE) rc = db_error(sqlite3_db_handle(statement), doing, err);
    sqlite3_reset(statement);
    return rc;
}

int db_rollback(sqlite3 *db, struct error *err)
{
    if (sqlite3_get_autocommit(db)) return 0; /* SQLite itself rolls back on some errors */
    if (sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK && sqlite3_get_autocommit(db)) return 0;
    struct error why;
    int rc = db_error(db, "rolling back", &why) == ST_OUT_OF_MEMORY ? ST_OUT_OF_MEMORY : ST_STORE_FAILED;

    if (err) *err = why;
    if (err) err->status = (enum status)rc;
    return rc;
}

/* ---- doubles ---- */

static void put_double(uint8_t out[8], double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(bits >> (8 * i));
}

static double get_double(const uint8_t in[8])
{
    uint64_t bits = 0;
    double value;

    for (int i = 0; i < 8; i++)
        bits |= (uint64_t)in[i] << (8 * i);
    memcpy(&value, &bits, sizeof(value));
    return value;
}

int db_bind_double(sqlite3_stmt *statement, int at, bool has, double value)
{
    uint8_t bytes[8];

    if (!has) return sqlite3_bind_null(statement, at);
    if (isfinite(value) && !(value == 0.0 && signbit(value)))
        return sqlite3_bind_double(statement, at, value);
    put_double(bytes, value);
    return sqlite3_bind_blob(statement, at, bytes, sizeof(bytes), SQLITE_TRANSIENT);
}

int db_bind_doubles(sqlite3_stmt *statement, int at, const double *values, size_t n)
{
    if (n <= 1) return db_bind_double(statement, at, n == 1, n ? values[0] : 0.0);

    uint8_t *bytes = sqlite3_malloc64(n * 8);

    if (!bytes) return SQLITE_NOMEM;
    for (size_t i = 0; i < n; i++)
        put_double(bytes + 8 * i, values[i]);
    return sqlite3_bind_blob64(statement, at, bytes, n * 8, sqlite3_free);
}

int db_column_doubles(sqlite3_stmt *statement, int at, double *out, size_t max, size_t *n, struct error *err)
{
    *n = 0;
    switch (sqlite3_column_type(statement, at)) {
    case SQLITE_NULL: return 0;
    case SQLITE_INTEGER:
    case SQLITE_FLOAT:
        if (max < 1) break;
        out[0] = sqlite3_column_double(statement, at);
        *n = 1;
        return 0;
    case SQLITE_BLOB: {
        const uint8_t *bytes = sqlite3_column_blob(statement, at);
        size_t len = (size_t)sqlite3_column_bytes(statement, at);

        if (!bytes && len) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        if (len % 8 || len / 8 > max || !len) break;
        for (*n = 0; *n < len / 8; ++*n)
            out[*n] = get_double(bytes + 8 * *n);
        return 0;
    }
    default: break;
    }
    return error_set(err, ST_DATA_DAMAGED, "%s holds something that is no number",
                     sqlite3_column_name(statement, at));
}
