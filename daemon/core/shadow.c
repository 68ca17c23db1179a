/* Records of what shadows decided, version 1, little-endian: u8 version, u8 number of shadows; of each u8
 * length and bytes of its name, the same of its action's word, u32 groups, f64 rates [groups], u8 length and
 * bytes of the reason.
 *
 * Happy path: one function moves an entry in both directions.  Failure: bytes that are no record, that end
 * too early or go on, set io.failed; who reads checks once, before anything is shown. */
#include "core/shadow.h"

#include <math.h>
#include <string.h>

#define RECORD_VERSION 1
#define WORD_MAX       16 /* bytes of an action's word, with the NUL */

_Static_assert(DECISION_REASON_MAX <= 256 && SHADOW_NAME_MAX < 256, "lengths are one byte");

/* A text of at most size - 1 bytes, none of them NUL. */
static void io_text(struct state_io *io, char *text, size_t size)
{
    uint8_t len = (uint8_t)(io->reading ? 0 : strlen(text));

    state_io_u8(io, &len);
    if (len >= size) {
        io->failed = true;
        len = 0;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text[i];

        state_io_u8(io, &c);
        if (!c) io->failed = true;
        text[i] = (char)c;
    }
    text[len] = '\0';
}

static void io_action(struct state_io *io, enum action *action)
{
    char word[WORD_MAX] = "";

    if (!io->reading) strcpy(word, action_words[*action]);
    io_text(io, word, sizeof(word));
    if (!io->reading) return;
    for (*action = (enum action)0; *action < ACTION_COUNT; ++*action) {
        if (strcmp(word, action_words[*action]) == 0 && action_is_report(*action)) return;
    }
    *action = ACTION_HOLD;
    io->failed = true;
}

static void io_entry(struct state_io *io, struct shadow_said *said)
{
    io_text(io, said->name, sizeof(said->name));
    io_action(io, &said->action);
    state_io_u32(io, &said->groups);
    if (said->groups < 1 || said->groups > GROUPS_MAX) {
        io->failed = true;
        said->groups = 0;
    }
    state_io_f64s(io, said->lrs, said->groups);
    io_text(io, said->reason, sizeof(said->reason));
}

static void io_head(struct state_io *io, uint8_t *n)
{
    uint8_t version = RECORD_VERSION;

    state_io_u8(io, &version);
    state_io_u8(io, n);
    if (version != RECORD_VERSION || *n < 1 || *n > SHADOWS_MAX) io->failed = true;
}

size_t shadow_record_room(const struct job_spec *spec)
{
    size_t room = 0;

    for (uint32_t i = 0; i < spec->n_shadows; i++)
        room += 1 + SHADOW_NAME_MAX + 1 + WORD_MAX + 4 + spec->lr.n * sizeof(double) + DECISION_REASON_MAX;
    return room ? room + 2 : 0;
}

void shadow_record_begin(struct state_io *io, uint32_t n)
{
    uint8_t byte = (uint8_t)n;

    io_head(io, &byte);
}

void shadow_record_add(struct state_io *io, const char *name, enum action action, const double *lrs,
                       uint32_t groups, const char *reason)
{
    struct shadow_said said = {.action = action, .groups = groups};

    memcpy(said.name, name, strnlen(name, SHADOW_NAME_MAX));
    memcpy(said.lrs, lrs, groups * sizeof(double));
    memcpy(said.reason, reason, strnlen(reason, DECISION_REASON_MAX - 1));
    io_entry(io, &said);
}

struct shadow_reader shadow_read(const uint8_t *record, size_t len)
{
    struct shadow_reader reader = {.io = {.in = record, .len = record ? len : 0, .reading = true}};
    uint8_t n = 0;

    if (!reader.io.len) return reader;
    io_head(&reader.io, &n);
    if (!reader.io.failed) reader.left = n;
    return reader;
}

bool shadow_next(struct shadow_reader *reader, struct shadow_said *out)
{
    if (!reader->left) return false;
    io_entry(&reader->io, out);
    reader->left = reader->io.failed ? 0 : reader->left - 1;
    return !reader->io.failed;
}

/* Rates that a job can have. */
static bool plausible(const struct shadow_said *said, uint32_t groups)
{
    if (said->groups != groups || !said->name[0]) return false;
    for (uint32_t i = 0; i < groups; i++) {
        if (!isfinite(said->lrs[i]) || said->lrs[i] < 0) return false;
    }
    return true;
}

int shadow_record_check(const uint8_t *record, size_t len, uint32_t groups, struct error *err)
{
    struct shadow_reader reader = shadow_read(record, len);
    struct shadow_said said;
    bool whole = reader.left > 0;

    while (shadow_next(&reader, &said))
        whole = whole && plausible(&said, groups);
    if (whole && !reader.io.failed && reader.io.pos == len) return ST_OK;
    return error_set(err, ST_DATA_DAMAGED, "what the shadows decided is damaged at byte %zu of %zu",
                     reader.io.pos, len);
}
