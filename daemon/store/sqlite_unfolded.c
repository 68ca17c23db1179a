/* What is in the log, in memory: its rows, for the next pass to fold, and the jobs that have some, with their
 * newest revision: the check of a change's expected revision costs a look-up in memory and no read.  Jobs
 * whose rows are all folded are not here; for them the primary key of the history is what catches a second
 * decision of one revision.
 *
 * Happy path: each change of a transaction is checked and noted, and a note of how to undo it kept, so that a
 * transaction that fails leaves nothing.  Failure mode: without memory for an entry its job just goes
 * unchecked. */
#include "store/sqlite.h"

#include <inttypes.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct unfolded {
    uint64_t uid;
    int64_t seq; /* its newest row in the log */
    uint32_t revision;
    bool deleted;
    UT_hash_handle hh;
};

struct undo {
    struct unfolded *entry, before;
    bool added;
};

static struct unfolded *find(const struct store *store, uint64_t uid)
{
    struct unfolded *entry;

    HASH_FIND(hh, store->unfolded, &uid, sizeof(uid), entry);
    return entry;
}

int unfolded_check(const struct store *store, const struct store_change *change, struct error *err)
{
    const struct unfolded *entry = find(store, change->uid);

    if (change->decision && change->decision->revision <= change->expected_revision)
        return error_set(err, ST_STORE_STALE,
                         "a decision of revision %" PRIu32 " cannot build on revision %" PRIu32,
                         change->decision->revision, change->expected_revision);
    if (!entry || change->op == STORE_JOB_CREATE) return 0;
    if (entry->deleted) return error_set(err, ST_STORE_STALE, "the job was deleted");
    if (entry->revision == change->expected_revision) return 0;
    return error_set(err, ST_STORE_STALE, "the change builds on revision %" PRIu32 ", the job is at %" PRIu32,
                     change->expected_revision, entry->revision);
}

static int reserve_rows(struct pass_rows *rows, size_t more, struct error *err)
{
    size_t cap = rows->cap ? rows->cap : 64;

    while (cap < rows->n + more)
        cap *= 2;
    if (cap == rows->cap) return 0;
    struct pass_row *grown = realloc(rows->rows, cap * sizeof(*grown));

    if (!grown) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    rows->rows = grown;
    rows->cap = cap;
    return 0;
}

int unfolded_reserve(struct store *store, size_t changes, struct error *err)
{
    if (store->cap_undo < changes) {
        struct undo *grown = realloc(store->undo, changes * sizeof(*grown));

        if (!grown) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        store->undo = grown;
        store->cap_undo = changes;
    }
    store->n_undo = 0;
    store->next_before = store->next.n;
    return reserve_rows(&store->next, changes, err);
}

static struct unfolded *add(struct store *store, uint64_t uid)
{
    struct unfolded *entry = calloc(1, sizeof(*entry));

    if (!entry) return NULL;
    entry->uid = uid;
    HASH_ADD(hh, store->unfolded, uid, sizeof(entry->uid), entry);
    if (entry->hh.tbl) return entry;
    free(entry);
    return NULL;
}

void unfolded_note(struct store *store, const struct store_change *change, int64_t seq)
{
    struct unfolded *entry = find(store, change->uid);
    bool added = !entry;

    if (seq)
        store->next.rows[store->next.n++] =
            (struct pass_row){(int64_t)change->uid, seq, change->decision->revision};
    if (added && (!seq || !(entry = add(store, change->uid)))) return;
    store->undo[store->n_undo++] = (struct undo){entry, *entry, added};
    if (seq) entry->seq = seq;
    if (change->op == STORE_JOB_DELETE)
        entry->deleted = true;
    else if (change->decision)
        entry->revision = change->decision->revision;
    else if (change->job)
        entry->revision = change->job->revision;
}

static void forget(struct store *store, struct unfolded *entry)
{
    HASH_DELETE(hh, store->unfolded, entry);
    free(entry);
}

void unfolded_undo(struct store *store)
{
    store->next.n = store->next_before;
    while (store->n_undo) {
        const struct undo *undo = &store->undo[--store->n_undo];

        if (undo->added) {
            forget(store, undo->entry);
        } else {
            undo->entry->seq = undo->before.seq;
            undo->entry->revision = undo->before.revision;
            undo->entry->deleted = undo->before.deleted;
        }
    }
}

void unfolded_forget(struct store *store, int64_t last)
{
    struct unfolded *entry, *next;

    HASH_ITER(hh, store->unfolded, entry, next)
    {
        if (entry->seq <= last) forget(store, entry);
    }
}

void unfolded_free(struct store *store)
{
    unfolded_forget(store, INT64_MAX);
    free(store->undo);
    free(store->next.rows);
}
