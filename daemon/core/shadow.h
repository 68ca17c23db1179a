/* What the shadows of a job decided on a report: a record of bytes that goes with the job's decision, into
 * the history and out of it. */
#ifndef GREEDYLRD_CORE_SHADOW_H
#define GREEDYLRD_CORE_SHADOW_H

#include "core/policy.h"
#include "core/spec.h"
#include "core/state_io.h"
#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One shadow's part of a record. */
struct shadow_said {
    char name[SHADOW_NAME_MAX + 1];
    enum action action; /* one that answers a report */
    uint32_t groups;
    double lrs[GROUPS_MAX]; /* [groups] */
    char reason[DECISION_REASON_MAX];
};

/* The most bytes that a record of the spec's shadows has; 0: there are none. */
size_t shadow_record_room(const struct job_spec *spec);

/* Writes a record: the head, then one entry for each of n shadows, 1 to SHADOWS_MAX.  io->out has the room,
 * or is NULL and the bytes are counted. */
void shadow_record_begin(struct state_io *io, uint32_t n);
void shadow_record_add(struct state_io *io, const char *name, enum action action, const double *lrs,
                       uint32_t groups, const char *reason);

/* Reads one: begin once, then next until it is false.  Of a record that shadow_record_check refuses the rest
 * is passed over. */
struct shadow_reader {
    struct state_io io;
    uint32_t left; /* shadows to come */
};
struct shadow_reader shadow_read(const uint8_t *record, size_t len);
bool shadow_next(struct shadow_reader *reader, struct shadow_said *out);

/* Whether the bytes are a record, of so many groups and nothing else.  ST_DATA_DAMAGED. */
int shadow_record_check(const uint8_t *record, size_t len, uint32_t groups, struct error *err) WARN_UNUSED;

#endif
