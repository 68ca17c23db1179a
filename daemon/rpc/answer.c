/* Answers and errors as bytes: JSON, binary protobuf, plain text for rates, CSV and NDJSON for histories. */
#include "core/spec.h"
#include "rpc/json.h"
#include "rpc/percent.h"
#include "rpc/route.h"

#include "greedylr/v1/scheduler.pb-c.h"

#include <stdlib.h>
#include <string.h>

static void put_rates(const Greedylr__V1__GetLrResponse *answer, struct buf *out)
{
    char text[DOUBLE_TEXT_MAX];

    for (size_t i = 0; i < answer->n_lrs; i++) {
        buf_append(out, text, double_text(text, answer->lrs[i]));
        buf_append(out, "\n", 1);
    }
}

static void put_list_of_rates(const double *list, size_t n, struct buf *out)
{
    char text[DOUBLE_TEXT_MAX];

    for (size_t i = 0; i < n; i++) {
        if (i) buf_append(out, ";", 1);
        buf_append(out, text, double_text(text, list[i]));
    }
}

/* "greedy=0.1;0.2 cosine=0.05": names have neither spaces nor equals signs. */
static void put_shadows(Greedylr__V1__ShadowDecision *const *shadows, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%s%s=", i ? " " : "", shadows[i]->name ? shadows[i]->name : "");
        put_list_of_rates(shadows[i]->lrs, shadows[i]->n_lrs, out);
    }
}

/* A cell with a list: Decision has one of rates and one of shadows. */
static void put_list(const ProtobufCFieldDescriptor *f, const void *list, size_t n, struct buf *out)
{
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        put_shadows(list, n, out);
    else
        put_list_of_rates(list, n, out);
}

/* One cell: the field's JSON without quotes and brackets, quoted again where CSV needs it (RFC 4180). */
static void put_cell(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, struct buf *out)
{
    const char *at = (const char *)m + f->offset, *quantifier = (const char *)m + f->quantifier_offset;
    char text[DOUBLE_TEXT_MAX];

    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        put_list(f, *(void *const *)(const void *)at, *(const size_t *)(const void *)quantifier, out);
        return;
    }
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *s = *(char *const *)(const void *)at;
        bool quote = s && strpbrk(s, "\",\r\n");
        if (quote) buf_append(out, "\"", 1);
        for (; s && *s; s++)
            buf_append(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
        if (quote) buf_append(out, "\"", 1);
        return;
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        struct buf json = {0};
        const ProtobufCMessage *inner = *(ProtobufCMessage *const *)(const void *)at;
        if (inner && json_encode(inner, &json, NULL))
            out->failed = true;
        else if (json.len > 2)
            buf_append(out, json.data + 1, json.len - 2);
        buf_free(&json);
        return;
    }
    if (!*(const protobuf_c_boolean *)(const void *)quantifier) return;
    if (f->type == PROTOBUF_C_TYPE_DOUBLE)
        buf_append(out, text, double_text(text, *(const double *)(const void *)at));
    else if (f->type == PROTOBUF_C_TYPE_BOOL)
        buf_puts(out, *(const protobuf_c_boolean *)(const void *)at ? "true" : "false");
    else
        buf_printf(out, "%u", *(const uint32_t *)(const void *)at);
}

static void put_csv(const Greedylr__V1__ListDecisionsResponse *answer, struct buf *out)
{
    const ProtobufCMessageDescriptor *d = &greedylr__v1__decision__descriptor;

    for (unsigned i = 0; i < d->n_fields; i++)
        buf_printf(out, "%s%s", i ? "," : "", d->fields[i].name);
    buf_puts(out, "\r\n");
    for (size_t row = 0; row < answer->n_decisions; row++) {
        for (unsigned i = 0; i < d->n_fields; i++) {
            if (i) buf_append(out, ",", 1);
            put_cell(&answer->decisions[row]->base, &d->fields[i], out);
        }
        buf_puts(out, "\r\n");
    }
}

static int put_ndjson(const Greedylr__V1__ListDecisionsResponse *answer, struct buf *out, struct error *err)
{
    for (size_t row = 0; row < answer->n_decisions; row++) {
        if (json_encode(&answer->decisions[row]->base, out, err)) return (int)err->status;
        buf_append(out, "\n", 1);
    }
    return 0;
}

static int put_proto(const ProtobufCMessage *answer, struct buf *out)
{
    size_t len = protobuf_c_message_get_packed_size(answer);
    uint8_t *bytes = malloc(len ? len : 1);

    if (!bytes) {
        out->failed = true;
        return -1;
    }
    protobuf_c_message_pack(answer, bytes);
    buf_append(out, bytes, len);
    free(bytes);
    return 0;
}

/* ExportState's REST body is the dict itself. */
static bool raw_text(const struct rpc_call *call)
{
    return call->route.face == FACE_REST && !strcmp(call->route.method->name, "ExportState");
}

int rpc_encode(const struct rpc_call *call, const ProtobufCMessage *answer, struct buf *out,
               const char **content_type, struct error *err)
{
    int rc = 0;

    *content_type = "application/json";
    switch (call->codec) {
    case CODEC_JSON:
        if (raw_text(call)) {
            const char *text = ((const Greedylr__V1__ExportStateResponse *)(const void *)answer)->state_dict;
            buf_puts(out, text ? text : "");
            if (!text || !*text || text[strlen(text) - 1] != '\n') buf_append(out, "\n", 1);
            break;
        }
        rc = json_encode(answer, out, err);
        if (call->route.face == FACE_REST) buf_append(out, "\n", 1);
        break;
    case CODEC_PROTO:
        *content_type = "application/proto";
        (void)put_proto(answer, out);
        break;
    case CODEC_TEXT:
        *content_type = "text/plain; charset=utf-8";
        put_rates((const void *)answer, out);
        break;
    case CODEC_CSV:
        *content_type = "text/csv; charset=utf-8; header=present";
        put_csv((const void *)answer, out);
        break;
    case CODEC_NDJSON:
        *content_type = "application/x-ndjson";
        rc = put_ndjson((const void *)answer, out, err);
        break;
    }
    return rc || !out->failed ? rc : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
}

static const char *const outcomes[] = {
    [OUTCOME_NOTHING] = "nothing was changed",
    [OUTCOME_RECORDED] = "the value is recorded: the same request waits on",
    [OUTCOME_UNKNOWN] = "unknown: the same request is safe to repeat",
};

static void put_detail(const struct status_info *info, const char *request_id, struct buf *out)
{
    Greedylr__V1__ErrorInfoMetadata outcome = GREEDYLR__V1__ERROR_INFO_METADATA__INIT;
    Greedylr__V1__ErrorInfoMetadata request = GREEDYLR__V1__ERROR_INFO_METADATA__INIT;
    Greedylr__V1__ErrorInfoMetadata *metadata[] = {&outcome, &request};
    Greedylr__V1__ErrorInfo detail = GREEDYLR__V1__ERROR_INFO__INIT;
    uint8_t bytes[384];
    char text[sizeof(bytes) / 3 * 4 + 5];

    outcome.key = (char *)(uintptr_t) "outcome";
    outcome.value = (char *)(uintptr_t)outcomes[info->outcome];
    detail.reason = (char *)(uintptr_t)info->reason;
    detail.domain = (char *)(uintptr_t) "greedylrd";
    detail.metadata = metadata;
    request.key = (char *)(uintptr_t) "request_id";
    request.value = (char *)(uintptr_t)request_id;
    detail.n_metadata = request_id ? 2 : 1;
    size_t len = protobuf_c_message_get_packed_size(&detail.base);
    if (len > sizeof(bytes)) abort(); /* a reason far longer than any in the table */
    protobuf_c_message_pack(&detail.base, bytes);
    base64_encode(bytes, len, text);
    buf_printf(
        out,
        "{\"type\":\"google.rpc.ErrorInfo\",\"value\":\"%s\",\"debug\":{\"reason\":\"%s\",\"domain\":\"%s\","
        "\"metadata\":{\"outcome\":\"%s\"",
        text, detail.reason, detail.domain, outcome.value);
    if (request_id) buf_printf(out, ",\"request_id\":\"%s\"", request_id);
    buf_puts(out, "}}}");
}

/* ,"message":"..." through the codec, which mends what was cut in the middle of a character. */
static void put_message_text(const char *message, struct buf *out)
{
    Greedylr__V1__Status status = GREEDYLR__V1__STATUS__INIT;
    size_t start = out->len;

    status.message = (char *)(uintptr_t)message;
    if (json_encode(&status.base, out, NULL)) {
        out->failed = true;
        return;
    }
    out->data[start] = ','; /* the member without its braces */
    out->len--;
}

void rpc_encode_error(const struct error *error, enum rpc_face face, const char *request_id, struct buf *out,
                      int *http_status)
{
    const struct status_info *info = status_info(error->status);
    const struct code_info *code = code_info(info->code);

    *http_status =
        info->http && (face == FACE_REST || info->http == 413 || info->http == 415 || info->http == 405)
            ? info->http
            : code->http;
    buf_printf(out, "{\"code\":\"%s\"", code->name);
    put_message_text(error->message, out);
    buf_puts(out, ",\"details\":[");
    put_detail(info, request_id, out);
    buf_puts(out, face == FACE_REST ? "]}\n" : "]}");
}
