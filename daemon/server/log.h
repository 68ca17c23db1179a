/* Structured log lines on standard error, as logfmt or JSON.  One line is one write, and never waits for
 * room: then the line is dropped.  Loop and writer threads may log. */
#ifndef GREEDYLRD_SERVER_LOG_H
#define GREEDYLRD_SERVER_LOG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };
enum log_decisions { LOG_DECISIONS_ALL, LOG_DECISIONS_CHANGES, LOG_DECISIONS_NONE };

enum log_kind { LOG_KIND_END, LOG_KIND_STR, LOG_KIND_U64, LOG_KIND_I64, LOG_KIND_F64, LOG_KIND_BOOL };

struct log_field {
    const char *key; /* a plain word */
    enum log_kind kind;
    union {
        const char *str; /* borrowed for the call; NULL leaves the field out */
        uint64_t u64;
        int64_t i64;
        double f64;
        bool boolean;
    } value;
};

static inline struct log_field log_str(const char *key, const char *value)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_STR, .value.str = value};
}

static inline struct log_field log_u64(const char *key, uint64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_U64, .value.u64 = value};
}

static inline struct log_field log_i64(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_I64, .value.i64 = value};
}

static inline struct log_field log_f64(const char *key, double value)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_F64, .value.f64 = value};
}

static inline struct log_field log_bool(const char *key, bool value)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_BOOL, .value.boolean = value};
}

static inline struct log_field log_end(void)
{
    return (struct log_field){.kind = LOG_KIND_END};
}

/* Before the first line; without it: info, logfmt.  Where standard error is the journal lines get "<6>"
 * prefixes.
 */
void log_open(enum log_level least, enum log_format format);

/* Whether a line of this level is printed at all. */
bool log_enabled(enum log_level level);

/* log_event(LOG_INFO, "decision", (struct log_field[]){log_str("job", id), log_u64("step", s), log_end()});
 * event is a literal: warnings and errors are limited to 10 a second for each event, and the next one after
 * that says how many were left out.  fields NULL: none. */
void log_event(enum log_level level, const char *event, const struct log_field *fields);
/* The same, and limited like warnings whatever the level: what peers can make happen as often as they like.
 */
void log_repeated(enum log_level level, const char *event, const struct log_field *fields);

/* Between log_batch(true) and log_batch(false) lines below warning may be kept, to be written together. */
void log_batch(bool on);

/* Says what was left out or had no room and was not told yet, but for the present second; all: that too.  To
 * be called about once a second, and at the end. */
void log_settle(bool all);

/* The line alone, without the journal's prefix, newline at the end; cut to fit cap.  Returns its length. */
size_t log_render(char *out, size_t cap, enum log_format format, int64_t time_us, enum log_level level,
                  const char *event, const struct log_field *fields);

#define LOG_LINE_MAX (PIPE_BUF - 3) /* with the prefix: what a pipe takes at once */

/* What precedes a sentence printed to standard error that is an error: "<3>" where that is the journal, else
 * "". */
const char *log_error_prefix(void);

/* Lines that had no room, since the start. */
uint64_t log_dropped(void);

#endif
