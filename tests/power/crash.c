/* What a power loss leaves of a recorded disk.
 *
 * Happy path: crash_advance() replays the record into images of what is durable, with a list of pending
 * operations for each file and one for the directory; a sync applies its file's list.  crash_disk() copies
 * the images and applies what chance keeps of the pending ones. */
#include "disk.h"

#include <stdlib.h>
#include <string.h>

struct list {
    size_t *at, n, cap;
};

struct image {
    uint8_t *bytes;
    size_t size, cap;
    struct list pending;
};

struct crash {
    const struct disk *disk;
    size_t at;
    struct image images[DISK_INODES];
    int names[DISK_NAMES];
    struct list pending; /* of the directory */
};

static void list_add(struct list *list, size_t at)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 16;
        list->at = realloc(list->at, list->cap * sizeof(*list->at));
        if (!list->at) abort();
    }
    list->at[list->n++] = at;
}

static void resize(struct image *image, size_t size)
{
    if (size > image->cap) {
        image->cap = size + size / 2 + 4096;
        image->bytes = realloc(image->bytes, image->cap);
        if (!image->bytes) abort();
    }
    if (size > image->size) memset(image->bytes + image->size, 0, size - image->size);
    image->size = size;
}

static void put(struct image *image, uint64_t at, const uint8_t *bytes, size_t len)
{
    if (!len) return;
    if (at + len > image->size) resize(image, at + len);
    memcpy(image->bytes + at, bytes, len);
}

static void apply(struct image *image, const struct disk_op *op)
{
    if (op->kind == DISK_TRUNCATE)
        resize(image, op->at);
    else
        put(image, op->at, op->bytes, op->len);
}

static void apply_name(int names[DISK_NAMES], const struct disk_op *op)
{
    if (op->kind == DISK_CREATE) names[op->name] = op->inode;
    if (op->kind == DISK_UNLINK || op->kind == DISK_RENAME) names[op->name] = -1;
    if (op->kind == DISK_RENAME) names[op->to] = op->inode;
}

struct crash *crash_new(const struct disk *disk)
{
    struct crash *crash = calloc(1, sizeof(*crash));

    if (!crash) abort();
    crash->disk = disk;
    memset(crash->names, -1, sizeof(crash->names));
    return crash;
}

void crash_free(struct crash *crash)
{
    for (size_t i = 0; i < DISK_INODES; i++) {
        free(crash->images[i].bytes);
        free(crash->images[i].pending.at);
    }
    free(crash->pending.at);
    free(crash);
}

static void synced(struct crash *crash, struct image *image, bool kept)
{
    for (size_t i = 0; i < image->pending.n && kept; i++)
        apply(image, &crash->disk->ops[image->pending.at[i]]);
    image->pending.n = 0;
}

void crash_advance(struct crash *crash, size_t at)
{
    for (; crash->at < at; crash->at++) {
        const struct disk_op *op = &crash->disk->ops[crash->at];

        switch (op->kind) {
        case DISK_WRITE:
        case DISK_TRUNCATE: list_add(&crash->images[op->inode].pending, crash->at); break;
        case DISK_SYNC: synced(crash, &crash->images[op->inode], true); break;
        case DISK_SYNC_FAILED: synced(crash, &crash->images[op->inode], disk_random() % 2); break;
        case DISK_CREATE:
        case DISK_UNLINK:
        case DISK_RENAME: list_add(&crash->pending, crash->at); break;
        case DISK_SYNC_DIR:
            for (size_t i = 0; i < crash->pending.n; i++)
                apply_name(crash->names, &crash->disk->ops[crash->pending.at[i]]);
            crash->pending.n = 0;
        }
    }
}

/* How one crash treats what is pending. */
struct fate {
    enum { LOSES_ALL, KEEPS_ALL, KEEPS_WHOLE, KEEPS_SECTORS, KEEPS_FIRST, FATES } kind;
    uint32_t keep; /* of 100 */
    bool shuffled, garbage;
    size_t sector;
};

static struct fate draw_fate(void)
{
    static const uint32_t keeps[] = {5, 50, 95};
    uint64_t r = disk_random();

    return (struct fate){.kind = (int)(r % FATES),
                         .keep = keeps[(r >> 8) % 3],
                         .shuffled = (r >> 16) % 2,
                         .garbage = (r >> 24) % 4 == 0,
                         .sector = (r >> 32) % 2 ? 512 : 4096};
}

static bool kept(const struct fate *fate)
{
    return disk_random() % 100 < fate->keep;
}

/* A part of a write: there, or damaged where it was to be. */
static void put_part(struct image *image, const struct disk_op *op, size_t from, size_t to, bool garbage)
{
    if (!garbage) {
        put(image, op->at + from, op->bytes + from, to - from);
        return;
    }
    for (size_t i = from; i < to; i++) {
        uint8_t byte = (uint8_t)disk_random();
        put(image, op->at + i, &byte, 1);
    }
}

/* Sector by sector of the disk, not of the write. */
static void put_sectors(struct image *image, const struct disk_op *op, const struct fate *fate)
{
    for (size_t from = 0; from < op->len;) {
        size_t to = from + fate->sector - (op->at + from) % fate->sector;

        if (to > op->len) to = op->len;
        if (kept(fate))
            put_part(image, op, from, to, false);
        else if (fate->garbage)
            put_part(image, op, from, to, true);
        from = to;
    }
}

static void put_torn(struct image *image, const struct disk_op *op, const struct fate *fate)
{
    size_t middle = op->len ? disk_random() % (op->len + 1) : 0;

    put_part(image, op, 0, middle, false);
    if (fate->garbage) put_part(image, op, middle, op->len, true);
}

static void shuffle(size_t *order, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = disk_random() % i, t = order[i - 1];

        order[i - 1] = order[j];
        order[j] = t;
    }
}

static void suffer(const struct crash *crash, const struct image *from, struct image *image)
{
    struct fate fate = draw_fate();
    size_t n = from->pending.n, base = image->size, first = n ? disk_random() % n : 0, whole = base;
    size_t *order = malloc((n + 1) * sizeof(*order));

    if (!order) abort();
    if (n) memcpy(order, from->pending.at, n * sizeof(*order));
    if (fate.shuffled && fate.kind != KEEPS_ALL && fate.kind != KEEPS_FIRST) shuffle(order, n);
    for (size_t i = 0; i < n; i++) {
        const struct disk_op *op = &crash->disk->ops[order[i]];

        if (op->at + op->len > whole) whole = op->at + op->len;
        if (fate.kind == LOSES_ALL || (fate.kind == KEEPS_FIRST && i > first)) continue;
        if (fate.kind == KEEPS_ALL || (fate.kind == KEEPS_FIRST && i < first))
            apply(image, op);
        else if (op->kind == DISK_TRUNCATE || fate.kind == KEEPS_WHOLE) {
            if (kept(&fate)) apply(image, op);
        } else if (fate.kind == KEEPS_SECTORS)
            put_sectors(image, op, &fate);
        else
            put_torn(image, op, &fate);
    }
    free(order);
    /* The size by itself: lost though data was kept, or kept though data was lost. */
    uint64_t r = disk_random() % 8;
    if (fate.kind == KEEPS_ALL || !n) return;
    if (r == 0 && image->size > base) resize(image, base);
    if (r == 1 && image->size < whole) resize(image, whole);
}

struct disk *crash_disk(const struct crash *crash)
{
    struct disk *disk = disk_new();
    uint32_t names_kept = (uint32_t)(disk_random() % 3); /* none, all, each by itself */
    int names[DISK_NAMES];

    memcpy(names, crash->names, sizeof(names));
    for (size_t i = 0; i < crash->pending.n; i++) {
        if (names_kept == 1 || (names_kept == 2 && disk_random() % 2))
            apply_name(names, &crash->disk->ops[crash->pending.at[i]]);
    }
    for (size_t i = 0; i < DISK_NAMES; i++) {
        memcpy(disk->names[i].name, crash->disk->names[i].name, sizeof(disk->names[i].name));
        if (names[i] < 0) continue;
        const struct image *from = &crash->images[names[i]];
        struct image image = {0};
        resize(&image, from->size);
        if (from->size) memcpy(image.bytes, from->bytes, from->size);
        suffer(crash, from, &image);
        disk->names[i].inode = disk->n_inodes;
        disk->inodes[disk->n_inodes++] =
            (struct disk_inode){.bytes = image.bytes, .size = image.size, .cap = image.cap};
    }
    return disk;
}
