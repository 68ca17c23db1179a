/* Which jobs were active last.  For a start only: the rows of all jobs are read. */
#include "store/sqlite_reader.h"

#include "store/sqlite_db.h"

int store_recent_jobs(struct store_reader *reader, uint32_t limit, void (*each)(void *arg, const char *name),
                      void *arg, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_RECENT);
    int step;

    if (sqlite3_bind_int64(s, 1, limit)) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    while ((step = sqlite3_step(s)) == SQLITE_ROW)
        each(arg, (const char *)sqlite3_column_text(s, 0)); /* NOT NULL, of at most JOB_ID_MAX bytes */
    int rc = step == SQLITE_DONE ? 0 : reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}
