/* What is wrong with a daemon's certificate, for people. */
#ifndef GREEDYLR_LIB_TRANSPORT_TLS_H
#define GREEDYLR_LIB_TRANSPORT_TLS_H

#include <stddef.h>

/* Writes a remedy for the handle's last request, which failed because the certificate was refused, into out
 * (size bytes).  curl: a CURL *, with CURLOPT_CERTINFO.  detail: what libcurl said; ca_file: the authorities
 * that count, NULL for the system's. */
void transport_untrusted(void *curl, const char *detail, const char *ca_file, char *out, size_t size);

#endif
