/* Streams: their requests on both faces, and their bytes. */
#include "rpc/stream.h"
#include "test_rpc_help.h"

#include <criterion/criterion.h>

#define TARGET "/greedylr.v1.SchedulerService/WatchJob"
#define JSON   "application/connect+json"
#define PROTO  "application/connect+proto"

static int call_up(const struct rpc_request *request, struct rpc_call *call, struct error *err)
{
    struct rpc_route route;
    const char *allow = NULL;
    int rc = route_match(request->method, request->target, &route, &allow, err);

    return rc ? rc : route_decode(request, &route, call, err);
}

static struct rpc_request post(const char *type, const void *body, size_t len)
{
    return (struct rpc_request){
        .method = "POST", .target = TARGET, .content_type = type, .body = body, .len = len};
}

#define POST(type, text) post(type, text, sizeof(text) - 1)

static void taken(struct rpc_request request, enum rpc_codec codec, long after)
{
    struct rpc_call call;
    struct error err = {0};

    cr_assert_eq(call_up(&request, &call, &err), 0, "%s", err.message);
    const Greedylr__V1__WatchJobRequest *m = (const void *)call.message;
    cr_expect_eq(call.codec, codec);
    cr_expect_str_eq(m->job, "a");
    cr_expect_eq(m->has_after_revision ? (long)m->after_revision : -1, after);
    rpc_call_clear(&call);
}

static void refused(struct rpc_request request, int want, const char *words)
{
    struct rpc_call call = {0};
    struct error err = {0};
    int rc = call_up(&request, &call, &err);

    cr_expect_eq(rc, want, "%d %s", rc, err.message);
    cr_expect(strstr(err.message, words), "%s", err.message);
    if (rc != ST_MEDIA_TYPE_UNSUPPORTED) /* the end of a stream can be written with it */
        cr_expect(call.route.method && call.route.method->streaming && !call.message);
}

Test(rpc_stream, connect_requests)
{
    struct rpc_request r = POST(JSON, "\0\0\0\0\x0b{\"job\":\"a\"}");

    taken(r, CODEC_JSON, -1);
    r.content_type = "Application/Connect+JSON; charset=utf-8";
    r.connect_encoding = r.content_encoding = "identity";
    taken(r, CODEC_JSON, -1);
    taken(POST(PROTO, "\0\0\0\0\x05\x0a\x01\x61\x10\x07"), CODEC_PROTO, 7);
    r.last_event_id = "5"; /* means nothing here */
    taken(r, CODEC_JSON, -1);

    r.connect_encoding = "gzip";
    refused(r, ST_ENCODING_UNSUPPORTED, "Connect-Content-Encoding: \"gzip\"");
    refused(POST("application/json", "{\"job\":\"a\"}"), ST_MEDIA_TYPE_UNSUPPORTED,
            "application/connect+json");
    refused(POST("application/proto", ""), ST_MEDIA_TYPE_UNSUPPORTED, "application/connect+proto");
    refused(POST(NULL, ""), ST_MEDIA_TYPE_UNSUPPORTED, "got \"\"");
    refused(POST("application/connect+jsonx", ""), ST_MEDIA_TYPE_UNSUPPORTED, "connect+jsonx");
}

Test(rpc_stream, envelopes)
{
    refused(POST(JSON, ""), ST_BODY_INVALID, "got 0 bytes");
    refused(POST(JSON, "\0\0\0\0"), ST_BODY_INVALID, "got 4 bytes");
    refused(POST(JSON, "\0\0\0\0\x0c{\"job\":\"a\"}"), ST_BODY_INVALID, "says 12, and 11 bytes");
    refused(POST(JSON, "\0\0\0\0\x0a{\"job\":\"a\"}"), ST_BODY_INVALID, "says 10, and 11 bytes");
    refused(POST(JSON, "\0\xff\xff\xff\xff{}"), ST_BODY_INVALID, "says 4294967295");
    refused(POST(JSON, "\0\0\0\0\x02{}\0\0\0\0\x02{}"), ST_BODY_INVALID, "one enveloped message");
    refused(POST(JSON, "\x01\0\0\0\x02{}"), ST_ENCODING_UNSUPPORTED, "compressed");
    refused(POST(JSON, "\x02\0\0\0\x02{}"), ST_BODY_INVALID, "flags must be 0, got 2");
    refused(POST(JSON, "\xff\0\0\0\x02{}"), ST_BODY_INVALID, "got 255");
    refused(POST(JSON, "\0\0\0\0\x0b{\"jbo\":\"a\"}"), ST_FIELD_UNKNOWN, "jbo");
    refused(POST(PROTO, "\0\0\0\0\x03\x0a\x05x"), ST_BODY_INVALID, "WatchJobRequest");
}

Test(rpc_stream, hostile_envelopes)
{
    rng_seed("hostile_envelopes");
    for (int i = 0; i < 20000; i++) {
        static const char good[] = "\0\0\0\0\x1e{\"job\":\"a\",\"after_revision\":3}";
        size_t cut = rng() % (sizeof(good) + 8);
        uint8_t *exact = calloc(1, cut + 1);
        memcpy(exact, good, cut < sizeof(good) ? cut : sizeof(good) - 1);
        for (unsigned flips = (unsigned)(rng() % 3); flips && cut; flips--)
            exact[rng() % cut] = (uint8_t)rng();
        uint8_t *body = malloc(cut ? cut : 1);
        memcpy(body, exact, cut);
        struct rpc_request r = post(rng() % 2 ? JSON : PROTO, body, cut);
        struct rpc_call call;
        struct error err;
        if (!call_up(&r, &call, &err)) rpc_call_clear(&call);
        free(body);
        free(exact);
    }
}

Test(rpc_stream, rest_requests)
{
    struct rpc_request r = {.method = "GET", .target = "/v1/jobs/a:watch", .accept = "text/event-stream"};

    taken(r, CODEC_JSON, -1);
    r.target = "/v1/jobs/a:watch?after_revision=3&format=sse";
    taken(r, CODEC_JSON, 3);
    r.last_event_id = "";
    taken(r, CODEC_JSON, 3);
    r.last_event_id = "4";
    taken(r, CODEC_JSON, 4);
    r.target = "/v1/jobs/a:watch";
    taken(r, CODEC_JSON, 4);
    r.last_event_id = "4294967296";
    refused(r, ST_FIELD_INVALID, "Last-Event-ID: must be the revision of a decision, got \"4294967296\"");
    r.last_event_id = "four";
    refused(r, ST_FIELD_INVALID, "got \"four\"");
    r.last_event_id = NULL;
    r.target = "/v1/jobs/a:watch?format=json";
    refused(r, ST_QUERY_INVALID, "must be sse");
    r.target = "/v1/jobs/a:watch?after=3";
    refused(r, ST_QUERY_INVALID, "known: after_revision");
}

static struct rpc_call call_of(enum rpc_face face, enum rpc_codec codec)
{
    size_t n;
    const struct rpc_method *rows = rpc_methods(&n);

    while (n-- && strcmp(rows[n].name, "WatchJob"))
        continue;
    return (struct rpc_call){.route = {.method = &rows[n], .face = face}, .codec = codec};
}

/* Exactly these bytes. */
static void wrote(struct buf *out, const char *want, size_t len)
{
    cr_expect(out->len == len && !memcmp(out->data, want, len), "%.*s", (int)out->len, out->data);
    buf_free(out);
    *out = (struct buf){0};
}
#define WROTE(out, text) wrote(out, text, sizeof(text) - 1)

Test(rpc_stream, bytes)
{
    Greedylr__V1__WatchJobResponse message = GREEDYLR__V1__WATCH_JOB_RESPONSE__INIT;
    Greedylr__V1__Decision decision = GREEDYLR__V1__DECISION__INIT;
    const struct rpc_call sse = call_of(FACE_REST, CODEC_JSON), json = call_of(FACE_CONNECT, CODEC_JSON),
                          proto = call_of(FACE_CONNECT, CODEC_PROTO);
    char reason[] = "two\nlines";
    struct buf out = {0};
    struct error err;

    decision.reason = reason;
    decision.has_revision = 1;
    decision.revision = 9;
    message.decision = &decision;
    cr_expect_eq(stream_encode(&sse, &message.base, &out, &err), 0);
    WROTE(&out, "id: 9\nevent: decision\ndata: {\"revision\":9,\"reason\":\"two\\nlines\"}\n\n");
    cr_expect_eq(stream_encode(&json, &message.base, &out, &err), 0);
    WROTE(&out, "\0\0\0\0\x31{\"decision\":{\"revision\":9,\"reason\":\"two\\nlines\"}}");
    cr_expect_eq(stream_encode(&proto, &message.base, &out, &err), 0);
    WROTE(&out, "\0\0\0\0\x0f\x0a\x0d\x20\x09\x42\x09two\nlines");

    stream_encode_start(&sse, 4, &out);
    WROTE(&out, "retry: 1000\n: decisions after revision 4 follow as they are made\nid: 4\n\n");
    stream_encode_start(&json, 4, &out);
    cr_expect_eq(out.len, 0);

    stream_encode_end(&json, NULL, NULL, &out);
    WROTE(&out, "\x02\0\0\0\x02{}");
    (void)error_set(&err, ST_JOB_DELETED, "job a\nwas deleted");
    stream_encode_end(&sse, &err, NULL, &out);
    WROTE(&out, "event: end\ndata: {\"code\":\"aborted\",\"message\":\"job a\\nwas "
                "deleted\",\"reason\":\"JOB_DELETED\"}\n\n");
    stream_encode_end(&proto, &err, NULL, &out);
    cr_expect_eq(out.data[0], 2);
    cr_expect_eq((uint8_t)out.data[3] * 256u + (uint8_t)out.data[4], out.len - 5);
    cr_expect(!memcmp(out.data + 5, "{\"error\":{\"code\":\"aborted\",", 27) && out.data[out.len - 1] == '}');
    buf_free(&out);

    cr_expect_str_eq(stream_type(&sse), "text/event-stream");
    cr_expect_str_eq(stream_type(&json), JSON);
    cr_expect_str_eq(stream_type(&proto), PROTO);
}
