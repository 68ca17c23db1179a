/* What the daemon says: that it is one, with which certificate, clock and version, whether it is ready, whom
 * it lets in, and how much room it has. */
#include "cli/doctor.h"

#include "cli/call.h"
#include "cli/moment.h"
#include "cli/paper.h"
#include "cli/text.h"

#include <ctype.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define SKEW_MAX   5.0  /* seconds that clocks may be apart */
#define EXPIRES    14.0 /* days before a certificate's end from which it is worth a word */
#define ROOM_MIN   5e8  /* bytes; a job's report takes some hundred */
#define ROOM_SHARE 0.05 /* of the file system */
#define DAY        86400.0

static int ask(struct doctor *d, const char *method, const char *path, const char *accept,
               struct transport_reply *reply)
{
    return transport_call(d->t, method, path, !strcmp(method, "POST") ? "{}" : NULL, accept,
                          session_timeout(d->in), reply);
}

/* A failure of the transport as two sentences: what it is, and what to do. */
static void say_no_answer(struct doctor *d, const char *check)
{
    char text[1100], sentence[1100];
    char *remedy;

    snprintf(text, sizeof(text), "%s", transport_error(d->t));
    remedy = strstr(text, "; ");
    if (remedy) *remedy = '\0';
    snprintf(sentence, sizeof(sentence), "%s%s", remedy ? remedy + 2 : "look at the daemon's log",
             remedy && strchr(".?", remedy[2 + strlen(remedy + 2) - 1]) ? "" : ".");
    *sentence = (char)toupper((unsigned char)*sentence);
    doctor_say(d, check, VERDICT_FAIL, sentence, "%s", text);
}

/* ---- is it one ---- */

static void check_certificate(struct doctor *d)
{
    struct transport_certificate c;
    double days;

    if (!d->place.tls && (d->place.direct || d->place.socket)) {
        doctor_say(d, "tls", VERDICT_OK, NULL, "not used: nothing leaves this machine");
    } else if (!d->place.tls) {
        doctor_say(d, "tls", VERDICT_WARN,
                   "Start greedylrd with --tls-cert and --tls-key, and use https:// in the address.",
                   "plain http to another machine: everybody on the way can read and change what is sent");
    } else if (!transport_certificate(d->t, &c)) {
        doctor_say(d, "tls", VERDICT_OK, NULL, "the certificate is trusted");
    } else {
        days = ((double)c.ends - moment_now()) / DAY;
        doctor_say(d, "tls", days < EXPIRES ? VERDICT_WARN : VERDICT_OK,
                   days < EXPIRES ? "Have a new one made and send the daemon SIGHUP before that day." : NULL,
                   "the certificate is trusted, signed by %s, and expires in %.0f days", c.issuer,
                   floor(days));
    }
}

static void check_clock(struct doctor *d, int64_t date, double began)
{
    double middle = (began + moment_now()) / 2, ahead = (double)date + 0.5 - middle;

    if (!date)
        doctor_say(d, "clock", VERDICT_SKIP, NULL, "the daemon does not say what time it is");
    else if (fabs(ahead) < SKEW_MAX)
        doctor_say(d, "clock", VERDICT_OK, NULL, "the daemon's and this machine's agree");
    else
        doctor_say(
            d, "clock", VERDICT_WARN,
            "Have both machines' clocks set by NTP (timedatectl set-ntp true): rates do not depend on them, "
            "but ages, logs and certificates do.",
            "the daemon's is %.0f s %s this machine's", fabs(ahead), ahead > 0 ? "ahead of" : "behind");
}

bool doctor_daemon(struct doctor *d)
{
    struct transport_reply reply;
    double began = moment_now();

    if (ask(d, "GET", "/livez", "text/plain", &reply)) {
        say_no_answer(d, d->place.tls ? "tls" : "daemon");
        return false;
    }
    bool alive = reply.status == 200 && !strcmp(reply.body, "ok\n");
    int64_t date = reply.date;
    int status = reply.status;
    check_certificate(d);
    transport_reply_clear(&reply);
    if (!alive) {
        doctor_say(d, "daemon", VERDICT_FAIL,
                   "Something else listens there: give greedylrd's address with --url or GREEDYLR_URL.",
                   "HTTP %d at /livez, and not as greedylrd answers", status);
        return false;
    }
    doctor_say(d, "daemon", VERDICT_OK, NULL, "it is alive");
    check_clock(d, date, began);
    return true;
}

/* ---- versions ---- */

/* Whether a and b are the same but for what is behind the second dot. */
static bool goes_with(const char *a, const char *b)
{
    for (int dots = 0; *a && *a == *b; a++, b++) {
        if (*a == '.' && ++dots == 2) return true;
    }
    return *a == *b;
}

/* Version of the library that programs on this machine link, if there is one. */
static void library_version(char *out, size_t size)
{
    void *library = dlopen("libgreedylr.so.0", RTLD_LAZY | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "glr_version") : NULL;
    const char *(*version)(void);

    *out = '\0';
    if (symbol) {
        memcpy(&version, &symbol, sizeof(version));
        snprintf(out, size, "%s", version());
    }
    if (library) dlclose(library);
}

bool doctor_version(struct doctor *d)
{
    char library[40];
    struct transport_reply reply;
    json_t *answer = NULL;

    if (ask(d, "GET", "/version", NULL, &reply)) {
        say_no_answer(d, "versions");
        return false;
    }
    answer = json_loads(reply.body, 0, NULL);
    transport_reply_clear(&reply);
    const char *name = json_string_value(json_object_get(answer, "name"));
    const char *version = json_string_value(json_object_get(answer, "version"));
    library_version(library, sizeof(library));
    bool is = name && version && !strcmp(name, "greedylrd");
    if (!is) {
        doctor_say(d, "versions", VERDICT_FAIL,
                   "Something else listens there: give greedylrd's address with --url or GREEDYLR_URL.",
                   "it does not say that it is greedylrd");
    } else {
        bool fit = goes_with(version, GREEDYLRD_VERSION) && (!*library || goes_with(version, library));
        doctor_say(d, "versions", fit ? VERDICT_OK : VERDICT_WARN,
                   fit ? NULL : "Bring all to the newest of these: they come from the same packages.",
                   "greedylr %s, greedylrd %s, libgreedylr %s", GREEDYLRD_VERSION, version,
                   *library ? library : "not installed");
    }
    json_decref(answer);
    return is;
}

/* ---- ready ---- */

/* The rest of the line that begins with text, cut at its end; NULL: there is none. */
static char *line_after(const char *body, const char *text)
{
    const char *at = strstr(body, text);

    if (!at) return NULL;
    at += strlen(text);
    return need(strndup(at, strcspn(at, "\n")));
}

bool doctor_ready(struct doctor *d)
{
    struct transport_reply reply;

    if (ask(d, "GET", "/readyz?verbose", "text/plain", &reply)) {
        say_no_answer(d, "ready");
        return false;
    }
    char *store = line_after(reply.body, "[-] store: "), *serving = line_after(reply.body, "[-] serving: ");
    if (store)
        doctor_say(d, "store", VERDICT_FAIL,
                   "Make room on the file system of --data-dir, or see the daemon's log for what it met "
                   "there; it goes on "
                   "by itself.",
                   "not writable: %s", store);
    else if (strstr(reply.body, "[+] store"))
        doctor_say(d, "store", VERDICT_OK, NULL, "writable");
    if (serving)
        doctor_say(d, "ready", VERDICT_FAIL,
                   "Wait for it to come back, or start it again (systemctl restart greedylrd).", "%s",
                   serving);
    else if (reply.status == 200)
        doctor_say(d, "ready", VERDICT_OK, NULL, "it takes reports");
    else if (!store)
        doctor_say(d, "ready", VERDICT_FAIL, "Look at the daemon's log.", "HTTP %d at /readyz", reply.status);
    free(store);
    free(serving);
    transport_reply_clear(&reply);
    return true;
}

/* ---- the token ---- */

static const char *token_file(const struct doctor *d)
{
    const char *token = getenv("GREEDYLR_TOKEN"), *file = getenv("GREEDYLR_TOKEN_FILE");

    if (d->in->options[OPTION_TOKEN_FILE]) return d->in->options[OPTION_TOKEN_FILE];
    if (token && *token) return NULL;
    return file && *file ? file : NULL;
}

/* Where it comes from; others that may read it are a problem of its own. */
static void check_token_file(struct doctor *d)
{
    const char *path = token_file(d);
    struct stat info;

    if (!path || stat(path, &info) || !(info.st_mode & 077)) return;
    doctor_say(d, "token file", VERDICT_WARN, "chmod 600 it, and make it its only user's own.",
               "%s: others may read or change it (mode %03o)", path, (unsigned)(info.st_mode & 0777));
}

static void error_parts(const char *body, char *message, size_t size, char *reason, size_t reason_size)
{
    json_t *answer = json_loads(body, 0, NULL);
    json_t *debug = json_object_get(json_array_get(json_object_get(answer, "details"), 0), "debug");
    const char *text = json_string_value(json_object_get(answer, "message"));
    const char *why = json_string_value(json_object_get(debug, "reason"));

    snprintf(message, size, "%s", text ? text : "an answer that is not greedylrd's");
    snprintf(reason, reason_size, "%s", why ? why : "");
    json_decref(answer);
}

/* How far it reaches: what an admin may do to a job that does not exist.  The refusal names the token's role.
 */
static void find_role(struct doctor *d, char *role, size_t size)
{
    unsigned char random[16];
    char path[120], message[400], reason[64];
    struct transport_reply reply;

    *role = '\0';
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) return;
    int len = snprintf(path, sizeof(path), "/v1/jobs/doctor-");
    for (size_t i = 0; i < sizeof(random); i++)
        len += snprintf(path + len, sizeof(path) - (size_t)len, "%02x", random[i]);
    snprintf(path + len, sizeof(path) - (size_t)len, ":pause");
    if (ask(d, "POST", path, NULL, &reply)) return;
    error_parts(reply.body, message, sizeof(message), reason, sizeof(reason));
    const char *has = strstr(message, " has ");
    if (!strcmp(reason, "JOB_NOT_FOUND"))
        snprintf(role, size, "admin");
    else if (!strcmp(reason, "ROLE_INSUFFICIENT") && has)
        snprintf(role, size, "%.*s", (int)strcspn(has + 5, ";"), has + 5);
    transport_reply_clear(&reply);
}

static void say_refused(struct doctor *d, const char *body)
{
    char message[600], reason[64];

    error_parts(body, message, sizeof(message), reason, sizeof(reason));
    bool none = !strcmp(reason, "TOKEN_REQUIRED");
    doctor_say(d, "token", VERDICT_FAIL,
               none ? "Ask whoever runs the daemon for one (greedylr token create), and name its file in "
                      "GREEDYLR_TOKEN_FILE or --token-file."
                    : "Ask whoever runs the daemon for another; a new one works once the daemon has read its "
                      "file again "
                      "(SIGHUP).",
               "%s [%s]", message, reason);
}

bool doctor_token(struct doctor *d)
{
    const char *variable = getenv("GREEDYLR_TOKEN");
    struct transport_reply reply;
    char role[40];

    check_token_file(d);
    if (*d->token_error) {
        doctor_say(d, "token", VERDICT_FAIL,
                   "Give a file that only you can read as --token-file or GREEDYLR_TOKEN_FILE; to another "
                   "machine, over "
                   "https.",
                   "%s", d->token_error);
        return true;
    }
    if (ask(d, "GET", "/v1/jobs?page_size=1", NULL, &reply)) {
        say_no_answer(d, "token");
        return true;
    }
    bool has = token_file(d) || (variable && *variable);
    if (reply.status == 401 || reply.status == 403) {
        say_refused(d, reply.body);
    } else if (reply.status != 200) {
        doctor_say(d, "token", VERDICT_WARN, "Try again in a moment.", "HTTP %d where jobs are listed",
                   reply.status);
    } else if (!has) {
        bool here = d->place.direct || d->place.socket;
        doctor_say(d, "token", here ? VERDICT_OK : VERDICT_WARN,
                   here ? NULL : "Start greedylrd with --token-file, which greedylr token create makes.",
                   "none is asked for: everybody who reaches the daemon may do everything");
    } else {
        find_role(d, role, sizeof(role));
        doctor_say(d, "token", VERDICT_OK, NULL, "accepted%s%s; which jobs are its, greedylr list shows",
                   *role ? ", with the role " : "", role);
    }
    transport_reply_clear(&reply);
    return true;
}

/* ---- room ---- */

/* A gauge without labels; NaN: it is not there. */
static double gauge(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = text; at; at = strchr(at, '\n'), at += at != NULL)
        if (!strncmp(at, name, n) && at[n] == ' ') return strtod(at + n, NULL);
    return NAN;
}

bool doctor_disk(struct doctor *d)
{
    struct transport_reply reply;

    if (ask(d, "GET", "/metrics", "text/plain", &reply)) {
        say_no_answer(d, "disk");
        return true;
    }
    double left = gauge(reply.body, "greedylrd_data_dir_free_bytes");
    double size = gauge(reply.body, "greedylrd_data_dir_size_bytes");
    double own = gauge(reply.body, "greedylrd_store_bytes");
    if (reply.status != 200 || isnan(left) || isnan(own)) {
        doctor_say(d, "disk", VERDICT_SKIP, NULL, "the daemon does not tell (HTTP %d at /metrics)",
                   reply.status);
    } else {
        bool full = left < ROOM_MIN || (!isnan(size) && left < ROOM_SHARE * size);
        doctor_say(d, "disk", full ? VERDICT_WARN : VERDICT_OK,
                   full ? "Make room on the file system of --data-dir, or have old decisions dropped "
                          "(--history-limit)."
                        : NULL,
                   "%.1f GB left for the daemon, whose store has %.1f MB", left / 1e9, own / 1e6);
    }
    transport_reply_clear(&reply);
    return true;
}
