/* Power losses: a story is told once and recorded, then cut at many places. */
#include "losses.h"

#include "story.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX    60
#define NESTED_STEPS 4
#define NESTED       8 /* of a state that goes on: cuts behind the crash */

static struct story told, checked;

static int by_size(const void *a, const void *b)
{
    const size_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Where to cut a record: places in ascending order, half of them just behind a sync or a call's return. */
static void draw_places(const struct story *story, size_t *places, size_t n)
{
    size_t first = story->calls[0].begin, ops = story->disk->n_ops;

    for (size_t i = 0; i < n; i++) {
        size_t at = first + disk_random() % (ops - first + 1), kind = disk_random() % 4;

        if (kind == 0) at = story->calls[disk_random() % story->n_calls].end;
        while (kind == 1 && at < ops && story->disk->ops[at].kind != DISK_SYNC)
            at++;
        places[i] = at > ops ? ops : at;
    }
    qsort(places, n, sizeof(*places), by_size);
}

static void fail(struct losses *losses, const char *problem, size_t at, const char *where)
{
    losses->failed++;
    if (!losses->problem[0])
        snprintf(losses->problem, sizeof(losses->problem), "%.440s (%s, operation %zu)", problem, where, at);
}

/* Cuts a story at n places; the states of a cut go on and are cut themselves if deeper. */
static void cut(const struct story *story, const struct model *begin, size_t n, bool deeper,
                struct losses *losses);

/* From a state after a crash: a start and some calls, recorded, and then crashes again. */
static void go_on(struct disk *disk, const struct model *model, struct losses *losses)
{
    static struct story story;

    disk_record(disk);
    story_begin(&story, disk, model);
    for (int i = 0; i <= NESTED_STEPS; i++)
        if (story_step(&story)) fail(losses, story.err.message, disk->n_ops, "without a fault");
    if (story_close(&story)) fail(losses, story.err.message, disk->n_ops, "without a fault");
    cut(&story, model, NESTED, false, losses);
}

static void cut(const struct story *story, const struct model *begin, size_t n, bool deeper,
                struct losses *losses)
{
    struct crash *crash = crash_new(story->disk);
    size_t places[LOSSES_STATES];

    draw_places(story, places, n);
    for (size_t i = 0; i < n && !losses->failed; i++) {
        struct model sure, more, found;
        bool two = story_at(story, begin, places[i], &sure, &more);
        struct disk *disk;
        const char *problem;

        crash_advance(crash, places[i]);
        disk = crash_disk(crash);
        struct disk *copy = deeper && disk_random() % 24 == 0 ? disk_copy(disk) : NULL;
        problem = story_survives(&checked, disk, &sure, two ? &more : NULL, &found);
        disk_free(disk);
        losses->in_flight += two;
        losses->nested += !deeper;
        if (problem)
            fail(losses, problem, places[i], deeper ? "a crash" : "a crash after a crash");
        else
            losses->passed++;
        if (copy && !problem) go_on(copy, &found, losses);
        if (copy) disk_free(copy);
    }
    crash_free(crash);
}

void losses_run(uint64_t seed, struct losses *losses)
{
    static struct model nothing;
    struct disk *disk = disk_new();
    uint32_t steps;

    disk_seed(seed);
    nothing.history_limit = disk_random() % 3 ? 0 : 6;
    steps = 5 + (uint32_t)(disk_random() % (STEPS_MAX - 5));
    disk_record(disk);
    story_begin(&told, disk, &nothing);
    for (uint32_t i = 0; i < steps; i++)
        if (story_step(&told)) fail(losses, told.err.message, disk->n_ops, "without a fault");
    if (told.store && story_close(&told)) fail(losses, told.err.message, disk->n_ops, "without a fault");
    cut(&told, &nothing, LOSSES_STATES, true, losses);
    disk_free(disk);
    facts_free();
}
