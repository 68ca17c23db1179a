/* Durations and times by hand: strtod would round and take hexadecimal, sscanf and strptime take blanks and
 * signs. */
#include "rpc/time_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DURATION_MAX 315576000000
#define STAMP_MIN    (-62135596800) /* 0001-01-01T00:00:00Z */
#define STAMP_MAX    253402300799   /* 9999-12-31T23:59:59Z */
#define GIGA         1000000000

enum time_kind time_kind(const ProtobufCMessageDescriptor *desc)
{
    if (strncmp(desc->name, "google.protobuf.", 16) != 0) return TIME_NONE;
    if (!strcmp(desc->name + 16, "Duration")) return TIME_DURATION;
    return !strcmp(desc->name + 16, "Timestamp") ? TIME_STAMP : TIME_NONE;
}

static int64_t *seconds_of(const ProtobufCMessage *m)
{
    return (int64_t *)(uintptr_t)((const char *)m + m->descriptor->fields[0].offset);
}

static int32_t *nanos_of(const ProtobufCMessage *m)
{
    return (int32_t *)(uintptr_t)((const char *)m + m->descriptor->fields[1].offset);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ".25" as nanoseconds, at most 9 digits; nothing where there is no point. */
static bool fraction(const char **text, int64_t *nanos)
{
    const char *c = *text;
    int64_t unit = GIGA / 10;

    *nanos = 0;
    if (*c != '.') return true;
    for (c++; is_digit(*c) && unit; c++, unit /= 10)
        *nanos += (*c - '0') * unit;
    if (c == *text + 1 || is_digit(*c)) return false;
    *text = c;
    return true;
}

static bool parse_duration(const char *text, int64_t *seconds, int64_t *nanos)
{
    bool negative = *text == '-';
    int64_t whole = 0;
    const char *c = text + negative;

    if (!is_digit(*c)) return false;
    for (; is_digit(*c); c++) {
        if (whole > DURATION_MAX * 1000) return false;
        whole = whole * 10 + (*c - '0');
    }
    if (!fraction(&c, nanos)) return false;
    if (!strcmp(c, "ms")) {
        *nanos = whole % 1000 * 1000000 + *nanos / 1000;
        whole /= 1000;
    } else if (strcmp(c, "s") != 0) {
        return false;
    }
    *seconds = negative ? -whole : whole;
    *nanos = negative ? -*nanos : *nanos;
    return true;
}

/* Days since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms"), as civil below. */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = y / 400, yoe = y % 400;
    int64_t doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = days / 146097, doe = days % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

/* Reads n digits and the delimiter behind them (0: none), in [lo, hi]. */
static bool number(const char **text, int n, int lo, int hi, char delimiter, int *out)
{
    const char *c = *text;

    for (*out = 0; n; n--, c++) {
        if (!is_digit(*c)) return false;
        *out = *out * 10 + (*c - '0');
    }
    if (*out < lo || *out > hi || (delimiter && *c != delimiter)) return false;
    *text = c + (delimiter != 0);
    return true;
}

static bool parse_stamp(const char *c, int64_t *seconds, int64_t *nanos)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, mo, d, h, mi, s, oh = 0, om = 0, sign = 0;

    if (!number(&c, 4, 1, 9999, '-', &y) || !number(&c, 2, 1, 12, '-', &mo) ||
        !number(&c, 2, 1, 31, 'T', &d) || !number(&c, 2, 0, 23, ':', &h) || !number(&c, 2, 0, 59, ':', &mi) ||
        !number(&c, 2, 0, 59, 0, &s) || !fraction(&c, nanos))
        return false;
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (d > lengths[mo - 1] + (mo == 2 && leap)) return false;
    if (*c == '+' || *c == '-') {
        sign = *c++ == '-' ? -1 : 1;
        if (!number(&c, 2, 0, 23, ':', &oh) || !number(&c, 2, 0, 59, 0, &om)) return false;
    } else if (*c++ != 'Z') {
        return false;
    }
    *seconds = days_from_civil(y, mo, d) * 86400 + (int64_t)h * 3600 + (int64_t)mi * 60 + s -
               sign * ((int64_t)oh * 3600 + (int64_t)om * 60);
    return !*c;
}

static bool in_range(enum time_kind kind, int64_t seconds, int64_t nanos)
{
    if (kind == TIME_STAMP) return seconds >= STAMP_MIN && seconds <= STAMP_MAX && nanos >= 0 && nanos < GIGA;
    if (seconds < -DURATION_MAX || seconds > DURATION_MAX || nanos <= -GIGA || nanos >= GIGA) return false;
    return !(seconds > 0 && nanos < 0) && !(seconds < 0 && nanos > 0);
}

bool time_parse(ProtobufCMessage *message, const char *text)
{
    enum time_kind kind = time_kind(message->descriptor);
    int64_t seconds = 0, nanos = 0;

    if (!(kind == TIME_STAMP ? parse_stamp : parse_duration)(text, &seconds, &nanos) ||
        !in_range(kind, seconds, nanos))
        return false;
    *seconds_of(message) = seconds;
    *nanos_of(message) = (int32_t)nanos;
    return true;
}

bool time_valid(const ProtobufCMessage *message)
{
    return in_range(time_kind(message->descriptor), *seconds_of(message), *nanos_of(message));
}

static char *digits(char *out, int value, int n)
{
    for (int i = n; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + n;
}

static char *print_fraction(char *out, int nanos)
{
    if (!nanos) return out;
    *out++ = '.';
    if (nanos % 1000000 == 0) return digits(out, nanos / 1000000, 3);
    if (nanos % 1000 == 0) return digits(out, nanos / 1000, 6);
    return digits(out, nanos, 9);
}

size_t time_print_utc(int64_t seconds, char out[TIME_TEXT_MAX])
{
    int64_t since = seconds - STAMP_MIN; /* never negative */
    int rest = (int)(since % 86400), year, month, day;
    char *at = out;

    civil(since / 86400 + STAMP_MIN / 86400, &year, &month, &day);
    at = digits(at, year, 4);
    *at++ = '-';
    at = digits(at, month, 2);
    *at++ = '-';
    at = digits(at, day, 2);
    *at++ = 'T';
    at = digits(at, rest / 3600, 2);
    *at++ = ':';
    at = digits(at, rest / 60 % 60, 2);
    *at++ = ':';
    at = digits(at, rest % 60, 2);
    *at = '\0';
    return (size_t)(at - out);
}

/* What is out of range (never made by this program) reads as the epoch or as no time at all. */
size_t time_print(const ProtobufCMessage *message, char out[TIME_TEXT_MAX])
{
    bool valid = time_valid(message), stamp = time_kind(message->descriptor) == TIME_STAMP;
    int64_t seconds = valid ? *seconds_of(message) : 0;
    int nanos = valid ? *nanos_of(message) : 0;
    bool negative = !stamp && (seconds < 0 || nanos < 0);
    char *at = out;

    if (stamp)
        at += time_print_utc(seconds, out);
    else
        at += snprintf(out, TIME_TEXT_MAX, "%s%" PRId64, negative ? "-" : "", negative ? -seconds : seconds);
    at = print_fraction(at, negative ? -nanos : nanos);
    *at++ = stamp ? 'Z' : 's';
    *at = '\0';
    return (size_t)(at - out);
}
