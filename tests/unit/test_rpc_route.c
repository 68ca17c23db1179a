/* Routes, requests and answers of both faces. */
#include "rpc/accept.h"
#include "rpc/percent.h"
#include "rpc/route.h"
#include "test_rpc_help.h"

#include <criterion/criterion.h>

#define CONNECT "/greedylr.v1.SchedulerService/"

static int call_up(struct rpc_request *request, struct rpc_call *call, struct error *err)
{
    struct rpc_route route;
    const char *allow = NULL;

    if (request->body && !request->len) request->len = strlen((const char *)request->body);
    err->message[0] = '\0';
    int rc = route_match(request->method, request->target, &route, &allow, err);
    return rc ? rc : route_decode(request, &route, call, err);
}

#define BODY(text)  .body = (const uint8_t *)(text)
#define BYTES(text) BODY(text), .len = sizeof(text) - 1

/* Accepted; the caller clears the call. */
#define OK(call, ...)                                                                                        \
    do {                                                                                                     \
        struct rpc_request request_ = {__VA_ARGS__};                                                         \
        struct error err_;                                                                                   \
        cr_assert_eq(call_up(&request_, &(call), &err_), 0, "%s: %s", request_.target, err_.message);        \
    } while (0)

/* Refused with a status and words. */
#define NO(want, words, ...)                                                                                 \
    do {                                                                                                     \
        struct rpc_request request_ = {__VA_ARGS__};                                                         \
        struct rpc_call call_;                                                                               \
        struct error err_;                                                                                   \
        int rc_ = call_up(&request_, &call_, &err_);                                                         \
        cr_expect_eq(rc_, want, "%s: %d %s", request_.target, rc_, err_.message);                            \
        cr_expect(strstr(err_.message, words) != NULL, "%s: %s", request_.target, err_.message);             \
    } while (0)

/* ---- the table ---- */

Test(rpc_route, every_rpc_has_one_row)
{
    const ProtobufCServiceDescriptor *s = &greedylr__v1__scheduler_service__descriptor;
    size_t n;
    const struct rpc_method *rows = rpc_methods(&n);

    cr_assert_eq(n, s->n_methods);
    for (unsigned i = 0; i < s->n_methods; i++) {
        unsigned found = 0;
        for (size_t k = 0; k < n; k++) {
            if (strcmp(rows[k].name, s->methods[i].name) != 0) continue;
            found++;
            cr_expect_eq(rows[k].input, s->methods[i].input, "%s", rows[k].name);
            cr_expect_eq(rows[k].output, s->methods[i].output, "%s", rows[k].name);
        }
        cr_expect_eq(found, 1, "%s has %u rows", s->methods[i].name, found);
    }
    for (size_t k = 0; k < n; k++) {
        const char *field = rows[k].body_field;
        if (field && *field)
            cr_expect_not_null(protobuf_c_message_descriptor_get_field_by_name(rows[k].input, field), "%s",
                               rows[k].name);
        for (size_t j = 0; j < k; j++)
            cr_expect(strcmp(rows[j].rest_method, rows[k].rest_method) ||
                          strcmp(rows[j].rest_path, rows[k].rest_path),
                      "%s and %s share a route", rows[j].name, rows[k].name);
    }
}

/* Which RPCs Connect serves by GET is the contract's word: idempotency_level, which protobuf-c does not keep.
 */
Test(rpc_route, side_effects_as_the_contract_says)
{
    static const char *const reads[] = {"GetJob",   "ListJobs",    "GetLr",   "ListDecisions",
                                        "WatchJob", "ExportState", "Simulate"};
    size_t n, found = 0;
    const struct rpc_method *rows = rpc_methods(&n);

    for (size_t i = 0; i < n; i++) {
        bool read = false;
        for (size_t k = 0; k < sizeof(reads) / sizeof(reads[0]); k++)
            read |= !strcmp(rows[i].name, reads[k]);
        cr_expect_eq(rows[i].no_side_effects, read, "%s", rows[i].name);
        found += read;
    }
    cr_expect_eq(found, sizeof(reads) / sizeof(reads[0]));
}

Test(rpc_route, every_row_is_reached_on_both_faces)
{
    size_t n;
    const struct rpc_method *rows = rpc_methods(&n);

    for (size_t i = 0; i < n; i++) {
        char target[256];
        const char *brace = strstr(rows[i].rest_path, "{job}"), *allow;
        struct rpc_route route;
        struct error err;
        if (brace)
            snprintf(target, sizeof(target), "%.*sa.B-9_%s?x=1", (int)(brace - rows[i].rest_path),
                     rows[i].rest_path, brace + 5);
        else
            snprintf(target, sizeof(target), "%s", rows[i].rest_path);
        cr_assert_eq(route_match(rows[i].rest_method, target, &route, &allow, &err), 0, "%s: %s", target,
                     err.message);
        cr_expect(route.method == &rows[i] && route.face == FACE_REST, "%s", target);
        cr_expect_str_eq(route.job, brace ? "a.B-9_" : "");
        snprintf(target, sizeof(target), CONNECT "%s", rows[i].name);
        cr_assert_eq(route_match("POST", target, &route, &allow, &err), 0);
        cr_expect(route.method == &rows[i] && route.face == FACE_CONNECT && !*route.job);
        allow = NULL;
        bool get = rows[i].no_side_effects && !rows[i].streaming;
        cr_expect_eq(route_match("GET", target, &route, &allow, &err), get ? 0 : ST_METHOD_NOT_ALLOWED, "%s",
                     target);
        if (!get) cr_expect_str_eq(allow, "POST");
    }
}

Test(rpc_route, wrong_methods_are_told_the_right_ones)
{
    static const struct {
        const char *target, *allow;
    } table[] = {{"/v1/jobs", "GET, HEAD, POST"},
                 {"/v1/jobs/a", "GET, HEAD, PATCH, DELETE"},
                 {"/v1/jobs/a/state", "GET, HEAD, PUT"},
                 {"/v1/jobs/a/lr?x", "GET, HEAD"},
                 {"/v1/jobs/a:report", "POST"},
                 {"/v1/jobs:batchReport", "POST"},
                 {CONNECT "Report", "POST"},
                 {CONNECT "GetJob", "GET, HEAD, POST"}};

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        static const char *const methods[] = {"OPTIONS", "TRACE", "get", ""};
        for (size_t k = 0; k < 4; k++) {
            struct rpc_route route;
            const char *allow = NULL;
            struct error err;
            cr_expect_eq(route_match(methods[k], table[i].target, &route, &allow, &err),
                         ST_METHOD_NOT_ALLOWED);
            cr_assert_not_null(allow);
            cr_expect_str_eq(allow, table[i].allow);
        }
    }
}

Test(rpc_route, unknown_paths_and_bad_ids)
{
    static const char *const unknown[] = {"",
                                          "/v1",
                                          "/v1/",
                                          "/v2/jobs",
                                          "/v1/jobs/",
                                          "/v1/jobs/a/",
                                          "/v1/jobs/a/b",
                                          "/v1/jobs//lr",
                                          "/v1/jobs/:report",
                                          "/v1/jobs/a:nope",
                                          "/v1/jobs/a:Report",
                                          "/v1/jobs/a:b:report",
                                          "/v1/jobs/a/lr/",
                                          "//v1/jobs",
                                          "/V1/jobs",
                                          "http://x/v1/jobs",
                                          "/v1/jobs:batchreport",
                                          CONNECT,
                                          CONNECT "report",
                                          CONNECT "Report/",
                                          CONNECT "Reports",
                                          "/greedylr.v1.Other/Report",
                                          "*"};
    static const char *const bad[] = {"/v1/jobs/%2e%2e",     "/v1/jobs/.",   "/v1/jobs/-a",  "/v1/jobs/a%2Fb",
                                      "/v1/jobs/a%00",       "/v1/jobs/a%",  "/v1/jobs/a%4", "/v1/jobs/%zz",
                                      "/v1/jobs/a%3Areport", "/v1/jobs/a+b", "/v1/jobs/\xff"};
    struct rpc_route route;
    const char *allow = NULL;
    struct error err;
    char longest[200] = "/v1/jobs/";

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        cr_expect_eq(route_match("POST", unknown[i], &route, &allow, &err), ST_PATH_UNKNOWN, "%s",
                     unknown[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(route_match("GET", bad[i], &route, &allow, &err), ST_FIELD_INVALID, "%s", bad[i]);
    memset(longest + 9, 'a', 128);
    cr_expect_eq(route_match("GET", longest, &route, &allow, &err), 0);
    cr_expect_eq(strlen(route.job), 128);
    longest[9 + 128] = 'a';
    cr_expect_eq(route_match("GET", longest, &route, &allow, &err), ST_FIELD_INVALID);
    cr_expect_eq(route_match("GET", "/v1/jobs/%61%2D1/lr", &route, &allow, &err), 0);
    cr_expect_str_eq(route.job, "a-1");
}

/* ---- REST requests ---- */

Test(rpc_route, rest_bodies)
{
    struct rpc_call call;

    OK(call, .method = "POST", .target = "/v1/jobs/demo:report",
       .content_type = "application/x-www-form-urlencoded", BODY("{\"step\":1,\"loss\":NaN}"));
    Greedylr__V1__ReportRequest *report = (void *)call.message;
    cr_expect_str_eq(report->job, "demo");
    cr_expect(report->step == 1 && isnan(report->loss) && call.timeout_ms == -1 && call.codec == CODEC_JSON);
    rpc_call_clear(&call);

    OK(call, .method = "POST", .target = "/v1/jobs", BODY("{\"job\":\"demo\",\"lr\":0.1}"));
    cr_expect_str_eq(((Greedylr__V1__CreateJobRequest *)(void *)call.message)->spec->job, "demo");
    rpc_call_clear(&call);

    OK(call, .method = "PUT", .target = "/v1/jobs/demo/state", BODY("{\"a\": [1]}"));
    cr_expect_str_eq(((Greedylr__V1__ImportStateRequest *)(void *)call.message)->state_dict, "{\"a\": [1]}");
    rpc_call_clear(&call);

    OK(call, .method = "POST", .target = "/v1/jobs/demo:pause", .body = NULL);
    rpc_call_clear(&call);
    OK(call, .method = "POST", .target = "/v1/jobs/demo:fork", BODY("{\"spec\":{\"job\":\"other\"}}"));
    rpc_call_clear(&call);
    OK(call, .method = "POST", .target = "/v1/jobs/demo:pause", BODY("{\"job\":\"demo\"}"));
    rpc_call_clear(&call);

    NO(ST_FIELD_INVALID, "the path says \"demo\"", .method = "POST", .target = "/v1/jobs/demo:pause",
       BODY("{\"job\":\"x\"}"));
    NO(ST_FIELD_INVALID, "spec.greedy.factor: must be", .method = "POST", .target = "/v1/jobs",
       BODY("{\"greedy\":{\"factor\":\"x\"}}"));
    NO(ST_FIELD_UNKNOWN, "stpe: unknown", .method = "POST", .target = "/v1/jobs/a:report",
       BODY("{\"stpe\":1}"));
    NO(ST_BODY_INVALID, "takes no body", .method = "DELETE", .target = "/v1/jobs/a", BODY("{}"));
    NO(ST_BODY_INVALID, "takes no body", .method = "GET", .target = "/v1/jobs", BODY("{}"));
    NO(ST_BODY_INVALID, "not UTF-8 at byte 2", .method = "PUT", .target = "/v1/jobs/a/state", BODY("a\xff"));
    NO(ST_BODY_INVALID, "NUL byte at byte 2", .method = "PUT", .target = "/v1/jobs/a/state", BODY("a\0b"),
       .len = 3);
    NO(ST_ENCODING_UNSUPPORTED, "identity", .method = "POST", .target = "/v1/jobs",
       .content_encoding = "gzip", BODY("{}"));
}

Test(rpc_route, rest_queries)
{
    struct rpc_call call;

    OK(call, .method = "GET", .target = "/v1/jobs?page_size=5&prefix=a%20b+c&label=k%3Dv&&state=");
    Greedylr__V1__ListJobsRequest *list = (void *)call.message;
    cr_expect_eq(list->page_size, 5);
    cr_expect_str_eq(list->prefix, "a b c");
    cr_expect_str_eq(list->label, "k=v");
    cr_expect_str_eq(list->state, "");
    rpc_call_clear(&call);

    OK(call, .method = "GET", .target = "/v1/jobs/a/lr?step=7&wait=1.5s");
    Greedylr__V1__GetLrRequest *lr = (void *)call.message;
    cr_expect(lr->step == 7 && lr->wait->seconds == 1 && lr->wait->nanos == 500000000 &&
              call.codec == CODEC_TEXT);
    rpc_call_clear(&call);

    OK(call, .method = "HEAD", .target = "/v1/jobs/a/decisions?superseded=true&fromStep=3");
    cr_expect(((Greedylr__V1__ListDecisionsRequest *)(void *)call.message)->superseded);
    rpc_call_clear(&call);

    NO(ST_QUERY_INVALID, "known: page_size, page_token, prefix, label, state, format", .method = "GET",
       .target = "/v1/jobs?pagesiez=1");
    NO(ST_QUERY_INVALID, "page_size is given twice", .method = "GET",
       .target = "/v1/jobs?page_size=1&page_size=2");
    NO(ST_QUERY_INVALID, "the same parameter", .method = "GET",
       .target = "/v1/jobs?page_token=1&pageToken=2");
    NO(ST_QUERY_INVALID, "job is not a parameter", .method = "GET", .target = "/v1/jobs/a?job=b");
    NO(ST_QUERY_INVALID, "percent-encoded", .method = "GET", .target = "/v1/jobs?prefix=%4");
    NO(ST_QUERY_INVALID, "percent-encoded", .method = "GET", .target = "/v1/jobs?prefix=%00");
    NO(ST_QUERY_INVALID, "fields go into the body", .method = "POST", .target = "/v1/jobs/a:report?loss=1",
       BODY("{}"));
    NO(ST_QUERY_INVALID, "it has none", .method = "DELETE", .target = "/v1/jobs/a?force=1");
    NO(ST_QUERY_INVALID, "format: must be text or json", .method = "GET",
       .target = "/v1/jobs/a/lr?format=csv");
    NO(ST_QUERY_INVALID, "format: must be json", .method = "GET", .target = "/v1/jobs?format=xml");
    NO(ST_QUERY_INVALID, "more than 16", .method = "GET",
       .target = "/v1/jobs?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q");
    NO(ST_FIELD_INVALID, "page_size: must be an integer", .method = "GET", .target = "/v1/jobs?page_size=x");
    NO(ST_FIELD_INVALID, "superseded: must be true or false", .method = "GET",
       .target = "/v1/jobs/a/decisions?superseded=yes");
    NO(ST_FIELD_INVALID, "UTF-8", .method = "GET", .target = "/v1/jobs?prefix=%ff");
}

Test(rpc_route, accept)
{
    static const struct {
        const char *target, *accept;
        enum rpc_codec codec;
    } table[] = {
        {"/v1/jobs/a/lr", NULL, CODEC_TEXT},
        {"/v1/jobs/a/lr", "*/*", CODEC_TEXT},
        {"/v1/jobs/a/lr", "application/json", CODEC_JSON},
        {"/v1/jobs/a/lr", "application/json, */*", CODEC_JSON},
        {"/v1/jobs/a/lr", "application/json, text/plain, */*", CODEC_JSON},
        {"/v1/jobs/a/lr", "application/json;q=0.5, text/plain", CODEC_TEXT},
        {"/v1/jobs/a/lr", "application/json;q=0, text/html", CODEC_TEXT},
        {"/v1/jobs/a/lr", "image/png", CODEC_TEXT},
        {"/v1/jobs/a/lr?format=json", "text/plain", CODEC_JSON},
        {"/v1/jobs/a/lr?format=text", "application/json", CODEC_TEXT},
        {"/v1/jobs/a/decisions", NULL, CODEC_JSON},
        {"/v1/jobs/a/decisions", "text/csv", CODEC_CSV},
        {"/v1/jobs/a/decisions", "TEXT/CSV ; header=present ; q=0.9,application/json;q=0.8", CODEC_CSV},
        {"/v1/jobs/a/decisions", "text/*", CODEC_CSV},
        {"/v1/jobs/a/decisions", "application/x-ndjson", CODEC_NDJSON},
        {"/v1/jobs/a/decisions", "application/ndjson", CODEC_NDJSON},
        {"/v1/jobs/a/decisions?format=csv", NULL, CODEC_CSV},
        {"/v1/jobs/a/decisions?format=ndjson", NULL, CODEC_NDJSON},
        {"/v1/jobs/a/decisions", ",;,;q=,;;q", CODEC_JSON},
        {"/v1/jobs", "text/csv", CODEC_JSON}};

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct rpc_call call;
        OK(call, .method = "GET", .target = table[i].target, .accept = table[i].accept);
        cr_expect_eq(call.codec, table[i].codec, "%s %s", table[i].target,
                     table[i].accept ? table[i].accept : "");
        rpc_call_clear(&call);
    }
}

/* ---- Connect requests ---- */

Test(rpc_route, connect_posts)
{
    struct rpc_call call;

    OK(call, .method = "POST", .target = CONNECT "Report", .content_type = "application/json; charset=utf-8",
       .connect_version = "1", .connect_timeout = "9999999999", .content_encoding = "identity",
       BODY("{\"job\":\"a\",\"metric\":1}"));
    cr_expect(call.codec == CODEC_JSON && call.timeout_ms == 9999999999);
    cr_expect_eq(((Greedylr__V1__ReportRequest *)(void *)call.message)->reported_case,
                 GREEDYLR__V1__REPORT_REQUEST__REPORTED_METRIC);
    rpc_call_clear(&call);

    OK(call, .method = "POST", .target = CONNECT "GetJob", .content_type = "application/proto",
       BODY("\x0a\x01x"));
    cr_expect_eq(call.codec, CODEC_PROTO);
    cr_expect_str_eq(((Greedylr__V1__GetJobRequest *)(void *)call.message)->job, "x");
    rpc_call_clear(&call);
    /* A field that this version does not know yet. */
    OK(call, .method = "POST", .target = CONNECT "GetJob", .content_type = "application/proto",
       BODY("\x0a\x01x\x98\x06\x01"));
    rpc_call_clear(&call);

    NO(ST_MEDIA_TYPE_UNSUPPORTED, "application/proto", .method = "POST", .target = CONNECT "GetJob",
       BODY("{}"));
    NO(ST_MEDIA_TYPE_UNSUPPORTED, "text/json", .method = "POST", .target = CONNECT "GetJob",
       .content_type = "text/json", BODY("{}"));
    NO(ST_MEDIA_TYPE_UNSUPPORTED, "application/js", .method = "POST", .target = CONNECT "GetJob",
       .content_type = "application/jsonx", BODY("{}"));
    NO(ST_MEDIA_TYPE_UNSUPPORTED, "connect+json", .method = "POST", .target = CONNECT "GetJob",
       .content_type = "application/connect+json", BODY("{}"));
    NO(ST_ENCODING_UNSUPPORTED, "use identity", .method = "POST", .target = CONNECT "GetJob",
       .content_type = "application/json", .content_encoding = "br", BODY("{}"));
    NO(ST_BODY_INVALID, "greedylr.v1.GetJobRequest", .method = "POST", .target = CONNECT "GetJob",
       .content_type = "application/proto", BODY("\x0a\x05x"));
    NO(ST_FIELD_INVALID, "job: must be UTF-8", .method = "POST", .target = CONNECT "GetJob",
       .content_type = "application/proto", BODY("\x0a\x01\xff"));
    /* A C string ends at a NUL: another job would be meant. */
    NO(ST_FIELD_INVALID, "job", .method = "POST", .target = CONNECT "GetJob",
       .content_type = "application/proto",
       BYTES("\x0a\x07"
             "abc\0def"));
    NO(ST_FIELD_INVALID, "job", .method = "POST", .target = CONNECT "Report",
       .content_type = "application/proto",
       BYTES("\x10\x81\x01"
             "\x19\0\0\0\0\0\0\xf0\x3f"
             "\x0a\x02"
             "a\0"));
    NO(ST_FIELD_INVALID, "spec", .method = "POST", .target = CONNECT "UpdateJob",
       .content_type = "application/proto",
       BYTES("\x0a\x01"
             "a"
             "\x12\x04\x0a\x02\0"
             "b"));
    NO(ST_FIELD_INVALID, "wait: out of the range", .method = "POST", .target = CONNECT "GetLr",
       .content_type = "application/proto", BODY("\x1a\x0b\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
       .len = 0);
    NO(ST_FIELD_INVALID, "Connect-Protocol-Version", .method = "POST", .target = CONNECT "GetJob",
       .connect_version = "2", .content_type = "application/json", BODY("{}"));
    static const char *const timeouts[] = {"", "-1", "1.5", "12345678901", "5s", " 5"};
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++)
        NO(ST_FIELD_INVALID, "Connect-Timeout-Ms", .method = "POST", .target = CONNECT "GetJob",
           .connect_timeout = timeouts[i], .content_type = "application/json", BODY("{}"));
}

Test(rpc_route, connect_gets)
{
    static const char *const good[] = {
        "?encoding=json&message=%7B%22job%22%3A%22x%22%7D",
        "?connect=v1&message=%7b%22job%22:%22x%22%7d&encoding=json&compression=identity",
        "?message=eyJqb2IiOiJ4In0&base64=1&encoding=json", "?base64=1&message=eyJqb2IiOiJ4In0=&encoding=json",
        "?base64=1&message=eyJqb2IiOiJ4In0%3D&encoding=json", "?encoding=proto&base64=1&message=CgF4",
        "?encoding=json&base64=yes&message=%7B%22job%22:%22x%22%7D",
        /* What proxies add: 17 parameters, one twice, one malformed, one with a long name. */
        ("?a=1&a=2&%zz=1&b&c&d&e&f&g&h&i&j&k&l&m&n&encoding=proto&base64=1&message=CgF4"
         "&nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn=1"),
        "?encoding=proto&message=%0a%01x"};
    static const struct {
        const char *query;
        enum status status;
        const char *says;
    } bad[] = {{"", ST_MEDIA_TYPE_UNSUPPORTED, "encoding"},
               {"?message=%7B%7D", ST_MEDIA_TYPE_UNSUPPORTED, "encoding"},
               {"?encoding=xml&message=", ST_MEDIA_TYPE_UNSUPPORTED, "xml"},
               {"?encoding=json", ST_QUERY_INVALID, "message"},
               {"?encoding=json&message=%7B%7D&compression=gzip", ST_ENCODING_UNSUPPORTED, "identity"},
               {"?encoding=json&message=%7B%7D&connect=v2", ST_QUERY_INVALID, "connect: must be v1"},
               {"?encoding=json&base64=1&message=a", ST_QUERY_INVALID, "message"},
               {"?encoding=json&base64=1&message=!!!!", ST_QUERY_INVALID, "message"},
               {"?encoding=json&message=%7B", ST_BODY_INVALID, "not valid JSON"},
               {"?encoding=json&message=%7B%7D&message=%7B%7D", ST_QUERY_INVALID, "twice"},
               {"?encoding=json&message=%7B%22jbo%22%3A1%7D", ST_FIELD_UNKNOWN, "jbo"}};
    char target[256];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct rpc_call call;
        snprintf(target, sizeof(target), CONNECT "GetJob%s", good[i]);
        OK(call, .method = "GET", .target = target);
        cr_expect_str_eq(((Greedylr__V1__GetJobRequest *)(void *)call.message)->job, "x", "%s", good[i]);
        cr_expect_eq(call.codec, strstr(good[i], "proto") ? CODEC_PROTO : CODEC_JSON);
        rpc_call_clear(&call);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(target, sizeof(target), CONNECT "GetJob%s", bad[i].query);
        NO((int)bad[i].status, bad[i].says, .method = "GET", .target = target);
    }
}

Test(rpc_route, hostile_binary_messages)
{
    size_t n;
    const struct rpc_method *rows = rpc_methods(&n);

    rng_seed("hostile_binary_messages");
    for (int i = 0; i < 2000; i++) {
        const struct rpc_method *m = &rows[rng() % n];
        if (m->streaming) continue;
        ProtobufCMessage *in = random_message(m->input);
        size_t len = protobuf_c_message_pack(in, (uint8_t[1 << 16]){0});
        uint8_t *bytes = malloc(len + 1);
        protobuf_c_message_pack(in, bytes);
        for (unsigned flips = (unsigned)(rng() % 4); flips && len; flips--)
            bytes[rng() % len] = (uint8_t)rng();
        size_t cut = len ? rng() % (len + 1) : 0;
        uint8_t *exact = malloc(cut ? cut : 1);
        memcpy(exact, bytes, cut);
        struct rpc_route route = {.method = m, .face = FACE_CONNECT};
        struct rpc_request request = {
            .method = "POST", .target = "/", .content_type = "application/proto", .body = exact, .len = cut};
        struct rpc_call call;
        struct error err;
        if (!route_decode(&request, &route, &call, &err)) {
            /* What was let in can be said again, as JSON. */
            struct buf out = {0};
            ProtobufCMessage *back = NULL;
            cr_assert_eq(json_encode(call.message, &out, &err), 0);
            cr_expect_eq(json_decode(m->input, out.data, out.len, "", &back, &err), 0, "%s: %.*s",
                         err.message, (int)out.len, out.data);
            if (back) protobuf_c_message_free_unpacked(back, NULL);
            buf_free(&out);
            rpc_call_clear(&call);
        }
        free(exact);
        free(bytes);
        protobuf_c_message_free_unpacked(in, NULL);
    }
}

/* Any bytes as a target, cut to the byte. */
Test(rpc_route, hostile_targets)
{
    static const char *const pieces[] = {"/v1/jobs", "/",       ":",     "report",    "lr",      "state",
                                         "%",        "%2F",     "%00",   "?",         "&",       "=",
                                         "a",        "format",  "json",  "page_size", "\xff",    "+",
                                         "encoding", "message", CONNECT, "GetJob",    "base64=1"};
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"};

    rng_seed("hostile_targets");
    for (int i = 0; i < 100000; i++) {
        char target[1024] = "";
        for (unsigned k = (unsigned)(rng() % 16); k; k--)
            strcat(target, pieces[rng() % (sizeof(pieces) / sizeof(pieces[0]))]);
        char *exact = strdup(target);
        struct rpc_request request = {.method = methods[rng() % 6], .target = exact};
        struct rpc_call call;
        struct error err;
        if (!call_up(&request, &call, &err)) rpc_call_clear(&call);
        free(exact);
    }
}

/* ---- entries of large bodies ---- */

#define BATCH(body)    .method = "POST", .target = "/v1/jobs:batchReport", BODY(body), .max_entries = 3
#define SIMULATE(body) .method = "POST", .target = "/v1/simulate", BODY(body), .max_entries = 3

Test(rpc_route, entries_of_json)
{
    struct rpc_call call;

    OK(call, BATCH("{\"reports\":[{},{},{}]}"));
    rpc_call_clear(&call);
    OK(call, BATCH("{\"reports\":[{\"job\":\"a,\\\",[{\",\"lr\":[1,2,3,4,5]},{},{}]}"));
    rpc_call_clear(&call);
    OK(call, SIMULATE("{\"spec\":{\"lr\":[1,2,3,4,5],\"labels\":[\"a=b\"]},\"losses\":[1,2,3]}"));
    rpc_call_clear(&call);
    OK(call, .method = "POST", .target = "/v1/jobs", BODY("{\"lr\":[1,2,3,4,5]}"), .max_entries = 3);
    rpc_call_clear(&call);
    NO(ST_FIELD_INVALID, "reports: must be at most 3, got 4", BATCH("{\"reports\":[{},{},{},{}]}"));
    NO(ST_FIELD_INVALID, "losses: must be at most 3, got 5; send fewer in one request",
       SIMULATE("{\"spec\":{\"lr\":1},\"losses\":[1,2,3,NaN,5]}"));
    /* What no field of the contract is takes no memory either. */
    NO(ST_FIELD_INVALID, "zeros: must be at most 3, got 4", BATCH("{\"zeros\":[0,0,0,0]}"));
    NO(ST_BODY_INVALID, "objects and lists",
       BATCH("{\"reports\":[[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]"
             ",[],[],"
             "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]"
             ",[],"
             "[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]]}"));
    NO(ST_BODY_INVALID, "JSON", BATCH("]]]]"));
    NO(ST_BODY_INVALID, "JSON", BATCH("{\"reports\":\"\\"));
}

Test(rpc_route, entries_of_protobuf)
{
    const uint8_t bytes[] = {10, 0, 10, 2, 10, 0, 10, 0, 10, 0, 10}; /* reports, field 1: 4 and half a one */
    struct rpc_call call;

#define PROTO(n)                                                                                             \
    .method = "POST", .target = CONNECT "BatchReport", .content_type = "application/proto", .body = bytes,   \
    .len = (n), .max_entries = 3
    OK(call, PROTO(8));
    cr_expect_eq(((const Greedylr__V1__BatchReportRequest *)(const void *)call.message)->n_reports, 3);
    rpc_call_clear(&call);
    NO(ST_FIELD_INVALID, "reports: must be at most 3, got 4", PROTO(10));
    NO(ST_FIELD_INVALID, "reports: must be at most 3, got 4", PROTO(11));
    NO(ST_BODY_INVALID, "binary format", PROTO(7));
}
