/* A story: the store at work on a recorded disk, by chance, and which of its calls had returned when. */
#ifndef GREEDYLRD_TESTS_POWER_STORY_H
#define GREEDYLRD_TESTS_POWER_STORY_H

#include "disk.h"
#include "model.h"

#define STORY_BATCH 6
#define STORY_CALLS 128

enum outcome { DONE, NOT_DONE, UNKNOWN }; /* of a call that has returned */
struct call {
    size_t begin, end; /* operations of the disk before it, and when it had returned; end 0: it has not */
    enum outcome outcome;
    uint32_t n;
    struct deed deeds[STORY_BATCH];
};

struct story {
    struct disk *disk;
    struct store *store; /* NULL: closed */
    struct store_reader *reader;
    struct model model; /* what is acknowledged */
    struct call calls[STORY_CALLS];
    uint32_t n_calls;
    struct error err;
};

/* On a disk, of which the model is true. */
void story_begin(struct story *story, struct disk *disk, const struct model *model);
/* One call of the store's, with a status as it returned it.  Opens the store first if it is not. */
int story_step(struct story *story);
int story_open(struct story *story);
/* A commit of some deeds; one that deletes every job, and the reaping of what they leave. */
int story_commit(struct story *story);
int story_clear(struct story *story);
int story_close(struct story *story);
/* Every call of a reader's; the worst status.  A message in *problem if something is told to be missing. */
int story_read(struct story *story, const char **problem);

/* The models of what must be there after the first `at` operations: `sure`, and with the call that was in
 * flight or whose outcome is unknown, `more`.  False: there was no such call, more is sure. */
bool story_at(const struct story *story, const struct model *begin, size_t at, struct model *sure,
              struct model *more);

/* Opens the store on a disk that a crash or a fault left: NULL if it is as `sure` or `more` says, goes on
 * working, and keeps that across another start; *found says which.  story: scratch. */
const char *story_survives(struct story *story, struct disk *disk, const struct model *sure,
                           const struct model *more, struct model *found);

#endif
