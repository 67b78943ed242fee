// SPDX-License-Identifier: Apache-2.0
/* The two doors to a device: its group, and its own file with iommufd. */
#include "kmod_vm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* linux/iommufd.h and the newer half of linux/vfio.h, which Debian 12 lacks. */
struct ioas_alloc {
	uint32_t size, flags, ret_ioas;
};
struct ioas_map {
	uint32_t size, flags, ioas, reserved;
	uint64_t user_va, length, iova;
};
struct bind_iommufd {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t ret_devid;
};
struct attach_pt {
	uint32_t argsz, flags, pt_id;
};
#define IOAS_ALLOC _IO(';', 0x81)
#define IOAS_MAP _IO(';', 0x85)
#define IOAS_MAP_RW_FIXED 7u
#define BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define ATTACH_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

static bool map_container(struct vm *vm)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)vm->ram,
		.size = VM_RAM,
	};

	return !ioctl(vm->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) &&
	       !ioctl(vm->container, VFIO_IOMMU_MAP_DMA, &map);
}

static bool open_group(struct vm *vm, struct vdev *v)
{
	char path[PATH_MAX], link[PATH_MAX];
	ssize_t n;
	bool first = vm->container < 0;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/iommu_group", v->uuid);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return false;
	link[n] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%s", basename(link));
	if (first)
		vm->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	v->group = open(path, O_RDWR | O_CLOEXEC);
	if (vm->container < 0 || v->group < 0 ||
	    ioctl(v->group, VFIO_GROUP_SET_CONTAINER, &vm->container))
		return false;
	if (first && !map_container(vm))
		return false;
	v->fd = ioctl(v->group, VFIO_GROUP_GET_DEVICE_FD, v->uuid);
	return v->fd >= 0;
}

static bool open_iommufd(struct vm *vm)
{
	struct ioas_alloc alloc = { .size = sizeof(alloc) };
	struct ioas_map map = {
		.size = sizeof(map), .flags = IOAS_MAP_RW_FIXED,
		.user_va = (uintptr_t)vm->ram, .length = VM_RAM,
	};

	vm->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (vm->iommufd < 0 || ioctl(vm->iommufd, IOAS_ALLOC, &alloc))
		return false;
	vm->ioas = map.ioas = alloc.ret_ioas;
	return !ioctl(vm->iommufd, IOAS_MAP, &map);
}

static bool open_cdev(struct vm *vm, struct vdev *v)
{
	struct bind_iommufd bind = { .argsz = sizeof(bind) };
	struct attach_pt attach = { .argsz = sizeof(attach) };
	char path[PATH_MAX];
	struct dirent *e;
	DIR *dir;

	if (vm->iommufd < 0 && !open_iommufd(vm))
		return false;
	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/vfio-dev", v->uuid);
	dir = opendir(path);
	if (!dir)
		return false;
	path[0] = 0;
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			snprintf(path, sizeof(path), "/dev/vfio/devices/%s", e->d_name);
	closedir(dir);
	v->fd = open(path, O_RDWR | O_CLOEXEC);
	bind.iommufd = vm->iommufd;
	attach.pt_id = vm->ioas;
	return v->fd >= 0 && !ioctl(v->fd, BIND_IOMMUFD, &bind) && !ioctl(v->fd, ATTACH_PT, &attach);
}

bool vdev_reopen(struct vm *vm, struct vdev *v)
{
	if (vm->cdev)
		return open_cdev(vm, v);
	v->fd = ioctl(v->group, VFIO_GROUP_GET_DEVICE_FD, v->uuid);
	return v->fd >= 0;
}

bool vdev_open(struct vm *vm, struct vdev *v)
{
	return vm->cdev ? open_cdev(vm, v) : open_group(vm, v);
}
