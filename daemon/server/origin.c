/* An id is made of four random bytes, the same for as long as the process runs, and a count: short, unique
 * across restarts for all that matters, and in the order in which requests came.  It is no secret. */
#include "server/origin.h"

#include <errno.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define HEX "0123456789abcdef"

static uint32_t run;
static uint64_t count;

int origin_start(struct error *err)
{
    if (getrandom(&run, sizeof(run), 0) == (ssize_t)sizeof(run)) return 0;
    return error_set(err, ST_INTERNAL, "no randomness: %s", strerror(errno));
}

static bool is_id(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:/+=@";
    size_t n = text ? strspn(text, allowed) : 0;

    return n && n <= ORIGIN_ID_MAX && !text[n];
}

/* At least so many digits; returns the end. */
static char *put_hex(char *out, uint64_t value, int least)
{
    int n = least;

    while (n < 16 && value >> (4 * n))
        n++;
    for (int i = n; i-- > 0; value >>= 4)
        out[i] = HEX[value & 15];
    return out + n;
}

/* n digits that are not all 0, and what must follow them. */
static bool is_hex(const char *text, size_t n, bool some)
{
    return strspn(text, HEX) >= n && (!some || strspn(text, "0") < n);
}

/* 00-<32 hex digits>-<16>-<2>.  Of a later version the same, and perhaps more behind another dash. */
static bool is_traceparent(const char *text)
{
    if (!text || !is_hex(text, 2, false) || !strncmp(text, "ff", 2) || text[2] != '-') return false;
    if (!is_hex(text + 3, 32, true) || text[35] != '-') return false;
    if (!is_hex(text + 36, 16, true) || text[52] != '-' || !is_hex(text + 53, 2, false)) return false;
    return !text[TRACEPARENT_LEN] || (strncmp(text, "00", 2) && text[TRACEPARENT_LEN] == '-');
}

struct origin *origin_new(const char *request_id, const char *traceparent)
{
    char made[32];
    size_t n;
    struct origin *origin;
    bool traced = is_traceparent(traceparent);

    if (!is_id(request_id)) {
        char *at = put_hex(made, run, 8);

        *at++ = '-';
        *put_hex(at, ++count, 1) = '\0';
        request_id = made;
    }
    n = strlen(request_id) + 1;
    origin = malloc(sizeof(*origin) + n + (traced ? TRACEPARENT_LEN + 1 + TRACE_ID_LEN + 1 : 0));
    if (!origin) return NULL;
    *origin = (struct origin){.refs = 1};
    memcpy(origin->id, request_id, n);
    if (traced) {
        char *parent = origin->id + n, *id = parent + TRACEPARENT_LEN + 1;
        memcpy(parent, traceparent, TRACEPARENT_LEN);
        parent[TRACEPARENT_LEN] = '\0';
        memcpy(id, traceparent + 3, TRACE_ID_LEN);
        id[TRACE_ID_LEN] = '\0';
        origin->traceparent = parent;
        origin->trace_id = id;
    }
    return origin;
}

struct origin *origin_ref(struct origin *origin)
{
    if (origin) origin->refs++;
    return origin;
}

void origin_unref(struct origin *origin)
{
    if (origin && !--origin->refs) free(origin);
}
