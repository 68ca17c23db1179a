/* Specs by a hash of their bytes.
 *
 * Two that have the same hash and are not equal are not shared: the second stays its job's own.  Whatever is
 * not in the table has one user, and is freed with it. */
#include "server/specs.h"

#include "rpc/buf.h"

#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* without memory an element is not added, and its hh.tbl is NULL */
#include <uthash.h>

struct shared {
    UT_hash_handle hh;
    uint64_t key;
    struct job_spec *spec;
    uint32_t users;
};

struct specs {
    struct shared *table;
    struct buf one, other; /* scratch */
};

struct specs *specs_new(void)
{
    return calloc(1, sizeof(struct specs));
}

static void drop(struct specs *specs, struct shared *shared)
{
    HASH_DEL(specs->table, shared);
    spec_free(shared->spec);
    free(shared);
}

void specs_free(struct specs *specs)
{
    if (!specs) return;
    while (specs->table)
        drop(specs, specs->table);
    buf_free(&specs->one);
    buf_free(&specs->other);
    free(specs);
}

uint32_t specs_count(const struct specs *specs)
{
    return HASH_COUNT(specs->table);
}

/* FNV-1a.  Nothing but memory hangs on it: equal hashes are compared. */
static void hash_bytes(void *arg, const void *bytes, size_t n)
{
    uint64_t *hash = arg;

    for (size_t i = 0; i < n; i++)
        *hash = (*hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(1099511628211);
}

static struct shared *find(struct specs *specs, const struct job_spec *spec, uint64_t *key)
{
    struct shared *shared;

    *key = UINT64_C(14695981039346656037);
    spec_bytes(spec, hash_bytes, key);
    HASH_FIND(hh, specs->table, key, sizeof(*key), shared);
    return shared;
}

static void write_bytes(void *arg, const void *bytes, size_t n)
{
    buf_append(arg, bytes, n);
}

/* No without memory. */
static bool is_same(struct specs *specs, const struct job_spec *a, const struct job_spec *b)
{
    struct buf *one = &specs->one, *other = &specs->other;

    one->len = other->len = 0;
    one->failed = other->failed = false;
    spec_bytes(a, write_bytes, one);
    spec_bytes(b, write_bytes, other);
    return !one->failed && !other->failed && one->len == other->len &&
           !memcmp(one->data, other->data, one->len);
}

struct job_spec *specs_share(struct specs *specs, struct job_spec *spec)
{
    uint64_t key;
    struct shared *shared = find(specs, spec, &key);

    if (shared) {
        if (!is_same(specs, spec, shared->spec)) return spec;
        shared->users++;
        spec_free(spec);
        return shared->spec;
    }
    shared = calloc(1, sizeof(*shared));
    if (!shared) return spec;
    shared->key = key;
    shared->spec = spec;
    shared->users = 1;
    HASH_ADD(hh, specs->table, key, sizeof(shared->key), shared);
    if (!shared->hh.tbl) free(shared);
    return spec;
}

void specs_release(struct specs *specs, struct job_spec *spec)
{
    uint64_t key;
    struct shared *shared = spec ? find(specs, spec, &key) : NULL;

    if (!shared || shared->spec != spec)
        spec_free(spec);
    else if (--shared->users == 0)
        drop(specs, shared);
}
