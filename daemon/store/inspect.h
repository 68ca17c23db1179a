/* Looking at a data directory from outside: what --check and --backup do.  Neither writes into the directory,
 * neither disturbs a daemon that runs on it. */
#ifndef GREEDYLRD_STORE_INSPECT_H
#define GREEDYLRD_STORE_INSPECT_H

#include "core/spec.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* What the store does not know itself, and who is told. */
struct inspector {
    /* A finding: damage, or something to know; with what to do about it. */
    void (*found)(void *arg, bool damage, const char *what, const char *remedy);
    /* The spec that effective settings (JSON) mean; the callee's caller frees it. */
    int (*spec)(void *arg, const char *effective, struct job_spec **out, struct error *err);
    /* Whether the texts of a job's row are what they should be, and agree. */
    int (*texts)(void *arg, const struct store_job *job, struct error *err);
    /* Of a backup, once it was read: 0 if what was found does not speak against it. */
    int (*accepts)(void *arg, struct error *err);
    void *arg;
    uint32_t history_limit; /* that was in force all the time; 0: not known */
};

struct inspected {
    bool live; /* a daemon runs on it, as process pid (0: not known) */
    long pid;
    int64_t schema, schema_known; /* version of the database, and of this program */
    uint64_t jobs, decisions, unfolded, superseded, contributions, doomed;
    uint64_t bytes, log_bytes, free_bytes;
};

/* Reads everything in DIR/greedylr.db, what a crash left in its log included, and tells every finding.  While
 * a daemon runs on it: as it is at one moment; else no daemon can start until it has returned.  0 means that
 * it could be read, whatever was found. Errors: ST_DATA_DIR_UNREADABLE, ST_DATA_NEWER, ST_DATA_DAMAGED (no
 * database, or not one of ours). */
int store_inspect(const char *dir, const struct inspector *inspector, struct inspected *out,
                  struct error *err) WARN_UNUSED;
/* The same of a database file that nobody uses, such as a backup. */
int store_inspect_file(const char *path, const struct inspector *inspector, struct inspected *out,
                       struct error *err) WARN_UNUSED;

/* Copies the database of DIR, as it is at one moment, to FILE, which must not exist: while a daemon runs on
 * it or without one.  The copy is synced, and inspected as store_inspect_file does, before it gets its name;
 * mode 0600.  On failure there is no FILE. Errors: those of store_inspect; ST_CONFIG_INVALID (FILE exists, or
 * another backup writes it); ST_STORE_FULL, ST_STORE_FAILED (it cannot be written); what accepts says. */
int store_backup(const char *dir, const char *file, const struct inspector *inspector, struct inspected *out,
                 struct error *err) WARN_UNUSED;

#endif
