// SPDX-License-Identifier: Apache-2.0
// Provider `vfio`: a device of the running kernel, through the ioctls of migration v2 and no others. K1, K2, K4, K5.
#include "agent/vfio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/compat_vfio.h"

struct ls_dev {
	struct ls_vfio_opening opening;
	bool precopy_flags; // vfio_precopy_info.flags means something
};

// One VFIO_DEVICE_FEATURE call. `data` (may be NULL for a probe) goes in and comes back.
static int feature(int fd, uint32_t flags, void *data, size_t size)
{
	_Alignas(8) uint8_t buf[sizeof(struct vfio_device_feature) + 64];
	struct vfio_device_feature *f = (struct vfio_device_feature *)buf;
	if (size > sizeof(buf) - sizeof(*f))
		return -E2BIG;
	memset(buf, 0, sizeof(buf));
	f->argsz = (uint32_t)(sizeof(*f) + size);
	f->flags = flags;
	if (size > 0)
		memcpy(f->data, data, size);
	// Not repeated after EINTR: a SET may have moved the device, and the caller asks where it is.
	if (ioctl(fd, VFIO_DEVICE_FEATURE, f) < 0)
		return -errno;
	if (size > 0)
		memcpy(data, f->data, size);
	return 0;
}

static bool offers(int fd, uint32_t number, uint32_t method)
{
	return feature(fd, number | method | VFIO_DEVICE_FEATURE_PROBE, NULL, 0) == 0;
}

// Is there a region whose capabilities call it the deprecated migration region?
static bool region_is_v1(int fd, uint32_t index)
{
	struct vfio_region_info head = {.argsz = sizeof(head), .index = index};
	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &head) < 0 || !(head.flags & VFIO_REGION_INFO_FLAG_CAPS) ||
	    head.argsz <= sizeof(head) || head.argsz > 65536)
		return false;
	struct vfio_region_info *info = calloc(1, head.argsz);
	if (!info)
		return false;
	bool found = false;
	info->argsz = head.argsz;
	info->index = index;
	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, info) == 0) {
		uint32_t at = info->cap_offset;
		// Offsets ascend in every kernel; a chain that does not cannot make us walk for ever.
		while (at >= sizeof(*info) && at + sizeof(struct vfio_region_info_cap_type) <= head.argsz) {
			struct vfio_region_info_cap_type cap;
			memcpy(&cap, (uint8_t *)info + at, sizeof(cap));
			if (cap.header.id == VFIO_REGION_INFO_CAP_TYPE)
				found |= cap.type == VFIO_REGION_TYPE_MIGRATION_DEPRECATED;
			if (cap.header.next <= at)
				break;
			at = cap.header.next;
		}
	}
	free(info);
	return found;
}

static bool has_v1_region(int fd)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	if (ioctl(fd, VFIO_DEVICE_GET_INFO, &info) < 0)
		return false;
	for (uint32_t i = 0; i < info.num_regions && i < 256; i++)
		if (region_is_v1(fd, i))
			return true;
	return false;
}

static int vfio_open(const char *path, int fd, struct ls_dev **ret, struct ls_error *err)
{
	struct ls_dev *dev = malloc(sizeof(*dev));
	if (!dev)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "cannot open %s", path);
	dev->precopy_flags = false;
	dev->opening = LS_VFIO_OPENING_NONE;
	dev->opening.device = fd;
	int r = fd >= 0 ? 0 : ls_vfio_open_cdev(path, &dev->opening, err);
	if (r > 0)
		r = ls_vfio_open_group(path, &dev->opening, err);
	if (r < 0) {
		free(dev);
		return r;
	}
	*ret = dev;
	return 0;
}

static void vfio_close(struct ls_dev *dev)
{
	if (!dev)
		return;
	ls_vfio_opening_close(&dev->opening);
	free(dev);
}

static int vfio_probe(struct ls_dev *dev, struct ls_dev_caps *ret, struct ls_error *err)
{
	int fd = dev->opening.device;
	struct vfio_device_info info = {.argsz = sizeof(info)};
	if (ioctl(fd, VFIO_DEVICE_GET_INFO, &info) < 0)
		return ls_fail(err, LS_E_INVALID, errno, "the fd is not a VFIO device's");
	struct vfio_device_feature_migration mig = {0};
	int r = feature(fd, VFIO_DEVICE_FEATURE_MIGRATION | VFIO_DEVICE_FEATURE_GET, &mig, sizeof(mig));
	*ret = (struct ls_dev_caps){0};
	if (r < 0 && r != -ENOTTY && r != -EINVAL)
		return ls_fail(err, LS_E_NOT_MIGRATABLE, -r, "asking for migration features failed");
	if (r == 0)
		ret->flags = (unsigned)mig.flags & (LS_CAP_STOP_COPY | LS_CAP_P2P | LS_CAP_PRE_COPY);
	if (!(ret->flags & LS_CAP_STOP_COPY)) {
		ret->flags = 0;
		ret->v1_only = has_v1_region(fd);
	}
	if (ret->flags & LS_CAP_PRE_COPY)
		dev->precopy_flags =
			feature(fd, VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 | VFIO_DEVICE_FEATURE_SET, NULL, 0) == 0;
	// A PROBE is answered by the core, which does not ask the driver.
	struct vfio_device_feature_mig_data_size size = {0};
	ret->size_known =
		feature(fd, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | VFIO_DEVICE_FEATURE_GET, &size, sizeof(size)) == 0;
	ret->dirty_tracking = offers(fd, VFIO_DEVICE_FEATURE_DMA_LOGGING_START, VFIO_DEVICE_FEATURE_SET);
	return 0;
}

static int vfio_data_size(struct ls_dev *dev, uint64_t *ret)
{
	struct vfio_device_feature_mig_data_size size = {0};
	int r = feature(dev->opening.device, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | VFIO_DEVICE_FEATURE_GET, &size,
			sizeof(size));
	if (r == 0)
		*ret = size.stop_copy_length;
	return r;
}

static int vfio_get_state(struct ls_dev *dev, int *ret)
{
	struct vfio_device_feature_mig_state state = {0};
	int r = feature(dev->opening.device, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_GET, &state,
			sizeof(state));
	if (r == 0)
		*ret = (int)state.device_state;
	return r;
}

static int vfio_set_state(struct ls_dev *dev, enum ls_state to, int *data_fd)
{
	struct vfio_device_feature_mig_state state = {.device_state = (uint32_t)to, .data_fd = -1};
	int r = feature(dev->opening.device, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_SET, &state,
			sizeof(state));
	*data_fd = r == 0 ? state.data_fd : -1;
	return r;
}

static int vfio_reset(struct ls_dev *dev)
{
	return ioctl(dev->opening.device, VFIO_DEVICE_RESET) < 0 ? -errno : 0;
}

static ssize_t vfio_read(struct ls_dev *dev, int data_fd, void *buf, size_t len)
{
	ssize_t n;
	do
		n = read(data_fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t vfio_write(struct ls_dev *dev, int data_fd, const void *buf, size_t len)
{
	ssize_t n;
	do
		n = write(data_fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int vfio_precopy_info(struct ls_dev *dev, int data_fd, uint64_t *initial, uint64_t *dirty)
{
	struct vfio_precopy_info info = {.argsz = sizeof(info)};
	if (ioctl(data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info) < 0)
		return -errno;
	*initial = info.initial_bytes;
	*dirty = info.dirty_bytes;
	return dev->precopy_flags && info.flags & VFIO_PRECOPY_INFO_REINIT ? 1 : 0;
}

static int vfio_fd(const struct ls_dev *dev)
{
	return dev->opening.device;
}

const struct ls_provider ls_provider_vfio = {
	.name = "vfio",
	.inspect = ls_vfio_inspect,
	.check_version = ls_vfio_check_version,
	.open = vfio_open,
	.close = vfio_close,
	.fd = vfio_fd,
	.open_gift = ls_vfio_open_gift,
	.probe = vfio_probe,
	.data_size = vfio_data_size,
	.get_state = vfio_get_state,
	.set_state = vfio_set_state,
	.reset = vfio_reset,
	.read = vfio_read,
	.write = vfio_write,
	.precopy_info = vfio_precopy_info,
};
