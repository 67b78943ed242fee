// SPDX-License-Identifier: Apache-2.0
// vfio_poke PATH read REGION OFFSET LENGTH | PATH write REGION OFFSET HEX | PATH fill REGION | PATH open | PATH dup
// A hand on any VFIO device, opened as the agent opens it. Bytes go one by one, as to a serial port. `open` says how, or who
// keeps it from being opened; `dup` leaves a dup of its fds with a process that knows nothing of it, and prints its pid.
// `fill` writes a byte into every page of a region, says so, and holds the device until its input ends.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/compat_vfio.h"
#include "agent/vfio.h"

static int open_device(const char *path, struct ls_vfio_opening *o)
{
	struct ls_error err = {0};
	char text[512];
	int r = ls_vfio_open_cdev(path, o, &err);
	if (r > 0)
		r = ls_vfio_open_group(path, o, &err);
	if (r < 0)
		printf("%s\n", ls_error_text(&err, text, sizeof(text)));
	return r;
}

// What a careless process forgets to set on exec.
static void keep_on_exec(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

static void leave_a_dup(const struct ls_vfio_opening *o)
{
	keep_on_exec(o->device);
	keep_on_exec(o->group);
	keep_on_exec(o->iommufd);
	pid_t pid = fork();
	if (pid > 0)
		printf("%d\n", (int)pid);
	if (pid != 0)
		return;
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	execl("/bin/sleep", "sleep", "1000", NULL);
	_exit(1);
}

static int poke(const struct ls_vfio_opening *o, char **word)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = (unsigned)atoi(word[1])};
	if (ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
		return 1;
	off_t at = (off_t)info.offset + atoi(word[2]);
	unsigned char byte;
	if (strcmp(word[0], "read") == 0) {
		for (int n = atoi(word[3]); n > 0; n--) {
			if (pread(o->device, &byte, 1, at) != 1)
				return 1;
			printf("%02x", byte);
		}
		printf("\n");
		return 0;
	}
	for (const char *p = word[3]; p[0] && p[1]; p += 2) {
		char two[3] = {p[0], p[1], 0};
		byte = (unsigned char)strtoul(two, NULL, 16);
		if (pwrite(o->device, &byte, 1, at) != 1)
			return 1;
	}
	return 0;
}

static int fill(const struct ls_vfio_opening *o, unsigned region)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = region};
	// A BAR answers when its decode is on: the command register's memory bit.
	struct vfio_region_info config = {.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX};
	if (ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0 ||
	    ioctl(o->device, VFIO_DEVICE_GET_REGION_INFO, &config) < 0 ||
	    pwrite(o->device, "\2", 1, (off_t)config.offset + 4) != 1)
		return 1;
	for (unsigned long long at = 0; at < info.size; at += 4096)
		if (pwrite(o->device, "x", 1, (off_t)(info.offset + at)) != 1)
			return 1;
	printf("filled\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

int main(int argc, char **argv)
{
	struct ls_vfio_opening o;
	if (argc < 3 || argc > 6 || argc == 5) {
		fprintf(stderr,
			"usage: vfio_poke PATH read REGION OFFSET LENGTH | write REGION OFFSET HEX | fill REGION | open | dup\n");
		return 2;
	}
	if (open_device(argv[1], &o) < 0)
		return 1;
	printf("%s", argc == 3 && strcmp(argv[2], "dup") != 0 ? (o.iommufd >= 0 ? "open by its own file\n" : "open by its group\n") : "");
	fflush(stdout);
	if (argc == 3 && strcmp(argv[2], "dup") == 0)
		leave_a_dup(&o);
	int status = argc == 6 ? poke(&o, argv + 2) : argc == 4 ? fill(&o, (unsigned)atoi(argv[3])) : 0;
	ls_vfio_opening_close(&o);
	return status;
}
