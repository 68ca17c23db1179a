/* Calls as the service takes them, and its answers as the reference gives them. */
#ifndef GREEDYLRD_TESTS_MODEL_WORLD_CALLS_H
#define GREEDYLRD_TESTS_MODEL_WORLD_CALLS_H

#include "world.h"

#include "server/service.h"

struct change;

/* Changes from first to last, linked. */
uint32_t calls_count_changes(const struct change *first, const struct change *last);
void calls_forget(void);
/* Answers do not count any more. */
void calls_ignore(void);
/* Calls that are not answered. */
uint32_t calls_open(void);
void calls_issue(struct service *service, uint32_t call, const struct ref_request *request);
/* Of the job that was got last. */
uint32_t calls_history(struct store_reader *reader, struct ref_answer *out, uint32_t max);

#endif
