/* The header guard: "METHOD TARGET VERSION", a line with the connection's local address, then header lines
 * "Name: value", NULs and all.  What it lets through is a request of which there is one reading: of this
 * host, and not sent by a page of another origin.  The case of names and a header that means nothing never
 * change a judgement. */
#include "message.h"
#include "server/guard.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <strings.h>

#define HEADERS 12

static struct guard_config *config;

struct header {
    char *name, *value; /* blocks of their own */
    size_t name_len, value_len;
};

struct request {
    char *line, *method, *target, *version, *local;
    struct header headers[HEADERS];
    size_t n;
};

static void take_request(struct input *in, struct request *out)
{
    static char none[1];
    size_t len;

    memset(out, 0, sizeof(*out));
    out->line = take_line(in);
    out->method = out->line;
    out->target = strchr(out->line, ' ');
    out->version = out->target ? strrchr(out->target + 1, ' ') : NULL;
    if (out->target) *out->target++ = '\0';
    if (out->version) *out->version++ = '\0';
    if (!out->target) out->target = none;
    if (!out->version) out->version = none;
    out->local = take_line(in);
    while (in->left && out->n < HEADERS) {
        struct header *h = &out->headers[out->n++];
        char *line = take_until(in, '\n', &len), *colon = memchr(line, ':', len);
        size_t skip = 0;

        h->name_len = colon ? (size_t)(colon - line) : len;
        if (colon) skip = 1 + (h->name_len + 1 < len && colon[1] == ' ');
        h->value_len = len - h->name_len - skip;
        h->name = malloc(h->name_len + 1);
        h->value = malloc(h->value_len + 1);
        MUST(h->name && h->value, "out of memory");
        memcpy(h->name, line, h->name_len);
        memcpy(h->value, line + h->name_len + skip, h->value_len);
        h->name[h->name_len] = h->value[h->value_len] = '\0';
        free(line);
    }
}

static void free_request(struct request *request)
{
    for (size_t i = 0; i < request->n; i++) {
        free(request->headers[i].name);
        free(request->headers[i].value);
    }
    free(request->line);
    free(request->local);
}

static int judge(const struct request *request, bool more, struct error *err)
{
    struct guard_facts facts = {.method = request->method,
                                .version = request->version,
                                .target = request->target,
                                .local = request->local};

    if (more) guard_note_header(&facts, "X-Other", 7, "1", 1);
    for (size_t i = 0; i < request->n; i++) {
        const struct header *h = &request->headers[i];
        guard_note_header(&facts, h->name, h->name_len, h->value, h->value_len);
    }
    if (more) guard_note_header(&facts, "Accept", 6, "*/*", 3);
    return guard_judge(&facts, config, err);
}

/* The only header of that name, NULL if there is none. */
static const char *only(const struct request *request, const char *name)
{
    const struct header *found = NULL;

    for (size_t i = 0; i < request->n; i++) {
        const struct header *h = &request->headers[i];
        if (strlen(name) != h->name_len || strncasecmp(h->name, name, h->name_len) != 0) continue;
        MUST(!found, "two of %s", name);
        found = h;
        MUST(strlen(h->value) == h->value_len, "a NUL in %s", name);
    }
    return found ? found->value : NULL;
}

/* HOST, [HOST] with or without :PORT, as another reader would take it apart. */
static void host_of(const char *authority, char *out, size_t size)
{
    bool brackets = *authority == '[';
    size_t len = strcspn(authority + brackets, brackets ? "]" : ":");

    MUST(len < size, "a long host was let through: %s", authority);
    memcpy(out, authority + brackets, len);
    out[len] = '\0';
}

static bool same_host(const char *a, const char *b)
{
    struct in6_addr x, y;

    if (!strcasecmp(a, b)) return true;
    return inet_pton(AF_INET6, a, &x) == 1 && inet_pton(AF_INET6, b, &y) == 1 && !memcmp(&x, &y, sizeof(x));
}

static void must_be_ours(const struct request *request)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "::1", "10.1.2.3", "lr.example"};
    const char *host = only(request, "Host"), *origin = only(request, "Origin");
    char name[256], other[256];
    bool ours = !host || !strcmp(request->local, "unix"); /* any name will do there */

    if (host && (!ours || origin)) host_of(host, name, sizeof(name));
    for (size_t i = 0; !ours && i < sizeof(names) / sizeof(*names); i++)
        ours = same_host(name, names[i]);
    MUST(ours || same_host(name, request->local), "Host %s was let through", host);
    if (!origin) return;
    MUST(host, "an Origin without a Host: %s", origin);
    MUST(!strncasecmp(origin, "http://", 7) || !strncasecmp(origin, "https://", 8), "Origin %s", origin);
    host_of(strchr(origin, '/') + 2, other, sizeof(other));
    MUST(!strcasecmp(name, other), "Origin %s at Host %s", origin, host);
}

static void must_have_one_reading(const struct request *request)
{
    const char *length = only(request, "Content-Length"), *chunked = only(request, "Transfer-Encoding");

    MUST(request->target[0] == '/', "target %s", request->target);
    for (size_t i = 0; i < request->n; i++) {
        MUST(request->headers[i].name_len, "a header without a name");
        for (size_t k = 0; k < request->headers[i].name_len; k++)
            MUST(isgraph((unsigned char)request->headers[i].name[k]), "header %s", request->headers[i].name);
        for (size_t k = 0; k < request->headers[i].value_len; k++)
            MUST(!strchr("\r\n", request->headers[i].value[k]), "a line end in %s", request->headers[i].name);
    }
    MUST(!length || (*length && strspn(length, "0123456789") == strlen(length)), "length %s", length);
    MUST(!chunked || (!length && !strncmp(request->target, "/greedylr.v1.", 13)), "chunked");
    MUST(only(request, "Host") || !strcmp(request->version, "HTTP/1.0"), "no Host");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const hosts[] = {"lr.example"};
    struct error err;

    MUST(!guard_new("10.1.2.3:8571", hosts, 1, &config, &err), "%s", err.message);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct request request;
    struct error err = {0}, again = {0};

    take_request(&in, &request);
    int rc = judge(&request, false, &err);

    MUST(judge(&request, true, &again) == rc, "a header without a meaning changed it: %s", again.message);
    for (size_t i = 0; i < request.n; i++) {
        for (size_t k = 0; k < request.headers[i].name_len; k++)
            request.headers[i].name[k] = (char)toupper((unsigned char)request.headers[i].name[k]);
    }
    MUST(judge(&request, false, &again) == rc, "the case of a name changed it: %s", again.message);
    if (rc) {
        must_tell(&err, rc);
        MUST(rc == ST_REQUEST_MALFORMED || rc == ST_HOST_NOT_ALLOWED || rc == ST_ORIGIN_NOT_ALLOWED, "%s",
             err.message);
    } else {
        must_have_one_reading(&request);
        must_be_ours(&request);
    }
    free_request(&request);
    return 0;
}
