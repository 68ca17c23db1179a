/* What a row of the database holds as bytes: states of jobs (all versions), records of shadows and of rounds.
 * The first byte says which and of which spec.  Bytes that are accepted mean one state, which is written and
 * read the same, and a job goes on from it; others are refused as damage. */
#include "job.h"

#include "core/policy.h"
#include "core/round.h"
#include "server/convert.h"

#define SHADOWS "{\"lr\":[0.1,0.3],\"shadow\":[{\"name\":\"p\",\"plateau\":{}},{\"name\":\"g\"}]}"

/* One of each kind of state; the names are those of the contract. */
static const char *const texts[] = {
    "{\"lr\":0.1}",
    "{\"lr\":[0.1,0.2],\"greedy\":{\"smooth\":true,\"window_size\":4,\"cooldown\":2}}",
    "{\"lr\":0.1,\"plateau\":{\"patience\":1,\"cooldown\":1}}",
    "{\"lr\":0.1,\"cosine_annealing_warm_restarts\":{\"t_0\":3,\"t_mult\":2}}",
    "{\"lr\":0.1,\"one_cycle\":{\"max_lr\":0.5,\"total_steps\":20}}",
    "{\"lr\":0.1,\"ramp\":{\"reports\":4,\"start_factor\":0.1},\"anneal\":{\"total_reports\":12}}",
    SHADOWS,
    "{\"lr\":[0.1,0.2],\"learned\":{\"total_reports\":20}}",
};
#define SPECS (sizeof(texts) / sizeof(*texts))
static struct job_spec *specs[SPECS];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct error err = {0};

    for (size_t i = 0; i < SPECS; i++) {
        ProtobufCMessage *message = NULL;

        MUST(
            !json_decode(&greedylr__v1__job_spec__descriptor, texts[i], strlen(texts[i]), "", &message, &err),
            "%s", err.message);
        MUST(!convert_spec((const spec_message *)(const void *)message, &specs[i], &err), "%s", err.message);
        protobuf_c_message_free_unpacked(message, NULL);
    }
    return 0;
}

static void try_state(const struct job_spec *spec, const uint8_t *bytes, size_t len)
{
    struct job_state *state = new_state(spec);
    struct error err = {0};
    int rc = job_state_decode(spec, bytes, len, state, &err);

    if (rc) {
        must_tell(&err, rc);
        MUST(rc == ST_DATA_DAMAGED, "%s", err.message);
    } else {
        static const uint8_t draws[] = {0, 1, 2, 7, 6, 8, 9, 10, 11, 0x83};
        struct input in = {draws, sizeof(draws)};
        size_t n;
        uint8_t *again = must_encode(spec, state, &n);
        struct policy_view view;

        free(again);
        must_be_rates(job_lrs(state), spec->lr.n);
        job_view(spec, state, &view);
        if (state->revision < UINT32_MAX - 16) must_step(spec, state, &in, 10);
    }
    free(state);
}

static void try_shadow(const uint8_t *bytes, size_t len)
{
    struct error err = {0};
    struct shadow_said said;
    uint32_t groups = len ? bytes[len - 1] % 4 : 0;
    int rc = shadow_record_check(bytes, len, groups, &err);

    if (rc) must_tell(&err, rc);
    struct shadow_reader reader = shadow_read(bytes, len);
    struct state_io io = {0};

    if (!rc) shadow_record_begin(&io, reader.left);
    for (int n = 0; shadow_next(&reader, &said); n++) {
        MUST(n < SHADOWS_MAX, "too many");
        if (rc) continue;
        must_be_rates(said.lrs, said.groups);
        MUST(said.groups == groups && said.name[0], "a shadow of %u groups", said.groups);
        shadow_record_add(&io, said.name, said.action, said.lrs, said.groups, said.reason);
    }
    if (!rc) MUST(io.pos == len, "%zu bytes became %zu", len, io.pos);
}

static void try_round(const uint8_t *bytes, size_t len)
{
    static const uint32_t ranks[] = {0, 1, 2, 255, 65535, UINT32_MAX};
    double value;

    for (size_t i = 0; i < sizeof(ranks) / sizeof(*ranks); i++)
        (void)round_record_find(bytes, len, ranks[i], &value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t kind = take_u8(&in);
    size_t len;
    uint8_t *bytes = take_bytes(&in, &len);

    if (kind % (SPECS + 2) < SPECS)
        try_state(specs[kind % (SPECS + 2)], bytes, len);
    else if (kind % (SPECS + 2) == SPECS)
        try_shadow(bytes, len);
    else
        try_round(bytes, len);
    free(bytes);
    return 0;
}
