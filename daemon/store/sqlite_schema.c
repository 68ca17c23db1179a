/* The database file.
 *
 * Happy path: the file is ours (application_id) and of this version.  A missing one is made beside its place
 * and renamed into it when whole and synced, so that an empty file in that place is damage and never a fresh
 * start.  An older one is migrated in one transaction, step by step.  Failure modes: a file that is not ours,
 * damaged or newer is refused and left as it is. */
#include "store/sqlite_schema.h"

#include "store/sqlite_db.h"
#include "store/sqlite_lock.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES     4096
#define APPLICATION_ID 0x676c7264 /* "glrd" */

/* Decisions, in the log (in the order of commits) and in the history (clustered by job).  Numbers SQLite
 * cannot hold (NaN, -0.0) and infinities are blobs of 8 bytes; several rates are one blob. */
#define DECISION_COLUMNS                                                                                     \
    "job INTEGER NOT NULL, revision INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER, "              \
    "action TEXT NOT NULL, time_us INTEGER NOT NULL, value REAL, smoothed REAL, best REAL, "                 \
    "num_good INTEGER NOT NULL, num_bad INTEGER NOT NULL, stage TEXT NOT NULL, at_min INTEGER NOT NULL, "    \
    "at_max INTEGER NOT NULL, plateaued INTEGER NOT NULL, applied_mismatch INTEGER NOT NULL, "               \
    "superseded INTEGER NOT NULL, lrs REAL, reason TEXT NOT NULL, request_id TEXT, state BLOB"

/* migrations[v] takes a database of version v to v + 1; version 0 is empty.  Released steps never change. */
static const char *const migrations[SCHEMA_VERSION] = {
    "CREATE TABLE job(uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, status TEXT NOT NULL, "
    "revision INTEGER NOT NULL, create_us INTEGER NOT NULL, update_us INTEGER NOT NULL, labels TEXT NOT "
    "NULL, "
    "created TEXT NOT NULL, spec TEXT NOT NULL, effective TEXT NOT NULL, state BLOB NOT NULL);"
    "CREATE TABLE log(seq INTEGER PRIMARY KEY, " DECISION_COLUMNS ");"
    "CREATE TABLE decision(" DECISION_COLUMNS ", PRIMARY KEY(job, revision)) WITHOUT ROWID;"
    "CREATE INDEX decision_step ON decision(job, step);"
    "CREATE INDEX decision_request ON decision(job, request_id) WHERE request_id IS NOT NULL;"
    "CREATE TABLE doomed(uid INTEGER PRIMARY KEY);"
    "CREATE TABLE probe(id INTEGER PRIMARY KEY, count INTEGER NOT NULL, filler BLOB);",
    /* Who did it; rounds; reports that wait for their round; the settings that were in force. */
    "ALTER TABLE log ADD COLUMN actor TEXT;"
    "ALTER TABLE log ADD COLUMN ranks INTEGER;"
    "ALTER TABLE log ADD COLUMN round BLOB;"
    "ALTER TABLE decision ADD COLUMN actor TEXT;"
    "ALTER TABLE decision ADD COLUMN ranks INTEGER;"
    "ALTER TABLE decision ADD COLUMN round BLOB;"
    "CREATE TABLE contribution(job INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL, "
    "rank INTEGER NOT NULL, place INTEGER NOT NULL, revision INTEGER NOT NULL, value REAL NOT NULL, "
    "weight REAL NOT NULL, lr_cap REAL, applied_lr REAL, world_size INTEGER NOT NULL, "
    "quorum INTEGER NOT NULL, reduce TEXT NOT NULL, PRIMARY KEY(job, attempt, step, rank)) WITHOUT ROWID;"
    "CREATE TABLE settings(job INTEGER NOT NULL, revision INTEGER NOT NULL, effective TEXT NOT NULL, "
    "PRIMARY KEY(job, revision)) WITHOUT ROWID;"
    "INSERT INTO settings(job, revision, effective) SELECT uid, 0, effective FROM job;"
    /* Look-ups by step are for what counts, however much a rewind went back behind. */
    "DROP INDEX decision_step;"
    "CREATE INDEX decision_step ON decision(job, step) WHERE NOT superseded;",
    /* What the shadows decided: a record of core/shadow.h. */
    "ALTER TABLE log ADD COLUMN shadow BLOB; ALTER TABLE decision ADD COLUMN shadow BLOB;",
    /* How many jobs are paused or finished is known at a start without reading all of them. */
    "CREATE INDEX job_at_rest ON job(status) WHERE status<>'active';"};

const char *store_library(void)
{
    return sqlite3_libversion();
}

unsigned store_schema(void)
{
    return SCHEMA_VERSION;
}

int schema_migrate(sqlite3 *db, int64_t version, struct error *err)
{
    char sql[128];
    int rc = db_exec(db, "BEGIN IMMEDIATE", "migrating the database", err);

    for (int64_t v = version; !rc && v < SCHEMA_VERSION; v++)
        rc = db_exec(db, migrations[v], "migrating the database", err);
    snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", APPLICATION_ID,
             SCHEMA_VERSION);
    if (!rc) rc = db_exec(db, sql, "migrating the database", err);
    return rc && db_rollback(db, err) ? ST_STORE_FAILED : rc;
}

/* Whole or not there: made as DIR/greedylr.db.new, synced, renamed. */
static int create(const char *dir, const char *path, struct error *err)
{
    char fresh[PATH_BYTES + 8];
    sqlite3 *db;
    int fd, rc;

    snprintf(fresh, sizeof(fresh), "%s.new", path);
    if (unlink(fresh) && errno != ENOENT) goto err_file;
    fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) goto err_file;
    close(fd);
    rc = db_open(fresh, false, &db, err);
    if (rc) return rc;
    rc = db_exec(db, "PRAGMA page_size=4096; PRAGMA journal_mode=MEMORY; PRAGMA synchronous=FULL",
                 "creating the database", err);
    if (!rc) rc = schema_migrate(db, 0, err);
    db_close(db);
    if (rc) goto err_database;
    if (rename(fresh, path)) goto err_file;
    return data_dir_sync(dir, err);

err_database:
    unlink(fresh);
    return rc;
err_file:
    rc = errno == ENOSPC || errno == EDQUOT ? ST_STORE_FULL : ST_DATA_DIR_UNREADABLE;
    return error_set(err, (enum status)rc, "creating %s: %s", path, strerror(errno));
}

/* Creates the database if nothing of one is there.  A log without its database, or an empty file, is damage.
 */
static int ensure_file(const char *dir, const char *path, struct error *err)
{
    char wal[PATH_BYTES + 8];
    struct stat st;

    snprintf(wal, sizeof(wal), "%s-wal", path);
    if (stat(path, &st) == 0) {
        if (!S_ISREG(st.st_mode)) return error_set(err, ST_DATA_DAMAGED, "%s is not a file", path);
        if (access(path, R_OK | W_OK))
            return error_set(err, ST_DATA_DIR_UNREADABLE, "%s: %s", path, strerror(errno));
        if (data_dir_beside(path, err)) return (int)err->status;
        if (st.st_size > 0) return 0;
        return error_set(err, ST_DATA_DAMAGED, "%s is empty; restore a backup, or remove it to start afresh",
                         path);
    }
    if (errno != ENOENT) return error_set(err, ST_DATA_DIR_UNREADABLE, "%s: %s", path, strerror(errno));
    if (stat(wal, &st) == 0 && st.st_size > 0)
        return error_set(err, ST_DATA_DAMAGED, "%s is missing, but its log %s is there", path, wal);
    return create(dir, path, err);
}

int schema_check(sqlite3 *db, const char *path, int64_t *version, struct error *err)
{
    int64_t application, tables;
    int rc;

    if ((rc = db_integer(db, "PRAGMA application_id", 0, &application, err)) ||
        (rc = db_integer(db, "PRAGMA user_version", 0, version, err)))
        return error_wrap(err, "%s", path);
    if (application != APPLICATION_ID)
        return error_set(err, ST_DATA_DAMAGED, "%s is not a database of greedylrd", path);
    if (*version > SCHEMA_VERSION)
        return error_set(err, ST_DATA_NEWER,
                         "%s has schema version %" PRId64 ", this greedylrd knows up to %d", path, *version,
                         SCHEMA_VERSION);
    rc = db_integer(db, "SELECT count(*) FROM sqlite_schema", 0, &tables, err);
    if (rc) return error_wrap(err, "%s", path);
    if (*version < 1 || tables < 1) return error_set(err, ST_DATA_DAMAGED, "%s has no tables", path);
    return 0;
}

/* Asked for, and checked: a file system without shared memory cannot do it. */
static int wal_mode(sqlite3 *db, struct error *err)
{
    sqlite3_stmt *statement;
    bool is_wal = false;

    if (sqlite3_prepare_v2(db, "PRAGMA journal_mode=WAL", -1, &statement, NULL) != SQLITE_OK)
        return db_error(db, "switching to WAL", err);
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW)
        is_wal = sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    /* The switch is committed, and synced, behind its answer. */
    int rc = step == SQLITE_ROW ? db_run(statement, "switching to WAL", err)
                                : db_error(db, "switching to WAL", err);
    sqlite3_finalize(statement);
    if (!rc && !is_wal)
        return error_set(err, ST_STORE_FAILED, "the file system does not support SQLite's WAL mode");
    return rc;
}

int schema_open(const char *dir, sqlite3 **out, struct error *err)
{
    char path[PATH_BYTES], who[64];
    int64_t version;
    sqlite3 *db;
    int rc;

    if ((size_t)snprintf(path, sizeof(path), "%s/greedylr.db", dir) >= sizeof(path) - 8)
        return error_set(err, ST_DATA_DIR_UNREADABLE, "the name of the data directory is too long");
    if ((rc = ensure_file(dir, path, err)) || (rc = db_open(path, false, &db, err))) return rc;
    if ((rc = schema_check(db, path, &version, err))) goto err_check;
    if ((rc = wal_mode(db, err))) goto err_check;
    rc = db_exec(db,
                 "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=16777216; "
                 "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384",
                 "setting up the database", err);
    if (!rc && version < SCHEMA_VERSION) rc = schema_migrate(db, version, err);
    if (rc) goto err_check;
    *out = db;
    return 0;

err_check:
    db_close(db);
    if (rc == ST_STORE_HELD) {
        data_dir_holder(path, NULL, who, sizeof(who));
        rc = error_set(err, ST_DATA_DIR_IN_USE,
                       "%s is locked by %s; start again once that has ended its transaction", path, who);
    }
    return rc;
}

int schema_open_reader(const char *path, sqlite3 **out, struct error *err)
{
    int rc = db_open(path, true, out, err);

    if (rc) return rc;
    rc = db_exec(*out, "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY", "setting up a reader", err);
    if (rc) db_close(*out);
    return rc;
}
