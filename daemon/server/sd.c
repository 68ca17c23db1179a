/* Over libsystemd where it was there at build time; every call is harmless when no service manager listens.
 */
#include "server/sd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#ifdef HAVE_SYSTEMD
void sd_ready(void)
{
    (void)sd_notify(0, "READY=1");
}

void sd_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void sd_status(const char *fmt, ...)
{
    static char said[512];
    char text[sizeof(said)] = "STATUS=";
    va_list args;

    va_start(args, fmt);
    vsnprintf(text + 7, sizeof(text) - 7, fmt, args);
    va_end(args);
    text[strcspn(text, "\n")] = '\0'; /* what is behind would be other variables */
    if (!strcmp(text, said)) return;
    memcpy(said, text, sizeof(said));
    (void)sd_notify(0, text);
}

uint64_t sd_watchdog_interval_ms(void)
{
    uint64_t us = 0;

    return sd_watchdog_enabled(0, &us) > 0 ? us / 2000 : 0;
}

void sd_alive(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

int sd_listen_fd(int *fd, struct error *err)
{
    int n = sd_listen_fds(1);

    *fd = -1;
    if (n <= 0) return 0;
    if (n > 1)
        return error_set(err, ST_CONFIG_INVALID, "the service manager passed %d sockets; one is served", n);
    if (sd_is_socket(SD_LISTEN_FDS_START, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
        return error_set(err, ST_CONFIG_INVALID,
                         "the service manager passed a socket that is not a listening stream socket");
    *fd = SD_LISTEN_FDS_START;
    return 0;
}
#else
void sd_ready(void)
{
}

void sd_stopping(void)
{
}

void sd_status(const char *fmt, ...)
{
    (void)fmt;
}

uint64_t sd_watchdog_interval_ms(void)
{
    return 0;
}

void sd_alive(void)
{
}

int sd_listen_fd(int *fd, struct error *err)
{
    (void)err;
    *fd = -1;
    return 0;
}
#endif
