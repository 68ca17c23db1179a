/* Options: values, precedence, refusals; log lines. */
#include "server/options.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct options o;
static struct error err;

static int parse(const char *const *args)
{
    char *argv[32] = {(char *)(uintptr_t) "greedylrd", (char *)(uintptr_t) "--data-dir",
                      (char *)(uintptr_t) "d"};
    int argc = 3;

    for (; *args; args++)
        argv[argc++] = (char *)(uintptr_t)*args;
    options_free(&o);
    return options_parse(&o, argc, argv, &err);
}
#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void clean(void)
{
    options_free(&o);
}

TestSuite(server_options, .fini = clean);

Test(server_options, defaults)
{
    cr_assert_eq(PARSE(NULL), 0, "%s", err.message);
    cr_expect_str_eq(o.listen, "127.0.0.1:8571");
    cr_expect_str_eq(o.data_dir, "d");
    cr_expect_eq(o.max_body, 65536);
    cr_expect_eq(o.max_batch_body, 1048576);
    cr_expect_eq(o.max_batch_entries, 10000);
    cr_expect_eq(o.connection_memory, 8192);
    cr_expect_eq(o.max_connections, 4096);
    cr_expect_eq(o.max_connections_per_address, 256);
    cr_expect_eq(o.header_timeout_ms, 5000);
    cr_expect_eq(o.request_timeout_ms, 10000);
    cr_expect_eq(o.keepalive_timeout_ms, 600000);
    cr_expect_eq(o.resident_jobs, 100000);
    cr_expect_eq(o.history_limit, 0);
    cr_expect_eq(o.log_level, LOG_INFO);
    cr_expect_not(o.no_auto_create || o.insecure || o.check_config);
}

Test(server_options, values)
{
    cr_assert_eq(PARSE("--max-body=2K", "--max-batch-body", "3M", "--header-timeout=500ms",
                       "--keepalive-timeout", "1h", "--allow-host=a,b", "--allow-host", "c",
                       "--insecure=no-tls,no-tokens", "--no-auto-create", "--log-level=error", "--log-format",
                       "json"),
                 0, "%s", err.message);
    cr_expect_eq(o.max_body, 2048);
    cr_expect_eq(o.max_batch_body, 3u << 20);
    cr_expect_eq(o.header_timeout_ms, 500);
    cr_expect_eq(o.keepalive_timeout_ms, 3600000);
    cr_expect_eq(o.n_allow_hosts, 3);
    cr_expect_str_eq(o.allow_hosts[2], "c");
    cr_expect_eq(o.insecure, INSECURE_NO_TLS | INSECURE_NO_TOKENS);
    cr_expect(o.no_auto_create);
    cr_expect_eq(o.log_level, LOG_ERROR);
    cr_expect_eq(o.log_format, LOG_JSON);
}

Test(server_options, flags_win_over_environment)
{
    setenv("GREEDYLRD_MAX_BODY", "4096", 1);
    setenv("GREEDYLRD_ALLOW_HOST", "x,y", 1);
    setenv("GREEDYLRD_NO_AUTO_CREATE", "1", 1);
    cr_assert_eq(PARSE(NULL), 0);
    cr_expect_eq(o.max_body, 4096);
    cr_expect_eq(o.n_allow_hosts, 2);
    cr_expect(o.no_auto_create);
    cr_assert_eq(PARSE("--max-body", "5000", "--allow-host", "z", "--no-auto-create=false"), 0);
    cr_expect_eq(o.max_body, 5000);
    cr_expect_eq(o.n_allow_hosts, 1);
    cr_expect_str_eq(o.allow_hosts[0], "z");
    cr_expect_not(o.no_auto_create);
    setenv("GREEDYLRD_MAX_BODY", "much", 1);
    cr_assert_eq(PARSE(NULL), ST_CONFIG_INVALID);
    cr_expect(strstr(err.message, "GREEDYLRD_MAX_BODY much: "), "%s", err.message);
}

Test(server_options, refusals)
{
    static const struct {
        const char *arg, *says;
    } rows[] = {
        {"--max-body=12", "from 1K to 1G"},
        {"--max-body=", "size"},
        {"--max-body=-1", "size"},
        {"--max-body=1T", "size"},
        {"--max-body=99999999999999999999", "size"},
        {"--max-body", "needs a value"},
        {"--max-body=4096M", "from 1K to 1G"},
        {"--header-timeout=5", "time"},
        {"--header-timeout=1ms", "100ms to 1h"},
        {"--max-jobs=4294967296", "whole number"},
        {"--max-jobs=1K", "whole number"},
        {"--log-level=loud", "one of: debug"},
        {"--insecure=all", "no-tokens, no-tls"},
        {"--allow-host=a,,b", "host names"},
        {"--listen=8571", "not an address"},
        {"--listen=::1:80", "brackets"},
        {"--listen=a:b", "port"},
        {"--listen=a:65536", "port"},
        {"--listen=", "empty"},
        {"--nonsense", "no such option"},
        {"word", "no such argument"},
        {"--", "no such option"},
        {"--max-batch-body=2K", "at least --max-body"},
        {"--no-auto-create=maybe", "true or false"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cr_expect_eq(PARSE(rows[i].arg), ST_CONFIG_INVALID, "%s", rows[i].arg);
        cr_expect(strstr(err.message, rows[i].says), "%s: %s", rows[i].arg, err.message);
    }
}

Test(server_options, public_addresses)
{
    static const char *const ours[] = {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/x"};
    static const char *const others[] = {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "name:1",
                                         "[::ffff:10.0.0.1]:1"};

    for (size_t i = 0; i < 5; i++) {
        cr_expect_not(options_listen_is_public(ours[i]), "%s", ours[i]);
        cr_expect(options_listen_is_public(others[i]), "%s", others[i]);
    }
}

Test(server_options, help_lists_every_option)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    options_help(out);
    fclose(out);
    for (size_t i = 0; options_doc(i).flag; i++) {
        char flag[64];
        snprintf(flag, sizeof(flag), "  --%s", options_doc(i).flag);
        cr_expect(strstr(text, flag), "%s", flag);
        cr_expect(*options_doc(i).help);
    }
    free(text);
}

static const char *render(enum log_format format, const struct log_field *fields)
{
    static char text[300];
    size_t n = log_render(text, sizeof(text) - 1, format, 1700000000123456, LOG_INFO, "ev", fields);

    text[n] = '\0';
    return text;
}
#define RENDER(format, ...) render(format, (struct log_field[]){__VA_ARGS__, log_end()})

Test(server_log, lines)
{
    cr_expect_str_eq(
        RENDER(LOG_LOGFMT, log_str("job", "a"), log_u64("n", 7), log_i64("i", -7), log_f64("lr", 0.1),
               log_bool("b", true), log_str("none", NULL), log_str("e", "")),
        "ts=2023-11-14T22:13:20.123456Z level=info event=ev job=a n=7 i=-7 lr=0.1 b=true e=\"\"\n");
    cr_expect_str_eq(
        RENDER(LOG_JSON, log_str("job", "a"), log_f64("x", (double)NAN)),
        "{\"ts\":\"2023-11-14T22:13:20.123456Z\",\"level\":\"info\",\"event\":\"ev\",\"job\":\"a\","
        "\"x\":\"NaN\"}\n");
}

Test(server_log, escapes)
{
    const char *line = RENDER(LOG_LOGFMT, log_str("a", "x\ny\"\\ z=\x1b[31m\xc2\x9b\xff\xc3\xa9"));

    cr_expect(strstr(line, "a=\"x\\ny\\\"\\\\ z=\\u001b[31m\\u009b\\ufffd\xc3\xa9\"\n"), "%s", line);
}

Test(server_log, long_values_are_cut_and_closed)
{
    char big[400];

    memset(big, '\n', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    for (size_t skip = 0; skip < 16; skip++) {
        const char *line = RENDER(LOG_JSON, log_str("a", big + skip), log_u64("after", 1));
        size_t n = strlen(line);
        cr_expect(n <= 299 && !strcmp(line + n - 3, "\"}\n"), "%s", line);
    }
}

static const char *preset_of(const char *flag)
{
    for (size_t i = 0; options_doc(i).flag; i++) {
        if (!strcmp(options_doc(i).flag, flag)) return options_doc(i).preset;
    }
    return strchr(flag, ' ') ? "fixed" : NULL;
}

Test(server_options, limits_are_documented)
{
    FILE *f = fopen("proto/PROTOCOL.md", "r");
    static char text[1 << 20], row[1024];
    size_t n;

    cr_assert_neq(f, NULL, "run from the root of the repository");
    n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    for (int i = 1; i < LIMIT_COUNT; i++) {
        const struct limit_info *limit = limit_info((enum limit)i);
        const char *preset = preset_of(limit->flag);

        cr_assert_neq(preset, NULL, "%s is no option", limit->flag);
        snprintf(row, sizeof(row), "| `%s` | %s | %s |", limit->flag, preset, limit->seen);
        cr_expect(strstr(text, row) != NULL, "proto/PROTOCOL.md lacks: %s", row);
    }
}
