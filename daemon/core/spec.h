/* What a job is, as the core sees it: initial rates, a policy with its parameters, and the rules around them.
 */
#ifndef GREEDYLRD_CORE_SPEC_H
#define GREEDYLRD_CORE_SPEC_H

#include "core/params.h"
#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

#define GROUPS_MAX      256   /* parameter groups of a job */
#define JOB_ID_MAX      128   /* bytes of a job id */
#define REQUEST_ID_MAX  128   /* bytes of a request id */
#define RANKS_MAX       65536 /* ranks of a round */
#define WINDOW_MAX      1000  /* values a smoothing window holds */
#define SHADOWS_MAX     8     /* shadow policies of a job */
#define SHADOW_NAME_MAX 64    /* bytes of a shadow's name */

struct policy;        /* core/policy.h */
struct learned_model; /* core/learned_model.h */

enum on_nonfinite { NONFINITE_BAD, NONFINITE_SKIP, NONFINITE_CUT, NONFINITE_REJECT };
extern const char *const on_nonfinite_words[]; /* "bad", "skip", "cut", "reject", NULL */

enum reduce { REDUCE_MEAN, REDUCE_MIN, REDUCE_MAX, REDUCE_MEDIAN, REDUCE_FIRST };
extern const char *const reduce_words[];

/* Linear warm-up in front of the policy; reports == 0: none. */
struct ramp {
    uint32_t reports;
    double start_factor; /* in (0, 1] */
};

/* A line to 0 behind the policy, over the last `fraction` of total_reports; total_reports == 0: none. */
struct anneal {
    uint32_t total_reports;
    double fraction;     /* in (0, 1] */
    bool fraction_given; /* false: resolving fills it */
};

struct ranks {
    uint32_t world_size; /* >= 1 */
    uint32_t quorum;     /* 1 .. world_size */
    enum reduce reduce;
    int64_t deadline_ms;
};

/* A policy that watches: a spec of its own, whose initial rates are the job's, and which has no ranks and no
 * shadows. */
struct shadow {
    char name[SHADOW_NAME_MAX + 2]; /* room for one byte too many, so that a longer name is seen to be one */
    struct job_spec *spec;          /* owned */
};

/* Create with spec_new, fill, then spec_resolve once; read-only afterwards. */
struct job_spec {
    struct f64_list lr; /* initial rates, [groups] */
    const struct policy *policy;
    void *params;          /* policy->params_size bytes */
    uint64_t params_given; /* bit i: row i of policy->params was given */
    struct ramp ramp;
    struct anneal anneal;
    struct ranks ranks;
    enum on_nonfinite on_nonfinite;
    bool on_nonfinite_given;
    bool strict;
    struct shadow *shadows; /* [n_shadows], owned */
    uint32_t n_shadows;     /* at most SHADOWS_MAX */
    const struct learned_model
        *learned; /* of a learned policy that names none; borrowed; NULL: the one compiled in */
    bool live;    /* of a job that exists: an update may have moved bounds past the initial rates */
};

/* A spec with the given policy and nothing else; NULL when out of memory. */
struct job_spec *spec_new(const struct policy *policy);
struct job_spec *spec_copy(const struct job_spec *spec);
void spec_free(struct job_spec *spec);

/* Gives take all that two specs may differ in, as bytes of this process (addresses are among them): specs
 * whose bytes are the same are equal. */
void spec_bytes(const struct job_spec *spec, void (*take)(void *arg, const void *bytes, size_t n), void *arg);

/* Sets a policy parameter by its row and marks it as given.  Errors as param_set. */
int spec_set_param(struct job_spec *spec, size_t row, const struct param_value *value,
                   struct error *err) WARN_UNUSED;

/* Adds a shadow, to be filled like any spec (policy, ramp, on_nonfinite) before the whole is resolved; the
 * name is checked then.  Owned by spec; NULL when out of memory. */
struct job_spec *spec_add_shadow(struct job_spec *spec, const char *name, const struct policy *policy);

/* Gives dst, which has none, the shadows of src, which is resolved: every setting of theirs counts as given.
 * ST_OUT_OF_MEMORY. */
int spec_keep_shadows(struct job_spec *dst, const struct job_spec *src) WARN_UNUSED;

/* The shadow of spec whose state goes on as that of `shadow`, of other settings: it has the same name, kind
 * of policy and ramp, and what cannot change on a live job (the dialect) is the same.  Its index, or -1. */
int spec_same_shadow(const struct job_spec *spec, const struct shadow *shadow);

/* Fills every default and checks the whole spec.  Messages begin with the path of the field from the spec's
 * root: "greedy.factor: must be in (0, 1), got 1.5".  Errors: ST_FIELD_INVALID, ST_FIELD_REQUIRED,
 * ST_NOT_SERVED, ST_OUT_OF_MEMORY. */
int spec_resolve(struct job_spec *spec, struct error *err) WARN_UNUSED;

/* Whether id is 1..128 of A-Z a-z 0-9 . _ - and does not start with a dot or a dash. */
bool job_id_valid(const char *id);

/* Shortest decimal text that reads back to the same bits, "NaN", "Infinity" or "-Infinity"; returns its
 * length. For messages and reasons as well as for the wire. */
#define DOUBLE_TEXT_MAX 32
size_t double_text(char out[DOUBLE_TEXT_MAX], double value);
/* As printf writes it with %.6g: for people. */
size_t double_text_rounded(char out[DOUBLE_TEXT_MAX], double value);

#endif
