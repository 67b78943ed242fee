// SPDX-License-Identifier: Apache-2.0
// Devices of the kernel by their own files, /dev/vfio/devices/vfioN: bound to one iommufd and attached to one IOAS, in
// which all of RAM is mapped.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/compat_vfio.h"
#include "tests/vmm/dev_vfio.h"

static bool node_of(const char *path, char *ret, size_t size)
{
	char dir[300];
	bool found = false;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/vfio-dev", path);
	d = opendir(dir);
	for (struct dirent *e; d && !found && (e = readdir(d));) {
		found = !strncmp(e->d_name, "vfio", 4);
		if (found)
			snprintf(ret, size, "/dev/vfio/devices/%.60s", e->d_name);
	}
	if (d)
		closedir(d);
	return found && !access(ret, F_OK);
}

bool tv_cdev_there(const char *path)
{
	char node[100];

	return node_of(path, node, sizeof(node)) && !access("/dev/iommu", F_OK);
}

static int cdev_open(struct tv_bus *bus, struct tv_device *dev, struct ls_error *err)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	char node[100];

	if (dev->fd >= 0)
		return tv_vfio_regions(dev, err); // given
	if (bus->container < 0)
		bus->container = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (bus->container < 0)
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot open /dev/iommu");
	if (!node_of(dev->path, node, sizeof(node)))
		return ls_fail(err, LS_E_DEVICE_ABSENT, ENOENT, "%s has no device file", dev->path);
	dev->fd = open(node, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return ls_fail(err, LS_E_DEVICE_ABSENT, errno, "cannot open %s", node);
	bind.iommufd = bus->container;
	if (ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return ls_fail(err, errno == EINVAL || errno == EBUSY ? LS_E_DEVICE_BUSY : LS_E_DEVICE_ABSENT, errno,
			       "cannot bind %s to an iommufd", node);
	return tv_vfio_regions(dev, err);
}

static int cdev_map(struct tv_bus *bus, int memfd, void *ram, uint64_t iova, uint64_t size, struct ls_error *err)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.user_va = (uintptr_t)ram,
		.iova = iova,
		.length = size,
	};

	if (ioctl(bus->container, IOMMU_IOAS_ALLOC, &ioas))
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot make an IO address space");
	map.ioas_id = ioas.out_ioas_id;
	if (ioctl(bus->container, IOMMU_IOAS_MAP, &map))
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot map RAM for DMA");
	for (unsigned i = 0; i < bus->n; i++) {
		struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach), .pt_id = ioas.out_ioas_id };

		if (ioctl(bus->dev[i].fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
			return ls_fail(err, LS_E_RESOURCE, errno, "cannot attach %s to the IO address space",
				       bus->dev[i].name);
	}
	return 0;
}

const struct tv_backend tv_backend_cdev = {
	.name = "cdev",
	.open = cdev_open,
	.map = cdev_map,
	.read = tv_vfio_read,
	.write = tv_vfio_write,
	.set_irqs = tv_vfio_set_irqs,
	.reset = tv_vfio_reset,
	.close = tv_vfio_close,
};
