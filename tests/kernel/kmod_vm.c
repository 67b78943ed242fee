// SPDX-License-Identifier: Apache-2.0
#include "kmod_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGION(index, off) ((off_t)(index) << 40 | (off))

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

bool read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	size_t len = 0;
	ssize_t n = -1;

	if (fd < 0)
		return false;
	while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = 0;
	return n >= 0;
}

void vm_init(struct vm *vm, bool cdev)
{
	vm->container = vm->iommufd = -1;
	vm->cdev = cdev;
	vm->ram = mmap(NULL, VM_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->ram == MAP_FAILED)
		abort();
}

bool vdev_attr(struct vdev *v, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/%s", v->uuid, name);
	return write_file(path, text);
}

bool vdev_debug(struct vdev *v, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/kernel/debug/lockstep_vdev/%s/%s", v->uuid, name);
	return write_file(path, text);
}

long vdev_counter(struct vdev *v, const char *name)
{
	char path[PATH_MAX], text[512], *at;

	snprintf(path, sizeof(path), "/sys/kernel/debug/lockstep_vdev/%s/counters", v->uuid);
	if (!read_file(path, text, sizeof(text)))
		return -1;
	at = strstr(text, name);
	return at ? atol(at + strlen(name)) : -1;
}

bool vdev_create(struct vdev *v, const char *type, int index, int fabric, int slot)
{
	char path[PATH_MAX], number[16];

	memset(v, 0, sizeof(*v));
	v->fd = v->group = -1;
	v->index = index;
	snprintf(v->type, sizeof(v->type), "%s", type);
	snprintf(v->uuid, sizeof(v->uuid), "00000000-0000-4000-8000-%012d", index + 1);
	snprintf(path, sizeof(path),
		 "/sys/class/mdev_bus/lockstep-pf0/mdev_supported_types/lockstep-%s/create", type);
	if (!write_file(path, v->uuid))
		return false;
	snprintf(number, sizeof(number), "%d", fabric);
	if (!vdev_attr(v, "lockstep/fabric", number))
		return false;
	snprintf(number, sizeof(number), "%d", slot);
	return vdev_attr(v, "lockstep/slot", number);
}

bool vdev_remove(struct vdev *v)
{
	return vdev_attr(v, "remove", "1");
}

bool vdev_start(struct vdev *v)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[LSM_VECTORS];
	} irqs = {
		.set = {
			.argsz = sizeof(irqs),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_MSI_IRQ_INDEX,
			.count = LSM_VECTORS,
		},
	};

	for (unsigned i = 0; i < LSM_VECTORS; i++) {
		if (v->irq[i] <= 0)
			v->irq[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		irqs.fds[i] = v->irq[i];
	}
	return !config_write16(v, 4, 6) && !ioctl(v->fd, VFIO_DEVICE_SET_IRQS, &irqs);
}

void vdev_close(struct vdev *v)
{
	for (unsigned i = 0; i < LSM_VECTORS; i++) {
		if (v->irq[i] > 0)
			close(v->irq[i]);
		v->irq[i] = 0;
	}
	if (v->fd >= 0)
		close(v->fd);
	if (v->group >= 0)
		close(v->group);
	v->fd = v->group = -1;
}

static int region(struct vdev *v, unsigned index, unsigned off, void *buf, unsigned len, bool write)
{
	ssize_t n = write ? pwrite(v->fd, buf, len, REGION(index, off))
			  : pread(v->fd, buf, len, REGION(index, off));

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -EIO;
}

int config_write16(struct vdev *v, unsigned off, uint16_t value)
{
	return region(v, VFIO_PCI_CONFIG_REGION_INDEX, off, &value, 2, true);
}

int config_read16(struct vdev *v, unsigned off)
{
	uint16_t value;
	int rc = region(v, VFIO_PCI_CONFIG_REGION_INDEX, off, &value, 2, false);

	return rc ? rc : value;
}

uint32_t reg32(struct vdev *v, unsigned off)
{
	uint32_t value = 0xdeadbeef;

	region(v, 0, off, &value, 4, false);
	return value;
}

uint64_t reg64(struct vdev *v, unsigned off)
{
	uint64_t value = 0xdeadbeef;

	region(v, 0, off, &value, 8, false);
	return value;
}

int set32(struct vdev *v, unsigned off, uint32_t value)
{
	return region(v, 0, off, &value, 4, true);
}

int set64(struct vdev *v, unsigned off, uint64_t value)
{
	return region(v, 0, off, &value, 8, true);
}

int window(struct vdev *v, unsigned off, void *buf, unsigned len, bool write)
{
	return region(v, 2, off, buf, len, write);
}

int feature(struct vdev *v, uint32_t flags, void *payload, uint32_t size)
{
	uint64_t buf[8] = { 0 };
	struct vfio_device_feature *f = (void *)buf;

	f->argsz = (uint32_t)sizeof(*f) + size;
	f->flags = flags;
	memcpy(f->data, payload, size);
	if (ioctl(v->fd, VFIO_DEVICE_FEATURE, f))
		return -errno;
	memcpy(payload, f->data, size);
	return 0;
}

int set_state(struct vdev *v, unsigned state, int *ret_fd)
{
	struct vfio_device_feature_mig_state s = { .device_state = state, .data_fd = -1 };
	int rc = feature(v, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s, sizeof(s));

	if (ret_fd)
		*ret_fd = rc ? -1 : s.data_fd;
	else if (!rc && s.data_fd >= 0)
		close(s.data_fd);
	return rc;
}

int get_state(struct vdev *v)
{
	struct vfio_device_feature_mig_state s = { 0 };
	int rc = feature(v, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s, sizeof(s));

	return rc ? rc : (int)s.device_state;
}

int reset(struct vdev *v)
{
	return ioctl(v->fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

void ring_desc(struct vm *vm, struct vdev *v, unsigned i, enum lsm_op op, unsigned flags,
	       unsigned peer, unsigned len, unsigned local)
{
	lsm_desc_put(vm->ram + VM_RING(v->index) + i * LSM_DESC_SIZE, op, flags, 0, peer, len,
		     VM_DATA(v->index), local, (uint32_t)v->index * LSM_PAGE_SIZE, 0x1111);
}

void ring_start(struct vdev *v, unsigned n)
{
	set32(v, LSM_REG_CTRL, 0);
	set64(v, LSM_REG_RING_BASE, VM_RING(v->index));
	set32(v, LSM_REG_RING_SIZE, n);
	set64(v, LSM_REG_COMP_BASE, VM_COMP(v->index));
	set32(v, LSM_REG_CTRL, LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC);
}

bool irq_wait(struct vdev *v, uint64_t n)
{
	uint64_t got;

	for (uint64_t sum = 0; sum < n; sum += got) {
		struct pollfd p = { .fd = v->irq[0], .events = POLLIN };

		if (poll(&p, 1, 20000) != 1 || read(v->irq[0], &got, 8) != 8)
			return false;
	}
	return true;
}

int drain(int fd, struct image *img)
{
	for (;;) {
		ssize_t n;

		img->p = realloc(img->p, img->len + 65536);
		n = read(fd, img->p + img->len, 65536);
		if (n < 0)
			return -errno;
		if (!n)
			return 0;
		img->len += (size_t)n;
	}
}

int save(struct vdev *v, struct image *img)
{
	int fd, rc = set_state(v, LSM_STOP_COPY, &fd);

	if (rc)
		return rc;
	rc = drain(fd, img);
	close(fd);
	return rc;
}

int load(struct vdev *v, const struct image *img)
{
	int fd, rc = set_state(v, LSM_RESUMING, &fd);

	for (size_t off = 0; !rc && off < img->len;) {
		size_t left = img->len - off;
		ssize_t n = write(fd, img->p + off, left > 100000 ? 100000 : left);

		if (n < 0)
			rc = -errno;
		else
			off += (size_t)n;
	}
	if (!rc)
		rc = set_state(v, LSM_STOP, NULL);
	close(fd);
	return rc;
}
