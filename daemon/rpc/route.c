/* Routing and decoding.
 *
 * A target is split into path and query; the path is matched against the table's templates (REST) or the
 * service's methods (Connect); then path, query and body become the request message.  Whatever does not fit
 * is refused by name. */
#include "rpc/route.h"

#include "core/spec.h"
#include "rpc/accept.h"
#include "rpc/check.h"
#include "rpc/entries.h"
#include "rpc/json.h"
#include "rpc/percent.h"
#include "rpc/stream.h"
#include "rpc/utf8.h"

#include "greedylr/v1/scheduler.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_PREFIX "/greedylr.v1.SchedulerService/"

/* Matches the path against a template; the id is given as a slice of it. */
static bool template_match(const char *template, const char *path, size_t len, const char **id,
                           size_t *id_len)
{
    const char *brace = strstr(template, "{job}");

    *id = NULL;
    *id_len = 0;
    if (!brace) return strlen(template) == len && !memcmp(template, path, len);
    size_t head = (size_t)(brace - template), tail = strlen(brace + 5);
    if (len < head + tail + 1 || memcmp(template, path, head) != 0 ||
        memcmp(brace + 5, path + len - tail, tail) != 0)
        return false;
    *id = path + head;
    *id_len = len - head - tail;
    return !memchr(*id, '/', *id_len) && !memchr(*id, ':', *id_len);
}

static int path_unknown(const char *path, size_t len, struct error *err)
{
    return error_set(
        err, ST_PATH_UNKNOWN,
        "path: %.*s is not served; try /v1/jobs, /readyz, /metrics or /version, or see PROTOCOL.md",
        (int)(len > 120 ? 120 : len), path);
}

static int match_connect(const char *http_method, const char *path, size_t len, struct rpc_route *out,
                         const char **allow, struct error *err)
{
    size_t n, prefix = strlen(CONNECT_PREFIX);
    const struct rpc_method *methods = rpc_methods(&n);

    for (size_t i = 0; i < n; i++) {
        const struct rpc_method *m = &methods[i];
        if (strlen(m->name) != len - prefix || memcmp(m->name, path + prefix, len - prefix) != 0) continue;
        if (!strcmp(http_method, "POST") ||
            (m->no_side_effects && !m->streaming && !strcmp(http_method, "GET"))) {
            *out = (struct rpc_route){.method = m, .face = FACE_CONNECT};
            return 0;
        }
        *allow = m->no_side_effects && !m->streaming ? "GET, HEAD, POST" : "POST";
        return error_set(err, ST_METHOD_NOT_ALLOWED, "method: %.16s is not served here; use %s", http_method,
                         *allow);
    }
    return error_set(err, ST_PATH_UNKNOWN, "path: %.*s is not a method of greedylr.v1.SchedulerService",
                     (int)(len - prefix > 60 ? 60 : len - prefix), path + prefix);
}

/* Every set of methods that a path of the table has; the first that holds all of them. */
static const char *allow_list(unsigned mask)
{
    static const char *const lists[] = {"GET, HEAD", "POST", "GET, HEAD, POST", "GET, HEAD, PUT",
                                        "GET, HEAD, PATCH, DELETE"};
    static const unsigned masks[] = {1, 2, 3, 1 | 4, 1 | 8 | 16};

    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        if (masks[i] == mask) return lists[i];
    }
    return "GET, HEAD, POST, PUT, PATCH, DELETE";
}

static unsigned method_bit(const char *method)
{
    static const char *const names[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

    for (unsigned i = 0; i < 5; i++) {
        if (!strcmp(names[i], method)) return 1u << i;
    }
    return 0;
}

static int match_rest(const char *http_method, const char *path, size_t len, struct rpc_route *out,
                      const char **allow, struct error *err)
{
    size_t n, id_len;
    const struct rpc_method *methods = rpc_methods(&n);
    const char *id;
    unsigned mask = 0;

    for (size_t i = 0; i < n; i++) {
        if (!template_match(methods[i].rest_path, path, len, &id, &id_len)) continue;
        mask |= method_bit(methods[i].rest_method);
        if (strcmp(methods[i].rest_method, http_method) != 0) continue;
        *out = (struct rpc_route){.method = &methods[i], .face = FACE_REST};
        if (!id) return 0;
        if (!percent_decode(id, id_len, false, out->job, sizeof(out->job)) || !job_id_valid(out->job))
            return error_set(
                err, ST_FIELD_INVALID,
                "job: must be 1 to 128 of A-Z a-z 0-9 . _ - and not start with a dot or a dash, got "
                "\"%.*s\"",
                (int)(id_len > 60 ? 60 : id_len), id);
        return 0;
    }
    if (!mask) return path_unknown(path, len, err);
    *allow = allow_list(mask);
    return error_set(err, ST_METHOD_NOT_ALLOWED, "method: %.16s is not served here; use %s", http_method,
                     *allow);
}

int route_match(const char *http_method, const char *target, struct rpc_route *out, const char **allow,
                struct error *err)
{
    size_t len = strcspn(target, "?");

    if (!strcmp(http_method, "HEAD")) http_method = "GET";
    if (!strncmp(target, CONNECT_PREFIX, strlen(CONNECT_PREFIX)))
        return match_connect(http_method, target, len, out, allow, err);
    return match_rest(http_method, target, len, out, allow, err);
}

/* ---- queries ---- */

struct param {
    char name[64];
    char *value; /* owned */
};

#define PARAMS_MAX 16

struct params {
    struct param at[PARAMS_MAX];
    size_t n;
};

static void params_free(struct params *params)
{
    for (size_t i = 0; i < params->n; i++)
        free(params->at[i].value);
    params->n = 0;
}

static const char *params_get(const struct params *params, const char *name)
{
    for (size_t i = 0; i < params->n; i++) {
        if (!strcmp(params->at[i].name, name)) return params->at[i].value;
    }
    return NULL;
}

static bool is_known(const char *const known[], const char *name)
{
    while (*known && strcmp(*known, name) != 0)
        known++;
    return *known;
}

static int param_add(struct params *params, const char *const known[], const char *text, size_t len,
                     struct error *err)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : len, value_len = equals ? len - name_len - 1 : 0;
    char name[sizeof(params->at[0].name)];
    bool named = percent_decode(text, name_len, true, name, sizeof(name));

    if (known && !(named && is_known(known, name))) return 0;
    if (!named)
        return error_set(err, ST_QUERY_INVALID,
                         "query: parameter %zu has a name that is malformed or too long", params->n + 1);
    if (params->n == PARAMS_MAX)
        return error_set(err, ST_QUERY_INVALID, "query: more than %d parameters", PARAMS_MAX);
    struct param *p = &params->at[params->n];
    memcpy(p->name, name, sizeof(name));
    if (params_get(params, p->name))
        return error_set(err, ST_QUERY_INVALID, "query: %s is given twice", p->name);
    p->value = malloc(value_len + 1);
    if (!p->value) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    params->n++;
    if (!percent_decode(equals ? equals + 1 : "", value_len, true, p->value, value_len + 1))
        return error_set(err, ST_QUERY_INVALID, "query: %s is not well percent-encoded", p->name);
    return 0;
}

/* known: the names to look at, others are passed over; NULL: all. */
static int params_parse(const char *target, const char *const known[], struct params *params,
                        struct error *err)
{
    const char *at = strchr(target, '?');

    params->n = 0;
    for (at = at ? at + 1 : ""; *at;) {
        size_t len = strcspn(at, "&");
        if (len && param_add(params, known, at, len, err)) {
            params_free(params);
            return (int)err->status;
        }
        at += len + (at[len] == '&');
    }
    return 0;
}

/* ---- REST ---- */

static int query_unknown(const struct rpc_method *m, const char *name, struct error *err)
{
    struct buf known = {0};

    if (strcmp(m->rest_method, "GET") != 0)
        return error_set(err, ST_QUERY_INVALID, "query: %s is not a parameter of this path; %s", name,
                         *(m->body_field ? m->body_field : "?") ? "fields go into the body" : "it has none");
    for (unsigned i = 0; i < m->input->n_fields; i++) {
        if (strcmp(m->input->fields[i].name, "job") != 0)
            buf_printf(&known, "%s, ", m->input->fields[i].name);
    }
    char *list = buf_take(&known, NULL);
    int rc = list ? error_set(err, ST_QUERY_INVALID,
                              "query: %s is not a parameter of this path; known: %sformat", name, list)
                  : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    free(list);
    return rc;
}

/* What the answers of a method can be written in, the default first. */
struct format {
    const char *name, *type;
    enum rpc_codec codec;
};

static size_t formats_of(const struct rpc_method *m, const struct format **out)
{
    static const struct format json[] = {{"json", "application/json", CODEC_JSON}};
    static const struct format events[] = {{"sse", "text/event-stream", CODEC_JSON}};
    static const struct format rates[] = {{"text", "text/plain", CODEC_TEXT},
                                          {"json", "application/json", CODEC_JSON}};
    static const struct format history[] = {{"json", "application/json", CODEC_JSON},
                                            {"csv", "text/csv", CODEC_CSV},
                                            {"ndjson", "application/x-ndjson", CODEC_NDJSON},
                                            {"ndjson", "application/ndjson", CODEC_NDJSON}};

    if (m->streaming) return *out = events, 1;
    if (m->output == &greedylr__v1__get_lr_response__descriptor) return *out = rates, 2;
    if (m->output == &greedylr__v1__list_decisions_response__descriptor) return *out = history, 4;
    return *out = json, 1;
}

static int choose_codec(const struct rpc_method *m, const char *format, const char *accept,
                        enum rpc_codec *out, struct error *err)
{
    const struct format *formats;
    size_t n = formats_of(m, &formats);
    const char *types[4];

    for (size_t i = 0; i < n; i++) {
        types[i] = formats[i].type;
        if (!format || strcmp(format, formats[i].name) != 0) continue;
        *out = formats[i].codec;
        return 0;
    }
    if (format)
        return error_set(err, ST_QUERY_INVALID, "format: must be %s, got \"%.20s\"",
                         m->streaming ? "sse"
                         : n == 1     ? "json"
                         : n == 2     ? "text or json"
                                      : "json, csv or ndjson",
                         format);
    *out = formats[accept_choose(accept, types, n)].codec;
    return 0;
}

static char **job_slot(ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "job");

    return f && f->type == PROTOBUF_C_TYPE_STRING ? (char **)(void *)((char *)message + f->offset) : NULL;
}

static int set_path_job(ProtobufCMessage *message, const char *job, struct error *err)
{
    char **slot = job_slot(message);

    if (!*job || !slot) return 0;
    if (*slot && strcmp(*slot, job) != 0)
        return error_set(err, ST_FIELD_INVALID,
                         "job: the path says \"%s\", the body says \"%.60s\"; leave it out of the body", job,
                         *slot);
    if (!*slot) *slot = strdup(job);
    return *slot ? 0 : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *desc)
{
    ProtobufCMessage *message = malloc(desc->sizeof_message);

    if (message) protobuf_c_message_init(desc, message);
    return message;
}

/* A body that is the field's text as it came; nothing at all leaves the field absent. */
static int raw_body(const struct rpc_request *request, char **out, struct error *err)
{
    const char *text = (const char *)request->body;
    size_t good = utf8_prefix(text, request->len);

    if (!request->len) return 0;
    if (good != request->len) return error_set(err, ST_BODY_INVALID, "body: not UTF-8 at byte %zu", good + 1);
    if (memchr(text, 0, request->len))
        return error_set(err, ST_BODY_INVALID, "body: a NUL byte at byte %zu", strlen(text) + 1);
    *out = strndup(text, request->len);
    return *out ? 0 : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

static int rest_body(const struct rpc_request *request, const struct rpc_method *m, ProtobufCMessage **out,
                     struct error *err)
{
    const char *text = (const char *)request->body;

    if (!m->body_field) return json_decode(m->input, text, request->len, "", out, err);
    *out = new_message(m->input);
    if (!*out) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (!*m->body_field) {
        if (!request->len) return 0;
        return error_set(err, ST_BODY_INVALID, "body: %s %s takes no body", m->rest_method, m->rest_path);
    }
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->input, m->body_field);
    void *slot = (char *)*out + f->offset;
    if (f->type != PROTOBUF_C_TYPE_MESSAGE) return raw_body(request, (char **)slot, err);
    ProtobufCMessage *inner;
    if (json_decode(f->descriptor, text, request->len, m->body_field, &inner, err)) return (int)err->status;
    *(ProtobufCMessage **)slot = inner;
    return 0;
}

static int rest_query(const struct params *params, const struct rpc_call *call, struct error *err)
{
    const struct rpc_method *m = call->route.method;
    const ProtobufCFieldDescriptor *seen[PARAMS_MAX];

    for (size_t i = 0; i < params->n; i++) {
        const struct param *p = &params->at[i];
        bool taken = !strcmp(m->rest_method, "GET") || (m->query && !strcmp(m->query, p->name));
        const ProtobufCFieldDescriptor *f = taken ? json_field(m->input, p->name) : NULL;
        seen[i] = f;
        if (!strcmp(p->name, "format")) continue;
        if (!f || !strcmp(f->name, "job")) return query_unknown(m, p->name, err);
        for (size_t k = 0; k < i; k++) {
            if (seen[k] == f)
                return error_set(err, ST_QUERY_INVALID,
                                 "query: %s and %s are the same parameter, given twice", params->at[k].name,
                                 p->name);
        }
        if (m->query && *(void **)((char *)call->message + f->offset)) /* a message: it has a pointer */
            return error_set(err, ST_QUERY_INVALID, "query: %s is given in the body as well", p->name);
        if (json_set_text(call->message, f, p->value, err)) return (int)err->status;
    }
    return 0;
}

/* A browser that comes back says which event it had last, whatever its URL says. */
static int resume_from(const struct rpc_request *request, const struct rpc_call *call, struct error *err)
{
    const struct rpc_method *m = call->route.method;
    const char *id = request->last_event_id;

    if (!m->streaming || !id || !*id) return 0;
    if (!json_set_text(call->message, json_field(m->input, "after_revision"), id, NULL)) return 0;
    return error_set(err, ST_FIELD_INVALID,
                     "Last-Event-ID: must be the revision of a decision, got \"%.40s\"", id);
}

static int decode_rest(const struct rpc_request *request, struct rpc_call *out, struct error *err)
{
    const struct rpc_method *m = out->route.method;
    struct params params;
    int rc = params_parse(request->target, NULL, &params, err);

    if (rc) return rc;
    rc = choose_codec(m, params_get(&params, "format"), request->accept, &out->codec, err);
    if (!rc) rc = rest_body(request, m, &out->message, err);
    if (!rc) rc = rest_query(&params, out, err);
    if (!rc) rc = resume_from(request, out, err);
    if (!rc) rc = set_path_job(out->message, out->route.job, err);
    params_free(&params);
    return rc;
}

/* ---- Connect ---- */

static int media_type(const char *type, bool streaming, enum rpc_codec *codec)
{
    static const char *const types[2][2] = {{"application/json", "application/proto"},
                                            {"application/connect+json", "application/connect+proto"}};
    size_t len = strcspn(type ? type : "", "; ");

    for (int i = 0; i < 2; i++) {
        const char *known = types[streaming][i];
        if (len != strlen(known) || strncasecmp(type, known, len) != 0) continue;
        *codec = i ? CODEC_PROTO : CODEC_JSON;
        return 0;
    }
    return -1;
}

static bool is_identity(const char *encoding)
{
    return !encoding || !*encoding || !strcasecmp(encoding, "identity");
}

/* An allocator that notes, in *arg, that there was no memory: unpacking does not tell it from bad bytes. */
static void *unpack_alloc(void *arg, size_t size)
{
    void *at = malloc(size);

    if (!at) *(bool *)arg = true;
    return at;
}

static void unpack_free(void *arg, void *at)
{
    (void)arg;
    free(at);
}

static int decode_message(const struct rpc_method *m, enum rpc_codec codec, const uint8_t *bytes, size_t len,
                          ProtobufCMessage **out, struct error *err)
{
    if (codec == CODEC_JSON) return json_decode(m->input, (const char *)bytes, len, "", out, err);
    bool starved = false;
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, &starved};
    *out = protobuf_c_message_unpack(m->input, &allocator, len, bytes);
    if (!*out && starved) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (!*out)
        return error_set(err, ST_BODY_INVALID, "body: not a valid %s in protobuf's binary format",
                         m->input->name);
    return message_check_bytes(m->input, bytes, len, err) ? (int)err->status : message_check(*out, err);
}

static int decode_connect_get(const struct rpc_request *request, struct rpc_call *out, struct error *err)
{
    static const char *const known[] = {"encoding", "message", "base64", "compression", "connect", NULL};
    struct params params;
    int rc = params_parse(request->target, known, &params, err);

    if (rc) return rc;
    const char *encoding = params_get(&params, "encoding"), *base64 = params_get(&params, "base64");
    const char *compression = params_get(&params, "compression"), *version = params_get(&params, "connect");
    char *message = (char *)(uintptr_t)params_get(&params, "message");
    long len = message ? (long)strlen(message) : 0;
    if (base64 && !strcmp(base64, "1") && message) len = base64_decode(message);
    if (!encoding || (strcmp(encoding, "json") != 0 && strcmp(encoding, "proto") != 0))
        rc = error_set(err, ST_MEDIA_TYPE_UNSUPPORTED, "encoding: must be json or proto, got \"%.40s\"",
                       encoding ? encoding : "");
    else if (compression && *compression && strcmp(compression, "identity") != 0)
        rc = error_set(err, ST_ENCODING_UNSUPPORTED, "compression: \"%.40s\" is not served; use identity",
                       compression);
    else if (version && strcmp(version, "v1") != 0)
        rc = error_set(err, ST_QUERY_INVALID, "connect: must be v1, got \"%.20s\"", version);
    else if (!message || len < 0)
        rc = error_set(err, ST_QUERY_INVALID,
                       "message: is required, percent-encoded, or base64url with base64=1");
    if (!rc) {
        out->codec = !strcmp(encoding, "json") ? CODEC_JSON : CODEC_PROTO;
        rc = decode_message(out->route.method, out->codec, (const uint8_t *)message, (size_t)len,
                            &out->message, err);
    }
    params_free(&params);
    return rc;
}

static int decode_stream(const struct rpc_request *request, struct rpc_call *out, struct error *err)
{
    const uint8_t *message;
    size_t len;

    if (!is_identity(request->connect_encoding))
        return error_set(err, ST_ENCODING_UNSUPPORTED,
                         "Connect-Content-Encoding: \"%.40s\" is not served; use identity",
                         request->connect_encoding);
    if (stream_open_envelope(request->body, request->len, &message, &len, err)) return (int)err->status;
    return decode_message(out->route.method, out->codec, message, len, &out->message, err);
}

static int decode_connect(const struct rpc_request *request, struct rpc_call *out, struct error *err)
{
    const char *timeout = request->connect_timeout;

    if (timeout) {
        size_t digits = strspn(timeout, "0123456789");
        if (!digits || digits > 10 || timeout[digits])
            return error_set(err, ST_FIELD_INVALID,
                             "Connect-Timeout-Ms: must be 1 to 10 digits, got \"%.20s\"", timeout);
        out->timeout_ms = strtoll(timeout, NULL, 10);
    }
    if (request->connect_version && strcmp(request->connect_version, "1") != 0)
        return error_set(err, ST_FIELD_INVALID, "Connect-Protocol-Version: must be 1, got \"%.20s\"",
                         request->connect_version);
    if (!strcmp(request->method, "GET") || !strcmp(request->method, "HEAD"))
        return decode_connect_get(request, out, err);
    if (out->route.method->streaming) return decode_stream(request, out, err);
    return decode_message(out->route.method, out->codec, request->body, request->len, &out->message, err);
}

/* What makes no sense of anything else in the request. */
static int connect_type(const struct rpc_request *request, struct rpc_call *out, struct error *err)
{
    const struct rpc_method *m = out->route.method;

    if (out->route.face == FACE_REST || strcmp(request->method, "POST") != 0) return 0;
    if (!media_type(request->content_type, m->streaming, &out->codec)) return 0;
    return error_set(err, ST_MEDIA_TYPE_UNSUPPORTED,
                     "Content-Type: must be application/%sjson or application/%sproto, got \"%.60s\"",
                     m->streaming ? "connect+" : "", m->streaming ? "connect+" : "",
                     request->content_type ? request->content_type : "");
}

static int check_entries(const struct rpc_request *request, const struct rpc_call *call, struct error *err)
{
    const struct rpc_method *m = call->route.method;

    if (!m->large_body || !request->max_entries) return 0;
    if (call->route.face == FACE_CONNECT && call->codec == CODEC_PROTO)
        return entries_check_proto(m->input, request->body, request->len, request->max_entries, err);
    return entries_check_json((const char *)request->body, request->len, request->max_entries, err);
}

int route_decode(const struct rpc_request *request, const struct rpc_route *route, struct rpc_call *out,
                 struct error *err)
{
    int rc;

    *out = (struct rpc_call){.route = *route, .timeout_ms = -1};
    if (connect_type(request, out, err)) return (int)err->status;
    if (!is_identity(request->content_encoding))
        return error_set(err, ST_ENCODING_UNSUPPORTED,
                         "Content-Encoding: \"%.40s\" is not served; use identity",
                         request->content_encoding);
    if (check_entries(request, out, err)) return (int)err->status;
    rc = route->face == FACE_REST ? decode_rest(request, out, err) : decode_connect(request, out, err);
    if (rc) rpc_call_clear(out);
    return rc;
}

void rpc_call_clear(struct rpc_call *call)
{
    if (call->message) protobuf_c_message_free_unpacked(call->message, NULL);
    call->message = NULL;
}
