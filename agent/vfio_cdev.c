// SPDX-License-Identifier: Apache-2.0
// VFIO's device files: /dev/vfio/devices/vfioN, bound to an iommufd by exactly one opener. Everybody else gets a dup
// (K1).
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/compat_vfio.h"
#include "agent/vfio.h"

// "vfioN" from the folder that the core makes in the device's own.
static bool name_of(const char *path, char *ret, size_t size)
{
	char dir[PATH_MAX];
	bool found = false;
	if (snprintf(dir, sizeof(dir), "%s/vfio-dev", path) >= (int)sizeof(dir))
		return false;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && !found && (e = readdir(d));) {
		found = strncmp(e->d_name, "vfio", 4) == 0;
		if (found)
			snprintf(ret, size, "%.60s", e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}

static int cannot_open(const char *node, int error, struct ls_error *err)
{
	return ls_fail(err, error == EACCES || error == EPERM ? LS_E_PERMISSION : LS_E_DEVICE_ABSENT, error,
		       "cannot open %s", node);
}

// The device's file; false: this kernel or this device has none.
static bool file_of(const char *path, char *node, size_t size)
{
	char name[64];
	if (!name_of(path, name, sizeof(name)))
		return false;
	snprintf(node, size, "/dev/vfio/devices/%s", name);
	return access(node, F_OK) == 0 && access("/dev/iommu", F_OK) == 0;
}

void ls_vfio_holder_of(const char *path, char *ret, size_t size)
{
	char node[300], group[64];
	*ret = 0;
	if (file_of(path, node, sizeof(node)))
		ls_vfio_holder(node, ret, size);
	if (*ret || ls_vfio_group_of(path, group, sizeof(group), NULL) < 0)
		return;
	snprintf(node, sizeof(node), "/dev/vfio/%s", group);
	ls_vfio_holder(node, ret, size);
}

bool ls_vfio_has_file(const char *path)
{
	char node[100];
	return file_of(path, node, sizeof(node));
}

int ls_vfio_open_iommufd(int *ret, struct ls_error *err)
{
	*ret = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	return *ret < 0 ? cannot_open("/dev/iommu", errno, err) : 0;
}

// A device that is bound already answers EINVAL, one whose group is open EBUSY.
int ls_vfio_bind_file(const char *path, int iommufd, int *ret_device, struct ls_error *err)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	char node[100], who[100];
	if (!file_of(path, node, sizeof(node)))
		return ls_fail(err, LS_E_DEVICE_ABSENT, ENOENT, "%s has no file of its own", path);
	int fd = open(node, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return cannot_open(node, errno, err);
	if (ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0) {
		*ret_device = fd;
		return 0;
	}
	int error = errno;
	close(fd); // or we would be found among its holders
	if (error != EINVAL && error != EBUSY)
		return ls_fail(err, LS_E_DEVICE_ABSENT, error, "%s does not open", node);
	ls_vfio_holder_of(path, who, sizeof(who));
	return ls_fail(err, LS_E_DEVICE_BUSY, EBUSY, "%s is held by %s", node,
		       who[0] ? who : "somebody: its group is open, or a dup of it has been kept");
}

int ls_vfio_open_cdev(const char *path, struct ls_vfio_opening *ret, struct ls_error *err)
{
	*ret = LS_VFIO_OPENING_NONE;
	if (!ls_vfio_has_file(path))
		return 1;
	int r = ls_vfio_open_iommufd(&ret->iommufd, err);
	if (r == 0)
		r = ls_vfio_bind_file(path, ret->iommufd, &ret->device, err);
	if (r < 0)
		ls_vfio_opening_close(ret);
	return r;
}
