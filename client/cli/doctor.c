/* Checks in the order in which a request meets what they look at, so that the first FAIL is the cause and
 * what could not be looked at behind it is named.  Nothing is changed anywhere. */
#include "cli/doctor.h"

#include "cli/call.h"
#include "cli/nearest.h"
#include "cli/paper.h"
#include "cli/run.h"
#include "cli/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_ROOM 10
#define DETAIL_AT  (6 + CHECK_ROOM + 2)
#define DIM        "\033[2m"

static const struct {
    const char *word, *style;
} verdicts[VERDICTS] = {
    [VERDICT_OK] = {"ok", "\033[32m"},
    [VERDICT_WARN] = {"warn", "\033[33m"},
    [VERDICT_FAIL] = {"FAIL", "\033[31m"},
    [VERDICT_SKIP] = {"skip", DIM},
};

static void print(enum verdict verdict, const char *check, const char *detail, const char *remedy)
{
    struct paper p = paper();

    printf("%s%-4s%s  %-*s  ", p.colour ? verdicts[verdict].style : "", verdicts[verdict].word,
           p.colour ? STYLE_PLAIN : "", CHECK_ROOM, check);
    put_words(stdout, detail, DETAIL_AT, DETAIL_AT, p.width);
    if (remedy) {
        printf("      %*s  ", CHECK_ROOM, "->");
        put_words(stdout, remedy, DETAIL_AT, DETAIL_AT, p.width);
    }
    fflush(stdout); /* the next check may take a while */
}

void doctor_say(struct doctor *d, const char *check, enum verdict verdict, const char *remedy,
                const char *fmt, ...)
{
    char detail[1200];
    json_t *one = NULL;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    d->n[verdict]++;
    if (d->in->output == OUTPUT_TABLE) {
        print(verdict, check, detail, remedy);
        return;
    }
    one = json_pack("{s:s, s:s, s:s}", "check", check, "status",
                    verdict == VERDICT_FAIL ? "fail" : verdicts[verdict].word, "detail", detail);
    if (!one) one = json_pack("{s:s, s:s, s:s}", "check", check, "status", "fail", "detail", "(not UTF-8)");
    if (remedy && json_object_set_new(need(one), "remedy", json_string(remedy))) need(NULL);
    if (json_array_append_new(d->checks, need(one))) need(NULL);
}

/* ---- the address ---- */

/* A transport with what the invocation says; where that is no use without, one without its token, so that the
 * checks that need none go on. */
static bool check_address(struct doctor *d)
{
    const char *url = d->in->options[OPTION_URL], *variable = getenv("GREEDYLR_URL");
    const char *from = url ? "--url" : variable && *variable ? "GREEDYLR_URL" : "the default";
    struct credentials_given given = {.token_file = d->in->options[OPTION_TOKEN_FILE],
                                      .ca_file = d->in->options[OPTION_CA_FILE]};
    char error[600];

    if (transport_new(url, &given, &d->t, error, sizeof(error))) {
        snprintf(d->token_error, sizeof(d->token_error), "%s", error);
        given.token = "";
        given.token_file = NULL;
        if (transport_new(url, &given, &d->t, error, sizeof(error))) {
            bool ca = !strncmp(error, "CA file", 7);
            doctor_say(d, ca ? "authority" : "address", VERDICT_FAIL,
                       ca ? "Give a file with certificates as --ca-file or GREEDYLR_CA_FILE, or none for the "
                            "system's."
                       : !strncmp(error, "GREEDYLR_INSECURE", 17)
                           ? "Set it to no-tls, or not at all."
                           : "Give one like http://127.0.0.1:8571, https://HOST or unix:/PATH as --url or "
                             "GREEDYLR_URL.",
                       "%s", error);
            return false;
        }
    }
    d->place = transport_place(d->t);
    doctor_say(d, "address", VERDICT_OK, NULL, "%s (%s)", transport_url(d->t), from);
    return true;
}

/* ---- variables ---- */

/* Nothing reads one that is mistyped, and what it was to say is not said. */
static void check_variables(struct doctor *d)
{
    static const char prefix[] = "GREEDYLR_", *const known[] = {"URL", "TOKEN", "TOKEN_FILE", "CA_FILE",
                                                                "INSECURE"};

    for (char **at = environ; *at; at++) {
        char name[NEAREST_MAX];
        struct nearest nearest;

        if (strncmp(*at, prefix, strlen(prefix))) continue;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*at + strlen(prefix), "="), *at + strlen(prefix));
        nearest_begin(&nearest, name);
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            nearest_offer(&nearest, known[i]);
        const char *meant = nearest_word(&nearest);
        if (meant && !strcmp(meant, name)) continue;
        char remedy[160] = "Unset it; greedylr(1) lists those that are read, under ENVIRONMENT.";
        if (meant) snprintf(remedy, sizeof(remedy), "Did you mean %s%s?", prefix, meant);
        doctor_say(d, "variables", VERDICT_WARN, remedy, "%s%s: nothing reads it", prefix, name);
    }
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    bool (*look)(struct doctor *d);
} checks[] = {
    {"address", check_address},     {"proxy", doctor_proxy},   {"name", doctor_name},
    {"connection", doctor_connect}, {"daemon", doctor_daemon}, {"versions", doctor_version},
    {"ready", doctor_ready},        {"token", doctor_token},   {"disk", doctor_disk},
};

static void finish(const struct doctor *d)
{
    bool ok = !d->n[VERDICT_FAIL];

    if (d->in->output == OUTPUT_JSON) {
        json_t *all = need(json_pack("{s:b, s:O}", "ok", ok, "checks", d->checks));
        put_json(stdout, all);
        putchar('\n');
        json_decref(all);
    } else if (ok && !d->n[VERDICT_WARN]) {
        puts("All is well.");
    } else {
        printf("%u failed, %u to look at.\n", d->n[VERDICT_FAIL], d->n[VERDICT_WARN]);
    }
}

int run_doctor(const struct invocation *in)
{
    struct doctor d = {.in = in, .checks = need(json_array())};
    bool on = true;
    int rc;

    check_variables(&d);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (on)
            on = checks[i].look(&d);
        else
            doctor_say(&d, checks[i].name, VERDICT_SKIP, NULL, "could not be looked at");
    }
    finish(&d);
    rc = finish_output();
    if (!rc && d.n[VERDICT_FAIL]) rc = EXIT_REFUSED;
    json_decref(d.checks);
    transport_free(d.t);
    return rc;
}
