/* Readers of what rewinds and rounds need: states of the history, settings that were in force, who reported
 * in a round, and reports that wait for theirs.
 *
 * Happy path: one statement, one row (or a few), copied out.  Failure modes: damage is ST_DATA_DAMAGED. */
#include "store/sqlite_reader.h"

#include "store/sqlite_db.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A copy of a blob; *out NULL and 0 for NULL or an empty one. */
static int copy_blob(sqlite3_stmt *s, int at, uint8_t **out, size_t *len, struct error *err)
{
    const void *bytes = sqlite3_column_blob(s, at);

    *out = NULL;
    *len = bytes ? (size_t)sqlite3_column_bytes(s, at) : 0;
    if (!*len) return 0;
    *out = malloc(*len);
    if (!*out) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    memcpy(*out, bytes, *len);
    return 0;
}

static int read_state(sqlite3_stmt *s, struct store_state *out, struct error *err)
{
    int action, rc;

    memset(out, 0, sizeof(*out));
    out->has_step = sqlite3_column_type(s, 1) != SQLITE_NULL;
    if ((rc = column_u32(s, 0, &out->revision, err)) ||
        (rc = column_word(s, 2, action_words, &action, err)) ||
        (out->has_step && (rc = column_u32(s, 1, &out->step, err))))
        return rc;
    out->action = (enum action)action;
    return copy_blob(s, 3, &out->bytes, &out->len, err);
}

int store_find_state(struct store_reader *reader, uint64_t uid, enum store_state_match match, uint32_t step,
                     struct store_state *out, struct error *err)
{
    static const enum reader_statement statements[] = {[STORE_STATE_AT] = R_STATE_AT,
                                                       [STORE_STATE_BELOW] = R_STATE_BELOW,
                                                       [STORE_STATE_FIRST] = R_STATE_FIRST};
    sqlite3_stmt *s = reader_ready(reader, statements[match]);
    int rc;

    sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    sqlite3_bind_int64(s, 2, step);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        rc = read_state(s, out, err);
    else if (code == SQLITE_DONE)
        rc = error_set(err, ST_STEP_NOT_FOUND, "the history has no such state");
    else
        rc = reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}

int store_get_settings(struct store_reader *reader, uint64_t uid, uint32_t revision, char **effective,
                       bool *newest, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_SETTINGS);
    int rc = 0;

    sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    sqlite3_bind_int64(s, 2, revision);
    int code = sqlite3_step(s);
    const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (text) {
        *newest = sqlite3_column_int(s, 1) != 0;
        *effective = strdup(text);
        if (!*effective) rc = error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    } else {
        rc = code == SQLITE_ROW || code == SQLITE_DONE
                 ? error_set(err, ST_DATA_DAMAGED, "the settings of revision %u are missing", revision)
                 : reader_error(reader, err);
    }
    sqlite3_reset(s);
    return rc;
}

int store_get_round(struct store_reader *reader, uint64_t uid, uint32_t revision, uint8_t **out, size_t *len,
                    struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_ROUND);
    int rc;

    *out = NULL;
    *len = 0;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    sqlite3_bind_int64(s, 2, revision);
    int code = sqlite3_step(s);
    rc = code == SQLITE_ROW    ? copy_blob(s, 0, out, len, err)
         : code == SQLITE_DONE ? 0
                               : reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}

static int one_double(sqlite3_stmt *s, int at, double missing, double *out, struct error *err)
{
    size_t n;
    int rc = db_column_doubles(s, at, out, 1, &n, err);

    if (!rc && n == 0) *out = missing;
    return rc;
}

/* What a round takes from a report: see core/round.h. */
static int check_contribution(sqlite3_stmt *s, const struct store_contribution *c, struct error *err)
{
    const struct round_report *r = &c->report;
    const struct ranks *ranks = &c->ranks;

    if (c->rank >= ranks->world_size || ranks->world_size > RANKS_MAX) return column_damaged(s, 2, err);
    if (r->order < 1 || r->order > ranks->world_size) return column_damaged(s, 3, err);
    if (!(r->weight > 0 && isfinite(r->weight))) return column_damaged(s, 5, err);
    if (ranks->quorum < 1 || ranks->quorum > ranks->world_size) return column_damaged(s, 9, err);
    return 0;
}

static int read_contribution(sqlite3_stmt *s, struct store_contribution *c, struct error *err)
{
    struct round_report *r = &c->report;
    int reduce, rc;

    memset(c, 0, sizeof(*c));
    if ((rc = column_u32(s, 0, &c->attempt, err)) || (rc = column_u32(s, 1, &c->step, err)) ||
        (rc = column_u32(s, 2, &c->rank, err)) || (rc = column_u32(s, 3, &r->order, err)) ||
        (rc = one_double(s, 4, NAN, &r->value, err)) || (rc = one_double(s, 5, 1, &r->weight, err)) ||
        (rc = one_double(s, 6, INFINITY, &r->lr_cap, err)) ||
        (rc = one_double(s, 7, NAN, &r->applied_lr, err)) ||
        (rc = column_u32(s, 8, &c->ranks.world_size, err)) ||
        (rc = column_u32(s, 9, &c->ranks.quorum, err)) ||
        (rc = column_word(s, 10, reduce_words, &reduce, err)))
        return rc;
    c->ranks.reduce = (enum reduce)reduce;
    r->recorded = true;
    return check_contribution(s, c, err);
}

int store_list_contributions(struct store_reader *reader, uint64_t uid,
                             int (*each)(void *arg, const struct store_contribution *contribution), void *arg,
                             struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_CONTRIBUTIONS);
    struct store_contribution c;
    int code, rc = 0;

    sqlite3_bind_int64(s, 1, (sqlite3_int64)uid);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        if ((rc = read_contribution(s, &c, err)) || each(arg, &c)) break;
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) rc = reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}
