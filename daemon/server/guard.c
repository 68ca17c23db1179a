/* Facts are collected from the headers in one pass, then judged: shape first, then Host, then Origin. */
#include "server/guard.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN   255
#define CONNECT_PREFIX "/greedylr.v1."

struct guard_config {
    char **names; /* without port and brackets */
    size_t n;
};

/* ---- the allow-list ---- */

static int add_name(struct guard_config *config, const char *name, size_t len, struct error *err)
{
    char **grown;

    if (len == 0 || len > NAME_MAX_LEN || memchr(name, '/', len) || memchr(name, '*', len) ||
        memchr(name, ' ', len))
        return error_set(err, ST_CONFIG_INVALID,
                         "%.*s: not a host name; names are exact, without scheme, port or *", (int)len, name);
    grown = realloc(config->names, (config->n + 1) * sizeof(*grown));
    if (!grown) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    config->names = grown;
    grown[config->n] = strndup(name, len);
    if (!grown[config->n]) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    config->n++;
    return 0;
}

static bool is_ipv6(const char *text)
{
    struct in6_addr six;

    return inet_pton(AF_INET6, text, &six) == 1;
}

/* The wildcard addresses are no names: 0.0.0.0 reaches this machine from a web page in some browsers. */
static bool is_any(const char *name, size_t len)
{
    return (len == 7 && !memcmp(name, "0.0.0.0", 7)) || (len == 2 && !memcmp(name, "::", 2));
}

/* Splits HOST, HOST:PORT, [IPV6] or [IPV6]:PORT; false if it is none of these. */
static bool split_authority(const char *text, const char **name, size_t *len, const char **port)
{
    const char *end;

    *port = "";
    if (*text == '[') {
        end = strchr(text, ']');
        if (!end) return false;
        *name = text + 1;
        *len = (size_t)(end - text - 1);
        end++;
    } else {
        end = text + strcspn(text, ":");
        *name = text;
        *len = (size_t)(end - text);
    }
    if (*len == 0 || *len > NAME_MAX_LEN) return false;
    if (*end == ':') {
        *port = end + 1;
        return strspn(end + 1, "0123456789") == strlen(end + 1) && strlen(end + 1) <= 5;
    }
    return *end == '\0';
}

int guard_add_address(struct guard_config *config, const char *address, struct error *err)
{
    const char *name, *port;
    size_t len;

    if (!strncmp(address, "unix:", 5)) return 0;
    if (!split_authority(address, &name, &len, &port))
        return error_set(err, ST_CONFIG_INVALID, "%s: not an address", address);
    return is_any(name, len) ? 0 : add_name(config, name, len, err);
}

int guard_new(const char *address, const char *const *hosts, size_t n_hosts, struct guard_config **out,
              struct error *err)
{
    static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
    struct guard_config *config = calloc(1, sizeof(*config));
    int rc = 0;

    if (!config) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; !rc && i < sizeof(always) / sizeof(always[0]); i++)
        rc = add_name(config, always[i], strlen(always[i]), err);
    if (!rc && address) rc = guard_add_address(config, address, err);
    for (size_t i = 0; !rc && i < n_hosts; i++) {
        const char *name, *port;
        size_t len;

        if (is_ipv6(hosts[i]))
            rc = add_name(config, hosts[i], strlen(hosts[i]), err);
        else if (!split_authority(hosts[i], &name, &len, &port) || *port || is_any(name, len))
            rc = error_set(err, ST_CONFIG_INVALID,
                           "--allow-host %s: not a host name; names are exact, without a port", hosts[i]);
        else
            rc = add_name(config, name, len, err);
    }
    if (rc) {
        guard_free(config);
        return rc;
    }
    *out = config;
    return 0;
}

void guard_free(struct guard_config *config)
{
    if (!config) return;
    for (size_t i = 0; i < config->n; i++)
        free(config->names[i]);
    free(config->names);
    free(config);
}

/* ---- facts ---- */

/* RFC 9110, token. */
static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!isalnum(c) && !memchr("!#$%&'*+-.^_`|~", c, 15)) return false;
    }
    return len > 0;
}

static bool is_clean_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

static bool is_name(const char *name, size_t len, const char *want)
{
    return strlen(want) == len && !strncasecmp(name, want, len);
}

void guard_note_header(struct guard_facts *facts, const char *name, size_t name_len, const char *value,
                       size_t value_len)
{
    if (!is_token(name, name_len)) facts->bad_name = true;
    if (!is_clean_value(value, value_len)) facts->bad_value = true;
    if (is_name(name, name_len, "Host")) {
        facts->hosts++;
        facts->host = value;
    } else if (is_name(name, name_len, "Content-Length")) {
        facts->content_lengths++;
        facts->content_length = value;
    } else if (is_name(name, name_len, "Transfer-Encoding")) {
        facts->transfer_encodings++;
        facts->transfer_encoding = value;
    } else if (is_name(name, name_len, "Origin")) {
        facts->origins++;
        facts->origin = value;
    } else if (is_name(name, name_len, "Sec-Fetch-Site")) {
        facts->fetch_site = value;
    } else if (is_name(name, name_len, "Sec-Fetch-Mode")) {
        facts->fetch_mode = value;
    }
}

static void on_header(void *arg, const char *name, size_t name_len, const char *value, size_t value_len)
{
    guard_note_header(arg, name, name_len, value, value_len);
}

/* ---- judgement ---- */

static int malformed(struct error *err, const char *what)
{
    return error_set(err, ST_REQUEST_MALFORMED, "malformed request: %s", what);
}

static bool one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

/* The one shape of Transfer-Encoding that Connect clients send: nothing that two parsers could read
 * differently. The connection ends with its answer, so that nothing behind it can become a request. */
static bool is_plain_chunked(const struct guard_facts *f)
{
    return f->transfer_encodings == 1 && !strcasecmp(f->transfer_encoding, "chunked") &&
           !f->content_lengths && !strcmp(f->version, "HTTP/1.1") && !strcmp(f->method, "POST") &&
           !strncmp(f->target, CONNECT_PREFIX, strlen(CONNECT_PREFIX));
}

static int judge_shape(const struct guard_facts *f, struct error *err)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", NULL};
    static const char *const versions[] = {"HTTP/1.1", "HTTP/1.0", NULL};

    if (!one_of(f->version, versions)) return malformed(err, "the version has to be HTTP/1.1 or HTTP/1.0");
    if (!one_of(f->method, methods))
        return malformed(err, "the method has to be GET, HEAD, POST, PUT, PATCH or DELETE");
    if (*f->target != '/') return malformed(err, "the target has to begin with /");
    if (f->target_has_nul) return malformed(err, "the path has a NUL or a stray space");
    for (const char *at = f->target; *at; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f)
            return malformed(err, "the path has a control character");
    }
    if (f->bad_name) return malformed(err, "a header's name has characters that are not allowed there");
    if (f->bad_value) return malformed(err, "a header's value has a control character");
    if (f->hosts > 1) return malformed(err, "more than one Host header");
    if (f->hosts == 0 && !strcmp(f->version, "HTTP/1.1")) return malformed(err, "no Host header");
    if (f->transfer_encodings && !is_plain_chunked(f))
        return malformed(err, "Transfer-Encoding is not served here; send a Content-Length");
    if (f->content_lengths > 1) return malformed(err, "more than one Content-Length");
    if (f->content_lengths) {
        size_t n = strlen(f->content_length);
        if (n == 0 || n > 18 || strspn(f->content_length, "0123456789") != n)
            return malformed(err, "Content-Length has to be digits only");
    }
    if (f->origins > 1) return malformed(err, "more than one Origin header");
    return 0;
}

static bool equal_name(const char *name, size_t len, const char *own)
{
    struct in6_addr left, right;
    char text[INET6_ADDRSTRLEN];

    if (strlen(own) == len && !strncasecmp(name, own, len)) return true;
    if (!memchr(name, ':', len) || len >= sizeof(text)) return false;
    memcpy(text, name, len); /* IPv6 has many spellings */
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &left) == 1 && inet_pton(AF_INET6, own, &right) == 1 &&
           !memcmp(&left, &right, sizeof(left));
}

static bool host_is_ours(const struct guard_facts *f, const struct guard_config *config)
{
    const char *name, *port;
    size_t len;

    /* A web page cannot reach a Unix socket, so the name does not matter there. */
    if (!strcmp(f->local, "unix") || !f->host) return true;
    if (!split_authority(f->host, &name, &len, &port) || is_any(name, len)) return false;
    for (size_t i = 0; i < config->n; i++) {
        if (equal_name(name, len, config->names[i])) return true;
    }
    return equal_name(name, len, f->local);
}

/* Ours is what our own page sends: the same name and port as the Host header, which has been judged before.
 * Over TLS the page came over TLS: what the network puts in place of http:// is somebody else's.  Without, a
 * proxy may have spoken TLS for us. */
static bool origin_is_ours(const struct guard_facts *f)
{
    const char *own, *own_port, *other, *other_port, *standard;
    size_t own_len, other_len;

    if (!strncasecmp(f->origin, "http://", 7) && !f->tls) {
        other = f->origin + 7;
        standard = "80";
    } else if (!strncasecmp(f->origin, "https://", 8)) {
        other = f->origin + 8;
        standard = "443";
    } else {
        return false; /* "null" too */
    }
    if (!f->host || !split_authority(f->host, &own, &own_len, &own_port) ||
        !split_authority(other, &other, &other_len, &other_port))
        return false;
    if (!*own_port) own_port = standard;
    if (!*other_port) other_port = standard;
    return own_len == other_len && !strncasecmp(own, other, own_len) && !strcmp(own_port, other_port);
}

static int judge_origin(const struct guard_facts *f, struct error *err)
{
    bool reads = !strcmp(f->method, "GET") || !strcmp(f->method, "HEAD");
    bool root = f->target[0] == '/' && (f->target[1] == '\0' || f->target[1] == '?');
    bool navigates = !f->fetch_mode || !strcmp(f->fetch_mode, "navigate");

    if (f->origin && !origin_is_ours(f))
        return error_set(err, ST_ORIGIN_NOT_ALLOWED, "Origin %.100s is not this daemon's", f->origin);
    if (f->fetch_site && !strcmp(f->fetch_site, "cross-site") && !(reads && root && navigates && !f->origin))
        return error_set(err, ST_ORIGIN_NOT_ALLOWED,
                         "a web page of another site sent this (Sec-Fetch-Site: cross-site)");
    return 0;
}

int guard_judge(const struct guard_facts *f, const struct guard_config *config, struct error *err)
{
    int rc = judge_shape(f, err);

    if (rc) return rc;
    if (!host_is_ours(f, config))
        return error_set(
            err, ST_HOST_NOT_ALLOWED,
            "Host %.100s is not a name of this daemon; use its address, or start it with --allow-host NAME",
            f->host);
    return judge_origin(f, err);
}

int guard_check(struct http_request *req, const struct guard_config *config, struct error *err)
{
    struct guard_facts facts = {.method = http_method(req),
                                .version = http_version(req),
                                .target = http_target(req),
                                .target_has_nul = http_target_has_nul(req),
                                .local = http_local(req),
                                .tls = http_is_tls(req)};

    http_each_header(req, on_header, &facts);
    return guard_judge(&facts, config, err);
}
