/* What the store promised: jobs with their histories, as a few lines of C that have nothing of SQLite.
 *
 * A deed is one change of one job.  deed_change() says it to the store, deed_apply() to the model, and
 * model_differs() compares the two. */
#ifndef GREEDYLRD_TESTS_POWER_MODEL_H
#define GREEDYLRD_TESTS_POWER_MODEL_H

#include "store/store.h"

#define MODEL_JOBS    5
#define MODEL_HISTORY 64
#define MODEL_WAITING 8
#define MODEL_TEXTS   16

/* A decision, of which every column depends on chance. */
struct fact {
    struct fact *next; /* all of a run, for facts_free */
    struct job_decision decision;
    double lrs[3];
    uint8_t state[32], shadow[192], round[24];
    size_t round_len;
    char request_id[24];
};

struct model_job {
    uint64_t uid; /* 0: there is none in this place */
    char name[8];
    uint32_t created, text; /* places in the pool of texts */
    int64_t create_us;
    enum job_status status;
    uint32_t n, n_settings, n_waiting;
    struct {
        const struct fact *fact;
        bool superseded;
    } history[MODEL_HISTORY]; /* revision 1 and on */
    struct {
        uint32_t revision, text;
    } settings[MODEL_HISTORY + 1];
    struct store_contribution waiting[MODEL_WAITING];
    uint32_t waiting_since[MODEL_WAITING]; /* revision */
};

struct model {
    struct model_job jobs[MODEL_JOBS];
    uint32_t history_limit;
};

enum deed_kind {
    DEED_CREATE,
    DEED_DECIDE,
    DEED_UPDATE,
    DEED_STATUS,
    DEED_REWIND,
    DEED_CONTRIBUTE,
    DEED_DELETE
};
struct deed {
    enum deed_kind kind;
    uint32_t place, text, superseded_after;
    uint64_t uid;
    enum job_status status;
    int64_t time_us;
    const struct fact *fact;
    struct store_contribution contribution;
    struct store_job job; /* room for deed_change */
};

/* Something that can be done now. */
struct deed deed_draw(const struct model *model);
struct store_change deed_change(struct deed *deed, const struct model *model);
void deed_apply(struct model *model, const struct deed *deed);
void facts_free(void);

/* What is not as it should be, in a sentence; NULL: nothing. */
const char *model_differs(const struct model *model, struct store_reader *reader);

#endif
