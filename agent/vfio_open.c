// SPDX-License-Identifier: Apache-2.0
// VFIO's group API: a container with an IOMMU, the device's group in it, the device by name.
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/compat_vfio.h"
#include "agent/vfio.h"

void ls_vfio_opening_close(struct ls_vfio_opening *o)
{
	if (o->device >= 0)
		close(o->device);
	if (o->group >= 0)
		close(o->group);
	if (o->container >= 0)
		close(o->container);
	if (o->iommufd >= 0)
		close(o->iommufd);
	*o = LS_VFIO_OPENING_NONE;
}

int ls_vfio_group_of(const char *path, char *ret, size_t size, struct ls_error *err)
{
	char link[PATH_MAX], target[PATH_MAX];
	if (snprintf(link, sizeof(link), "%s/iommu_group", path) >= (int)sizeof(link))
		return ls_fail(err, LS_E_INVALID, ENAMETOOLONG, "the device's path is too long");
	ssize_t n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return ls_fail(err, LS_E_DEVICE_ABSENT, errno,
			       "%s has no IOMMU group: absent, or not bound to a VFIO driver", path);
	target[n] = 0;
	snprintf(ret, size, "%.*s", (int)size - 1, basename(target));
	return 0;
}

int ls_vfio_open_container(int *ret, struct ls_error *err)
{
	int fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return ls_fail(err, errno == EACCES || errno == EPERM ? LS_E_PERMISSION : LS_E_DEVICE_ABSENT, errno,
			       "cannot open /dev/vfio/vfio: is the vfio module loaded");
	*ret = fd;
	if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
		return ls_fail(err, LS_E_NOT_MIGRATABLE, EOPNOTSUPP, "this kernel's VFIO has no type 1 (v2) IOMMU");
	return 0;
}

static int open_group(const char *path, const char *group, int *ret, struct ls_error *err)
{
	char node[300];
	snprintf(node, sizeof(node), "/dev/vfio/%s", group);
	int fd = open(node, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		// A group of a device without an IOMMU behind it: exists under its own name only.
		snprintf(node, sizeof(node), "/dev/vfio/noiommu-%s", group);
		if (access(node, F_OK) == 0)
			return ls_fail(err, LS_E_NOT_MIGRATABLE, EOPNOTSUPP, "group %s has no IOMMU", group);
		errno = ENOENT;
	}
	if (fd < 0 && errno == EBUSY) {
		char who[100];
		ls_vfio_holder_of(path, who, sizeof(who));
		return ls_fail(err, LS_E_DEVICE_BUSY, EBUSY, "group %s (%.40s) is held by %s", group, node,
			       who[0] ? who : "somebody: another device of it is open, or a dup has been kept");
	}
	if (fd < 0)
		return ls_fail(err, errno == EACCES || errno == EPERM ? LS_E_PERMISSION : LS_E_DEVICE_ABSENT, errno,
			       "cannot open /dev/vfio/%s", group);
	*ret = fd;
	struct vfio_group_status status = {.argsz = sizeof(status)};
	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) < 0)
		return ls_fail(err, LS_E_DEVICE_ABSENT, errno, "group %s does not tell its status", group);
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return ls_fail(err, LS_E_DEVICE_BUSY, EPERM,
			       "group %s is not viable: another device of it is bound to a host driver", group);
	return 0;
}

int ls_vfio_enter_group(const char *path, int container, bool first, int *group, int *ret_device, struct ls_error *err)
{
	char name[64], real[PATH_MAX];
	int r = ls_vfio_group_of(path, name, sizeof(name), err);
	if (r < 0)
		return r;
	if (!realpath(path, real))
		return ls_fail(err, LS_E_DEVICE_ABSENT, errno, "%s is not there", path);
	if (*group < 0) {
		r = open_group(path, name, group, err);
		if (r == 0 && ioctl(*group, VFIO_GROUP_SET_CONTAINER, &container) < 0)
			r = ls_fail(err, LS_E_DEVICE_BUSY, errno, "group %s cannot join a container: somebody uses it",
				    name);
	}
	if (r == 0 && first && ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		r = ls_fail(err, LS_E_NOT_MIGRATABLE, errno, "group %s has no type 1 IOMMU", name);
	if (r == 0) {
		*ret_device = ioctl(*group, VFIO_GROUP_GET_DEVICE_FD, basename(real));
		if (*ret_device < 0)
			r = ls_fail(err, errno == EBUSY ? LS_E_DEVICE_BUSY : LS_E_DEVICE_ABSENT, errno,
				    "group %s does not open %s", name, basename(real));
	}
	return r;
}

int ls_vfio_open_group(const char *path, struct ls_vfio_opening *ret, struct ls_error *err)
{
	*ret = LS_VFIO_OPENING_NONE;
	int r = ls_vfio_open_container(&ret->container, err);
	if (r == 0)
		r = ls_vfio_enter_group(path, ret->container, true, &ret->group, &ret->device, err);
	if (r < 0)
		ls_vfio_opening_close(ret);
	return r;
}
