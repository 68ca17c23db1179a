/* The TLS library says that the verification failed and not why, so the certificate is looked at again: its
 * dates, then its name, then who signed it. */
#include "lib/transport_tls.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* A line of the daemon's own certificate, "Expire Date:..."; "" if it has none. */
static const char *line_of(CURL *curl, const char *name)
{
    struct curl_certinfo *info = NULL;
    size_t n = strlen(name);

    if (curl_easy_getinfo(curl, CURLINFO_CERTINFO, &info) || !info || info->num_of_certs < 1) return "";
    for (const struct curl_slist *line = info->certinfo[0]; line; line = line->next)
        if (!strncasecmp(line->data, name, n) && line->data[n] == ':') return line->data + n + 1;
    return "";
}

void transport_untrusted(void *curl, const char *detail, const char *ca_file, char *out, size_t size)
{
    const char *begins = line_of(curl, "Start Date"), *ends = line_of(curl, "Expire Date");
    const char *issuer = line_of(curl, "Issuer");
    time_t now = time(NULL);
    struct tm parts;
    char today[32];

    strftime(today, sizeof today, "%Y-%m-%d %H:%M:%S GMT", gmtime_r(&now, &parts));
    if (*ends && strcmp(ends, today) < 0)
        snprintf(out, size,
                 "its certificate expired at %.40s: the daemon needs a new one (and SIGHUP), unless the "
                 "clock here is wrong",
                 ends);
    else if (*begins && strcmp(begins, today) > 0)
        snprintf(out, size, "its certificate is valid from %.40s on: is the clock here right?", begins);
    else if (strstr(detail, "does not match"))
        snprintf(out, size, "use a name that its certificate is made for, or have one made for this name");
    else if (ca_file)
        snprintf(
            out, size,
            "its certificate, signed by %.200s, is not vouched for by the CA file %.200s (GREEDYLR_CA_FILE, "
            "--ca-file): give the certificate of the authority that signed it",
            issuer, ca_file);
    else
        snprintf(
            out, size,
            "its certificate, signed by %.200s, is not trusted here: give the certificate of that authority "
            "as GREEDYLR_CA_FILE or --ca-file, or add it with update-ca-certificates",
            issuer);
}

static bool date_of(const char *text, int64_t *out)
{
    struct tm parts = {0};

    if (!strptime(text, "%Y-%m-%d %H:%M:%S", &parts)) return false;
    *out = timegm(&parts);
    return true;
}

bool transport_shown(void *curl, char *issuer, size_t size, int64_t *begins, int64_t *ends)
{
    snprintf(issuer, size, "%s", line_of(curl, "Issuer"));
    return date_of(line_of(curl, "Start Date"), begins) && date_of(line_of(curl, "Expire Date"), ends);
}
