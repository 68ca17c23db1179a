/* The daemon's service in this process, step by step.
 *
 * The service, its jobs and rounds, the writer and the store are the daemon's own.  The linker puts this file
 * between them and what decides when things happen: the writer thread stops before each batch, each step of
 * folding and each wait, and goes on when it is told; timers run on a clock of their own; ids are drawn from
 * the seed.  So a schedule is the same each time, and a crash can be put between any two steps: the files
 * stay as they are, and all memory is thrown away. */
#ifndef GREEDYLRD_TESTS_MODEL_WORLD_H
#define GREEDYLRD_TESTS_MODEL_WORLD_H

#include "reference.h"

enum writer_at { WRITER_RUNS, WRITER_IDLE, WRITER_COMMIT, WRITER_MAINTAIN, WRITER_PROBE };

/* Makes an empty database, to begin schedules with. */
void world_prepare(const char *dir);
/* A schedule begins: a fresh database, time 0. */
void world_begin(uint64_t seed);
void world_start(void);
void world_crash(void);
/* Ends in good order: nothing is queued any more. */
void world_release(void);
void world_stop(void);

/* Calls are numbered from 0 after each start. */
void world_call(uint32_t call, const struct ref_request *request);
void world_cancel(uint32_t call);
/* NULL: not answered.  More than one answer aborts. */
const struct ref_answer *world_answer(uint32_t call);
/* The whole history of the job that was got last, superseded entries included; returns how many. */
uint32_t world_history(struct ref_answer *out, uint32_t max);
/* The open round of the job that was asked for last: its step and how many ranks' values it has. */
bool world_open_round(uint32_t *step, uint32_t *reported);

/* Changes that the service has handed to the writer since the start. */
uint32_t world_submitted(void);
enum writer_at world_writer(void);
/* Of the batch that the writer is about to store. */
uint32_t world_batch(void);
/* Lets an idle writer look at its queue; whether it has a batch now. */
bool world_wake(void);
/* Lets the writer do what it is about to do; stored: else a batch fails as on a full disk.  Then as
 * world_wake. */
bool world_go(bool stored);
/* The writer has been idle for long: it folds.  False if it has nothing to fold. */
bool world_idle(void);
/* The loop hears of what the writer did. */
void world_deliver(void);
/* The disk has room again, and the service finds out. */
void world_find_room(void);
/* Lets the earliest deadline up to `until` pass and returns its time; 0: there is none. */
uint64_t world_pass_deadline(uint64_t until);
void world_set_time(uint64_t now);

#endif
