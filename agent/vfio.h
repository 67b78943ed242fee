// SPDX-License-Identifier: Apache-2.0
// Inside provider `vfio`: vfio.c (the device), vfio_open.c (ways to get a device fd), vfio_sysfs.c (without opening).
#ifndef LS_AGENT_VFIO_H
#define LS_AGENT_VFIO_H

#include "agent/provider.h"

// How this process came to its device fd; what close() must undo. A fd lent by a VMM needs the fd alone.
struct ls_vfio_opening {
	int device;    // -1: none
	int group;     // -1: none
	int container; // -1: none
};

// The group API: container, type 1 IOMMU, group, device by name. A second way (cdev and iommufd) goes beside it.
// DEVICE_BUSY naming the group, DEVICE_ABSENT, PERMISSION. Nothing is left open on failure.
int ls_vfio_open_group(const char *path, struct ls_vfio_opening *ret, struct ls_error *err);
void ls_vfio_opening_close(struct ls_vfio_opening *o);

// `path` is a device's sysfs directory, directly or through a bus's devices/ link.
int ls_vfio_inspect(const char *path, struct ls_dev_info *info, struct ls_error *err);
int ls_vfio_check_version(const char *path, const char *type, const char *version, char *where, size_t where_size);

#endif
