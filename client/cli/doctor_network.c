/* From the address to an open connection, without a word of the protocol: what resolvers, proxies, routes and
 * firewalls do. */
#include "cli/doctor.h"

#include "cli/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_MS 3000

static const char *set_in_environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* ---- proxies ---- */

/* Whether a list like "localhost,.example.org,*" has the host. */
static bool is_listed(const char *list, const char *host)
{
    size_t len = strlen(host);

    for (size_t n; list && *list; list += n, list += strspn(list, ", ")) {
        n = strcspn(list, ", ");
        const char *name = *list == '.' ? list + 1 : list;
        size_t own = n - (size_t)(name - list);
        if (n == 1 && *list == '*') return true;
        if (own && own <= len && !strncasecmp(host + len - own, name, own) &&
            (own == len || host[len - own - 1] == '.'))
            return true;
    }
    return false;
}

/* The variable that sends a request to this place elsewhere. */
static const char *proxy_variable(const struct doctor *d)
{
    static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    static const char *const secure[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    const char *const *names = d->place.tls ? secure : plain;

    for (int i = 0; i < (d->place.tls ? 4 : 3); i++) {
        if (set_in_environment(names[i])) return names[i];
    }
    return NULL;
}

/* A proxy's URL may have a password in front of the host. */
static const char *without_password(const char *url)
{
    const char *at = strrchr(url, '@');

    return at ? at + 1 : url;
}

static const char *proxy_in_use(const struct doctor *d)
{
    const char *exempt = set_in_environment("no_proxy"), *name = proxy_variable(d);

    if (!exempt) exempt = set_in_environment("NO_PROXY");
    return d->place.direct || !name || is_listed(exempt, d->place.host) ? NULL : name;
}

bool doctor_proxy(struct doctor *d)
{
    const char *name = proxy_in_use(d);

    if (name)
        doctor_say(d, "proxy", VERDICT_WARN,
                   "If the daemon is to be reached directly, add its host to no_proxy; a proxy may hold back "
                   "what greedylr watch waits for.",
                   "requests go through %s, says %s", without_password(getenv(name)), name);
    else if (d->place.direct)
        doctor_say(d, "proxy", VERDICT_OK, NULL, "none: the daemon is on this machine");
    else
        doctor_say(d, "proxy", VERDICT_OK, NULL, "none: %s",
                   proxy_variable(d) ? "no_proxy has the host" : "no variable names one");
    return true;
}

/* ---- names ---- */

static struct addrinfo *resolve(const struct doctor *d, int *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;

    *why = getaddrinfo(d->place.host, d->place.port, &hints, &found);
    return *why ? NULL : found;
}

static void put_address(const struct addrinfo *at, char *out, size_t size)
{
    if (getnameinfo(at->ai_addr, at->ai_addrlen, out, (socklen_t)size, NULL, 0, NI_NUMERICHOST))
        snprintf(out, size, "?");
}

bool doctor_name(struct doctor *d)
{
    char list[400] = "", one[INET6_ADDRSTRLEN + 20];
    struct addrinfo *found;
    int why;

    if (d->place.socket) return true;
    if (proxy_in_use(d)) {
        doctor_say(d, "name", VERDICT_SKIP, NULL, "the proxy looks up %s", d->place.host);
        return true;
    }
    found = resolve(d, &why);
    if (!found) {
        doctor_say(d, "name", VERDICT_FAIL,
                   why == EAI_AGAIN
                       ? "No name server answered: try again, or give an address instead of a name."
                       : "Check the host's spelling in --url or GREEDYLR_URL, and /etc/hosts or DNS.",
                   "%s has no address: %s", d->place.host, gai_strerror(why));
        return false;
    }
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        size_t len = strlen(list);
        put_address(at, one, sizeof(one));
        if (len + strlen(one) + 3 < sizeof(list))
            snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", one);
    }
    freeaddrinfo(found);
    if (strcmp(list, d->place.host))
        doctor_say(d, "name", VERDICT_OK, NULL, "%s is %s", d->place.host, list);
    else
        doctor_say(d, "name", VERDICT_OK, NULL, "%s is an address", d->place.host);
    return true;
}

/* ---- connections ---- */

/* 0, or an errno. */
static int try_connect(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof(error);

    if (fd < 0) return errno;
    if (connect(fd, address, len)) error = errno;
    if (error == EINPROGRESS) {
        int n = poll(&wait, 1, CONNECT_MS);
        error = n > 0 ? 0 : n ? errno : ETIMEDOUT;
        if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)) error = errno;
    }
    close(fd);
    return error;
}

static bool connect_socket(struct doctor *d)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = d->place.socket;
    int error = ENAMETOOLONG;

    if (strlen(path) < sizeof(address.sun_path)) {
        strcpy(address.sun_path, path);
        error = try_connect((struct sockaddr *)&address, sizeof(address));
    }
    if (!error) {
        doctor_say(d, "connection", VERDICT_OK, NULL, "%s takes connections", path);
        return true;
    }
    doctor_say(
        d, "connection", VERDICT_FAIL,
        error == EACCES ? "Ask whoever runs the daemon for a place in the group that may use its socket."
        : error == ENAMETOOLONG
            ? "Have the socket made at a shorter path, below 108 bytes."
            : "Start greedylrd with --listen unix:PATH, or give the path where it listens with --url or "
              "GREEDYLR_URL.",
        "%s: %s", path, strerror(error));
    return false;
}

static const char *connect_remedy(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "Start it there with greedylrd --data-dir DIR, or give the port where it listens with --url "
               "or "
               "GREEDYLR_URL; beyond its own machine it listens only where --listen says so.";
    case ETIMEDOUT:
        return "A firewall drops it, or the host is down: have the port opened, or check the address.";
    case ENETUNREACH:
    case EHOSTUNREACH:
        return "There is no way to that address from here: check it, and this machine's network.";
    default: return "Check the address in --url or GREEDYLR_URL.";
    }
}

bool doctor_connect(struct doctor *d)
{
    char one[INET6_ADDRSTRLEN + 20] = "";
    struct addrinfo *found;
    int error = EHOSTUNREACH, why;

    if (d->place.socket) return connect_socket(d);
    if (proxy_in_use(d)) {
        doctor_say(d, "connection", VERDICT_SKIP, NULL, "the proxy makes it");
        return true;
    }
    found = resolve(d, &why);
    for (const struct addrinfo *at = found; at && error; at = at->ai_next) {
        put_address(at, one, sizeof(one));
        error = try_connect(at->ai_addr, at->ai_addrlen);
    }
    if (found) freeaddrinfo(found);
    if (error)
        doctor_say(d, "connection", VERDICT_FAIL, connect_remedy(error), "%s port %s: %s", one, d->place.port,
                   strerror(error));
    else
        doctor_say(d, "connection", VERDICT_OK, NULL, "%s port %s takes connections", one, d->place.port);
    return !error;
}
