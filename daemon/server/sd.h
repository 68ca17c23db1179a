/* The service manager: readiness, status, watchdog, inherited sockets.  Without systemd (at build or run
 * time) all of it does nothing. */
#ifndef GREEDYLRD_SERVER_SD_H
#define GREEDYLRD_SERVER_SD_H

#include "core/status.h"

#include <stdint.h>

void sd_ready(void);
void sd_stopping(void);
/* One line for people (systemctl status), cut at a newline; said again only once it differs.  One thread. */
void sd_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* How often to call sd_alive, in milliseconds (half of WatchdogSec); 0: never. */
uint64_t sd_watchdog_interval_ms(void);
void sd_alive(void);

/* The listening socket passed by socket activation, close-on-exec; -1: none.  ST_CONFIG_INVALID if more than
 * one was passed or it is not a listening stream socket.  To be called once, before other threads start. */
int sd_listen_fd(int *fd, struct error *err) WARN_UNUSED;

#endif
