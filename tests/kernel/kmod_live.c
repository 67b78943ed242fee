// SPDX-License-Identifier: Apache-2.0
/*
 * kmod_live DIR: images of devices that have lived, saved by the kernel's driver. One of each type on one fabric; they
 * write to each other, to RAM and interrupt; then they are stopped and saved. Prints a line for each: TYPE SLOT FILE,
 * and for what can pre-copy also the stream of a pre-copy under traffic, which carries the same state: TYPE SLOT FILE
 * of FILE.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kmod_vm.h"

static struct vm vm;

#define MUST(cond) do { if (!(cond)) { \
	printf("kmod_live: %s (%s)\n", #cond, strerror(errno)); exit(1); } } while (0)

static void begin_traffic(struct vdev *v, unsigned peer)
{
	MUST(vdev_start(v));
	MUST(vdev_attr(v, "lockstep/rate", "5000"));
	ring_desc(&vm, v, 0, LSM_OP_FILL, LSM_DESC_STAMP, 0, 16384, 0x40000);
	ring_desc(&vm, v, 1, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, peer, 256, 0x40000);
	ring_desc(&vm, v, 2, LSM_OP_DMA_WRITE, LSM_DESC_STAMP, 0, 64, 0x40000);
	ring_desc(&vm, v, 3, LSM_OP_DMA_READ, LSM_DESC_COMPLETE | LSM_DESC_IRQ, 0, 64, 0x50000);
	ring_start(v, 4);
}

static void keep(const char *dir, const char *name, const struct image *img)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	MUST(f && fwrite(img->p, 1, img->len, f) == img->len && !fclose(f));
}

/* To the end of pre-copy; the device is in STOP_COPY then. */
static void precopy(struct vdev *v, struct image *img)
{
	struct vm_precopy_info info = { .argsz = sizeof(info) };
	int fd;

	MUST(!set_state(v, LSM_PRE_COPY, &fd));
	MUST(drain(fd, img) == -ENOMSG);
	for (int round = 0; round < 3; round++) {
		MUST(irq_wait(v, 5));
		MUST(!ioctl(fd, VM_GET_PRECOPY_INFO, &info));
		MUST(drain(fd, img) == -ENOMSG);
	}
	MUST(!set_state(v, LSM_PRE_COPY_P2P, NULL));
	MUST(!set_state(v, LSM_STOP_COPY, NULL));
	MUST(!drain(fd, img));
	close(fd);
	MUST(!set_state(v, LSM_STOP, NULL));
}

int main(int argc, char **argv)
{
	static const char *const types[] = { "stopcopy", "p2p", "full" };
	unsigned n = access("/sys/class/mdev_bus/lockstep-pf0/migration_version/lockstep-full", F_OK) ? 2 : 3;
	struct vdev v[3];

	MUST(argc == 2);
	vm_init(&vm, false);
	for (unsigned i = 0; i < n; i++)
		MUST(vdev_create(&v[i], types[i], (int)i, 9, (int)i) && vdev_open(&vm, &v[i]));
	for (unsigned i = 0; i < n; i++)
		begin_traffic(&v[i], (i + 1) % n);
	for (unsigned i = 0; i < n; i++)
		MUST(irq_wait(&v[i], 50));
	/* The type that pre-copies first, while the others write to it. */
	for (unsigned i = n; i-- > 0;) {
		struct image img = { 0 }, stream = { 0 };
		char name[64], of[64];

		snprintf(of, sizeof(of), "%s.image", types[i]);
		snprintf(name, sizeof(name), "%s.precopy", types[i]);
		if (!strcmp(types[i], "full"))
			precopy(&v[i], &stream);
		MUST(!save(&v[i], &img));
		keep(argv[1], of, &img);
		printf("%s %u %s\n", types[i], i, of);
		if (stream.len) {
			keep(argv[1], name, &stream);
			printf("%s %u %s of %s\n", types[i], i, name, of);
		}
		free(img.p);
		free(stream.p);
	}
	for (unsigned i = 0; i < n; i++) {
		vdev_close(&v[i]);
		MUST(vdev_remove(&v[i]));
	}
	return 0;
}
