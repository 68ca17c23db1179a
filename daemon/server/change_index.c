/* A table of chains, each newest first because changes are added in order; a change is in it twice at most.
 *
 * Superseded changes stay in it (a failed rewind gives them back) and are passed over by who looks.  Failure
 * mode: without memory the table does not grow, which costs time and nothing else. */
#include "server/change_index.h"

#include "server/jobs.h"

#include <stdlib.h>
#include <string.h>

#define LINE_SHORT 16 /* changes that are sooner looked through than indexed */
#define CHAINS_MIN 64

struct change_index {
    uint32_t chains; /* a power of two */
    struct index_entry *heads[];
};

static uint32_t hash_bytes(const void *bytes, size_t n, uint32_t seed)
{
    const uint8_t *at = bytes;
    uint32_t hash = 2166136261u ^ seed;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ at[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static uint32_t hash_step(uint32_t step)
{
    return hash_bytes(&step, sizeof(step), 0);
}

static uint32_t hash_request(const char *request_id)
{
    return hash_bytes(request_id, strlen(request_id), 1);
}

bool change_index_grow(struct change_index **index, uint32_t n)
{
    uint32_t chains = *index ? (*index)->chains : 0;
    struct change_index *grown;

    if (n <= (chains ? chains : LINE_SHORT)) return false;
    chains = chains ? chains * 2 : CHAINS_MIN;
    grown = calloc(1, sizeof(*grown) + chains * sizeof(struct index_entry *));
    if (!grown) return false;
    grown->chains = chains;
    free(*index);
    *index = grown;
    return true;
}

void change_index_free(struct change_index *index)
{
    free(index);
}

static void add(struct change_index *index, struct index_entry *entry, struct change *change, uint32_t hash)
{
    struct index_entry **head = &index->heads[hash & (index->chains - 1)];

    *entry = (struct index_entry){.next = *head, .at = head, .change = change, .hash = hash};
    if (*head) (*head)->at = &entry->next;
    *head = entry;
}

void change_index_add(struct change_index *index, struct change *change)
{
    if (change->has_decision && change->decision.has_step)
        add(index, &change->by_step, change, hash_step(change->decision.step));
    if (change->has_decision && change->request_id)
        add(index, &change->by_request, change, hash_request(change->request_id));
}

static void take_out(struct index_entry *entry)
{
    if (!entry->at) return;
    *entry->at = entry->next;
    if (entry->next) entry->next->at = entry->at;
    *entry = (struct index_entry){0};
}

void change_index_remove(struct change *change)
{
    take_out(&change->by_step);
    take_out(&change->by_request);
}

static const struct index_entry *chain(const struct change_index *index, uint32_t hash)
{
    return index->heads[hash & (index->chains - 1)];
}

struct change *change_index_step(const struct change_index *index, uint32_t step, change_fits *fits)
{
    for (const struct index_entry *e = chain(index, hash_step(step)); e; e = e->next) {
        if (e == &e->change->by_step && e->change->decision.step == step && fits(e->change)) return e->change;
    }
    return NULL;
}

struct change *change_index_request(const struct change_index *index, const char *request_id,
                                    change_fits *fits)
{
    uint32_t hash = hash_request(request_id);

    for (const struct index_entry *e = chain(index, hash); e; e = e->next) {
        if (e->hash == hash && e == &e->change->by_request && !strcmp(e->change->request_id, request_id) &&
            fits(e->change))
            return e->change;
    }
    return NULL;
}
