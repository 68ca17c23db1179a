/* An index of one job's unfolded changes by step and by request_id: a batch of retries looks each of them up,
 * and the line may be long.  Short lines have none. */
#ifndef GREEDYLRD_SERVER_CHANGE_INDEX_H
#define GREEDYLRD_SERVER_CHANGE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

struct change;
struct change_index;

/* A change's place under one of its keys.  All zero: in no index. */
struct index_entry {
    struct index_entry *next, **at;
    struct change *change;
    uint32_t hash;
};

/* Whether n changes want more chains: then the index is a new, empty one, and the caller adds all of them,
 * oldest first.  *index NULL: there is none yet.  Without memory it stays as it is. */
bool change_index_grow(struct change_index **index, uint32_t n);
void change_index_free(struct change_index *index);

/* The change's decision and request_id are set, and stay. */
void change_index_add(struct change_index *index, struct change *change);
/* Does nothing if it is in none. */
void change_index_remove(struct change *change);

/* Calls fits() with changes of this step (or request_id), newest first, until it returns true; NULL if it
 * never does. */
typedef bool change_fits(const struct change *change);
struct change *change_index_step(const struct change_index *index, uint32_t step, change_fits *fits);
struct change *change_index_request(const struct change_index *index, const char *request_id,
                                    change_fits *fits);

#endif
