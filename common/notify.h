// SPDX-License-Identifier: Apache-2.0
// What the service manager is told (NOTIFY_SOCKET, sd_notify(3)). Without one everything here does nothing.
#ifndef LS_COMMON_NOTIFY_H
#define LS_COMMON_NOTIFY_H

#include <stdint.h>

// Lines of sd_notify(3).
void ls_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
// The same with an fd attached; -1: none. ENOENT: nobody listens.
int ls_notify_send(const char *text, int fd);
// How often WATCHDOG=1 is wanted, ms; 0: not.
uint64_t ls_notify_watchdog_ms(void);

#endif
