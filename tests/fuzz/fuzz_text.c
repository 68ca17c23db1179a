/* Small texts: numbers, times and durations, percent escapes, base64, UTF-8, Accept, ids.  The first byte
 * says which.  What is read is written so that it reads the same. */
#include "core/spec.h"
#include "fuzz.h"
#include "rpc/accept.h"
#include "rpc/percent.h"
#include "rpc/time_text.h"
#include "rpc/utf8.h"

#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"

#include <math.h>

static void try_double(const char *text, size_t len)
{
    char out[DOUBLE_TEXT_MAX], digits[64];
    double value = 0, back;

    memcpy(&value, text, len < sizeof(value) ? len : sizeof(value));
    size_t n = double_text(out, value);
    MUST(n == strlen(out) && n < DOUBLE_TEXT_MAX, "%zu", n);
    back = strtod(out, NULL);
    if (isnan(value)) {
        MUST(!strcmp(out, "NaN"), "%s", out);
        return;
    }
    MUST(!memcmp(&value, &back, sizeof(value)), "%a is written %s", value, out);
    for (int p = 1; p < 17; p++) { /* the shortest: what is read by fewer digits has no more of them */
        snprintf(digits, sizeof(digits), "%.*e", p - 1, value);
        if (isinf(value) || memcmp(&value, &(double){strtod(digits, NULL)}, sizeof(value)) != 0) continue;
        size_t significant = 0;
        const char *c = out + strspn(out, "-0.");
        for (; *c && *c != 'e'; c++)
            significant += *c >= '0' && *c <= '9';
        for (const char *e = c; e > out && (e[-1] == '0' || e[-1] == '.') && significant; e--)
            significant -= e[-1] == '0';
        MUST(significant <= (size_t)p, "%s has more digits than %s", out, digits);
        break;
    }
}

static void try_time(const char *text)
{
    Google__Protobuf__Duration duration = GOOGLE__PROTOBUF__DURATION__INIT, other = duration;
    Google__Protobuf__Timestamp stamp = GOOGLE__PROTOBUF__TIMESTAMP__INIT, then = stamp;
    char out[TIME_TEXT_MAX];

    if (time_parse(&duration.base, text)) {
        MUST(time_valid(&duration.base), "%s", text);
        MUST(time_print(&duration.base, out) == strlen(out), "%s", out);
        MUST(time_parse(&other.base, out) && other.seconds == duration.seconds &&
                 other.nanos == duration.nanos,
             "%s is written %s", text, out);
    }
    if (time_parse(&stamp.base, text)) {
        MUST(time_valid(&stamp.base), "%s", text);
        MUST(time_print(&stamp.base, out) == strlen(out), "%s", out);
        MUST(time_parse(&then.base, out) && then.seconds == stamp.seconds && then.nanos == stamp.nanos,
             "%s is written %s", text, out);
    }
}

/* Any bits in the two fields: what is valid comes back. */
static void try_time_fields(struct input *in)
{
    Google__Protobuf__Duration duration = GOOGLE__PROTOBUF__DURATION__INIT, back = duration;
    char out[TIME_TEXT_MAX];
    uint64_t seconds = 0;

    for (int i = 0; i < 8; i++)
        seconds = seconds << 8 | take_u8(in);
    duration.seconds = (int64_t)seconds;
    duration.nanos = (int32_t)((uint32_t)take_u16(in) << 16 | take_u16(in));
    MUST(time_print(&duration.base, out) == strlen(out), "%s", out);
    if (!time_valid(&duration.base)) return;
    MUST(time_parse(&back.base, out) && back.seconds == duration.seconds && back.nanos == duration.nanos,
         "%s", out);
}

static void try_percent(const char *text, size_t len)
{
    char *room = malloc(len + 1), *escaped = malloc(3 * len + 1), *again = malloc(len + 1), *to = escaped;

    MUST(room && escaped && again, "out of memory");
    *to = '\0';
    if (percent_decode(text, len, true, room, len + 1)) {
        MUST(strlen(room) <= len, "longer");
        for (const char *c = room; *c; c++)
            to += sprintf(to, "%%%02X", (unsigned char)*c);
        MUST(percent_decode(escaped, strlen(escaped), false, again, len + 1), "%s", escaped);
        MUST(!strcmp(room, again), "%s", escaped);
        if (*room) MUST(!percent_decode(text, len, true, again, strlen(room)), "no room for the NUL");
    }
    free(room);
    free(escaped);
    free(again);
}

static void try_base64(const char *text, size_t len)
{
    char *code = malloc(4 * ((len + 2) / 3) + 1), *any = malloc(len + 1);

    MUST(code && any, "out of memory");
    base64_encode((const uint8_t *)text, len, code);
    MUST(base64_decode(code) == (long)len && !memcmp(code, text, len), "%s", code);
    memcpy(any, text, len + 1);
    long n = base64_decode(any);
    MUST(n >= -1 && n <= (long)len, "%ld bytes", n);
    free(code);
    free(any);
}

static void try_utf8(const char *text, size_t len)
{
    size_t good = utf8_prefix(text, len), at = 0, n;

    MUST(good <= len, "%zu of %zu", good, len);
    while (at < good && (n = utf8_char(text + at, good - at)))
        at += n;
    MUST(at == good, "%zu is not where a character ends", good);
    MUST(good == len || !utf8_char(text + good, len - good), "the prefix could be longer");
    MUST(utf8_prefix(text, good) == good, "the prefix of a prefix");
}

static void try_accept(const char *text)
{
    static const char *const types[] = {"application/json", "text/csv", "application/x-ndjson"};

    MUST(accept_choose(text, types, 3) < 3, "%s", text);
    MUST(accept_choose(text, types, 1) == 0, "%s", text);
    if (job_id_valid(text)) MUST(*text && strlen(text) <= JOB_ID_MAX && *text != '.', "%s", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t kind = take_u8(&in);

    if (kind == 'f') {
        try_time_fields(&in);
        return 0;
    }
    size_t len;
    char *text = take_rest(&in, &len);

    switch (kind) {
    case 'd': try_double(text, len); break;
    case 't': try_time(text); break;
    case 'p': try_percent(text, len); break;
    case 'b': try_base64(text, len); break;
    case 'u': try_utf8(text, len); break;
    default: try_accept(text);
    }
    free(text);
    return 0;
}
