/* The inspection of a database: its file, its version, its pages.
 *
 * Happy path: a snapshot, SQLite's integrity check, then everything that is in it (sqlite_content.c); an
 * older version is copied into memory and migrated there first, as the next start will do it.  Failure
 * modes: what cannot be opened is an error, what is wrong with the rest a finding each. */
#include "store/sqlite_inspect.h"

#include "store/sqlite.h"
#include "store/sqlite_db.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_snapshot.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define MESSAGES     20
#define LOW_SPACE    (UINT64_C(64) << 20)
#define MEMORY_BYTES (UINT64_C(1) << 30) /* of an older database, to be migrated in memory */

__attribute__((format(printf, 4, 0))) static void tell(const struct inspector *in, bool damage,
                                                       const char *remedy, const char *format, va_list args)
{
    char what[700];

    vsnprintf(what, sizeof(what), format, args);
    in->found(in->arg, damage, what, remedy);
}

void inspect_damage(const struct inspector *in, const char *remedy, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(in, true, remedy, format, args);
    va_end(args);
}

void inspect_note(const struct inspector *in, const char *remedy, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(in, false, remedy, format, args);
    va_end(args);
}

/* ---- around the database ---- */

static void look_around(const char *dir, const char *path, const struct inspector *in, struct inspected *out)
{
    char other[4200];
    struct statvfs fs;
    struct stat st;

    if (stat(path, &st) == 0) {
        out->bytes = (uint64_t)st.st_size;
        if (st.st_mode & 077) inspect_note(in, "chmod 600", "%s can be read by others than its owner", path);
    }
    snprintf(other, sizeof(other), "%s-wal", path);
    if (stat(other, &st) == 0) out->log_bytes = (uint64_t)st.st_size;
    if (!dir) return;
    snprintf(other, sizeof(other), "%s.new", path);
    if (stat(other, &st) == 0)
        inspect_note(in, "the next start removes it", "%s is left from a first start that did not finish",
                     other);
    if (statvfs(dir, &fs)) return;
    out->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (out->free_bytes < LOW_SPACE)
        inspect_note(in, "make room; a full disk refuses writes until there is some",
                     "only %" PRIu64 " KiB are free on the file system of %s", out->free_bytes >> 10, dir);
}

/* ---- its pages ---- */

static int check_pages(sqlite3 *db, const struct inspector *in, struct error *err)
{
    sqlite3_stmt *s;
    int code, rc = 0;

    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(" TEXT(MESSAGES) ")", -1, &s, NULL) != SQLITE_OK)
        return db_error(db, "checking the database", err);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);

        if (text && strcmp(text, "ok")) inspect_damage(in, RESTORE, "%s", text);
    }
    if (code != SQLITE_DONE) {
        rc = db_error(db, "checking the database", err);
        if (rc != ST_OUT_OF_MEMORY) {
            inspect_damage(in, RESTORE, "%s", err->message);
            rc = 0;
        }
    }
    sqlite3_finalize(s);
    return rc;
}

/* ---- its content ---- */

static int copy_to_memory(sqlite3 *from, sqlite3 **out, struct error *err)
{
    int rc = db_open_vfs(":memory:", SQLITE_OPEN_READWRITE, NULL, out, err);

    if (rc) return rc;
    sqlite3_backup *copy = sqlite3_backup_init(*out, "main", from, "main");
    if (!copy || sqlite3_backup_step(copy, -1) != SQLITE_DONE) rc = ST_DATA_DAMAGED;
    if (sqlite3_backup_finish(copy) != SQLITE_OK || rc) {
        rc = db_error(*out, "copying the database into memory", err);
        db_close(*out);
    }
    return rc;
}

static int check_older(sqlite3 *db, const struct inspector *in, struct inspected *out, struct error *err)
{
    sqlite3 *memory;
    int rc;

    if (out->bytes + out->log_bytes > MEMORY_BYTES) {
        inspect_note(in, "start greedylrd, stop it, and check again",
                     "the content of so large a database of schema version %" PRId64
                     " can be checked only once it is migrated",
                     out->schema);
        return 0;
    }
    if ((rc = copy_to_memory(db, &memory, err))) return rc;
    rc = schema_migrate(memory, out->schema, err);
    if (!rc) {
        inspect_note(in, "nothing to do; keep a backup if you may want to go back to an older greedylrd",
                     "schema version %" PRId64 " is older than this program's; the next start migrates it to "
                     "%" PRId64 ", which was tried on a copy in memory",
                     out->schema, out->schema_known);
        rc = inspect_content(memory, in, out, err);
    }
    db_close(memory);
    return rc;
}

static int inspect(struct snapshot *s, const char *dir, const struct inspector *in, struct inspected *out,
                   struct error *err)
{
    int rc;

    out->live = s->live;
    out->pid = s->pid;
    out->schema_known = SCHEMA_VERSION;
    look_around(dir, s->path, in, out);
    if ((rc = schema_check(s->db, s->path, &out->schema, err)) || (rc = check_pages(s->db, in, err)))
        return rc;
    rc = out->schema < SCHEMA_VERSION ? check_older(s->db, in, out, err)
                                      : inspect_content(s->db, in, out, err);
    /* What was found so far says more than the error does. */
    if (rc && rc != ST_OUT_OF_MEMORY) {
        inspect_damage(in, RESTORE, "%s", err->message);
        rc = 0;
    }
    return rc;
}

/* rc: what opening it came to. */
static int inspect_opened(int rc, struct snapshot *s, const char *dir, const struct inspector *in,
                          struct inspected *out, struct error *err)
{
    *out = (struct inspected){0};
    if (rc) return rc;
    rc = inspect(s, dir, in, out, err);
    snapshot_close(s);
    return rc;
}

int store_inspect(const char *dir, const struct inspector *in, struct inspected *out, struct error *err)
{
    struct snapshot s;

    return inspect_opened(snapshot_open(dir, &s, err), &s, dir, in, out, err);
}

int store_inspect_file(const char *path, const struct inspector *in, struct inspected *out, struct error *err)
{
    struct snapshot s;

    return inspect_opened(snapshot_open_file(path, &s, err), &s, NULL, in, out, err);
}
