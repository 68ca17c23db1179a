/* The JSON codec: tables of what is refused and how, and round trips over every message of the contract. */
#include "test_rpc_help.h"

#include <criterion/criterion.h>

#define SPEC   (&greedylr__v1__job_spec__descriptor)
#define REPORT (&greedylr__v1__report_request__descriptor)

struct bad {
    const ProtobufCMessageDescriptor *desc;
    const char *text;
    enum status status;
    const char *says; /* the message begins with or, after '*', contains this */
};

static void refuse(const struct bad *bad)
{
    ProtobufCMessage *m;
    struct error err;
    int rc = decode_text(bad->desc, bad->text, &m, &err);

    cr_expect_eq(rc, (int)bad->status, "%s: %d, %s", bad->text, rc, err.message);
    cr_expect_eq(rc, (int)err.status);
    cr_expect_null(m);
    bool found = *bad->says == '*' ? strstr(err.message, bad->says + 1) != NULL
                                   : !strncmp(err.message, bad->says, strlen(bad->says));
    cr_expect(found, "%s: \"%s\" does not say \"%s\"", bad->text, err.message, bad->says);
}

Test(rpc_json, refuses_wrong_values)
{
    static const struct bad table[] = {
        {SPEC, "{\"greedy\":{\"patience\":\"two\"}}", ST_FIELD_INVALID,
         "greedy.patience: must be an integer from 0 to 4294967295, got \"two\""},
        {SPEC, "{\"greedy\":{\"patience\":-1}}", ST_FIELD_INVALID, "greedy.patience: must be an integer"},
        {SPEC, "{\"greedy\":{\"patience\":1.5}}", ST_FIELD_INVALID, "*got 1.5"},
        {SPEC, "{\"greedy\":{\"patience\":4294967296}}", ST_FIELD_INVALID, "*got 4294967296"},
        {SPEC, "{\"greedy\":{\"patience\":100000000000000000000}}", ST_FIELD_INVALID, "*got 1e+20"},
        {SPEC, "{\"greedy\":{\"patience\":NaN}}", ST_FIELD_INVALID, "*got NaN"},
        {SPEC, "{\"greedy\":{\"patience\":true}}", ST_FIELD_INVALID, "*got true"},
        {SPEC, "{\"greedy\":{\"smooth\":1}}", ST_FIELD_INVALID,
         "greedy.smooth: must be true or false, got 1"},
        {SPEC, "{\"greedy\":{\"smooth\":\"true\"}}", ST_FIELD_INVALID,
         "greedy.smooth: must be true or false"},
        {SPEC, "{\"greedy\":[]}", ST_FIELD_INVALID, "greedy: must be an object, got a list"},
        {SPEC, "{\"greedy\":{\"mode\":3}}", ST_FIELD_INVALID, "greedy.mode: must be a string, got 3"},
        {SPEC, "{\"lr\":{\"\":\"1.5\"}}", ST_FIELD_INVALID, "lr: must be a number, got an object"},
        {SPEC, "{\"lr\":{\"\":\"NaN\",\"x\":3}}", ST_FIELD_INVALID, "lr: must be a number, got an object"},
        {SPEC, "{\"\":\"NaN\"}", ST_FIELD_UNKNOWN, "*unknown field"},
        {SPEC, "{\"job\":NaN}", ST_FIELD_INVALID, "job: must be a string, got NaN"},
        {SPEC, "{\"job\":1e400}", ST_FIELD_INVALID, "job: must be a string, got 1e400"},
        {SPEC, "{\"lr\":[0.1,\"x\"]}", ST_FIELD_INVALID, "lr[1]: must be a number, got \"x\""},
        {SPEC, "{\"lr\":[null]}", ST_FIELD_INVALID, "lr[0]: must be a number, got null"},
        {SPEC, "{\"lr\":{}}", ST_FIELD_INVALID, "lr: must be a number, got an object"},
        {SPEC, "{\"lr\":1e400}", ST_FIELD_INVALID, "lr: must be within the range of a double, -1.79"},
        {SPEC, "{\"lr\":[1,-1e400]}", ST_FIELD_INVALID, "lr[1]: must be within the range of a double"},
        {SPEC, "{\"lr\":\"1e400\"}", ST_FIELD_INVALID, "lr: must be within the range"},
        {SPEC, "{\"lr\":\"0x10\"}", ST_FIELD_INVALID, "lr: must be a number"},
        {SPEC, "{\"lr\":\"\"}", ST_FIELD_INVALID, "lr: must be a number"},
        {SPEC, "{\"lr\":\" 1\"}", ST_FIELD_INVALID, "lr: must be a number"},
        {SPEC, "{\"lr\":\"nan\"}", ST_FIELD_INVALID, "lr: must be a number"},
        {SPEC, "{\"labels\":\"a\"}", ST_FIELD_INVALID, "labels: must be a list, got \"a\""},
        {SPEC, "{\"labels\":[1]}", ST_FIELD_INVALID, "labels[0]: must be a string"},
        {SPEC, "{\"ranks\":{\"deadline\":30}}", ST_FIELD_INVALID, "ranks.deadline: must be a duration like"},
        {REPORT, "{\"loss\":1,\"metric\":2}", ST_FIELD_INVALID, "loss and metric: give one of the two"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        refuse(&table[i]);
    refuse(&(struct bad){&greedylr__v1__batch_report_request__descriptor,
                         "{\"reports\":[{},{\"loss\":1,\"metric\":2}]}", ST_FIELD_INVALID,
                         "reports[1]: loss and metric: give one of the two"});
}

Test(rpc_json, refuses_bodies)
{
    static const struct bad table[] = {
        {SPEC, "{\"patience\":1}", ST_FIELD_UNKNOWN, "patience: unknown field; known here: job, lr,"},
        {SPEC, "{\"greedy\":{\"patince\":1}}", ST_FIELD_UNKNOWN,
         "greedy.patince: unknown field; did you mean patience?"},
        {SPEC, "{\"Job\":\"a\"}", ST_FIELD_UNKNOWN, "Job: unknown field; did you mean job?"},
        {&greedylr__v1__delete_job_response__descriptor, "{\"a\":1}", ST_FIELD_UNKNOWN,
         "a: unknown field; known here: none"},
        {SPEC, "{\"group_names\":[],\"groupNames\":[]}", ST_FIELD_INVALID, "groupNames: given twice"},
        {SPEC, "{\"job\":\"a\",\"job\":\"b\"}", ST_BODY_INVALID, "*job"},
        {SPEC, "{\"job\":\"a\"} x", ST_BODY_INVALID, "*line 1, column"},
        {SPEC, "{\"job\":\"a\"}{}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"job\":\n  oops}", ST_BODY_INVALID, "*line 2, column"},
        {SPEC, "{\"job\":\"a\"", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{'job':'a'}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"job\":\"a\",}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"lr\":01}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"lr\":.5}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"lr\":-NaN}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"lr\":NaNa}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"lr\":Infinity2}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"job\":\"a\\u0000b\"}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"job\":\"\xff\"}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"job\":\"\xe2\x82\"}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "{\"job\":\"\xed\xa0\x80\"}", ST_BODY_INVALID, "body: not valid JSON"},
        {SPEC, "[]", ST_BODY_INVALID, "body: must be a JSON object"},
        {SPEC, "1", ST_BODY_INVALID, "body: "},
        {SPEC, "NaN", ST_BODY_INVALID, "body: "},
        {SPEC, "null", ST_BODY_INVALID, "body: "},
        {SPEC, "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", ST_BODY_INVALID,
         "body: nested deeper than 16 levels at byte 17"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        refuse(&table[i]);
}

Test(rpc_json, prefix_goes_in_front_of_paths)
{
    const char *text = "{\"greedy\":{\"factor\":[]}}";
    ProtobufCMessage *m = NULL;
    struct error err;

    cr_assert_eq(json_decode(SPEC, text, strlen(text), "spec", &m, &err), ST_FIELD_INVALID);
    cr_assert_str_eq(err.message, "spec.greedy.factor: must be a number, got a list");
}

/* ---- what is accepted ---- */

static void *accept(const ProtobufCMessageDescriptor *desc, const char *text)
{
    ProtobufCMessage *m;
    struct error err;

    cr_assert_eq(decode_text(desc, text, &m, &err), 0, "%s: %s", text, err.message);
    return m;
}

static void drop(void *message)
{
    protobuf_c_message_free_unpacked(message, NULL);
}

Test(rpc_json, empty_bodies_are_empty_messages)
{
    static const char *const texts[] = {"", "  \r\n\t", "{}", " { } ",
                                        "{\"job\":null,\"greedy\":null,\"lr\":null}"};

    for (size_t i = 0; i < 5; i++) {
        Greedylr__V1__JobSpec *spec = accept(SPEC, texts[i]);
        cr_expect_eq(protobuf_c_message_get_packed_size(&spec->base), 0);
        drop(spec);
    }
    /* Blanks with nothing behind them: the length counts, not a NUL. */
    char *blanks = malloc(3);
    ProtobufCMessage *m;
    struct error err;
    memset(blanks, ' ', 3);
    cr_expect_eq(json_decode(SPEC, blanks, 3, "", &m, &err), 0);
    drop(m);
    free(blanks);
}

Test(rpc_json, accepts_both_spellings_and_scalars)
{
    Greedylr__V1__JobSpec *spec = accept(
        SPEC, "{\"groupNames\":[\"w\"],\"on_nonfinite\":\"cut\",\"lr\":0.1,"
              "\"greedy\":{\"windowSize\":3.0,\"minLr\":\"1e-3\",\"reset_start\":\"7\",\"patience\":1e2}}");

    cr_expect_str_eq(spec->group_names[0], "w");
    cr_expect_str_eq(spec->on_nonfinite, "cut");
    cr_expect(spec->n_lr == 1 && spec->lr[0] == 0.1);
    cr_expect_eq(spec->greedy->window_size, 3);
    cr_expect(spec->greedy->min_lr[0] == 1e-3);
    cr_expect_eq(spec->greedy->reset_start, 7);
    cr_expect_eq(spec->greedy->patience, 100);
    drop(spec);
}

Test(rpc_json, accepts_what_is_not_finite)
{
    Greedylr__V1__JobSpec *spec = accept(SPEC, "{\"job\":\"NaN, -Infinity \\\" NaN\",\"lr\":[NaN,Infinity , "
                                               "-Infinity,\"NaN\",\"Infinity\",-0,-0.0]}");

    cr_expect_str_eq(spec->job, "NaN, -Infinity \" NaN");
    cr_expect(isnan(spec->lr[0]) && isnan(spec->lr[3]));
    cr_expect(spec->lr[1] > 0 && isinf(spec->lr[1]) && isinf(spec->lr[4]));
    cr_expect(spec->lr[2] < 0 && isinf(spec->lr[2]));
    cr_expect(signbit(spec->lr[5]) && signbit(spec->lr[6]));
    drop(spec);
}

Test(rpc_json, large_integers_are_doubles)
{
    Greedylr__V1__JobSpec *spec =
        accept(SPEC, "{\"lr\":[123456789012345678901,9007199254740993,18446744073709551616]}");

    cr_expect(spec->lr[0] == 123456789012345678901.0);
    cr_expect(spec->lr[1] == 9007199254740992.0);
    cr_expect(spec->lr[2] == 18446744073709551616.0);
    drop(spec);
}

Test(rpc_json, emits_what_has_a_value)
{
    Greedylr__V1__Decision decision = GREEDYLR__V1__DECISION__INIT;
    Greedylr__V1__ListJobsResponse list = GREEDYLR__V1__LIST_JOBS_RESPONSE__INIT;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    char reason[] = "cut in the middle: \xe2\x82";
    struct buf out = {0};

    decision.has_step = 1;
    decision.has_lr = 1;
    decision.lr = 0.1;
    decision.reason = reason;
    decision.has_best = 1;
    decision.best = INFINITY;
    decision.has_conflict = 1;
    time.seconds = 1700000000;
    time.nanos = 250000000;
    decision.time = &time;
    cr_assert_eq(json_encode(&decision.base, &out, NULL), 0);
    char *text = buf_take(&out, NULL);
    cr_expect_str_eq(text, "{\"step\":0,\"lr\":0.1,\"reason\":\"cut in the middle: "
                           "\xef\xbf\xbd\xef\xbf\xbd\",\"best\":\"Infinity\","
                           "\"conflict\":false,\"time\":\"2023-11-14T22:13:20.250Z\"}");
    free(text);
    cr_assert_eq(json_encode(&list.base, &out, NULL), 0);
    text = buf_take(&out, NULL);
    cr_expect_str_eq(text, "{\"jobs\":[]}");
    free(text);
}

/* ---- times ---- */

static bool duration_is(const char *text, int64_t seconds, int32_t nanos)
{
    char body[128];

    snprintf(body, sizeof(body), "{\"wait\":\"%s\"}", text);
    Greedylr__V1__GetLrRequest *m = accept(&greedylr__v1__get_lr_request__descriptor, body);
    bool same = m->wait->seconds == seconds && m->wait->nanos == nanos;
    drop(m);
    return same;
}

Test(rpc_json, durations)
{
    static const char *const bad[] = {"",
                                      "30",
                                      "s",
                                      "ms",
                                      "-s",
                                      "+1s",
                                      " 1s",
                                      "1s ",
                                      "1.s",
                                      ".5s",
                                      "0x1s",
                                      "1e3s",
                                      "infs",
                                      "nans",
                                      "1m",
                                      "1.0000000001s",
                                      "315576000001s",
                                      "99999999999999999999s"};

    cr_expect(duration_is("30s", 30, 0));
    cr_expect(duration_is("500ms", 0, 500000000));
    cr_expect(duration_is("1500ms", 1, 500000000));
    cr_expect(duration_is("1.5s", 1, 500000000));
    cr_expect(duration_is("0.000000001s", 0, 1));
    cr_expect(duration_is("0.999999999s", 0, 999999999));
    cr_expect(duration_is("1.5ms", 0, 1500000));
    cr_expect(duration_is("-1.5s", -1, -500000000));
    cr_expect(duration_is("-0.5s", 0, -500000000));
    cr_expect(duration_is("315576000000s", 315576000000, 0));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char body[128];
        snprintf(body, sizeof(body), "{\"wait\":\"%s\"}", bad[i]);
        refuse(&(struct bad){&greedylr__v1__get_lr_request__descriptor, body, ST_FIELD_INVALID,
                             "wait: must be a duration"});
    }
}

Test(rpc_json, timestamps)
{
    static const struct {
        const char *text;
        int64_t seconds;
        int32_t nanos;
    } good[] = {{"1970-01-01T00:00:00Z", 0, 0},
                {"1969-12-31T23:59:59.999999999Z", -1, 999999999},
                {"2000-02-29T12:00:00.5Z", 951825600, 500000000},
                {"2026-01-31T12:00:00+01:30", 1769855400, 0},
                {"2026-01-31T12:00:00-01:30", 1769866200, 0},
                {"0001-01-01T00:00:00Z", -62135596800, 0},
                {"9999-12-31T23:59:59Z", 253402300799, 0}};
    static const char *const bad[] = {"",
                                      "2026-01-31",
                                      "2026-01-31T12:00:00",
                                      "2026-02-29T12:00:00Z",
                                      "2100-02-29T12:00:00Z",
                                      "2026-13-01T12:00:00Z",
                                      "2026-04-31T12:00:00Z",
                                      "2026-01-31T24:00:00Z",
                                      "2026-01-31T12:60:00Z",
                                      "2026-01-31T12:00:60Z",
                                      "2026-01-31 12:00:00Z",
                                      "2026-01-31T12:00:00.Z",
                                      "2026-01-31T12:00:00.0000000001Z",
                                      "2026-01-31T12:00:00Zx",
                                      "+026-01-31T12:00:00Z",
                                      "0000-01-01T00:00:00Z",
                                      "0001-01-01T00:00:00+01:00",
                                      "9999-12-31T23:59:59-01:00"};
    char body[128];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(body, sizeof(body), "{\"time\":\"%s\"}", good[i].text);
        Greedylr__V1__Decision *d = accept(&greedylr__v1__decision__descriptor, body);
        cr_expect(d->time->seconds == good[i].seconds && d->time->nanos == good[i].nanos, "%s: %lld",
                  good[i].text, (long long)d->time->seconds);
        drop(d);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(body, sizeof(body), "{\"time\":\"%s\"}", bad[i]);
        refuse(&(struct bad){&greedylr__v1__decision__descriptor, body, ST_FIELD_INVALID,
                             "time: must be a time"});
    }
}

/* ---- round trips ---- */

static const ProtobufCMessageDescriptor *method_type(size_t i)
{
    const ProtobufCServiceDescriptor *s = &greedylr__v1__scheduler_service__descriptor;
    const ProtobufCMethodDescriptor *m = &s->methods[i / 2 % s->n_methods];

    return i % 2 ? m->output : m->input;
}

Test(rpc_json, random_messages_survive)
{
    uint64_t seed = rng_seed("random_messages_survive");

    for (size_t i = 0; i < 20000; i++) {
        ProtobufCMessage *in = random_message(method_type(i)), *back = NULL;
        struct buf out = {0};
        struct error err;
        cr_assert_eq(json_encode(in, &out, &err), 0);
        cr_assert_eq(json_decode(in->descriptor, out.data, out.len, "", &back, &err), 0,
                     "seed %llu: %.*s: %s", (unsigned long long)seed, (int)out.len, out.data, err.message);
        cr_assert(message_equal(in, back), "seed %llu: %.*s", (unsigned long long)seed, (int)out.len,
                  out.data);
        buf_free(&out);
        drop(in);
        drop(back);
    }
}

Test(rpc_json, doubles_read_back_to_the_same_bits)
{
    uint64_t seed = rng_seed("doubles");

    for (int i = 0; i < 200000; i++) {
        Greedylr__V1__GetLrResponse in = GREEDYLR__V1__GET_LR_RESPONSE__INIT;
        ProtobufCMessage *back;
        struct buf out = {0};
        in.has_lr = 1;
        in.lr = random_double();
        cr_assert_eq(json_encode(&in.base, &out, NULL), 0);
        cr_assert_eq(json_decode(in.base.descriptor, out.data, out.len, "", &back, NULL), 0);
        double lr = ((Greedylr__V1__GetLrResponse *)(void *)back)->lr;
        cr_assert((isnan(lr) && isnan(in.lr)) || !memcmp(&lr, &in.lr, sizeof(lr)), "seed %llu: %a became %a",
                  (unsigned long long)seed, in.lr, lr);
        buf_free(&out);
        drop(back);
    }
}

/* ---- hostile input ---- */

/* Exactly len bytes on the heap, so that a sanitizer sees one byte too many. */
static int decode_exactly(const ProtobufCMessageDescriptor *desc, const char *text, size_t len)
{
    char *copy = malloc(len ? len : 1);
    ProtobufCMessage *m = NULL;
    struct error err;

    memcpy(copy, text, len);
    int rc = json_decode(desc, copy, len, "", &m, &err);
    cr_expect((rc == 0) == (m != NULL));
    if (m) drop(m);
    free(copy);
    return rc;
}

Test(rpc_json, truncated_and_flipped_bodies)
{
    rng_seed("truncated_and_flipped_bodies");
    for (size_t i = 0; i < 300; i++) {
        ProtobufCMessage *in = random_message(method_type(i));
        struct buf out = {0};
        cr_assert_eq(json_encode(in, &out, NULL), 0);
        for (size_t n = 0; n < out.len; n++) {
            int rc = decode_exactly(in->descriptor, out.data, n);
            cr_expect(rc || !n, "%.*s", (int)n, out.data);
        }
        for (int k = 0; k < 200; k++) {
            size_t at = rng() % out.len;
            char old = out.data[at];
            out.data[at] = (char)rng();
            (void)decode_exactly(in->descriptor, out.data, out.len);
            out.data[at] = old;
        }
        buf_free(&out);
        drop(in);
    }
}

Test(rpc_json, enormous_tokens)
{
    size_t len = 1 << 20;
    char *text = malloc(len + 1);
    static const char fill[] = "[{0\"-.";

    text[len] = '\0';
    for (size_t i = 0; i < sizeof(fill) - 1; i++) {
        memset(text, fill[i], len);
        cr_expect_neq(decode_exactly(SPEC, text, len), 0);
        memcpy(text, "{\"lr\":1", 7);
        cr_expect_neq(decode_exactly(SPEC, text, len), 0);
    }
    free(text);
}
