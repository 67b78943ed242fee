// SPDX-License-Identifier: Apache-2.0
// The device fds that the service manager keeps for the next life of this process (FDSTORE, LISTEN_FDS). Without a
// service manager everything here does nothing.
#ifndef LS_AGENT_NOTIFY_H
#define LS_AGENT_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/notify.h"
#include "common/schedule.h"

#define LS_KEPT_MAX 512

struct ls_kept {
	unsigned n;
	struct {
		char migration[LS_NAME_MAX], device[LS_NAME_MAX];
		int fd; // -1: taken
	} at[LS_KEPT_MAX];
};

// Once, before any thread: takes over what LISTEN_FDS names "MIGRATION/DEVICE"; other fds are closed and removed
// from the store. Clears the environment, so that no child believes it.
void ls_kept_open(struct ls_kept *k);
int ls_kept_take(struct ls_kept *k, const char *migration, const char *device); // -1: none
// Closes what nobody took, and removes it from the store.
void ls_kept_close_rest(struct ls_kept *k);

// Keeps a copy of the fd. False: there is no store.
bool ls_notify_keep(const char *migration, const char *device, int fd);
void ls_notify_drop(const char *migration, const char *device);

#endif
