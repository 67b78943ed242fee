// SPDX-License-Identifier: Apache-2.0
/* The requests. r brings the random bits; the low four chose the kind. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "kmod_hammer.h"

static void use_data_fd(uint64_t r)
{
	static const size_t sizes[] = { 0, 1, 24, 4096, 65536, 70000, 1u << 30, 0x7ffff000 };
	int held = data_fds[r % DATA_FDS], fd = held ? dup(held) : -1;
	size_t n = sizes[r >> 8 & 7];
	struct vm_precopy_info info = { .argsz = (uint32_t)(r >> 16 & 63) };
	uint8_t *at = scratch + (r >> 24 & 15) * 4096;

	if (fd < 0)
		return;
	switch (r >> 32 & 7) {
	case 0: case 1: case 2:
		(void)!read(fd, at, n);
		break;
	case 3: case 4:
		(void)!write(fd, at, n);
		break;
	case 5:
		ioctl(fd, VM_GET_PRECOPY_INFO, r >> 40 & 7 ? (void *)&info : NULL);
		break;
	case 6:
		(void)!pread(fd, at, n, 8);
		lseek(fd, (off_t)(r >> 40), SEEK_CUR);
		break;
	default:
		mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		held = atomic_exchange(&data_fds[r >> 48 & 7], 0);
		if (held)
			close(held);
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

static void reset_somehow(struct hammered *h, struct vdev *v, uint64_t r)
{
	switch (r >> 8 & 7) {
	case 0: case 1: case 2:
		reset(v);
		break;
	case 3: case 4:
		vdev_debug(v, "reset", "1");
		break;
	case 5: case 6:
		write_file(PARENT "reset", "1");
		break;
	default:
		write_file(PARENT_DEBUG "going", "1");
		write_file(PARENT_DEBUG "going", "0");
		break;
	}
	config_write16(v, 4, 6);
	hammer_ring(h);
	ring_start(v, 4);
}

/* Sizes, flags and places that no well-behaved program would ask for. */
static void odd_request(struct vdev *v, uint64_t r)
{
	uint64_t buf[16];
	struct vfio_device_feature *f = (void *)buf;
	off_t place = (off_t)(r >> 32 & 15) << 40 | (r >> 40 & 0xfff);
	void *map;

	memset(buf, (int)r, sizeof(buf));
	switch (r >> 8 & 7) {
	case 0:
		f->argsz = (uint32_t)(r >> 16 & 127);
		f->flags = (uint32_t)((r >> 24 & 7) << 16 | (r >> 27 & 15));
		ioctl(v->fd, VFIO_DEVICE_FEATURE, f);
		break;
	case 1:
		ioctl(v->fd, _IO(VFIO_TYPE, VFIO_BASE + (r >> 16 & 31)), r >> 24 & 3 ? (void *)buf : NULL);
		break;
	case 2:
		map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, (off_t)(r >> 16 & 7) << 40);
		if (map != MAP_FAILED)
			munmap(map, 4096);
		break;
	case 3:
		(void)!pwrite(v->fd, scratch, r >> 16 & 63, place);
		break;
	case 4:
		(void)!pread(v->fd, scratch, r >> 16 & 63, place);
		break;
	case 5:
		(void)!pwrite(v->fd, scratch + 32768, r >> 16 & 1 ? 1u << 30 : 65536, place);
		break;
	case 6:
		(void)!pread(v->fd, scratch + 32768, r >> 16 & 1 ? 1u << 30 : 65536, place);
		break;
	default:
		f->argsz = (uint32_t)(r >> 16);
		f->flags = (uint32_t)(r >> 32);
		ioctl(v->fd, VFIO_DEVICE_FEATURE, f);
		break;
	}
}

static void set_irqs(struct vdev *v, uint64_t r)
{
	uint8_t buf[sizeof(struct vfio_irq_set) + 4 * 16];
	struct vfio_irq_set *set = (void *)buf;
	int32_t *fds = (void *)set->data;

	set->argsz = r >> 8 & 3 ? sizeof(buf) : (uint32_t)(r >> 10 & 63);
	set->flags = 1u << (r >> 16 & 3) | 1u << (3 + (r >> 18 & 3));
	set->index = r >> 20 & 7 ? VFIO_PCI_MSI_IRQ_INDEX : (uint32_t)(r >> 23 & 7);
	set->start = (uint32_t)(r >> 26 & 15);
	set->count = r >> 30 & 7 ? (uint32_t)(r >> 33 & 15) : (uint32_t)(r >> 33);
	if (r >> 37 & 1) {
		set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
		set->start = 0;
		set->count = LSM_VECTORS;
	}
	for (unsigned i = 0; i < 16; i++)
		fds[i] = r >> (38 + i) & 1 ? v->irq[i % LSM_VECTORS] : (int32_t)(r >> 40 & 3) - 2;
	ioctl(v->fd, VFIO_DEVICE_SET_IRQS, set);
}

/* Latencies, failures, limits, quirks; the host's files, read and written. */
static void turn_knob(struct vdev *v, uint64_t r)
{
	static const char *const reads[] = { "arcs", "counters", "arc_latency", "fail_arc", "quirks" };
	char path[160], text[512];

	switch (r >> 8 & 15) {
	case 0: case 1:
		snprintf(text, sizeof(text), "%u %u %u", (unsigned)(r >> 16 & 7), (unsigned)(r >> 19 & 7), (unsigned)(r >> 22 & 3));
		vdev_debug(v, "arc_latency", text);
		break;
	case 2:
		snprintf(text, sizeof(text), "%u %u %u%s", (unsigned)(r >> 16 & 7), (unsigned)(r >> 19 & 7), (unsigned)(r >> 22 & 31),
			 r >> 28 & 1 ? " error" : "");
		vdev_debug(v, "fail_arc", text);
		break;
	case 3:
		snprintf(text, sizeof(text), "%u", (unsigned)(r >> 16 & 14));	/* states do not survive a close here */
		vdev_debug(v, "quirks", text);
		break;
	case 4:
		vdev_debug(v, "transfer_ms", r >> 16 & 3 ? "0" : "2");
		break;
	case 5:
		vdev_debug(v, r >> 16 & 1 ? "save_rate" : "load_rate", r >> 17 & 3 ? "0" : "2000000");
		break;
	case 6:
		vdev_attr(v, "lockstep/rate", r >> 16 & 7 ? "3000" : "0");
		break;
	case 7:
		vdev_attr(v, "lockstep/slot", "3");
		vdev_attr(v, "lockstep/memory_mib", "16");
		break;
	case 8:
		vdev_attr(v, "migration_version", "1d55-1003-full-2.16");
		break;
	case 9:
		hammer_calm(v);
		break;
	default:
		snprintf(path, sizeof(path), "/sys/kernel/debug/lockstep_vdev/%s/%s", v->uuid, reads[r >> 16 & 3]);
		read_file(path, text, sizeof(text));
		break;
	}
}

/* A child that holds dups of everything, does a few things and is killed somewhere in between. */
static void killed_child(struct hammered *h, struct vdev *v, uint64_t r)
{
	pid_t child = fork();

	if (!child) {
		for (uint64_t state = r | 1;;) {
			uint64_t next = random_next(&state);

			if (next & 1)
				use_data_fd(next >> 1);
			else
				move_state(v, next >> 1);
		}
	}
	if (child < 0)
		return;
	for (unsigned i = 0; i < (r >> 16 & 15); i++)
		get_state(v);
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	(void)h;
}

void hammer_once(struct hammered *h, struct vdev *v, uint64_t r)
{
	enum kind kind;

	switch (r & 31) {
	case 0: case 1:
		kind = RESETS;
		reset_somehow(h, v, r);
		break;
	case 2: case 3: case 4: case 5:
		kind = ODD;
		odd_request(v, r);
		break;
	case 6:
		kind = CLOSES;
		hammer_close(h);
		break;
	case 7: case 8:
		kind = INTERRUPTS;
		set_irqs(v, r);
		break;
	case 9: case 10: case 11:
		kind = KNOBS;
		turn_knob(v, r);
		break;
	case 12:
		kind = CHILDREN;
		if ((r >> 5 & 7) == 0)
			killed_child(h, v, r);
		else
			get_state(v);
		break;
	case 13: case 14: case 15: case 16: case 17: case 18: case 19: case 20: case 21: case 22:
		kind = DATA;
		use_data_fd(r >> 5);
		break;
	default:
		kind = STATES;
		move_state(v, r);
		break;
	}
	atomic_fetch_add(&counts[kind], 1);
}
