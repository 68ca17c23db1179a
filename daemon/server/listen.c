/* Resolve, bind, listen; every failure names the address and what to do. */
#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

int listen_split(const char *address, char *host, size_t cap, uint16_t *port, struct error *err)
{
    const char *colon = strrchr(address, ':');
    const char *begin = address, *end = colon;
    char *rest;
    unsigned long number;

    if (!colon || colon == address)
        return error_set(err, ST_CONFIG_INVALID,
                         "%s: not an address; use ADDRESS:PORT, [IPV6]:PORT or unix:/PATH", address);
    if (*address == '[') {
        begin++;
        end--;
        if (end <= begin || *end != ']')
            return error_set(err, ST_CONFIG_INVALID, "%s: an IPv6 address goes in brackets: [::1]:8571",
                             address);
    } else if (memchr(address, ':', (size_t)(colon - address))) {
        return error_set(err, ST_CONFIG_INVALID, "%s: an IPv6 address goes in brackets: [::1]:8571", address);
    }
    if ((size_t)(end - begin) >= cap)
        return error_set(err, ST_CONFIG_INVALID, "%.40s...: the address is too long", address);
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';

    errno = 0;
    number = strtoul(colon + 1, &rest, 10);
    if (colon[1] < '0' || colon[1] > '9' || *rest || errno || number > 65535)
        return error_set(err, ST_CONFIG_INVALID, "%s: the port is a number from 0 to 65535 (0 picks one)",
                         address);
    *port = (uint16_t)number;
    return 0;
}

void listen_print(const union listen_address *address, int with_port, char *out, size_t cap)
{
    const struct in6_addr *six = &address->six.sin6_addr;
    bool is_six = address->any.sa_family == AF_INET6, mapped = is_six && IN6_IS_ADDR_V4MAPPED(six);
    char text[INET6_ADDRSTRLEN] = "?";
    uint16_t port = ntohs(is_six ? address->six.sin6_port : address->four.sin_port);

    if (!is_six && address->any.sa_family != AF_INET) {
        snprintf(out, cap, "unix");
        return;
    }
    if (mapped)
        (void)inet_ntop(AF_INET, six->s6_addr + 12, text, sizeof(text));
    else if (is_six)
        (void)inet_ntop(AF_INET6, six, text, sizeof(text));
    else
        (void)inet_ntop(AF_INET, &address->four.sin_addr, text, sizeof(text));
    if (!with_port)
        snprintf(out, cap, "%s", text);
    else
        snprintf(out, cap, is_six && !mapped ? "[%s]:%u" : "%s:%u", text, (unsigned)port);
}

int listen_name(int fd, char out[LISTEN_ADDRESS_MAX], struct error *err)
{
    union {
        union listen_address ip;
        struct sockaddr_un un;
    } address = {0};
    socklen_t len = sizeof(address);

    if (getsockname(fd, &address.ip.any, &len))
        return error_set(err, ST_CONFIG_INVALID, "the listening socket: %s", strerror(errno));
    if (address.ip.any.sa_family == AF_UNIX)
        snprintf(out, LISTEN_ADDRESS_MAX, "unix:%s", address.un.sun_path);
    else
        listen_print(&address.ip, 1, out, LISTEN_ADDRESS_MAX);
    return 0;
}

void listen_local(int fd, char out[INET6_ADDRSTRLEN])
{
    union listen_address address = {0};
    socklen_t len = sizeof(address);
    bool is_any = false;

    (void)getsockname(fd, &address.any, &len);
    if (address.any.sa_family == AF_INET) is_any = address.four.sin_addr.s_addr == htonl(INADDR_ANY);
    if (address.any.sa_family == AF_INET6) is_any = IN6_IS_ADDR_UNSPECIFIED(&address.six.sin6_addr);
    listen_print(&address, 0, out, INET6_ADDRSTRLEN);
    if (is_any) *out = '\0';
}

static int open_tcp(const char *address, int *out, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found = NULL;
    char host[LISTEN_ADDRESS_MAX], service[8];
    uint16_t port;
    int fd, one = 1, rc;

    if (listen_split(address, host, sizeof(host), &port, err)) return (int)err->status;
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    rc = getaddrinfo(host, service, &hints, &found);
    if (rc) return error_set(err, ST_CONFIG_INVALID, "%s: %s", address, gai_strerror(rc));

    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) goto failed;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one))) goto failed;
    if (found->ai_family == AF_INET6) {
        int only = strcmp(host, "::") != 0; /* "[::]" is every address, IPv4 too */
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only))) goto failed;
    }
    if (bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, BACKLOG)) goto failed;
    freeaddrinfo(found);
    *out = fd;
    return 0;

failed:
    rc = errno;
    if (fd >= 0) close(fd);
    freeaddrinfo(found);
    return error_set(err, ST_CONFIG_INVALID, "%s: %s%s", address, strerror(rc),
                     rc == EADDRINUSE ? "; is another greedylrd running?  Port 0 picks a free one" : "");
}

/* Removes a socket file that a dead daemon left; leaves everything else alone. */
static int remove_stale(const struct sockaddr_un *where, struct error *err)
{
    struct stat info;
    int fd, rc;

    if (lstat(where->sun_path, &info)) return 0;
    if (!S_ISSOCK(info.st_mode))
        return error_set(err, ST_CONFIG_INVALID,
                         "unix:%s: exists and is not a socket; remove it or choose another path",
                         where->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return error_set(err, ST_CONFIG_INVALID, "unix:%s: %s", where->sun_path, strerror(errno));
    rc = connect(fd, (const struct sockaddr *)where, sizeof(*where)) ? errno : 0;
    close(fd);
    if (rc != ECONNREFUSED)
        return error_set(err, ST_CONFIG_INVALID, "unix:%s: %s", where->sun_path,
                         rc && rc != EAGAIN ? strerror(rc) : "another process answers there");
    if (unlink(where->sun_path))
        return error_set(err, ST_CONFIG_INVALID, "unix:%s: stale, and cannot be removed: %s", where->sun_path,
                         strerror(errno));
    return 0;
}

static int open_unix(const char *path, int *out, struct error *err)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    mode_t mask;
    int fd, rc;

    if (!*path || strlen(path) >= sizeof(where.sun_path))
        return error_set(err, ST_CONFIG_INVALID, "unix:%s: the path has to have 1 to %zu bytes", path,
                         sizeof(where.sun_path) - 1);
    strcpy(where.sun_path, path);
    if (remove_stale(&where, err)) return (int)err->status;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return error_set(err, ST_CONFIG_INVALID, "unix:%s: %s", path, strerror(errno));
    mask = umask(0117); /* from the first moment 0660 */
    rc = bind(fd, (const struct sockaddr *)&where, sizeof(where)) || listen(fd, BACKLOG) ? errno : 0;
    (void)umask(mask);
    if (rc) {
        close(fd);
        return error_set(err, ST_CONFIG_INVALID, "unix:%s: %s", path, strerror(rc));
    }
    *out = fd;
    return 0;
}

int listen_open(const char *address, int *fd, struct error *err)
{
    return strncmp(address, "unix:", 5) ? open_tcp(address, fd, err) : open_unix(address + 5, fd, err);
}
