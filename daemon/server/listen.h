/* Listening sockets: TCP and Unix. */
#ifndef GREEDYLRD_SERVER_LISTEN_H
#define GREEDYLRD_SERVER_LISTEN_H

#include "core/status.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define LISTEN_ADDRESS_MAX 160

/* An address of ours or of a peer; of a Unix socket only the family. */
union listen_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

/* Opens a non-blocking, close-on-exec listening socket on address (see http_listen).  Non-negative *fd, or
 * ST_CONFIG_INVALID. */
int listen_open(const char *address, int *fd, struct error *err) WARN_UNUSED;

/* What fd is bound to, as http_server_address says it. */
int listen_name(int fd, char out[LISTEN_ADDRESS_MAX], struct error *err) WARN_UNUSED;

/* "127.0.0.1:80", "[::1]:80" or, without the port, "127.0.0.1", "::1"; "unix".  IPv4 inside IPv6 is printed
 * as IPv4. */
void listen_print(const union listen_address *address, int with_port, char *out, size_t cap);

/* The local address of fd, without a port, or "unix"; "" if fd listens on any address. */
void listen_local(int fd, char out[INET6_ADDRSTRLEN]);

/* Splits "HOST:PORT" and "[HOST]:PORT".  ST_CONFIG_INVALID says what is wrong. */
int listen_split(const char *address, char *host, size_t cap, uint16_t *port, struct error *err) WARN_UNUSED;

#endif
