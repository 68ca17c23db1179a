/* A line is rendered into a buffer and written with one write, if there is room for it: nobody who serves
 * waits for a reader of logs.  What has no room, or cannot be written, is counted, and the next line that can
 * says how many they were.  Lines of one batch are written together, as many as a pipe takes at once. */
#include "server/log.h"

#include "core/spec.h"
#include "rpc/time_text.h"
#include "rpc/utf8.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIPE_SIZE        (1 << 20)
#define LIMIT_PER_SECOND 10
#define LIMIT_EVENTS     64 /* event names told apart; beyond that they share the last row */

static const char *const level_words[] = {"debug", "info", "warning", "error"};
static const char level_priority[] = {'7', '6', '4', '3'};

static struct {
    enum log_level least;
    enum log_format format;
    bool journal;
} config = {LOG_INFO, LOG_LOGFMT, false};

struct limited {
    char event[40];
    int64_t second;
    unsigned n;
    uint64_t suppressed;
};

/* Between poll and write nobody else of ours may take the room. */
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t dropped, dropped_told;
static bool batching;
static char batch[PIPE_BUF]; /* whole lines that are not written yet */
static size_t batch_len;
static uint64_t batch_lines, batch_told; /* lines in it, and dropped ones that they tell of */

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static struct limited limited[LIMIT_EVENTS];

/* The variable is inherited by processes whose standard error is something else. */
static bool is_journal(const char *stream)
{
    uintmax_t dev, ino;
    struct stat st;

    return stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
           dev == st.st_dev && ino == st.st_ino;
}

void log_open(enum log_level least, enum log_format format)
{
    config.least = least;
    config.format = format;
    config.journal = is_journal(getenv("JOURNAL_STREAM"));
    (void)fcntl(STDERR_FILENO, F_SETPIPE_SZ, PIPE_SIZE); /* a batch is many lines at once; if it is a pipe */
}

const char *log_error_prefix(void)
{
    return is_journal(getenv("JOURNAL_STREAM")) ? "<3>" : "";
}

bool log_enabled(enum log_level level)
{
    return level >= config.least;
}

struct line {
    char *out;
    size_t len, cap;
};

static void put(struct line *line, const char *bytes, size_t n)
{
    if (n > line->cap - line->len) n = line->cap - line->len;
    memcpy(line->out + line->len, bytes, n);
    line->len += n;
}

static void puts_line(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* Inside quotes, as in JSON: no control characters, no C1 (terminals obey them), valid UTF-8.  An escape or a
 * sequence is never cut in the middle. */
static void put_escaped(struct line *line, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    char escape[8];

    while (*at && line->len + 8 < line->cap) {
        size_t n = *at < 0x80 ? 1 : utf8_char((const char *)at, strnlen((const char *)at, 4));

        if (n == 0) {
            puts_line(line, "\\ufffd");
            at++;
        } else if (*at == '"' || *at == '\\') {
            put(line, "\\", 1);
            put(line, (const char *)at++, 1);
        } else if (*at == '\n' || *at == '\r' || *at == '\t') {
            puts_line(line, *at == '\n' ? "\\n" : *at == '\r' ? "\\r" : "\\t");
            at++;
        } else if (*at < 0x20 || *at == 0x7f || (n == 2 && at[0] == 0xc2 && at[1] < 0xa0)) {
            snprintf(escape, sizeof(escape), "\\u%04x", n == 2 ? at[1] : at[0]);
            puts_line(line, escape);
            at += n;
        } else {
            put(line, (const char *)at, n);
            at += n;
        }
    }
}

static void put_text(struct line *line, enum log_format format, const char *text)
{
    const char *at = text;

    if (format == LOG_LOGFMT) {
        while (*at > ' ' && *at < 0x7f && *at != '"' && *at != '\\' && *at != '=')
            at++;
        if (!*at && at > text && (size_t)(at - text) < line->cap - line->len) {
            put(line, text, (size_t)(at - text));
            return;
        }
    }
    put(line, "\"", 1);
    put_escaped(line, text);
    put(line, "\"", 1);
}

static void put_integer(struct line *line, uint64_t value, bool negative)
{
    char digits[20], *at = digits + sizeof(digits);

    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    if (negative) put(line, "-", 1);
    put(line, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_number(struct line *line, enum log_format format, double value)
{
    char text[DOUBLE_TEXT_MAX];

    if (isfinite(value)) {
        size_t n = double_text(text, value);
        put(line, text, n);
    } else {
        put_text(line, format, isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
    }
}

static void put_key(struct line *line, enum log_format format, const char *key)
{
    if (format == LOG_JSON) {
        puts_line(line, line->len > 1 ? ",\"" : "\"");
        puts_line(line, key);
        puts_line(line, "\":");
    } else {
        if (line->len) put(line, " ", 1);
        puts_line(line, key);
        put(line, "=", 1);
    }
}

static void put_field(struct line *line, enum log_format format, const struct log_field *field)
{
    int64_t i64;

    if (field->kind == LOG_KIND_STR && !field->value.str) return;
    if (strlen(field->key) + 64 > line->cap - line->len) return; /* rather none than half a field */
    put_key(line, format, field->key);
    switch (field->kind) {
    case LOG_KIND_STR: put_text(line, format, field->value.str); return;
    case LOG_KIND_F64: put_number(line, format, field->value.f64); return;
    case LOG_KIND_BOOL: puts_line(line, field->value.boolean ? "true" : "false"); return;
    case LOG_KIND_U64: put_integer(line, field->value.u64, false); return;
    case LOG_KIND_I64:
        i64 = field->value.i64;
        put_integer(line, i64 < 0 ? 0 - (uint64_t)i64 : (uint64_t)i64, i64 < 0);
        return;
    case LOG_KIND_END: return;
    }
}

static void put_time(struct line *line, enum log_format format, int64_t time_us)
{
    char text[TIME_TEXT_MAX], *at = text + time_print_utc(time_us / 1000000, text);
    int us = (int)(time_us % 1000000);

    *at++ = '.';
    for (int unit = 100000; unit; unit /= 10)
        *at++ = (char)('0' + us / unit % 10);
    *at++ = 'Z';
    *at = '\0';
    put_key(line, format, "ts");
    put_text(line, format, text);
}

size_t log_render(char *out, size_t cap, enum log_format format, int64_t time_us, enum log_level level,
                  const char *event, const struct log_field *fields)
{
    struct line line = {out, 0, cap - 3}; /* room for the end of a string, of the object and of the line */

    if (format == LOG_JSON) put(&line, "{", 1);
    put_time(&line, format, time_us);
    put_key(&line, format, "level");
    put_text(&line, format, level_words[level]);
    put_key(&line, format, "event");
    put_text(&line, format, event);
    for (; fields && fields->kind != LOG_KIND_END; fields++)
        put_field(&line, format, fields);
    line.cap = cap;
    puts_line(&line, format == LOG_JSON ? "}\n" : "\n");
    return line.len;
}

/* Up to PIPE_BUF bytes: what POLLOUT promises of a pipe. */
static bool write_now(const char *text, size_t n)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) return false;
    return write(STDERR_FILENO, text, n) == (ssize_t)n;
}

/* The functions from here to log_dropped are under write_lock. */

static void flush_batch(void)
{
    if (batch_len && !write_now(batch, batch_len)) {
        dropped += batch_lines;
        dropped_told -= batch_told;
    }
    batch_len = batch_lines = batch_told = 0;
}

/* False: there was no room. */
static bool put_line(enum log_level level, int64_t now, const char *event, const struct log_field *fields)
{
    char text[3 + LOG_LINE_MAX] = {'<', level_priority[level], '>'};
    size_t n = 3 + log_render(text + 3, LOG_LINE_MAX, config.format, now, level, event, fields);
    size_t skip = config.journal ? 0 : 3;

    if (!batching) return write_now(text + skip, n - skip);
    if (batch_len + n - skip > sizeof(batch)) flush_batch();
    memcpy(batch + batch_len, text + skip, n - skip);
    batch_len += n - skip;
    batch_lines++;
    return true;
}

static void tell_dropped(int64_t now)
{
    uint64_t lines = dropped - dropped_told;

    if (!lines ||
        !put_line(LOG_WARNING, now, "log_dropped", (struct log_field[]){log_u64("lines", lines), log_end()}))
        return;
    dropped_told += lines;
    if (!batching) return;
    batch_told += lines;
    batch_lines--; /* if it is lost nothing of anybody's is */
}

static void emit(enum log_level level, int64_t now, const char *event, const struct log_field *fields)
{
    pthread_mutex_lock(&write_lock);
    tell_dropped(now);
    if (!put_line(level, now, event, fields)) dropped++;
    if (level >= LOG_WARNING) flush_batch(); /* the process may be about to end */
    pthread_mutex_unlock(&write_lock);
}

void log_batch(bool on)
{
    pthread_mutex_lock(&write_lock);
    batching = on;
    flush_batch();
    pthread_mutex_unlock(&write_lock);
}

uint64_t log_dropped(void)
{
    pthread_mutex_lock(&write_lock);
    uint64_t n = dropped;
    pthread_mutex_unlock(&write_lock);
    return n;
}

/* Whether this line may be printed; *suppressed says how many before it were not. */
static bool admit(const char *event, int64_t second, uint64_t *suppressed)
{
    struct limited *row = limited;
    bool ok;

    pthread_mutex_lock(&limit_lock);
    while (row < limited + LIMIT_EVENTS - 1 && *row->event &&
           strncmp(row->event, event, sizeof(row->event) - 1))
        row++;
    if (!*row->event) snprintf(row->event, sizeof(row->event), "%s", event);
    if (row->second != second) {
        row->second = second;
        row->n = 0;
    }
    ok = row->n < LIMIT_PER_SECOND;
    row->n += ok;
    if (!ok) row->suppressed++;
    *suppressed = ok ? row->suppressed : 0;
    if (ok) row->suppressed = 0;
    pthread_mutex_unlock(&limit_lock);
    return ok;
}

static struct timespec clock_now(int64_t *now_us)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    *now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    return now;
}

static void tell_suppressed(const char *event, uint64_t lines, int64_t now_us)
{
    emit(LOG_WARNING, now_us, "suppressed",
         (struct log_field[]){log_str("of", event), log_u64("lines", lines), log_end()});
}

static void print(enum log_level level, bool limit, const char *event, const struct log_field *fields)
{
    uint64_t suppressed = 0;
    int64_t now_us;
    struct timespec now;

    if (level < config.least) return;
    now = clock_now(&now_us);
    if (limit && !admit(event, now.tv_sec, &suppressed)) return;
    if (suppressed) tell_suppressed(event, suppressed, now_us);
    emit(level, now_us, event, fields);
}

void log_event(enum log_level level, const char *event, const struct log_field *fields)
{
    print(level, level >= LOG_WARNING, event, fields);
}

void log_repeated(enum log_level level, const char *event, const struct log_field *fields)
{
    print(level, true, event, fields);
}

void log_settle(bool all)
{
    int64_t now_us;
    struct timespec now = clock_now(&now_us);

    for (size_t i = 0; i < LIMIT_EVENTS; i++) {
        struct limited row;

        pthread_mutex_lock(&limit_lock);
        row = limited[i];
        if (row.suppressed && (all || row.second != now.tv_sec)) limited[i].suppressed = 0;
        pthread_mutex_unlock(&limit_lock);
        if (!*row.event) break;
        if (row.suppressed && (all || row.second != now.tv_sec))
            tell_suppressed(row.event, row.suppressed, now_us);
    }
    pthread_mutex_lock(&write_lock);
    tell_dropped(now_us);
    pthread_mutex_unlock(&write_lock);
}
