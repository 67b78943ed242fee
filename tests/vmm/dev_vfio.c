// SPDX-License-Identifier: Apache-2.0
// Devices of the kernel: what is common to both APIs, and the group API (one type1v2 container for all groups of the
// VM).
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/vmm/dev_vfio.h"

static const unsigned vfio_index[TV_REGIONS] = {
	[TV_BAR0] = VFIO_PCI_BAR0_REGION_INDEX,
	[TV_BAR2] = VFIO_PCI_BAR2_REGION_INDEX,
	[TV_CONFIG] = VFIO_PCI_CONFIG_REGION_INDEX,
};

static int open_container(struct tv_bus *bus, struct ls_error *err)
{
	if (bus->container >= 0)
		return 0;
	bus->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (bus->container < 0)
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot open /dev/vfio/vfio");
	if (ioctl(bus->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    !ioctl(bus->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU))
		return ls_fail(err, LS_E_RESOURCE, ENOTSUP, "the kernel's VFIO offers no type1v2 IOMMU");
	return 0;
}

static int open_group(struct tv_device *dev, struct ls_error *err)
{
	char link[300], target[300], node[64];
	ssize_t n;

	snprintf(link, sizeof(link), "%s/iommu_group", dev->path);
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return ls_fail(err, LS_E_DEVICE_ABSENT, errno, "cannot read %s", link);
	target[n] = '\0';
	snprintf(node, sizeof(node), "/dev/vfio/%.32s", basename(target));
	dev->group = open(node, O_RDWR | O_CLOEXEC);
	if (dev->group < 0)
		return ls_fail(err, errno == EBUSY ? LS_E_DEVICE_BUSY : LS_E_DEVICE_ABSENT, errno, "cannot open %s",
			       node);
	return 0;
}

int tv_vfio_regions(struct tv_device *dev, struct ls_error *err)
{
	for (unsigned i = 0; i < TV_REGIONS; i++) {
		struct vfio_region_info info = { .argsz = sizeof(info), .index = vfio_index[i] };

		if (ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
			return ls_fail(err, LS_E_DEVICE_ABSENT, errno, "no region %u", vfio_index[i]);
		dev->offset[i] = info.offset;
	}
	return 0;
}

static int group_open(struct tv_bus *bus, struct tv_device *dev, struct ls_error *err)
{
	char path[256];
	int r;

	if (dev->fd >= 0)
		return tv_vfio_regions(dev, err); // given
	r = open_container(bus, err);
	if (!r)
		r = open_group(dev, err);
	if (r)
		return r;
	if (ioctl(dev->group, VFIO_GROUP_SET_CONTAINER, &bus->container))
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot attach the group to the container");
	// The first group decides what kind of IOMMU the container has.
	if (dev == &bus->dev[0] && ioctl(bus->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot set the container's IOMMU");
	snprintf(path, sizeof(path), "%s", dev->path);
	dev->fd = ioctl(dev->group, VFIO_GROUP_GET_DEVICE_FD, basename(path));
	if (dev->fd < 0)
		return ls_fail(err, LS_E_DEVICE_ABSENT, errno, "cannot get the device from its group");
	return tv_vfio_regions(dev, err);
}

static int group_map(struct tv_bus *bus, int memfd, void *ram, uint64_t iova, uint64_t size, struct ls_error *err)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)ram,
		.iova = iova,
		.size = size,
	};

	if (bus->n && ioctl(bus->container, VFIO_IOMMU_MAP_DMA, &map))
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot map RAM for DMA");
	return 0;
}

int tv_vfio_read(struct tv_device *dev, enum tv_region region, uint64_t offset, void *buf, size_t len)
{
	ssize_t n = pread(dev->fd, buf, len, (off_t)(dev->offset[region] + offset));

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

int tv_vfio_write(struct tv_device *dev, enum tv_region region, uint64_t offset, const void *buf, size_t len)
{
	ssize_t n = pwrite(dev->fd, buf, len, (off_t)(dev->offset[region] + offset));

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

int tv_vfio_set_irqs(struct tv_device *dev)
{
	char buf[sizeof(struct vfio_irq_set) + LSM_VECTORS * sizeof(int32_t)];
	struct vfio_irq_set set = {
		.argsz = sizeof(buf),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSI_IRQ_INDEX,
		.count = LSM_VECTORS,
	};

	memcpy(buf, &set, sizeof(set));
	memcpy(buf + sizeof(set), dev->irq, LSM_VECTORS * sizeof(int32_t));
	return ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, buf) ? -errno : 0;
}

int tv_vfio_reset(struct tv_device *dev)
{
	return ioctl(dev->fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void tv_vfio_close(struct tv_bus *bus)
{
	for (unsigned i = 0; i < bus->n; i++) {
		close_fd(&bus->dev[i].fd);
		close_fd(&bus->dev[i].group);
	}
	close_fd(&bus->container);
}

const struct tv_backend tv_backend_group = {
	.name = "group",
	.open = group_open,
	.map = group_map,
	.read = tv_vfio_read,
	.write = tv_vfio_write,
	.set_irqs = tv_vfio_set_irqs,
	.reset = tv_vfio_reset,
	.close = tv_vfio_close,
};
