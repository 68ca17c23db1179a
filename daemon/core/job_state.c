/* The state of a job: where it starts, how it is shown, and how it is written and read as bytes.
 *
 * States as bytes, version 3, little-endian: u8 version, u8 length and bytes of the policy's name, u32
 * revision, attempt, step, reports, u8 has_step, u8 status, u32 ramp_done, u8 has_rewound, u32 rewound, f64
 * told_lr, u32 anneal_done, u32 groups, f64 rates [groups], then what the policy's io writes, then u8 number
 * of shadows and of each u8 length and bytes of its name, and its own state as bytes.  Version 2 had neither
 * anneal_done nor shadows, version 1 no has_rewound, rewound and told_lr either. */
#include "core/job_impl.h"

#include <math.h>
#include <string.h>

#define STATE_VERSION 3

const char *const job_status_words[] = {"active", "paused", "finished", NULL};

const double *job_lrs(const struct job_state *state)
{
    return state->data;
}

void *job_policy_block(struct job_state *state)
{
    return state->data + state->groups;
}

const void *job_policy_state(const struct job_state *state)
{
    return state->data + state->groups;
}

size_t job_state_size(const struct job_spec *spec)
{
    return job_own_size(spec) + job_shadows_size(spec);
}

size_t job_own_size(const struct job_spec *spec)
{
    return sizeof(struct job_state) + spec->lr.n * sizeof(double) + spec->policy->state_size(spec);
}

bool job_ramping(const struct job_spec *spec, const struct job_state *state)
{
    return state->ramp_done < spec->ramp.reports;
}

double job_anneal_factor(const struct job_spec *spec, uint32_t done)
{
    const struct anneal *anneal = &spec->anneal;
    double t = done, n = anneal->total_reports, span = anneal->fraction * n;

    if (n < 1 || t <= n - span) return 1;
    return t < n ? (n - t) / span : 0;
}

/* Towards 0, but not below the policy's lower bound, or below a rate that is beneath it anyhow. */
static void anneal_rates(const struct job_spec *spec, double factor, double *lrs)
{
    const double *min = job_bounds(spec, "min_lr");

    for (uint32_t i = 0; i < spec->lr.n; i++) {
        double floor = !min ? 0 : lrs[i] < min[i] ? lrs[i] : min[i];

        lrs[i] = lrs[i] * factor;
        if (lrs[i] < floor) lrs[i] = floor;
    }
}

static void ramp_rates(const struct job_spec *spec, const struct job_state *state, double *lrs)
{
    const struct ramp *ramp = &spec->ramp;
    double t = state->ramp_done, n = ramp->reports;

    for (uint32_t i = 0; i < spec->lr.n; i++)
        lrs[i] = lrs[i] * (ramp->start_factor + (1 - ramp->start_factor) * t / n);
}

/* Rates before any lr_cap: those of the policy, which rests at its initial ones while the ramp leads up to
 * them, and does not notice the anneal behind it. */
void job_rates_now(const struct job_spec *spec, const struct job_state *state, double *lrs)
{
    double factor = job_anneal_factor(spec, state->anneal_done);

    spec->policy->rates(spec, job_policy_state(state), lrs);
    if (job_ramping(spec, state)) ramp_rates(spec, state, lrs);
    if (factor < 1) anneal_rates(spec, factor, lrs);
}

void job_init(const struct job_spec *spec, struct job_state *state)
{
    memset(state, 0, job_state_size(spec));
    state->groups = spec->lr.n;
    state->status = JOB_ACTIVE;
    spec->policy->init(spec, job_policy_block(state));
    job_rates_now(spec, state, state->data);
    state->told_lr = state->data[0];
    job_shadows_init(spec, state);
}

/* The bounds of a policy that has them, by their names in its table; NULL for one that has not. */
const double *job_bounds(const struct job_spec *spec, const char *name)
{
    const struct policy *policy = spec->policy;
    int row = param_find(policy->params, policy->n_params, name);

    /* What a schedule calls so is where it begins or ends. */
    if (policy->schedule || row < 0 || policy->params[row].kind != PARAM_F64_LIST) return NULL;
    return param_get(spec->params, &policy->params[row]).list;
}

/* During a ramp, under an anneal, or under an lr_cap that left the policy alone, the answered rates are not
 * the policy's. */
static void view_answered(const struct job_spec *spec, const struct job_state *state,
                          struct policy_view *view)
{
    const double *min = job_bounds(spec, "min_lr"), *max = job_bounds(spec, "max_lr");

    view->at_min = min != NULL;
    view->at_max = max != NULL;
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        view->at_min = view->at_min && state->data[i] <= min[i];
        view->at_max = view->at_max && state->data[i] >= max[i];
    }
}

void job_view(const struct job_spec *spec, const struct job_state *state, struct policy_view *view)
{
    double lrs[GROUPS_MAX];

    spec->policy->view(spec, job_policy_state(state), view);
    spec->policy->rates(spec, job_policy_state(state), lrs);
    for (uint32_t i = 0; i < spec->lr.n; i++) {
        if (lrs[i] < state->data[i] || lrs[i] > state->data[i]) {
            view_answered(spec, state, view);
            return;
        }
    }
}

void job_state_carry(const struct job_spec *old_spec, const struct job_state *from,
                     const struct job_spec *new_spec, struct job_state *to)
{
    memset(to, 0, job_state_size(new_spec));
    memcpy(to, from, sizeof(*to));
    old_spec->policy->update(old_spec, job_policy_state(from), new_spec, job_policy_block(to));
    job_rates_now(new_spec, to, to->data);
    job_shadows_carry(old_spec, from, new_spec, to);
}

/* The policy's name, or a shadow's; reading another one fails. */
static void io_name(struct state_io *io, const char *name)
{
    size_t n = strlen(name);
    uint8_t len = (uint8_t)n;

    state_io_u8(io, &len);
    if (len != n) io->failed = true;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)name[i];

        state_io_u8(io, &c);
        if (c != (uint8_t)name[i]) io->failed = true;
    }
}

static bool plausible(const struct job_spec *spec, const struct job_state *state)
{
    if (state->groups != spec->lr.n || state->has_step > 1 || state->has_rewound > 1 ||
        state->status > JOB_FINISHED)
        return false;
    return state->ramp_done <= spec->ramp.reports;
}

static void job_io(struct state_io *io, const struct job_spec *spec, struct job_state *state);

/* Before version 3 there were none: those of the spec start then. */
static void io_shadows(struct state_io *io, const struct job_spec *spec, struct job_state *state,
                       uint8_t version)
{
    uint8_t n = (uint8_t)spec->n_shadows;

    if (version < 3) {
        job_shadows_init(spec, state);
        return;
    }
    state_io_u8(io, &n);
    if (n != spec->n_shadows) io->failed = true;
    for (uint32_t i = 0; i < spec->n_shadows && !io->failed; i++) {
        io_name(io, spec->shadows[i].name);
        job_io(io, spec->shadows[i].spec, (struct job_state *)(uintptr_t)job_shadow_state(spec, state, i));
    }
}

static void job_io(struct state_io *io, const struct job_spec *spec, struct job_state *state)
{
    uint8_t version = STATE_VERSION;

    state_io_u8(io, &version);
    if (version < 1 || version > STATE_VERSION) io->failed = true;
    io_name(io, spec->policy->name);
    state_io_u32(io, &state->revision);
    state_io_u32(io, &state->attempt);
    state_io_u32(io, &state->step);
    state_io_u32(io, &state->reports);
    state_io_u8(io, &state->has_step);
    state_io_u8(io, &state->status);
    state_io_u32(io, &state->ramp_done);
    if (version > 1) {
        state_io_u8(io, &state->has_rewound);
        state_io_u32(io, &state->rewound);
        state_io_f64(io, &state->told_lr);
    }
    if (version > 2)
        state_io_u32(io, &state->anneal_done);
    else
        state->anneal_done = state->reports; /* the nearest there is: a pause was not told apart */
    state_io_u32(io, &state->groups);
    if (io->failed || !plausible(spec, state)) {
        io->failed = true;
        return;
    }
    state_io_f64s(io, state->data, state->groups);
    if (version == 1) state->told_lr = state->data[0];
    if (!isfinite(state->told_lr)) io->failed = true;
    for (uint32_t i = 0; i < state->groups; i++) {
        if (!isfinite(state->data[i]) || state->data[i] < 0) io->failed = true;
    }
    if (!io->failed) spec->policy->io(io, spec, job_policy_block(state));
    if (!io->failed) io_shadows(io, spec, state, version);
}

unsigned job_state_version(void)
{
    return STATE_VERSION;
}

size_t job_state_encoded_size(const struct job_spec *spec, const struct job_state *state)
{
    struct state_io io = {0};

    /* Writing only reads; one function for both directions cannot say so. */
    job_io(&io, spec, (struct job_state *)(uintptr_t)state);
    return io.pos;
}

void job_state_encode(const struct job_spec *spec, const struct job_state *state, uint8_t *out)
{
    struct state_io io = {.out = out};

    job_io(&io, spec, (struct job_state *)(uintptr_t)state);
}

int job_state_decode(const struct job_spec *spec, const uint8_t *in, size_t len, struct job_state *state,
                     struct error *err)
{
    struct state_io io = {.in = in, .len = len, .reading = true};

    memset(state, 0, job_state_size(spec));
    job_io(&io, spec, state);
    if (io.failed || io.pos != len)
        return error_set(err, ST_DATA_DAMAGED, "the state of the job is damaged at byte %zu of %zu", io.pos,
                         len);
    return ST_OK;
}
