/* Who may talk to the daemon: shapes, Host, Origin. */
#include "server/guard.h"

#include <criterion/criterion.h>
#include <string.h>

static struct guard_config *make(const char *address)
{
    static const char *const hosts[] = {"lr.example", "LR2.example"};
    struct guard_config *config = NULL;
    struct error err;

    cr_assert_eq(guard_new(address, hosts, 2, &config, &err), 0);
    return config;
}

static struct guard_facts good(const char *host)
{
    return (struct guard_facts){.method = "POST",
                                .version = "HTTP/1.1",
                                .target = "/v1/jobs",
                                .local = "10.1.2.3",
                                .host = host,
                                .hosts = 1};
}

Test(server_guard, hosts)
{
    static const struct {
        const char *host;
        int want;
    } rows[] = {
        {"localhost", 0},
        {"LOCALHOST:1", 0},
        {"127.0.0.1:8571", 0},
        {"[::1]", 0},
        {"[::1]:80", 0},
        {"[0:0:0:0:0:0:0:1]:80", 0},
        {"lr.example:9999", 0},
        {"lr2.example", 0},
        {"192.168.7.7", 0},
        {"10.1.2.3:80", 0},
        {"10.1.2.4", ST_HOST_NOT_ALLOWED},
        {"0.0.0.0", ST_HOST_NOT_ALLOWED},
        {"[::]", ST_HOST_NOT_ALLOWED},
        {"evil.example", ST_HOST_NOT_ALLOWED},
        {"", ST_HOST_NOT_ALLOWED},
        {"localhost.evil.example", ST_HOST_NOT_ALLOWED},
        {"localhost:", 0},
        {"localhost:80x", ST_HOST_NOT_ALLOWED},
        {"localhost:80:80", ST_HOST_NOT_ALLOWED},
        {"localhost@evil", ST_HOST_NOT_ALLOWED},
        {"::1", ST_HOST_NOT_ALLOWED},
        {"[::1", ST_HOST_NOT_ALLOWED},
        {"[::1]x", ST_HOST_NOT_ALLOWED},
        {"127.1", ST_HOST_NOT_ALLOWED},
        {"2130706433", ST_HOST_NOT_ALLOWED},
        {"a.lr.example", ST_HOST_NOT_ALLOWED},
    };
    struct guard_config *config = make("192.168.7.7:8571");

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guard_facts facts = good(rows[i].host);
        struct error err = {0};
        cr_expect_eq(guard_judge(&facts, config, &err), rows[i].want, "%s: %s", rows[i].host, err.message);
    }
    guard_free(config);
}

Test(server_guard, unix_socket_takes_any_host)
{
    struct guard_config *config = make("unix:/tmp/x");
    struct guard_facts facts = good("anything");
    struct error err;

    facts.local = "unix";
    cr_expect_eq(guard_judge(&facts, config, &err), 0);
    guard_free(config);
}

Test(server_guard, wildcard_address_is_no_name)
{
    struct guard_config *config = make("0.0.0.0:8571");
    struct guard_facts facts = good("0.0.0.0:8571");
    struct error err;

    cr_expect_eq(guard_judge(&facts, config, &err), ST_HOST_NOT_ALLOWED);
    facts.host = "10.1.2.3:8571";
    cr_expect_eq(guard_judge(&facts, config, &err), 0);
    guard_free(config);
}

Test(server_guard, origins)
{
    static const struct {
        const char *method, *target, *host, *origin, *site, *mode;
        int want;
    } rows[] = {
        {"POST", "/v1/jobs", "localhost:8571", "http://localhost:8571", "same-origin", "cors", 0},
        {"POST", "/v1/jobs", "lr.example", "https://lr.example", NULL, NULL, 0},
        {"POST", "/v1/jobs", "lr.example:443", "https://LR.example", NULL, NULL, 0},
        {"POST", "/v1/jobs", "localhost:8571", "http://localhost:3000", NULL, NULL, ST_ORIGIN_NOT_ALLOWED},
        {"POST", "/v1/jobs", "localhost:8571", "http://evil.example", NULL, NULL, ST_ORIGIN_NOT_ALLOWED},
        {"POST", "/v1/jobs", "localhost:8571", "null", NULL, NULL, ST_ORIGIN_NOT_ALLOWED},
        {"POST", "/v1/jobs", "localhost:8571", "", NULL, NULL, ST_ORIGIN_NOT_ALLOWED},
        {"POST", "/v1/jobs", "localhost:8571", "http://localhost:8571/x", NULL, NULL, ST_ORIGIN_NOT_ALLOWED},
        {"GET", "/v1/jobs", "localhost:8571", NULL, "cross-site", "no-cors", ST_ORIGIN_NOT_ALLOWED},
        {"GET", "/", "localhost:8571", NULL, "cross-site", "navigate", 0},
        {"GET", "/?a", "localhost:8571", NULL, "cross-site", "navigate", 0},
        {"GET", "/", "localhost:8571", NULL, "cross-site", "no-cors", ST_ORIGIN_NOT_ALLOWED},
        {"GET", "/", "localhost:8571", "http://evil", "cross-site", "navigate", ST_ORIGIN_NOT_ALLOWED},
        {"POST", "/", "localhost:8571", NULL, "cross-site", "navigate", ST_ORIGIN_NOT_ALLOWED},
        {"GET", "/v1/jobs", "localhost:8571", NULL, "cross-site", "navigate", ST_ORIGIN_NOT_ALLOWED},
        {"GET", "/v1/jobs", "localhost:8571", NULL, "none", "navigate", 0},
    };
    struct guard_config *config = make(NULL);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guard_facts facts = good(rows[i].host);
        struct error err = {0};
        facts.method = rows[i].method;
        facts.target = rows[i].target;
        facts.origin = rows[i].origin;
        facts.origins = rows[i].origin != NULL;
        facts.fetch_site = rows[i].site;
        facts.fetch_mode = rows[i].mode;
        cr_expect_eq(guard_judge(&facts, config, &err), rows[i].want, "row %zu: %s", i, err.message);
    }
    /* Over TLS only what came over TLS. */
    for (size_t i = 0; i < 2; i++) {
        struct guard_facts facts = good("lr.example");
        struct error err = {0};
        facts.tls = true;
        facts.method = "POST";
        facts.target = "/v1/jobs";
        facts.origin = i ? "http://lr.example" : "https://lr.example";
        facts.origins = 1;
        cr_expect_eq(guard_judge(&facts, config, &err), i ? ST_ORIGIN_NOT_ALLOWED : 0, "%s", facts.origin);
    }
    guard_free(config);
}

/* Headers as "Name: value" lines. */
static int judge_lines(const char *method, const char *version, const char *target, const char *const *lines)
{
    struct guard_config *config = make(NULL);
    struct guard_facts facts = {.method = method, .version = version, .target = target, .local = "127.0.0.1"};
    struct error err;
    int rc;

    for (; *lines; lines++) {
        const char *colon = strstr(*lines, ": ");
        guard_note_header(&facts, *lines, (size_t)(colon - *lines), colon + 2, strlen(colon + 2));
    }
    rc = guard_judge(&facts, config, &err);
    guard_free(config);
    return rc;
}
#define JUDGE(method, version, target, ...)                                                                  \
    judge_lines(method, version, target, (const char *const[]){__VA_ARGS__, NULL})

Test(server_guard, shapes)
{
    const char *h = "Host: localhost";

    cr_expect_eq(JUDGE("POST", "HTTP/1.1", "/", h, "Content-Length: 5"), 0);
    cr_expect_eq(JUDGE("GET", "HTTP/1.0", "/", "Accept: a"), 0, "HTTP/1.0 needs no Host");
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", "/", "Accept: a"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", "/", h, "hOST: localhost"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", "/", h, "Content-Length: 5", "content-length: 5"),
                 ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", "/", h, "Content-Length: +5"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", "/", h, "Content-Length: 5, 5"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", "/", h, "Content-Length: "), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", "/", h, "Transfer-Encoding: identity"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", "/v1/jobs", h, "Transfer-Encoding: chunked"),
                 ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", "/", h, "Content-Length : 5"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", "/", h, "X\x80: 5"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", "/", h, "X: a\rb"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/2.0", "/", h), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("OPTIONS", "HTTP/1.1", "/", h), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", "http://localhost/", h), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", "/\x01", h), ST_REQUEST_MALFORMED);
}

Test(server_guard, chunks_on_the_connect_face)
{
    const char *h = "Host: localhost", *rpc = "/greedylr.v1.SchedulerService/GetLr",
               *chunked = "Transfer-Encoding: chunked";

    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, chunked), 0);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, "transfer-encoding: Chunked"), 0);
    cr_expect_eq(JUDGE("POST", "HTTP/1.0", rpc, h, chunked), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("GET", "HTTP/1.1", rpc, h, chunked), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, chunked, chunked), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, chunked, "Content-Length: 5"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, "Transfer-Encoding: gzip, chunked"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, "Transfer-Encoding: chunked;x=y"), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, "Transfer-Encoding: \"chunked\""), ST_REQUEST_MALFORMED);
    cr_expect_eq(JUDGE("POST", "HTTP/1.1", rpc, h, "Transfer-Encoding: "), ST_REQUEST_MALFORMED);
}

Test(server_guard, refuses_bad_allow_hosts)
{
    static const char *const bad[] = {"", "*.example", "http://a", "a:80", "a b", "0.0.0.0"};
    struct guard_config *config;
    struct error err;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(guard_new(NULL, &bad[i], 1, &config, &err), ST_CONFIG_INVALID, "%s", bad[i]);
}
