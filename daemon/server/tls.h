/* The certificate and the key that the daemon shows to its peers, from two PEM files that may change while it
 * runs.  The handshake itself is the HTTP library's, see http_tls.c.  Loop thread only. */
#ifndef GREEDYLRD_SERVER_TLS_H
#define GREEDYLRD_SERVER_TLS_H

#include "core/status.h"

#include <stdint.h>

struct gnutls_pcert_st;
struct gnutls_privkey_st;

struct tls;

/* One certificate with its chain, and its key.  Counted: a handshake goes on with the one it began with. */
struct tls_identity {
    unsigned references;
    unsigned n;                    /* certificates: the daemon's own, then those above it */
    struct gnutls_pcert_st *certs; /* [n] */
    struct gnutls_privkey_st *key;
    int64_t begins, expires; /* seconds since 1970, of the first to expire */
    char subject[128];       /* of the daemon's own, for people */
};

#define TLS_CHAIN_MAX 16

/* cert_file: the daemon's certificate first, then the chain above it; key_file: its key, not encrypted, and
 * not readable by everybody (what the service manager hands over in $CREDENTIALS_DIRECTORY is taken as it
 * is).  Both names are copied.  A certificate that has expired is taken; tls_report warns of it.
 * ST_CONFIG_INVALID names the option, the file, what is wrong and what to do. */
int tls_open(const char *cert_file, const char *key_file, struct tls **out, struct error *err) WARN_UNUSED;
/* Reads both files again.  At a failure everything stays as it was. */
int tls_reload(struct tls *tls, struct error *err) WARN_UNUSED;
/* After the server has closed. */
void tls_free(struct tls *tls);

/* Version of the TLS library at run time. */
const char *tls_library(void);

/* Says in the log which certificate is in force, with a warning if it expires within TLS_WARN_DAYS; sets its
 * metric. event: "tls_certificate", ... */
#define TLS_WARN_DAYS 14
void tls_report(const struct tls *tls, const char *event);

/* The one in force, for a handshake that begins. */
struct tls_identity *tls_take(struct tls *tls);
void tls_release(struct tls_identity *identity); /* NULL: nothing */

#endif
