/* What the two halves of an inspection share: the file (sqlite_inspect.c), and what is in it
 * (sqlite_content.c). */
#ifndef GREEDYLRD_STORE_SQLITE_INSPECT_H
#define GREEDYLRD_STORE_SQLITE_INSPECT_H

#include "store/inspect.h"

#include <sqlite3.h>

/* Told to whoever looks; the format makes what was found. */
void inspect_damage(const struct inspector *in, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void inspect_note(const struct inspector *in, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define RESTORE "start on a backup, in another directory, and keep this one"

/* Reads all jobs and what belongs to them; db is of SCHEMA_VERSION. */
int inspect_content(sqlite3 *db, const struct inspector *in, struct inspected *out,
                    struct error *err) WARN_UNUSED;

#endif
