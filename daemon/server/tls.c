/* Both files are read and checked against each other before anything changes; a reload swaps one pointer.
 * Handshakes that began before keep the pair that they hold a reference of. */
#include "server/tls.h"

#include "server/file_text.h"
#include "server/log.h"
#include "server/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)
#define DAY      86400

struct tls {
    char *cert_file, *key_file;
    struct tls_identity *identity;
};

/* ---- files ---- */

static void text_clear(gnutls_datum_t *text)
{
    if (text->data) explicit_bzero(text->data, text->size);
    free(text->data);
    text->data = NULL;
}

static int check_mode(const char *flag, const char *path, mode_t mode, struct error *err)
{
    if (!(mode & (S_IWGRP | S_IROTH | S_IWOTH)) || file_is_credential(path)) return 0;
    return error_set(err, ST_CONFIG_INVALID,
                     "%s %s: %s; a key is for its owner only (chmod 600), or for a group that reads it "
                     "(chmod 640)",
                     flag, path, mode & S_IROTH ? "everybody may read it" : "others may write it");
}

static int fill(int fd, const char *flag, const char *path, gnutls_datum_t *out, struct error *err)
{
    char *text;
    size_t len = 0;
    int no = file_text(fd, FILE_MAX, &text, &len);

    out->data = (unsigned char *)text;
    out->size = (unsigned)len;
    if (!no) return 0;
    if (no == ENOMEM) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (no == EFBIG)
        return error_set(err, ST_CONFIG_INVALID, "%s %s: larger than any certificate or key", flag, path);
    return error_set(err, ST_CONFIG_INVALID, "%s %s: %s", flag, path, strerror(no));
}

static int read_file(const char *flag, const char *path, bool secret, gnutls_datum_t *out, struct error *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0; /* a pipe must not hold up the loop */

    if (fd < 0 || fstat(fd, &info)) {
        rc = error_set(err, ST_CONFIG_INVALID, "%s %s: %s", flag, path, strerror(errno));
        if (fd >= 0) close(fd);
        return rc;
    }
    if (!S_ISREG(info.st_mode)) rc = error_set(err, ST_CONFIG_INVALID, "%s %s: not a file", flag, path);
    if (!rc && secret) rc = check_mode(flag, path, info.st_mode, err);
    if (!rc) rc = fill(fd, flag, path, out, err);
    close(fd);
    return rc;
}

/* ---- a pair ---- */

static void identity_free(struct tls_identity *identity)
{
    for (unsigned i = 0; identity->certs && i < identity->n; i++)
        gnutls_pcert_deinit(&identity->certs[i]);
    free(identity->certs);
    if (identity->key) gnutls_privkey_deinit(identity->key);
    free(identity);
}

void tls_release(struct tls_identity *identity)
{
    if (identity && !--identity->references) identity_free(identity);
}

static int take_chain(struct tls_identity *identity, gnutls_x509_crt_t *chain, unsigned n, struct error *err)
{
    size_t size = sizeof(identity->subject);

    identity->certs = calloc(n, sizeof(*identity->certs));
    if (!identity->certs) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    for (unsigned i = 0; i < n; i++) {
        int64_t expires = gnutls_x509_crt_get_expiration_time(chain[i]);

        if (gnutls_pcert_import_x509(&identity->certs[i], chain[i], 0))
            return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
        identity->n++;
        if (!i || expires < identity->expires) identity->expires = expires;
    }
    identity->begins = gnutls_x509_crt_get_activation_time(chain[0]);
    if (gnutls_x509_crt_get_dn(chain[0], identity->subject, &size) || !*identity->subject)
        strcpy(identity->subject, "(no subject)");
    return 0;
}

#define KEY_ID_MAX 64

/* Whether the certificate is about this public key. */
static bool is_of_key(gnutls_x509_crt_t cert, const unsigned char *id, size_t len)
{
    unsigned char own[KEY_ID_MAX];
    size_t size = sizeof(own);

    return !gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, own, &size) && size == len &&
           !memcmp(own, id, len);
}

static int check_match(const struct tls *tls, gnutls_x509_crt_t *chain, unsigned n, gnutls_privkey_t key,
                       struct error *err)
{
    unsigned char id[KEY_ID_MAX];
    size_t len = sizeof(id);
    gnutls_pubkey_t public;
    int rc;

    if (gnutls_pubkey_init(&public)) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    rc = gnutls_pubkey_import_privkey(public, key, 0, 0);
    if (!rc) rc = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, id, &len);
    gnutls_pubkey_deinit(public);
    if (rc) return error_set(err, ST_CONFIG_INVALID, "--tls-key %s: %s", tls->key_file, gnutls_strerror(rc));
    if (is_of_key(chain[0], id, len)) return 0;
    for (unsigned i = 1; i < n; i++) {
        if (is_of_key(chain[i], id, len))
            return error_set(err, ST_CONFIG_INVALID,
                             "--tls-cert %s: the certificate of the key is number %u; it has to come first, "
                             "then its chain",
                             tls->cert_file, i + 1);
    }
    return error_set(
        err, ST_CONFIG_INVALID,
        "--tls-key %s: not the key of the certificate in %s; give the two that were made together",
        tls->key_file, tls->cert_file);
}

static int load_key(const struct tls *tls, gnutls_privkey_t *out, struct error *err)
{
    gnutls_datum_t text = {0};
    int rc = read_file("--tls-key", tls->key_file, true, &text, err);

    if (!rc && gnutls_privkey_init(out)) rc = error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (!rc) {
        int found = gnutls_privkey_import_x509_raw(*out, &text, GNUTLS_X509_FMT_PEM, NULL, 0);
        bool encrypted = strstr((const char *)text.data, "ENCRYPTED") != NULL;
        if (found)
            rc = error_set(err, ST_CONFIG_INVALID,
                           encrypted ? "--tls-key %s: is encrypted, and nobody is asked for its passphrase; "
                                       "store it without (openssl pkey -in FILE -out FILE)"
                                     : "--tls-key %s: not a private key in PEM form (%s)",
                           tls->key_file, gnutls_strerror(found));
    }
    text_clear(&text);
    return rc;
}

static int load_chain(const struct tls *tls, gnutls_x509_crt_t **chain, unsigned *n, struct error *err)
{
    gnutls_datum_t text = {0};
    int rc = read_file("--tls-cert", tls->cert_file, false, &text, err);

    if (!rc) {
        int found = gnutls_x509_crt_list_import2(chain, n, &text, GNUTLS_X509_FMT_PEM, 0);
        if (found < 0 || !*n)
            rc = error_set(err, ST_CONFIG_INVALID, "--tls-cert %s: not certificates in PEM form (%s)",
                           tls->cert_file, found < 0 ? gnutls_strerror(found) : "none found");
        else if (*n > TLS_CHAIN_MAX)
            rc = error_set(err, ST_CONFIG_INVALID,
                           "--tls-cert %s: has %u certificates, at most %d fit; give the daemon's and the "
                           "chain above it only",
                           tls->cert_file, *n, TLS_CHAIN_MAX);
    }
    text_clear(&text);
    return rc;
}

static int load(const struct tls *tls, struct tls_identity **out, struct error *err)
{
    struct tls_identity *identity = calloc(1, sizeof(*identity));
    gnutls_x509_crt_t *chain = NULL;
    unsigned n = 0;
    int rc;

    if (!identity) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    identity->references = 1;
    rc = load_chain(tls, &chain, &n, err);
    if (!rc) rc = load_key(tls, &identity->key, err);
    if (!rc) rc = check_match(tls, chain, n, identity->key, err);
    if (!rc) rc = take_chain(identity, chain, n, err);
    for (unsigned i = 0; i < n; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    if (rc)
        identity_free(identity);
    else
        *out = identity;
    return rc;
}

/* ---- the pair in force ---- */

int tls_open(const char *cert_file, const char *key_file, struct tls **out, struct error *err)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    int rc;

    if (!tls) return error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    tls->cert_file = strdup(cert_file);
    tls->key_file = strdup(key_file);
    rc = tls->cert_file && tls->key_file ? load(tls, &tls->identity, err)
                                         : error_set(err, ST_OUT_OF_MEMORY, "out of memory");
    if (rc)
        tls_free(tls);
    else
        *out = tls;
    return rc;
}

int tls_reload(struct tls *tls, struct error *err)
{
    struct tls_identity *fresh;
    int rc = load(tls, &fresh, err);

    if (rc) return rc;
    tls_release(tls->identity);
    tls->identity = fresh;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (!tls) return;
    tls_release(tls->identity);
    free(tls->cert_file);
    free(tls->key_file);
    free(tls);
}

struct tls_identity *tls_take(struct tls *tls)
{
    tls->identity->references++;
    return tls->identity;
}

const char *tls_library(void)
{
    return gnutls_check_version(NULL);
}

void tls_report(const struct tls *tls, const char *event)
{
    const struct tls_identity *identity = tls->identity;
    int64_t now = time(NULL), left = identity->expires - now;
    const char *note = NULL;
    char expires[32];
    struct tm parts;

    strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&(time_t){identity->expires}, &parts));
    if (left <= 0)
        note = "it has expired, and clients refuse it; put a new one in place and send SIGHUP";
    else if (identity->begins > now)
        note = "it is not valid yet, and clients refuse it; is the clock right?";
    else if (left < TLS_WARN_DAYS * DAY)
        note = "it expires soon; put a new one in place and send SIGHUP";
    metrics_set(METRIC_TLS_CERTIFICATE_EXPIRY, 0, (double)identity->expires);
    log_event(note ? LOG_WARNING : LOG_INFO, event,
              (struct log_field[]){log_str("file", tls->cert_file), log_str("subject", identity->subject),
                                   log_str("expires", expires), log_i64("days_left", left / DAY),
                                   log_u64("chain", identity->n), log_str("note", note), log_end()});
}
