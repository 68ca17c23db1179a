/* HTTP to a daemon: URL and token are checked once, then every request configures the one curl handle anew,
 * which keeps its connection.  Whatever goes wrong before an answer is there becomes one sentence for people.
 */
#include "lib/transport.h"

#include "lib/fail.h"
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/sse.h"
#include "lib/transport_tls.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_URL        "http://127.0.0.1:8571"
#define STREAM_SILENCE_MS  60000 /* the daemon's comments come every 15 s */
#define CONNECT_TIMEOUT_MS 10000L
#define STREAM_AGAIN       (-2)
#define EXPECT_FROM        (256u * 1024) /* below it the daemon reads what it refuses */

struct transport {
    CURL *curl;
    char *url;    /* as given, for people */
    char *base;   /* what paths are appended to */
    char *socket; /* path of a Unix socket, or NULL */
    char *host, *port;
    struct credentials credentials;
    bool tls;
    bool direct; /* to this machine: never through a proxy */
    bool timed_out, untrusting;
    int (*on_idle)(void *arg);
    void *idle_arg;
    char detail[CURL_ERROR_SIZE];
    char error[1024];
};

static char *join(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    char *text = malloc(n + m + 1);

    if (!text) return NULL;
    memcpy(text, a, n);
    memcpy(text + n, b, m + 1);
    return text;
}

/* ---- Where the daemon is ---- */

static bool is_loopback(const char *host)
{
    struct in_addr four;

    if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    return !strcasecmp(host, "localhost") || !strcmp(host, "[::1]"); /* not a name that begins with 127. */
}

static int take_unix_url(struct transport *t, char *error, size_t size)
{
    const char *path = t->url + strlen("unix:");

    if (path[0] != '/')
        return fail_with(error, size,
                         "url: \"%s\" has to name an absolute path, like unix:/run/greedylrd.sock", t->url);
    t->socket = strdup(path);
    t->base = strdup("http://localhost");
    t->direct = true;
    return t->socket && t->base ? 0 : fail_with(error, size, "out of memory");
}

static int take_place(struct transport *t, CURLU *parsed, char *error, size_t size)
{
    char *host = NULL, *port = NULL;

    if (!curl_url_get(parsed, CURLUPART_HOST, &host, 0)) {
        size_t bracket = *host == '[', len = strlen(host);
        t->direct = is_loopback(host);
        t->host = strndup(host + bracket, len - 2 * bracket);
    }
    if (!curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)) t->port = strdup(port);
    curl_free(host);
    curl_free(port);
    return t->host && t->port ? 0 : fail_with(error, size, "out of memory");
}

/* What curl takes for a URL may be more than a daemon's address; the rest is refused instead of half used. */
static int check_http_url(struct transport *t, CURLU *parsed, char *error, size_t size)
{
    static const struct {
        CURLUPart part;
        const char *why;
    } unwanted[] = {
        {CURLUPART_USER, "a user; give the token instead"},
        {CURLUPART_PASSWORD, "a password; give the token instead"},
        {CURLUPART_QUERY, "a query"},
        {CURLUPART_FRAGMENT, "a fragment"},
    };
    char *text = NULL;

    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++) {
        if (curl_url_get(parsed, unwanted[i].part, &text, 0)) continue;
        curl_free(text);
        return fail_with(error, size, "url: must not have %s", unwanted[i].why);
    }
    if (curl_url_get(parsed, CURLUPART_SCHEME, &text, 0)) text = NULL;
    bool web = text && (!strcmp(text, "http") || !strcmp(text, "https"));
    t->tls = web && !strcmp(text, "https");
    curl_free(text);
    if (!web)
        return fail_with(error, size, "url: \"%s\" must begin with http://, https:// or unix:/", t->url);
    return take_place(t, parsed, error, size);
}

static int take_http_url(struct transport *t, char *error, size_t size)
{
    CURLU *parsed = curl_url();

    if (!parsed) return fail_with(error, size, "out of memory");
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, t->url, CURLU_NON_SUPPORT_SCHEME);
    int result = code ? fail_with(error, size, "url: \"%s\": %s; it should look like %s", t->url,
                                  curl_url_strerror(code), DEFAULT_URL)
                      : check_http_url(t, parsed, error, size);
    curl_url_cleanup(parsed);
    if (result) return result;
    t->base = strdup(t->url);
    return t->base ? 0 : fail_with(error, size, "out of memory");
}

static int take_url(struct transport *t, const char *url, char *error, size_t size)
{
    if (!url) url = getenv("GREEDYLR_URL");
    if (!url || !*url) url = DEFAULT_URL;
    t->url = strdup(url);
    if (!t->url) return fail_with(error, size, "out of memory");
    size_t len = strlen(t->url);
    while (len > 1 && t->url[len - 1] == '/')
        t->url[--len] = '\0';
    return strncmp(t->url, "unix:", 5) ? take_http_url(t, error, size) : take_unix_url(t, error, size);
}

/* ---- Who asks ---- */

/* A token on its way has to be safe from readers. */
static int check_way(const struct transport *t, char *error, size_t size)
{
    if (!t->credentials.authorization || t->direct || !strncasecmp(t->url, "https:", 6) ||
        credentials_may_be_read())
        return 0;
    return fail_with(
        error, size,
        "url: \"%s\" would carry the token for everybody on the network to read; use https://, or accept "
        "that by name with GREEDYLR_INSECURE=no-tls",
        t->url);
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int transport_new(const char *url, const struct credentials_given *given, struct transport **out, char *error,
                  size_t size)
{
    static const struct credentials_given nothing;
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    *out = NULL;
    pthread_once(&once, init_curl);
    struct transport *t = calloc(1, sizeof *t);
    if (!t) return fail_with(error, size, "out of memory");
    if (take_url(t, url, error, size) ||
        credentials_take(&t->credentials, given ? given : &nothing, error, size) || check_way(t, error, size))
        goto err;
    t->curl = curl_easy_init();
    if (!t->curl) {
        fail_with(error, size, "libcurl does not start: out of memory");
        goto err;
    }
    *out = t;
    return 0;
err:
    transport_free(t);
    return -1;
}

void transport_free(struct transport *t)
{
    if (!t) return;
    curl_easy_cleanup(t->curl);
    free(t->url);
    free(t->base);
    free(t->socket);
    free(t->host);
    free(t->port);
    credentials_clear(&t->credentials);
    free(t);
}

const char *transport_url(const struct transport *t)
{
    return t->url;
}

const char *transport_error(const struct transport *t)
{
    return t->error;
}

struct transport_place transport_place(const struct transport *t)
{
    return (struct transport_place){t->socket, t->host, t->port, t->tls, t->direct};
}

bool transport_certificate(const struct transport *t, struct transport_certificate *out)
{
    return transport_shown(t->curl, out->issuer, sizeof out->issuer, &out->begins, &out->ends);
}

bool transport_untrusting(const struct transport *t)
{
    return t->untrusting;
}

bool transport_timed_out(const struct transport *t)
{
    return t->timed_out;
}

void transport_reply_clear(struct transport_reply *reply)
{
    free(reply->body);
    free(reply->content_type);
    *reply = (struct transport_reply){0};
}

/* ---- One request ---- */

static bool add_header(struct curl_slist **headers, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*headers, text);

    if (longer) *headers = longer;
    return longer;
}

/* A large body waits for the daemon to want it: what is on its way when the daemon refuses and closes would
 * break the connection before the refusal is read. */
static const char *expectation(const char *body)
{
    return body && strlen(body) >= EXPECT_FROM ? "Expect: 100-continue" : "Expect:";
}

static bool add_headers(struct transport *t, struct curl_slist **headers, const char *accept,
                        const char *body)
{
    char *text = join("Accept: ", accept);
    bool done = text && add_header(headers, text) && add_header(headers, expectation(body)) &&
                (!body || add_header(headers, "Content-Type: application/json")) &&
                (!t->credentials.authorization || add_header(headers, t->credentials.authorization));

    free(text);
    return done;
}

static void set_up(struct transport *t, const char *url, struct curl_slist *headers,
                   curl_write_callback on_bytes, void *arg)
{
    CURL *c = t->curl;

    curl_easy_reset(c);
    t->detail[0] = t->error[0] = '\0';
    t->timed_out = t->untrusting = false;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->detail);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L); /* signals belong to the program */
    curl_easy_setopt(c, CURLOPT_USERAGENT, "libgreedylr/" GREEDYLRD_VERSION);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, arg);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2); /* or later */
    curl_easy_setopt(c, CURLOPT_CERTINFO, 1L);                              /* to say what is wrong with it */
    if (t->credentials.ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, t->credentials.ca_file);
    if (t->socket) curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, t->socket);
    if (t->direct) curl_easy_setopt(c, CURLOPT_PROXY, "");
}

static void set_method(CURL *c, const char *method, const char *body)
{
    if (!strcmp(method, "GET")) return;
    if (!strcmp(method, "HEAD")) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
        return;
    }
    if (body || !strcmp(method, "POST")) {
        if (!body) body = "";
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
}

/* The sentence for people when there is no answer; returns -1. */
static int no_answer(struct transport *t, CURLcode code)
{
    static const struct {
        CURLcode code;
        const char *remedy;
    } remedies[] = {
        {CURLE_COULDNT_CONNECT, "is greedylrd running there?"},
        {CURLE_COULDNT_RESOLVE_HOST, "check the host's name in the URL"},
        {CURLE_COULDNT_RESOLVE_PROXY, "check http_proxy and https_proxy, or set no_proxy"},
        {CURLE_SSL_CACERT_BADFILE, "give a CA file with certificates in PEM form"},
        {CURLE_SSL_CONNECT_ERROR, "does it speak TLS?  The URL begins with https://"},
        {CURLE_WEIRD_SERVER_REPLY, "does it speak TLS?  Then the URL begins with https://"},
        {CURLE_UNSUPPORTED_PROTOCOL, "does it speak TLS?  Then the URL begins with https://"},
        {CURLE_GOT_NOTHING,
         "it closed the connection (if it speaks TLS the URL begins with https://); whether the "
         "request was carried out is not known"},
        {CURLE_RECV_ERROR, "the connection broke; whether the request was carried out is not known"},
        {CURLE_OPERATION_TIMEDOUT, "it did not answer in time"},
    };
    const char *remedy = NULL, *detail = t->detail[0] ? t->detail : curl_easy_strerror(code);
    char untrusted[600];

    t->untrusting = code == CURLE_PEER_FAILED_VERIFICATION;
    if (t->untrusting) {
        transport_untrusted(t->curl, detail, t->credentials.ca_file, untrusted, sizeof untrusted);
        remedy = untrusted;
    }
    for (size_t i = 0; !remedy && i < sizeof remedies / sizeof *remedies; i++)
        if (remedies[i].code == code) remedy = remedies[i].remedy;
    t->timed_out = code == CURLE_OPERATION_TIMEDOUT;
    if (t->timed_out && strstr(detail, "SSL connection"))
        remedy = "does it speak TLS?  The URL begins with https://";
    if (t->error[0]) return -1; /* a callback knew better */
    return fail_with(t->error, sizeof t->error, "no answer from %s: %s%s%s", t->url, detail,
                     remedy ? "; " : "", remedy ? remedy : "");
}

struct collecting {
    struct transport *t;
    struct bytes body;
};

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct collecting *c = arg;

    if (bytes_add(&c->body, bytes, size * n, TRANSPORT_REPLY_MAX)) return size * n;
    fail_with(c->t->error, sizeof c->t->error, "%s: no memory for the answer, or it is longer than %u MiB",
              c->t->url, TRANSPORT_REPLY_MAX >> 20);
    return 0;
}

static int64_t date_of(CURL *curl)
{
    struct curl_header *header;

    if (curl_easy_header(curl, "Date", 0, CURLH_HEADER, -1, &header)) return 0;
    time_t date = curl_getdate(header->value, NULL);
    return date > 0 ? date : 0;
}

/* Fills a reply from what came; takes the body. */
static int take_reply(struct transport *t, struct bytes *body, struct transport_reply *out)
{
    long status = 0;
    curl_off_t retry_after = 0;
    char *type = NULL;

    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &retry_after);
    out->status = (int)status;
    out->retry_after = retry_after < INT32_MAX ? (long)retry_after : INT32_MAX;
    out->date = date_of(t->curl);
    out->content_type = strdup(type ? type : "");
    if (out->content_type && bytes_add(body, "", 0, TRANSPORT_REPLY_MAX)) {
        out->body = body->data;
        out->len = body->len;
        *body = (struct bytes){0};
        return 0;
    }
    transport_reply_clear(out);
    return fail_with(t->error, sizeof t->error, "out of memory");
}

static int call_once(struct transport *t, const char *method, const char *path, const char *body,
                     const char *accept, long timeout_ms, struct transport_reply *out)
{
    struct collecting collecting = {.t = t};
    struct curl_slist *headers = NULL;
    int result = -1;

    *out = (struct transport_reply){0};
    char *url = join(t->base, path);
    if (!url || !add_headers(t, &headers, accept ? accept : "application/json", body)) {
        fail_with(t->error, sizeof t->error, "out of memory");
        goto done;
    }
    set_up(t, url, headers, on_body, &collecting);
    set_method(t->curl, method, body);
    if (timeout_ms > 0) curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    CURLcode code = curl_easy_perform(t->curl);
    result = code ? no_answer(t, code) : take_reply(t, &collecting.body, out);
done:
    bytes_clear(&collecting.body);
    curl_slist_free_all(headers);
    free(url);
    return result;
}

int transport_call(struct transport *t, const char *method, const char *path, const char *body,
                   const char *accept, long timeout_ms, struct transport_reply *out)
{
    int64_t start = clock_ms(), left;
    int result = call_once(t, method, path, body, accept, timeout_ms, out);

    if (result || out->status != 401 || !credentials_again(&t->credentials)) return result;
    left = timeout_ms - (clock_ms() - start);
    if (timeout_ms > 0 && left <= 0) return result;
    transport_reply_clear(out);
    return call_once(t, method, path, body, accept, timeout_ms > 0 ? (long)left : 0, out);
}

/* ---- Streams ---- */

struct streaming {
    struct transport *t;
    struct sse sse;
    struct bytes refusal; /* body of an answer that is no stream */
    long status;
    transport_event_fn on_event;
    void *arg;
    int64_t heard_ms; /* when bytes came last */
    bool stopped;
};

static size_t on_stream(char *bytes, size_t size, size_t n, void *arg)
{
    struct streaming *s = arg;
    char *type = NULL;

    s->heard_ms = clock_ms();
    curl_easy_getinfo(s->t->curl, CURLINFO_RESPONSE_CODE, &s->status);
    if (s->status != 200) return bytes_add(&s->refusal, bytes, size * n, SSE_MAX) ? size * n : 0;
    curl_easy_getinfo(s->t->curl, CURLINFO_CONTENT_TYPE, &type);
    if (!type || strncasecmp(type, "text/event-stream", strlen("text/event-stream"))) {
        fail_with(s->t->error, sizeof s->t->error,
                  "%s answers with %s instead of an event stream; is it greedylrd?", s->t->url,
                  type ? type : "something");
        return 0;
    }
    switch (sse_feed(&s->sse, bytes, size * n, s->on_event, s->arg)) {
    case SSE_MORE: return size * n;
    case SSE_STOPPED: s->stopped = true; return 0;
    default:
        fail_with(s->t->error, sizeof s->t->error, "%s: no memory for an event, or it is longer than %u MiB",
                  s->t->url, SSE_MAX >> 20);
        return 0;
    }
}

/* curl's own low-speed check rounds a comment of a few bytes down to no speed at all, hence the clock. */
static int on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now)
{
    struct streaming *s = arg;

    s->stopped = s->t->on_idle && s->t->on_idle(s->t->idle_arg);
    if (s->stopped) return 1;
    if (clock_ms() - s->heard_ms < STREAM_SILENCE_MS) return 0;
    fail_with(s->t->error, sizeof s->t->error,
              "%s: the stream was silent for %d s; watch again from its last event", s->t->url,
              STREAM_SILENCE_MS / 1000);
    return 1;
}

static int streamed(struct streaming *s, CURLcode code)
{
    if (s->stopped) return 0;
    if (code) return no_answer(s->t, code);
    curl_easy_getinfo(s->t->curl, CURLINFO_RESPONSE_CODE, &s->status);
    if (s->status == 200) return 0;
    s->on_event(s->arg, "", "error", bytes_text(&s->refusal));
    return (int)s->status;
}

/* What transport_stream returns; or, unless it is the last try, STREAM_AGAIN with another token. */
static int stream_once(struct transport *t, const char *path, const char *last_event_id, struct streaming *s,
                       bool last)
{
    struct curl_slist *headers = NULL;
    int result = -1;
    char *url = join(t->base, path), *resume = last_event_id ? join("Last-Event-ID: ", last_event_id) : NULL;

    if (!url || (last_event_id && !resume) || !add_headers(t, &headers, "text/event-stream", NULL) ||
        (resume && !add_header(&headers, resume))) {
        fail_with(t->error, sizeof t->error, "out of memory");
        goto done;
    }
    set_up(t, url, headers, on_stream, s);
    curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, s);
    CURLcode code = curl_easy_perform(t->curl);
    result =
        s->status == 401 && !last && credentials_again(&t->credentials) ? STREAM_AGAIN : streamed(s, code);
done:
    sse_clear(&s->sse);
    bytes_clear(&s->refusal);
    curl_slist_free_all(headers);
    free(resume);
    free(url);
    return result;
}

int transport_stream(struct transport *t, const char *path, const char *last_event_id,
                     transport_event_fn on_event, void *arg)
{
    int result = STREAM_AGAIN;

    for (int i = 0; i < 2 && result == STREAM_AGAIN; i++) {
        struct streaming s = {.t = t, .on_event = on_event, .arg = arg, .heard_ms = clock_ms()};
        result = stream_once(t, path, last_event_id, &s, i == 1);
    }
    return result;
}

void transport_on_idle(struct transport *t, int (*on_idle)(void *arg), void *arg)
{
    t->on_idle = on_idle;
    t->idle_arg = arg;
}

const char *transport_library(void)
{
    return curl_version();
}
