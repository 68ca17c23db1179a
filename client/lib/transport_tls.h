/* What is wrong with a daemon's certificate, for people. */
#ifndef GREEDYLR_LIB_TRANSPORT_TLS_H
#define GREEDYLR_LIB_TRANSPORT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes a remedy for the handle's last request, which failed because the certificate was refused, into out
 * (size bytes).  curl: a CURL *, with CURLOPT_CERTINFO.  detail: what libcurl said; ca_file: the authorities
 * that count, NULL for the system's. */
void transport_untrusted(void *curl, const char *detail, const char *ca_file, char *out, size_t size);

/* What the certificate of the handle's last request says: who signed it, and its dates in seconds since 1970.
 * false: there is none, or its dates cannot be read. */
bool transport_shown(void *curl, char *issuer, size_t size, int64_t *begins, int64_t *ends);

#endif
