/* A history as points, and the entries that were picked of them.
 *
 * Happy path: one read transaction over the first columns of every row, in the order of revisions, nothing of
 * which is kept here; then each picked entry by its key.  Steps narrow the rows by the index first.  Failure
 * modes: as all readers. */
#include "store/sqlite_reader.h"

#include "store/sqlite_db.h"

#include <string.h>

struct span {
    uint32_t after, until; /* revisions: above `after`, up to `until` */
};

static int read_point(sqlite3_stmt *s, struct thin_point *out, struct error *err)
{
    double lrs[GROUPS_MAX];
    size_t n;
    int action, rc;

    if ((rc = column_u32(s, 0, &out->revision, err)) ||
        (rc = column_word(s, 1, action_words, &action, err)) ||
        (rc = db_column_doubles(s, 2, &out->value, 1, &n, err)))
        return rc;
    out->action = (enum action)action;
    out->has_value = n == 1;
    rc = db_column_doubles(s, 3, lrs, GROUPS_MAX, &n, err);
    out->lr = n ? lrs[0] : 0;
    return rc;
}

/* *stopped: point() said so. */
static int read_points(struct store_reader *reader, enum reader_statement which,
                       const struct store_decisions_query *query, struct span span,
                       const struct store_thinning *how, void *arg, bool *stopped, struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, which);
    struct thin_point point;
    int step = SQLITE_DONE, rc = 0;

    sqlite3_bind_int64(s, 1, (sqlite3_int64)query->uid);
    sqlite3_bind_int64(s, 2, span.after);
    if (query->has_from) sqlite3_bind_int64(s, 3, query->from_step);
    if (query->has_to) sqlite3_bind_int64(s, 4, query->to_step);
    sqlite3_bind_int(s, 5, query->superseded);
    sqlite3_bind_int64(s, 6, -1);
    sqlite3_bind_int64(s, 7, span.until);
    while (!rc && !*stopped && (step = sqlite3_step(s)) == SQLITE_ROW) {
        rc = read_point(s, &point, err);
        if (!rc) *stopped = how->point(arg, &point) != 0;
    }
    if (!rc && !*stopped && step != SQLITE_DONE) rc = reader_error(reader, err);
    sqlite3_reset(s);
    return rc;
}

/* Takes from span what the steps asked for leave out.  Superseded rows are not in the index. */
static int narrow(struct store_reader *reader, const struct store_decisions_query *query, struct span *span,
                  struct error *err)
{
    sqlite3_stmt *s = reader_ready(reader, R_STEP_BOUNDS);
    uint32_t first = 1, last = 0;
    int rc = 0;

    if (query->superseded || (!query->has_from && !query->has_to)) return 0;
    sqlite3_bind_int64(s, 1, (sqlite3_int64)query->uid);
    sqlite3_bind_int64(s, 2, query->has_from ? query->from_step : 0);
    sqlite3_bind_int64(s, 3, query->has_to ? query->to_step : UINT32_MAX);
    if (sqlite3_step(s) != SQLITE_ROW)
        rc = reader_error(reader, err);
    else if (sqlite3_column_type(s, 0) != SQLITE_NULL && !(rc = column_u32(s, 0, &first, err)))
        rc = column_u32(s, 1, &last, err);
    sqlite3_reset(s);
    if (first && first - 1 > span->after) span->after = first - 1;
    if (last < span->until) span->until = last;
    return rc;
}

/* Hands out what is picked of the rows that a listing hands out. */
struct picking {
    const struct store_thinning *how;
    void *arg;
    const uint32_t *revisions;
    size_t n, at;
    bool stopped;
};

static int pick_entry(void *arg, const struct store_entry *entry)
{
    struct picking *p = arg;

    while (p->at < p->n && p->revisions[p->at] < entry->decision.revision)
        p->at++;
    if (p->at < p->n && p->revisions[p->at] == entry->decision.revision)
        p->stopped = p->how->each(p->arg, entry) != 0;
    return p->stopped || p->at == p->n;
}

static int read_picked(struct store_reader *reader, const struct store_decisions_query *query, uint32_t end,
                       struct picking *p, struct error *err)
{
    struct store_entry entry;
    uint32_t all = UINT32_MAX;
    int rc = 0;

    for (; !rc && !p->stopped && p->at < p->n && p->revisions[p->at] <= end; p->at++) {
        sqlite3_stmt *s = reader_ready(reader, R_ENTRY);
        sqlite3_bind_int64(s, 1, (sqlite3_int64)query->uid);
        sqlite3_bind_int64(s, 2, p->revisions[p->at]);
        int step = sqlite3_step(s);
        if (step == SQLITE_DONE) /* it was there a moment ago, in the same view */
            rc = error_set(err, ST_DATA_DAMAGED, "revision %u is not found by its key",
                           (unsigned)p->revisions[p->at]);
        else
            rc = step == SQLITE_ROW ? reader_entry(s, &entry, err) : reader_error(reader, err);
        if (!rc) {
            p->stopped = p->how->each(p->arg, &entry) != 0;
            store_entry_clear(&entry);
        }
        sqlite3_reset(s);
    }
    if (rc || p->stopped || p->at == p->n) return rc;
    return reader_list(reader, R_LOG, query, end, &all, pick_entry, p, err);
}

int store_thin_decisions(struct store_reader *reader, const struct store_decisions_query *query,
                         const struct store_thinning *how, void *arg, struct error *err)
{
    struct span span = {.after = query->after_revision, .until = UINT32_MAX};
    struct picking p = {.how = how, .arg = arg};
    uint32_t end = 0;
    int rc = reader_begin(reader, err);

    if (rc) return rc;
    rc = reader_history_end(reader, query->uid, &end, err);
    if (!rc) rc = narrow(reader, query, &span, err);
    if (!rc) rc = read_points(reader, R_POINTS, query, span, how, arg, &p.stopped, err);
    span = (struct span){.after = end > query->after_revision ? end : query->after_revision,
                         .until = UINT32_MAX};
    if (!rc && !p.stopped) rc = read_points(reader, R_POINTS_LOG, query, span, how, arg, &p.stopped, err);
    if (!rc && !p.stopped) {
        p.n = how->pick(arg, &p.revisions);
        rc = read_picked(reader, query, end, &p, err);
    }
    return reader_end(reader, rc, err);
}
