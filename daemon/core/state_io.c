/* States as bytes: little-endian whatever the machine.
 *
 * Happy path: io_bytes moves n bytes in the direction of the io.  Failure: a source that ends too early sets
 * failed and every later read leaves its destination zero, so that a reader checks once, at the end. */
#include "core/state_io.h"

#include <string.h>

static inline void io_bytes(struct state_io *io, uint8_t *bytes, size_t n)
{
    if (io->reading) {
        if (io->failed || io->len - io->pos < n) {
            io->failed = true;
            memset(bytes, 0, n);
            return;
        }
        memcpy(bytes, io->in + io->pos, n);
    } else if (io->out) {
        memcpy(io->out + io->pos, bytes, n);
    }
    io->pos += n;
}

static uint64_t little_endian(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(v);
#else
    return v;
#endif
}

/* The low n bytes of v. */
static inline uint64_t io_le(struct state_io *io, uint64_t v, size_t n)
{
    uint64_t bytes = io->reading ? 0 : little_endian(v);

    io_bytes(io, (uint8_t *)&bytes, n);
    return little_endian(bytes);
}

void state_io_u8(struct state_io *io, uint8_t *v)
{
    *v = (uint8_t)io_le(io, *v, 1);
}

void state_io_u32(struct state_io *io, uint32_t *v)
{
    *v = (uint32_t)io_le(io, *v, 4);
}

void state_io_f64(struct state_io *io, double *v)
{
    uint64_t bits;

    memcpy(&bits, v, sizeof(bits));
    bits = io_le(io, bits, 8);
    memcpy(v, &bits, sizeof(bits));
}

void state_io_f64s(struct state_io *io, double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        state_io_f64(io, &v[i]);
}
