// SPDX-License-Identifier: Apache-2.0
/*
 * Random requests, legal and not, from many threads at once: kmod_hammer SEED ROUNDS
 * Nothing is expected of the answers; the device must survive, and work after a reset.
 */
#include "kmod_vm.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICES 3

static struct vm vm;
static struct vdev devices[DEVICES];
static atomic_int data_fds[8];		/* shared on purpose; 0: none */
static atomic_ulong done;
static unsigned long rounds;
static uint64_t seed;

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void use_data_fd(uint64_t r)
{
	static const unsigned sizes[] = { 0, 1, 24, 4096, 70000 };
	static _Thread_local char buf[70000];
	/* A dup: others may close theirs at any time, and numbers are reused. */
	int fd = data_fds[r % 8] ? dup(data_fds[r % 8]) : -1;
	unsigned n = sizes[r >> 8 & 7 ? (r >> 8 & 7) % 5 : 0];
	struct vm_precopy_info info = { .argsz = (uint32_t)(r >> 16 & 63) };

	if (fd < 0)
		return;
	switch (r >> 32 & 3) {
	case 0:
		(void)!read(fd, buf, n);
		break;
	case 1:
		(void)!write(fd, buf, n);
		break;
	case 2:
		ioctl(fd, VM_GET_PRECOPY_INFO, &info);
		break;
	default:
		(void)!pread(fd, buf, n, 8);
		break;
	}
	close(fd);
}

static void move_state(struct vdev *v, uint64_t r)
{
	int fd, old;

	set_state(v, r >> 8 & 15 ? r >> 8 & 7 : (unsigned)(r >> 16), &fd);
	if (fd < 0)
		return;
	old = atomic_exchange(&data_fds[r >> 40 & 7], fd);
	if (old)
		close(old);
}

static void odd_request(struct vdev *v, uint64_t r)
{
	uint64_t buf[8];

	memset(buf, (int)r, sizeof(buf));
	switch (r >> 8 & 15) {
	case 0:
		feature(v, (uint32_t)(r >> 16), buf, r >> 48 & 31);
		break;
	case 1:
		ioctl(v->fd, _IO(VFIO_TYPE, VFIO_BASE + (r >> 16 & 31)), buf);
		break;
	case 2:
		mmap(NULL, 4096, PROT_READ, MAP_SHARED, v->fd, (off_t)(r >> 16 & 7) << 40);
		break;
	case 3:
		(void)!pwrite(v->fd, buf, r >> 16 & 63, (off_t)(r >> 32 & 15) << 40 | (r >> 40 & 0xfff));
		break;
	case 4:
		(void)!pread(v->fd, buf, r >> 16 & 63, (off_t)(r >> 32 & 15) << 40 | (r >> 40 & 0xfff));
		break;
	case 5:
		write_file("/sys/class/mdev_bus/lockstep-pf0/reset", "1");
		break;
	case 6:
		vdev_start(v);
		break;
	case 7:
		write_file("/sys/kernel/debug/lockstep_vdev/lockstep-pf0/going", "1");
		write_file("/sys/kernel/debug/lockstep_vdev/lockstep-pf0/going", "0");
		break;
	default:
		get_state(v);
		break;
	}
}

static void keep_busy(struct vdev *v)
{
	vdev_start(v);
	ring_start(v, 4);
}

static void *hammer(void *arg)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + (uintptr_t)arg + 1;

	while (atomic_fetch_add(&done, 1) < rounds) {
		uint64_t r = random_next(&state);
		struct vdev *v = &devices[(r >> 56) % DEVICES];

		switch (r & 15) {
		case 0:
			reset(v);
			keep_busy(v);
			break;
		case 1: case 2:
			odd_request(v, r);
			break;
		case 3: case 4: case 5: case 6: case 7:
			use_data_fd(r >> 4);
			break;
		default:
			move_state(v, r);
			break;
		}
	}
	return NULL;
}

/* Every device is as good as new. */
static bool survived(void)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		struct vdev *v = &devices[i];
		struct image x = { 0 };

		if (reset(v) || get_state(v) != LSM_RUNNING || !vdev_start(v))
			return false;
		while (read(v->irq[0], &(uint64_t){ 0 }, 8) == 8)
			;
		ring_start(v, 4);
		if (!irq_wait(v, 3) || save(v, &x) || reset(v) || load(v, &x) || reset(v))
			return false;
		free(x.p);
	}
	return true;
}

int main(int argc, char **argv)
{
	static const char *types[DEVICES] = { "full", "p2p", "stopcopy" };
	pthread_t threads[6];
	bool ok;

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 20000;
	signal(SIGPIPE, SIG_IGN);
	vm_init(&vm);
	for (unsigned i = 0; i < DEVICES; i++) {
		struct vdev *v = &devices[i];

		/* A kernel without PRE_COPY has no full type. */
		if (!vdev_create(v, types[i], (int)i, 1, (int)i) && !vdev_create(v, "p2p", (int)i, 1, (int)i))
			return 2;
		if (!vdev_open(&vm, v) || !vdev_attr(v, "lockstep/rate", "0") || !vdev_start(v))
			return 2;
		ring_desc(&vm, v, 0, LSM_OP_FILL, LSM_DESC_STAMP, 0, 16384, 0x40000);
		ring_desc(&vm, v, 1, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, (i + 1) % DEVICES, 256, 0x40000);
		ring_desc(&vm, v, 2, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, (i + 2) % DEVICES, 4096, 0x40000);
		ring_desc(&vm, v, 3, LSM_OP_DMA_WRITE, LSM_DESC_STAMP | LSM_DESC_IRQ | LSM_DESC_COMPLETE,
			  0, 64, 0x40000);
		keep_busy(v);
	}
	for (uintptr_t i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, hammer, (void *)i);
	for (unsigned i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	ok = survived();
	for (unsigned i = 0; i < DEVICES; i++)
		vdev_close(&devices[i]);
	/* Data fds outlive their devices. */
	for (unsigned i = 0; i < DEVICES; i++)
		ok = vdev_remove(&devices[i]) && ok;
	for (unsigned i = 0; i < 8; i++)
		use_data_fd(i);
	printf("%s 1 - survived %lu random requests, seed %llu\n", ok ? "ok" : "not ok", rounds,
	       (unsigned long long)seed);
	printf("%d passed, %d failed\n", ok, !ok);
	return !ok;
}
