/* --check and --backup: the store looks and copies, this file knows what specs are and what to tell.
 *
 * Happy path: findings are kept as text while the store reads, so that the sentence that sums them up comes
 * first.  Failure modes: a directory that cannot be read at all is one sentence. */
#include "server/inspect.h"

#include "rpc/buf.h"
#include "rpc/json.h"
#include "server/convert.h"
#include "server/message.h"
#include "store/inspect.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define FINDINGS_MAX 50

struct findings {
    struct buf text;
    unsigned damage, notes;
};

static void on_found(void *arg, bool damage, const char *what, const char *remedy)
{
    struct findings *f = arg;

    *(damage ? &f->damage : &f->notes) += 1;
    if (f->damage + f->notes > FINDINGS_MAX) return;
    buf_printf(&f->text, "  %s: %s\n    %s: %s\n", damage ? "DAMAGE" : "note", what,
               damage ? "what to do" : "about it", remedy);
}

/* ---- specs ---- */

static int parse(const char *text, const char *what, spec_message **out, struct error *err)
{
    ProtobufCMessage *message = NULL;
    int rc = json_decode(&greedylr__v1__job_spec__descriptor, text, strlen(text), what, &message, err);

    *out = (spec_message *)(void *)message;
    return rc ? error_wrap(err, "%s", what) : 0;
}

static void drop(spec_message *message)
{
    if (message) greedylr__v1__job_spec__free_unpacked(message, NULL);
}

static int spec_of(void *arg, const char *effective, struct job_spec **out, struct error *err)
{
    spec_message *message = NULL;
    int rc = parse(effective, "effective", &message, err);

    (void)arg;
    if (!rc) rc = convert_live_spec(message, out, err);
    drop(message);
    return rc;
}

/* The default of a learned shadow's model is not written anywhere: it is what it was. */
static int merge_learned(spec_message *merged, const spec_message *effective, struct error *err)
{
    for (size_t i = 0; i < merged->n_shadow && i < effective->n_shadow; i++) {
        if (merged->shadow[i]->policy_case != GREEDYLR__V1__SHADOW__POLICY_LEARNED) continue;
        ProtobufCMessage *whole = message_clone(&effective->shadow[i]->base);
        int rc = whole ? message_merge(whole, &merged->shadow[i]->base, err)
                       : error_set(err, ST_OUT_OF_MEMORY, "out of memory");

        if (rc) {
            if (whole) protobuf_c_message_free_unpacked(whole, NULL);
            return rc;
        }
        protobuf_c_message_free_unpacked(&merged->shadow[i]->base, NULL);
        merged->shadow[i] = (Greedylr__V1__Shadow *)(void *)whole;
    }
    return 0;
}

/* What was given is in force, and nothing contradicts the defaults.  Settings that came later than a job have
 * theirs without being written there. */
static int compare(const spec_message *given, const spec_message *effective, struct error *err)
{
    spec_message *merged = (spec_message *)(void *)message_clone(&effective->base), *full = NULL,
                 *both = NULL;
    struct job_spec *spec = NULL;
    char path[160];
    int rc;

    if (!merged) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    rc = message_merge(&merged->base, &given->base, err);
    if (!rc) rc = merge_learned(merged, effective, err);
    if (!rc) rc = convert_live_spec(merged, &spec, err);
    if (!rc) rc = convert_effective(merged, spec, &full, err);
    if (!rc) {
        both = (spec_message *)(void *)message_clone(&full->base);
        rc = both ? message_merge(&both->base, &effective->base, err)
                  : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    }
    if (!rc && message_difference(&full->base, &both->base, NULL, path, sizeof(path)))
        rc = error_set(err, ST_DATA_DAMAGED, "spec.%s is not what is in force (effective)", path);
    spec_free(spec);
    drop(both);
    drop(full);
    drop(merged);
    return rc;
}

static int check_texts(void *arg, const struct store_job *job, struct error *err)
{
    spec_message *created = NULL, *given = NULL, *effective = NULL;
    int rc = parse(job->created, "created", &created, err);

    (void)arg;
    if (!rc) rc = parse(job->spec, "spec", &given, err);
    if (!rc) rc = parse(job->effective, "effective", &effective, err);
    if (!rc) rc = compare(given, effective, err);
    drop(created);
    drop(given);
    drop(effective);
    return rc;
}

/* ---- the answer ---- */

static void size_text(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t unit = 0;

    for (; n >= 1024 && unit < 4; unit++)
        n /= 1024;
    snprintf(out, size, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

static void print_size(FILE *out, const char *what, uint64_t bytes)
{
    char text[32];

    size_text(bytes, text, sizeof(text));
    fprintf(out, "  %s %s\n", what, text);
}

static void print_facts(const struct inspected *i, FILE *out)
{
    if (i->live && i->pid)
        fprintf(out, "  a greedylrd runs on it as process %ld: this is how it was at one moment\n", i->pid);
    else if (i->live)
        fputs("  a greedylrd runs on it: this is how it was at one moment\n", out);
    else
        fputs("  no greedylrd runs on it\n", out);
    fprintf(out, "  schema version %" PRId64 "%s\n", i->schema,
            i->schema == i->schema_known ? "" : ", older than this program's");
    fprintf(out, "  %" PRIu64 " jobs, %" PRIu64 " decisions in all\n", i->jobs, i->decisions);
    fprintf(out, "  %" PRIu64 " decisions that rewinds went back behind\n", i->superseded);
    fprintf(out, "  %" PRIu64 " decisions to be folded into the history\n", i->unfolded);
    fprintf(out, "  %" PRIu64 " reports of ranks whose round may be open\n", i->contributions);
    fprintf(out, "  %" PRIu64 " deleted jobs whose history is to be removed\n", i->doomed);
    print_size(out, "database:", i->bytes);
    print_size(out, "its log:", i->log_bytes);
    print_size(out, "free on its file system:", i->free_bytes);
}

static void print_sum(const char *dir, const struct findings *f, FILE *out)
{
    if (f->damage)
        fprintf(out, "%s is damaged: %u finding%s. Stop the daemon, copy the directory, start on a backup.\n",
                dir, f->damage, f->damage == 1 ? "" : "s");
    else if (f->notes)
        fprintf(out, "%s is fine, with %u note%s.\n", dir, f->notes, f->notes == 1 ? "" : "s");
    else
        fprintf(out, "%s is fine.\n", dir);
    if (f->text.len) fwrite(f->text.data, 1, f->text.len, out);
    if (f->damage + f->notes > FINDINGS_MAX)
        fprintf(out, "  and %u more\n", f->damage + f->notes - FINDINGS_MAX);
}

int inspect_check(const char *dir, uint32_t history_limit, FILE *out)
{
    struct findings f = {0};
    const struct inspector inspector = {
        .found = on_found, .spec = spec_of, .texts = check_texts, .arg = &f, .history_limit = history_limit};
    struct inspected seen;
    struct error err;
    int rc = store_inspect(dir, &inspector, &seen, &err);

    if (rc) {
        fprintf(out, "%s %s: %s.\n", dir,
                rc == ST_DATA_DAMAGED ? "is damaged"
                : rc == ST_DATA_NEWER ? "is too new"
                                      : "cannot be read",
                err.message);
        if (f.text.len) fwrite(f.text.data, 1, f.text.len, out);
    } else {
        print_sum(dir, &f, out);
        print_facts(&seen, out);
        if (f.damage) rc = ST_DATA_DAMAGED;
    }
    buf_free(&f.text);
    return rc;
}

/* ---- backups ---- */

static int accepts(void *arg, struct error *err)
{
    const struct findings *f = arg;

    if (!f->damage) return 0;
    return error_set(
        err, ST_DATA_DAMAGED,
        "the copy was not kept, because the database is damaged (%u finding%s); --check says where",
        f->damage, f->damage == 1 ? "" : "s");
}

int inspect_backup(const char *dir, const char *file, FILE *out, struct error *err)
{
    struct findings f = {0};
    const struct inspector inspector = {
        .found = on_found, .spec = spec_of, .texts = check_texts, .accepts = accepts, .arg = &f};
    struct timespec start, end;
    struct inspected seen;
    char size[32];

    clock_gettime(CLOCK_MONOTONIC, &start);
    int rc = store_backup(dir, file, &inspector, &seen, err);
    clock_gettime(CLOCK_MONOTONIC, &end);
    buf_free(&f.text);
    if (rc) return rc;
    size_text(seen.bytes, size, sizeof(size));
    fprintf(out, "%s holds %" PRIu64 " jobs and %" PRIu64 " decisions (%s), checked; it took %.1f s\n", file,
            seen.jobs, seen.decisions, size,
            (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
    return 0;
}
