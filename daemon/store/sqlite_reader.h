/* What the readers' files share. */
#ifndef GREEDYLRD_STORE_SQLITE_READER_H
#define GREEDYLRD_STORE_SQLITE_READER_H

#include "store/sqlite.h"

enum reader_statement {
    R_BEGIN,
    R_END,
    R_JOB,
    R_JOBS,
    R_JOBS_COUNT,
    R_RECENT,
    R_STEP,
    R_STEP_LOG,
    R_REQUEST,
    R_STATE_AT,
    R_STATE_BELOW,
    R_STATE_FIRST,
    R_SETTINGS,
    R_ROUND,
    R_CONTRIBUTIONS,
    R_HISTORY,
    R_HISTORY_STEPS,
    R_HISTORY_END,
    R_LOG,
    R_STEP_BOUNDS,
    R_POINTS,
    R_POINTS_LOG,
    R_ENTRY,
    R_COUNT
};

struct store_reader {
    const struct store *store;
    sqlite3 *db;
    sqlite3_stmt *statements[R_COUNT];
};

/* A reader on a connection, which becomes the reader's if it succeeds.  Of store only recovering is asked. */
int reader_on(const struct store *store, sqlite3 *db, struct store_reader **out,
              struct error *err) WARN_UNUSED;

/* The connection's last error as a status. */
int reader_error(struct store_reader *reader, struct error *err);
/* A statement without bindings, from its start. */
sqlite3_stmt *reader_ready(struct store_reader *reader, enum reader_statement which);

/* A row of DECISION_LIST; store_entry_clear. */
int reader_entry(sqlite3_stmt *statement, struct store_entry *out, struct error *err) WARN_UNUSED;

/* Hands out rows of R_HISTORY, R_HISTORY_STEPS or R_LOG behind the revision `after` until there are no more
 * or each() stops (*left = 0); takes what it handed out from *left. */
int reader_list(struct store_reader *reader, enum reader_statement which,
                const struct store_decisions_query *query, uint32_t after, uint32_t *left,
                int (*each)(void *arg, const struct store_entry *entry), void *arg,
                struct error *err) WARN_UNUSED;
/* The newest revision the history has of the job: the log's rows up to it are folded already. */
int reader_history_end(struct store_reader *reader, uint64_t uid, uint32_t *out,
                       struct error *err) WARN_UNUSED;
/* Begins, and ends, one view of history and log; rc is how what was between them went. */
int reader_begin(struct store_reader *reader, struct error *err) WARN_UNUSED;
int reader_end(struct store_reader *reader, int rc, struct error *err) WARN_UNUSED;

/* Values of a row; ST_DATA_DAMAGED for what the contract of store.h cannot hold. */
int column_damaged(sqlite3_stmt *statement, int at, struct error *err);
int column_word(sqlite3_stmt *statement, int at, const char *const *words, int *out,
                struct error *err) WARN_UNUSED;
int column_u32(sqlite3_stmt *statement, int at, uint32_t *out, struct error *err) WARN_UNUSED;

#endif
