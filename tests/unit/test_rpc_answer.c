/* Answers and errors as bytes, and that the documentation knows every one of them. */
#include "rpc/percent.h"
#include "rpc/route.h"
#include "test_rpc_help.h"

#include <criterion/criterion.h>

static const struct rpc_method *method(const char *name)
{
    size_t n;
    const struct rpc_method *rows = rpc_methods(&n);

    while (n-- && strcmp(rows[n].name, name))
        continue;
    return &rows[n];
}

static void answers(const char *name, enum rpc_face face, enum rpc_codec codec, const void *answer,
                    const char *want_type, const char *want)
{
    struct rpc_call call = {.route = {.method = method(name), .face = face}, .codec = codec};
    struct buf out = {0};
    const char *type = NULL;
    struct error err;

    cr_assert_eq(rpc_encode(&call, answer, &out, &type, &err), 0);
    char *text = buf_take(&out, NULL);
    cr_expect_str_eq(type, want_type);
    cr_expect_str_eq(text, want);
    free(text);
}

Test(rpc_answer, rates)
{
    Greedylr__V1__GetLrResponse answer = GREEDYLR__V1__GET_LR_RESPONSE__INIT;
    double lrs[] = {0.1, 5e-5};

    answer.lrs = lrs;
    answer.n_lrs = 2;
    answer.has_lr = 1;
    answer.lr = 0.1;
    answers("GetLr", FACE_REST, CODEC_TEXT, &answer, "text/plain; charset=utf-8", "0.1\n5e-05\n");
    answers("GetLr", FACE_REST, CODEC_JSON, &answer, "application/json",
            "{\"lr\":0.1,\"lrs\":[0.1,5e-05]}\n");
    answers("GetLr", FACE_CONNECT, CODEC_JSON, &answer, "application/json",
            "{\"lr\":0.1,\"lrs\":[0.1,5e-05]}");
}

Test(rpc_answer, history)
{
    Greedylr__V1__ListDecisionsResponse answer = GREEDYLR__V1__LIST_DECISIONS_RESPONSE__INIT;
    Greedylr__V1__Decision one = GREEDYLR__V1__DECISION__INIT, two = GREEDYLR__V1__DECISION__INIT;
    Greedylr__V1__Decision *decisions[] = {&one, &two};
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    double lrs[] = {0.1, 0.2};
    char job[] = "a", reason[] = "say \"no\", twice";

    answers("ListDecisions", FACE_REST, CODEC_JSON, &answer, "application/json", "{\"decisions\":[]}\n");
    answers("ListDecisions", FACE_REST, CODEC_NDJSON, &answer, "application/x-ndjson", "");
    one.job = job;
    one.has_step = 1;
    one.lrs = lrs;
    one.n_lrs = 2;
    one.reason = reason;
    one.has_value = 1;
    one.value = NAN;
    one.has_at_min = 1;
    two.has_superseded = 1;
    two.superseded = 1;
    two.time = &time;
    answer.decisions = decisions;
    answer.n_decisions = 2;
    answers("ListDecisions", FACE_REST, CODEC_CSV, &answer, "text/csv; charset=utf-8; header=present",
            "job,step,attempt,revision,lr,lrs,action,reason,stage,value,smoothed,best,num_good,num_bad,at_"
            "min,at_max,plateaued,"
            "policy,duplicate,conflict,applied_mismatch,superseded,time,actor,ranks,shadow\r\n"
            "a,0,,,,0.1;0.2,,\"say \"\"no\"\", twice\",,NaN,,,,,false,,,,,,,,,,,\r\n"
            ",,,,,,,,,,,,,,,,,,,,,true,1970-01-01T00:00:00Z,,,\r\n");
    answers("ListDecisions", FACE_REST, CODEC_NDJSON, &answer, "application/x-ndjson",
            "{\"job\":\"a\",\"step\":0,\"lrs\":[0.1,0.2],\"reason\":\"say \\\"no\\\", "
            "twice\",\"value\":\"NaN\",\"at_min\":false}\n"
            "{\"superseded\":true,\"time\":\"1970-01-01T00:00:00Z\"}\n");
}

Test(rpc_answer, shadows_in_csv)
{
    Greedylr__V1__ListDecisionsResponse answer = GREEDYLR__V1__LIST_DECISIONS_RESPONSE__INIT;
    Greedylr__V1__Decision one = GREEDYLR__V1__DECISION__INIT, *decisions[] = {&one};
    Greedylr__V1__ShadowDecision a = GREEDYLR__V1__SHADOW_DECISION__INIT, b = a, *shadows[] = {&a, &b};
    double lrs[] = {0.1, 0.2}, zero[] = {0};
    char name_a[] = "cosine-100", name_b[] = "b";

    a.name = name_a;
    a.lrs = lrs;
    a.n_lrs = 2;
    b.name = name_b;
    b.lrs = zero;
    b.n_lrs = 1;
    one.shadow = shadows;
    one.n_shadow = 2;
    answer.decisions = decisions;
    answer.n_decisions = 1;
    answers("ListDecisions", FACE_REST, CODEC_CSV, &answer, "text/csv; charset=utf-8; header=present",
            "job,step,attempt,revision,lr,lrs,action,reason,stage,value,smoothed,best,num_good,num_bad,at_"
            "min,at_max,plateaued,"
            "policy,duplicate,conflict,applied_mismatch,superseded,time,actor,ranks,shadow\r\n"
            ",,,,,,,,,,,,,,,,,,,,,,,,,cosine-100=0.1;0.2 b=0\r\n");
}

Test(rpc_answer, exported_state_is_the_body)
{
    Greedylr__V1__ExportStateResponse answer = GREEDYLR__V1__EXPORT_STATE_RESPONSE__INIT;
    char text[] = "{\"best\":1}";

    answer.state_dict = text;
    answers("ExportState", FACE_REST, CODEC_JSON, &answer, "application/json", "{\"best\":1}\n");
    answers("ExportState", FACE_CONNECT, CODEC_JSON, &answer, "application/json",
            "{\"state_dict\":\"{\\\"best\\\":1}\"}");
}

Test(rpc_answer, binary)
{
    struct rpc_call call = {.route = {.method = method("GetJob"), .face = FACE_CONNECT},
                            .codec = CODEC_PROTO};
    uint64_t seed = rng_seed("binary");

    for (int i = 0; i < 200; i++) {
        ProtobufCMessage *in = random_message(call.route.method->output);
        struct buf out = {0};
        const char *type;
        cr_assert_eq(rpc_encode(&call, in, &out, &type, NULL), 0);
        cr_expect_str_eq(type, "application/proto");
        ProtobufCMessage *back =
            protobuf_c_message_unpack(in->descriptor, NULL, out.len, (const uint8_t *)out.data);
        cr_assert(back && message_equal(in, back), "seed %llu", (unsigned long long)seed);
        protobuf_c_message_free_unpacked(back, NULL);
        protobuf_c_message_free_unpacked(in, NULL);
        buf_free(&out);
    }
}

/* ---- errors ---- */

static char *between(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);

    cr_assert_not_null(at, "%s has no %s", text, from);
    at += strlen(from);
    return strndup(at, (size_t)(strstr(at, to) - at));
}

static void check_detail(const char *body, const struct status_info *info, const char *request_id)
{
    char *value = between(body, "\"value\":\"", "\"");

    cr_expect_null(strchr(value, '='));
    long len = base64_decode(value);
    cr_assert_gt(len, 0);
    Greedylr__V1__ErrorInfo *detail =
        greedylr__v1__error_info__unpack(NULL, (size_t)len, (const uint8_t *)value);
    cr_assert_not_null(detail);
    cr_expect_str_eq(detail->reason, info->reason);
    cr_expect_str_eq(detail->domain, "greedylrd");
    cr_assert_eq(detail->n_metadata, request_id ? 2 : 1);
    if (request_id) {
        cr_expect_str_eq(detail->metadata[1]->key, "request_id");
        cr_expect_str_eq(detail->metadata[1]->value, request_id);
    }
    cr_expect_str_eq(detail->metadata[0]->key, "outcome");
    static const char *const outcomes[] = {"nothing was changed",
                                           "the value is recorded: the same request waits on",
                                           "unknown: the same request is safe to repeat"};
    cr_expect_str_eq(detail->metadata[0]->value, outcomes[info->outcome]);
    greedylr__v1__error_info__free_unpacked(detail, NULL);
    free(value);
}

/* As long as a message and a request's id can be. */
static const char *long_id(void)
{
    static char id[129];

    memset(id, 'x', sizeof(id) - 1);
    return id;
}

Test(rpc_answer, the_longest_error_fits)
{
    char space[ERROR_BODY_MAX];
    struct error err;

    for (int status = 1; status < ST_COUNT; status++) {
        struct buf out = BUF_FIXED(space);
        int http;
        (void)error_set(&err, (enum status)status, "%*s", ERROR_MESSAGE_MAX, "");
        memset(err.message, 1, strlen(err.message)); /* six bytes each */
        rpc_encode_error(&err, FACE_REST, long_id(), &out, &http);
        cr_assert(!out.failed);
    }
}

Test(rpc_answer, every_error)
{
    const char *const ids[] = {[FACE_REST] = NULL, [FACE_CONNECT] = long_id()};

    for (int status = 1; status < ST_COUNT; status++) {
        const struct status_info *info = status_info((enum status)status);
        struct error err;
        (void)error_set(&err, (enum status)status, "say \"what\": \xe2\x82");
        for (int face = FACE_REST; face <= FACE_CONNECT; face++) {
            struct buf out = {0};
            int http = 0;
            char start[256];
            rpc_encode_error(&err, (enum rpc_face)face, ids[face], &out, &http);
            char *body = buf_take(&out, NULL);
            snprintf(
                start, sizeof(start),
                "{\"code\":\"%s\",\"message\":\"say \\\"what\\\": \xef\xbf\xbd\xef\xbf\xbd\",\"details\":[{",
                code_info(info->code)->name);
            cr_expect(!strncmp(body, start, strlen(start)), "%s", body);
            if (face == FACE_REST) cr_expect_eq(http, info->http ? info->http : code_info(info->code)->http);
            check_detail(body, info, ids[face]);
            if (ids[face]) cr_expect(strstr(body, "\"request_id\":\""), "%s", body);
            char *debug = between(body, "\"debug\":", "]}");
            cr_expect(strstr(debug, info->reason) && strstr(debug, "\"domain\":\"greedylrd\""), "%s", debug);
            free(debug);
            free(body);
        }
    }
}

Test(rpc_answer, connect_statuses)
{
    static const struct {
        enum status status;
        int http;
    } table[] = {{ST_FIELD_INVALID, 400},        {ST_PATH_UNKNOWN, 404},
                 {ST_METHOD_NOT_ALLOWED, 405},   {ST_MEDIA_TYPE_UNSUPPORTED, 415},
                 {ST_ENCODING_UNSUPPORTED, 501}, {ST_OUT_OF_MEMORY, 429},
                 {ST_JOB_EXISTS, 409},           {ST_STORE_FULL, 503},
                 {ST_DATA_DAMAGED, 500},         {ST_FIELD_FIXED, 400}};

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct error err = {.status = table[i].status};
        struct buf out = {0};
        int http;
        rpc_encode_error(&err, FACE_CONNECT, "abc-1", &out, &http);
        cr_expect_eq(http, table[i].http, "%s: %d", status_info(table[i].status)->reason, http);
        buf_free(&out);
    }
}

/* ---- base64 and percent ---- */

Test(rpc_answer, base64)
{
    static const char *const table[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff", "+/8"}};
    char text[32];

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        base64_encode((const uint8_t *)table[i][0], strlen(table[i][0]), text);
        cr_expect_str_eq(text, table[i][1]);
        cr_expect_eq(base64_decode(text), (long)strlen(table[i][0]));
        cr_expect_str_eq(text, table[i][0]);
    }
    strcpy(text, "-_8=");
    cr_expect_eq(base64_decode(text), 2);
    cr_expect_str_eq(text, "\xfb\xff");
}

/* ---- the documentation ---- */

static char *documentation(void)
{
    FILE *f = fopen("proto/PROTOCOL.md", "r");
    char *text = calloc(1, 1 << 20);

    cr_assert_not_null(f, "run from the root of the repository");
    cr_assert_gt(fread(text, 1, (1 << 20) - 1, f), 0);
    fclose(f);
    return text;
}

Test(rpc_answer, documentation_knows_every_error_and_route)
{
    char *text = documentation(), row[256];
    size_t n;
    const struct rpc_method *rows = rpc_methods(&n);

    for (int status = 1; status < ST_COUNT; status++) {
        const struct status_info *info = status_info((enum status)status);
        int code = code_info(info->code)->http;
        snprintf(row, sizeof(row), "| `%s` | %s | %d |", info->reason, code_info(info->code)->name,
                 info->http ? info->http : code);
        cr_expect(strstr(text, row) != NULL, "proto/PROTOCOL.md lacks: %s", row);
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(row, sizeof(row), "| %s | `%s %s` |", rows[i].name, rows[i].rest_method, rows[i].rest_path);
        cr_expect(strstr(text, row) != NULL, "proto/PROTOCOL.md lacks: %s", row);
    }
    free(text);
}
