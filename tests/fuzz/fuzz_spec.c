/* Settings of a job, as a client sends them and as a database holds them: the JSON of a JobSpec, a line end,
 * then bytes that draw reports.  What is accepted has effective settings that mean the same spec and are
 * their own effective settings; a job of it decides rates that are rates. */
#include "job.h"
#include "rpc/json.h"
#include "server/convert.h"

static spec_message *effective(const spec_message *given, const struct job_spec *spec)
{
    spec_message *out = NULL;
    struct error err = {0};

    MUST(!convert_effective(given, spec, &out, &err), "%s", err.message);
    return out;
}

/* As the store has it: text, of a job that exists. */
static void read_again(const spec_message *message, const struct job_spec *spec)
{
    struct job_spec *again = NULL;
    struct error err = {0};
    size_t len;
    char *text = must_round_trip(&message->base, &len);
    ProtobufCMessage *back = NULL;

    MUST(!json_decode(&greedylr__v1__job_spec__descriptor, text, len, "", &back, &err), "%s", err.message);
    MUST(!convert_live_spec((spec_message *)(void *)back, &again, &err), "%s: %s", err.message, text);
    MUST(job_state_size(again) == job_state_size(spec), "%s is another spec", text);
    spec_message *twice = effective((spec_message *)(void *)back, again);
    MUST(same_message(&message->base, &twice->base), "effective settings of %s differ from it", text);
    greedylr__v1__job_spec__free_unpacked(twice, NULL);
    protobuf_c_message_free_unpacked(back, NULL);
    spec_free(again);
    free(text);
}

static void use(const spec_message *given, const struct job_spec *spec, struct input *in)
{
    spec_message *full = effective(given, spec);
    struct job_state *state = new_state(spec);

    read_again(full, spec);
    greedylr__v1__job_spec__free_unpacked(full, NULL);
    job_init(spec, state);
    must_be_rates(job_lrs(state), spec->lr.n);
    must_step(spec, state, in, 16);
    free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    ProtobufCMessage *message = NULL;
    struct job_spec *spec = NULL;
    struct error err = {0};
    size_t len;
    char *text = take_until(&in, '\n', &len);
    int rc = json_decode(&greedylr__v1__job_spec__descriptor, text, len, "", &message, &err);

    if (!rc) {
        const spec_message *given = (const spec_message *)(const void *)message;

        rc = convert_spec(given, &spec, &err);
        if (!rc) rc = convert_check_texts(given, spec->lr.n, &err);
        if (!rc) use(given, spec, &in);
        spec_free(spec);
        protobuf_c_message_free_unpacked(message, NULL);
    }
    if (rc) must_tell(&err, rc);
    free(text);
    return 0;
}
