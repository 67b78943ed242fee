// SPDX-License-Identifier: Apache-2.0
// Who holds a file open? For the operator who must find the process that keeps a device busy: a dup that was forgotten
// keeps it as much as the fd it was made of (K10).
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/vfio.h"

static bool holds(const char *pid, const char *node)
{
	char dir[64], link[340], target[256];
	bool found = false;
	snprintf(dir, sizeof(dir), "/proc/%.20s/fd", pid);
	DIR *d = opendir(dir);
	for (struct dirent *e; d && !found && (e = readdir(d));) {
		snprintf(link, sizeof(link), "%s/%s", dir, e->d_name);
		ssize_t n = readlink(link, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		found = strcmp(target, node) == 0;
	}
	if (d)
		closedir(d);
	return found;
}

static void command_of(const char *pid, char *ret, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	FILE *f = fopen(path, "re");
	if (!f || !fgets(ret, (int)size, f))
		snprintf(ret, size, "process");
	ret[strcspn(ret, "\n")] = 0;
	if (f)
		fclose(f);
}

void ls_vfio_holder(const char *node, char *ret, size_t size)
{
	char first[64] = "", command[32];
	unsigned n = 0;
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d));) {
		if (!isdigit((unsigned char)e->d_name[0]) || !holds(e->d_name, node) || n++)
			continue;
		command_of(e->d_name, command, sizeof(command));
		snprintf(first, sizeof(first), "%s (%.20s)", command, e->d_name);
	}
	if (d)
		closedir(d);
	if (n > 1)
		snprintf(ret, size, "%s, and %u more", first, n - 1);
	else
		snprintf(ret, size, "%s", first);
}
