/* SPDX-License-Identifier: Apache-2.0 */
/* A VM as small as can be, for the driver's tests: RAM, and devices, by group or by their own files (cdev, iommufd). */
#ifndef KMOD_VM_H
#define KMOD_VM_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/vfio.h>

#include "kmod/model/lsm.h"

#define VM_RAM		(16u << 20)
#define VM_RING(i)	(0x10000u * ((i) + 1))		/* per device */
#define VM_COMP(i)	(VM_RING(i) + 0x4000u)
#define VM_DATA(i)	(VM_RING(i) + 0x8000u)

#define FEATURE_DATA_SIZE 9

/* linux/vfio.h of Debian 12 is older than the kernel under test. */
struct vm_precopy_info {
	uint32_t argsz, flags;
	uint64_t initial_bytes, dirty_bytes;
};
#define VM_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)

struct vm {
	bool cdev;
	int container, iommufd;	/* -1 until the first device is opened */
	uint32_t ioas;
	uint8_t *ram;
};

struct vdev {
	char uuid[40], type[16];
	int index;		/* which ring in RAM */
	int group, fd;
	int irq[LSM_VECTORS];	/* eventfds */
};

bool write_file(const char *path, const char *text);	/* errno */
bool read_file(const char *path, char *text, size_t size);

void vm_init(struct vm *vm, bool cdev);
/* type: stopcopy, p2p, full. slot -1: on no fabric. */
bool vdev_create(struct vdev *v, const char *type, int index, int fabric, int slot);
bool vdev_remove(struct vdev *v);
bool vdev_open(struct vm *vm, struct vdev *v);
/* After its fd alone was closed. */
bool vdev_reopen(struct vm *vm, struct vdev *v);
/* Memory and bus-master bits, MSI eventfds. */
bool vdev_start(struct vdev *v);
void vdev_close(struct vdev *v);

/* In the mdev's folder, and in the driver's debugfs. */
bool vdev_attr(struct vdev *v, const char *name, const char *text);
bool vdev_debug(struct vdev *v, const char *name, const char *text);
long vdev_counter(struct vdev *v, const char *name);

int config_write16(struct vdev *v, unsigned off, uint16_t value);	/* 0, -errno */
int config_read16(struct vdev *v, unsigned off);
uint32_t reg32(struct vdev *v, unsigned off);
uint64_t reg64(struct vdev *v, unsigned off);
int set32(struct vdev *v, unsigned off, uint32_t value);
int set64(struct vdev *v, unsigned off, uint64_t value);
int window(struct vdev *v, unsigned off, void *buf, unsigned len, bool write);

/* 0 or -errno; *ret_fd (may be NULL: closed) is the data_fd or -1. */
int set_state(struct vdev *v, unsigned state, int *ret_fd);
int get_state(struct vdev *v);
int feature(struct vdev *v, uint32_t flags, void *payload, uint32_t size);
int reset(struct vdev *v);

void ring_desc(struct vm *vm, struct vdev *v, unsigned i, enum lsm_op op, unsigned flags,
	       unsigned peer, unsigned len, unsigned local);
void ring_start(struct vdev *v, unsigned n);
/* Waits for n interrupts of vector 0; false after 20 s. */
bool irq_wait(struct vdev *v, uint64_t n);

struct image {
	uint8_t *p;
	size_t len;
};
/* Reads until 0, error or ENOMSG: 0 or -errno. */
int drain(int fd, struct image *img);
int save(struct vdev *v, struct image *img);	/* RUNNING.. -> STOP_COPY, closed fd */
/* RUNNING.. -> RESUMING -> STOP; -errno of the write or of the arc. */
int load(struct vdev *v, const struct image *img);

#endif
