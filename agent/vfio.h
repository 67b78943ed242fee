// SPDX-License-Identifier: Apache-2.0
// Inside provider `vfio`: vfio.c (the device), vfio_open.c and vfio_cdev.c (two ways to get a device fd), vfio_give.c
// (all of a VM's, for its VMM), vfio_holder.c (who else has it), vfio_sysfs.c (without opening).
#ifndef LS_AGENT_VFIO_H
#define LS_AGENT_VFIO_H

#include "agent/provider.h"

// How this process came to its device fd; what close() must undo. A fd lent by a VMM needs the fd alone.
struct ls_vfio_opening {
	int device;    // -1: none
	int group;     // -1: none
	int container; // -1: none
	int iommufd;   // -1: none
};
#define LS_VFIO_OPENING_NONE ((struct ls_vfio_opening){-1, -1, -1, -1})

// The group API: container, type 1 IOMMU, group, device by name. DEVICE_BUSY naming the group and, where /proc tells,
// who holds it; DEVICE_ABSENT, PERMISSION. Nothing is left open on failure.
int ls_vfio_open_group(const char *path, struct ls_vfio_opening *ret, struct ls_error *err);
// The device's own file, bound to a new iommufd; no IOAS is attached, migration needs none. Errors as above.
// 1: this kernel or this device has no such file: the group API is the way.
int ls_vfio_open_cdev(const char *path, struct ls_vfio_opening *ret, struct ls_error *err);
void ls_vfio_opening_close(struct ls_vfio_opening *o);

// The steps of both, for devices that share one container or iommufd. What was opened before a failure is the caller's.
int ls_vfio_group_of(const char *path, char *ret, size_t size, struct ls_error *err);
int ls_vfio_open_container(int *ret, struct ls_error *err);
// `first`: of its container, whose IOMMU it decides. *group < 0: is opened and joins; else another device's of that
// group.
int ls_vfio_enter_group(const char *path, int container, bool first, int *group, int *ret_device, struct ls_error *err);
bool ls_vfio_has_file(const char *path);
int ls_vfio_open_iommufd(int *ret, struct ls_error *err);
int ls_vfio_bind_file(const char *path, int iommufd, int *ret_device, struct ls_error *err);

// ls_provider.open_gift
int ls_vfio_open_gift(const char *const *path, unsigned n, enum ls_gift_way way, struct ls_gift *ret,
		      struct ls_error *err);

// Whoever has the file `node` open, as "lockstep-testvmm (1234), and 1 more"; "" if nobody is seen. For messages.
void ls_vfio_holder(const char *node, char *ret, size_t size);
// Whoever has the device at this path, by its own file or by its group.
void ls_vfio_holder_of(const char *path, char *ret, size_t size);

// `path` is a device's sysfs directory, directly or through a bus's devices/ link.
int ls_vfio_inspect(const char *path, struct ls_dev_info *info, struct ls_error *err);
int ls_vfio_check_version(const char *path, const char *type, const char *version, char *where, size_t where_size);

#endif
