/* Writing and reading states as facts: little-endian integers and the bits of doubles.  The same calls serve
 * both directions, so that a state cannot be written one way and read another. */
#ifndef GREEDYLRD_CORE_STATE_IO_H
#define GREEDYLRD_CORE_STATE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state_io {
    uint8_t *out;      /* writing: destination, NULL only counts */
    const uint8_t *in; /* reading: source */
    size_t pos;        /* bytes written or read so far */
    size_t len;        /* reading: bytes there are */
    bool reading;
    bool failed; /* reading: the source ended too early or held an impossible value; stays set */
};

void state_io_u8(struct state_io *io, uint8_t *v);
void state_io_u32(struct state_io *io, uint32_t *v);
void state_io_f64(struct state_io *io, double *v);
void state_io_f64s(struct state_io *io, double *v, size_t n);

#endif
