/* Messages to the service manager (systemd, Type=notify), without its library: one datagram to the
 * socket named by NOTIFY_SOCKET. Without that variable nothing happens. */
#ifndef COORDINATOR_SD_NOTIFY_H
#define COORDINATOR_SD_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1". Errors are ignored: nobody could act on them. */
void sd_notify_send(const char *state);
/* How often the manager wants WATCHDOG=1 of this process (half of its limit); 0: it does not. */
int64_t sd_notify_watchdog_ms(void);

#endif
