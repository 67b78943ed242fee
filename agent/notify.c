// SPDX-License-Identifier: Apache-2.0
#include "agent/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"

#define LISTEN_FDS_START 3

bool ls_notify_keep(const char *migration, const char *device, int fd)
{
	char text[2 * LS_NAME_MAX + 64];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s/%s\nFDPOLL=0", migration, device);
	int r = fd < 0 ? -EBADF : ls_notify_send(text, fd);
	if (r < 0 && r != -ENOENT)
		ls_log(LS_LOG_WARN, "fdstore.failed", "migration=%s device=%s cause=\"%s\"", migration, device,
		       strerror(-r));
	return r == 0;
}

void ls_notify_drop(const char *migration, const char *device)
{
	ls_notify("FDSTOREREMOVE=1\nFDNAME=%s/%s", migration, device);
}

static bool split(const char *name, size_t len, struct ls_kept *k, int fd)
{
	const char *slash = memchr(name, '/', len);
	size_t first = slash ? (size_t)(slash - name) : 0, second = slash ? len - first - 1 : 0;

	if (!first || !second || first >= LS_NAME_MAX || second >= LS_NAME_MAX || k->n == LS_KEPT_MAX)
		return false;
	memcpy(k->at[k->n].migration, name, first);
	memcpy(k->at[k->n].device, slash + 1, second);
	if (!ls_name_valid(k->at[k->n].migration) || !ls_name_valid(k->at[k->n].device)) {
		memset(&k->at[k->n], 0, sizeof(k->at[k->n]));
		return false;
	}
	k->at[k->n++].fd = fd;
	return true;
}

void ls_kept_open(struct ls_kept *k)
{
	const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID"), *name = getenv("LISTEN_FDNAMES");
	int n = count && pid && strtoul(pid, NULL, 10) == (unsigned long)getpid() ? atoi(count) : 0;

	memset(k, 0, sizeof(*k));
	for (int i = 0; i < n; i++) {
		size_t len = name ? strcspn(name, ":") : 0;
		int fd = LISTEN_FDS_START + i;
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		if (!split(name, len, k, fd)) {
			ls_log(LS_LOG_WARN, "fdstore.unknown", "name=%.*s", (int)len, name ? name : "");
			if (len)
				ls_notify("FDSTOREREMOVE=1\nFDNAME=%.*s", (int)len, name);
			close(fd);
		}
		name = name && name[len] ? name + len + 1 : NULL;
	}
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
}

int ls_kept_take(struct ls_kept *k, const char *migration, const char *device)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->at[i].fd >= 0 && strcmp(k->at[i].migration, migration) == 0 &&
		    strcmp(k->at[i].device, device) == 0) {
			int fd = k->at[i].fd;
			k->at[i].fd = -1;
			return fd;
		}
	return -1;
}

static bool taken(const struct ls_kept *k, unsigned of)
{
	for (unsigned i = 0; i < k->n; i++)
		if (i != of && strcmp(k->at[i].migration, k->at[of].migration) == 0 &&
		    strcmp(k->at[i].device, k->at[of].device) == 0)
			return true; // the store knows names only: kept twice, dropped twice
	return false;
}

void ls_kept_close_rest(struct ls_kept *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		if (k->at[i].fd < 0)
			continue;
		ls_log(LS_LOG_WARN, "fdstore.stale", "migration=%s device=%s", k->at[i].migration, k->at[i].device);
		if (!taken(k, i))
			ls_notify_drop(k->at[i].migration, k->at[i].device);
		close(k->at[i].fd);
		k->at[i].fd = -1;
	}
}
