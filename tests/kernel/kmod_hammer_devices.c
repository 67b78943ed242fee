// SPDX-License-Identifier: Apache-2.0
/* The hammer's devices: opened, closed and removed by any thread at any time; and the module's own coming and going. */
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "kmod_hammer.h"

#define MODULE "/modules/lockstep_vdev.ko"

void hammer_ring(struct hammered *h)
{
	unsigned i = (unsigned)h->v.index;

	ring_desc(&vm, &h->v, 0, LSM_OP_FILL, LSM_DESC_STAMP, 0, 16384, 0x40000);
	ring_desc(&vm, &h->v, 1, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, (i + 1) % DEVICES, 256, 0x40000);
	ring_desc(&vm, &h->v, 2, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, (i + 2) % DEVICES, 4096, 0x40000);
	ring_desc(&vm, &h->v, 3, LSM_OP_DMA_WRITE, LSM_DESC_STAMP | LSM_DESC_IRQ | LSM_DESC_COMPLETE, 0, 64, 0x40000);
}

/* Fails while somebody still holds a dup of the old fd. */
bool hammer_reopen(struct hammered *h)
{
	struct vdev v;
	bool ok = true;

	if (pthread_mutex_trylock(&h->opening))
		return true;
	v = h->v;
	v.fd = -1;
	if (atomic_load(&h->fd) <= 0) {
		ok = vdev_reopen(&vm, &v);
		if (ok) {
			vdev_start(&v);
			hammer_ring(h);
			ring_start(&v, 4);
			atomic_store(&h->fd, v.fd);
		} else if (v.fd >= 0) {
			close(v.fd);
		}
	}
	pthread_mutex_unlock(&h->opening);
	return ok || errno == EBUSY || errno == ENOTCONN;
}

void hammer_close(struct hammered *h)
{
	int fd = atomic_exchange(&h->fd, 0);

	if (fd > 0)
		close(fd);
}

bool hammer_create(struct hammered *h)
{
	static const char *const types[DEVICES] = { "full", "p2p", "stopcopy", "full", "p2p" };
	unsigned i = (unsigned)(h - devices);
	int irq[LSM_VECTORS];

	memcpy(irq, h->v.irq, sizeof(irq));
	/* A kernel without PRE_COPY has no full type. */
	if (!vdev_create(&h->v, types[i], (int)i, 1, (int)i) && !vdev_create(&h->v, "p2p", (int)i, 1, (int)i))
		return false;
	for (unsigned j = 0; j < LSM_VECTORS; j++)
		h->v.irq[j] = irq[j] > 0 ? irq[j] : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!vdev_open(&vm, &h->v)) {
		bool gone = errno == ENOTCONN;

		/* Even an fd that was never bound holds up the removal. */
		if (h->v.fd >= 0)
			close(h->v.fd);
		h->v.fd = -1;
		return gone;
	}
	vdev_attr(&h->v, "lockstep/rate", "3000");
	vdev_start(&h->v);
	hammer_ring(h);
	ring_start(&h->v, 4);
	atomic_store(&h->fd, h->v.fd);
	h->v.fd = -1;
	return true;
}

void *hammer_remove(void *arg)
{
	struct hammered_removal *removal = arg;

	vdev_remove(removal->v);
	return NULL;
}

/* What is left in this process of a device that was removed. The eventfds stay for the next. */
void hammer_forget(struct hammered *h)
{
	hammer_close(h);
	if (h->v.fd >= 0)
		close(h->v.fd);
	if (h->v.group >= 0)
		close(h->v.group);
	h->v.fd = h->v.group = -1;
}

bool hammer_set_up(void)
{
	scratch = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (scratch == MAP_FAILED || mprotect(scratch + 65536, 65536, PROT_NONE))
		return false;
	for (unsigned i = 0; i < DEVICES; i++) {
		pthread_mutex_init(&devices[i].opening, NULL);
		devices[i].v.index = (int)i;
		if (i < LASTING && !hammer_create(&devices[i]))
			return false;
	}
	return true;
}

void hammer_calm(struct vdev *v)
{
	char text[32];

	for (unsigned from = 0; from < 8; from++)
		for (unsigned to = 0; to < 8; to++) {
			snprintf(text, sizeof(text), "%u %u 0", from, to);
			vdev_debug(v, "arc_latency", text);
			vdev_debug(v, "fail_arc", text);
		}
	vdev_debug(v, "quirks", "0");
	vdev_debug(v, "transfer_ms", "0");
	vdev_debug(v, "save_rate", "0");
	vdev_debug(v, "load_rate", "0");
}

static atomic_bool unloading;

/* Everything of the parent's that can be touched without a device. */
static void *touch_files(void *arg)
{
	static const char *const files[] = {
		PARENT "migration_version/lockstep-p2p", PARENT "migration_version/lockstep-full", PARENT "numa_node",
		PARENT_DEBUG "going", PARENT "mdev_supported_types/lockstep-p2p/description",
		PARENT "mdev_supported_types/lockstep-p2p/available_instances",
		"/sys/kernel/debug/lockstep_vdev/00000000-0000-4000-8000-000000000999/arcs",
		"/sys/kernel/debug/lockstep_vdev/00000000-0000-4000-8000-000000000999/counters",
	};
	uint64_t state = (uintptr_t)arg + 99;
	char text[512];

	while (atomic_load(&unloading)) {
		uint64_t r = random_next(&state);

		switch (r >> 20 & 7) {
		case 0:
			write_file(PARENT "reset", "1");
			break;
		case 1:
			write_file(PARENT "mdev_supported_types/lockstep-p2p/create", "00000000-0000-4000-8000-000000000999");
			break;
		case 2:
			write_file("/sys/bus/mdev/devices/00000000-0000-4000-8000-000000000999/remove", "1");
			break;
		case 3:
			write_file(PARENT "migration_version/lockstep-p2p", "1d55-1002-p2p-2.8");
			break;
		default:
			read_file(files[r & 7], text, sizeof(text));
			break;
		}
	}
	return NULL;
}

static bool load_module(void)
{
	int fd = open(MODULE, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && !syscall(SYS_finit_module, fd, "", 0);

	close(fd);
	return ok;
}

/* EAGAIN: somebody holds it. */
static int unload_module(void)
{
	return syscall(SYS_delete_module, "lockstep_vdev", O_NONBLOCK) ? -errno : 0;
}

bool hammer_unload(struct vm *vm, uint64_t seed)
{
	pthread_t threads[2];
	struct vdev v;
	bool ok = true;
	int fd, rc;

	(void)seed;
	for (unsigned i = 0; i < DATA_FDS; i++)
		if (data_fds[i])
			close(data_fds[i]);
	/* A container forgets its maps with its last group. */
	if (vm->container >= 0)
		close(vm->container);
	vm->container = -1;
	/* A data_fd alone keeps the module. */
	if (!vdev_create(&v, "p2p", 0, 0, -1) || !vdev_open(vm, &v) || set_state(&v, LSM_STOP_COPY, &fd))
		return false;
	rc = unload_module();
	vdev_close(&v);
	if (rc != -EAGAIN || !vdev_remove(&v) || unload_module() != -EAGAIN || read(fd, scratch, 1) >= 0 || close(fd))
		return false;

	atomic_store(&unloading, true);
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, touch_files, (void *)i);
	for (unsigned i = 0; ok && i < 4; i++) {
		while ((rc = unload_module()) == -EAGAIN)
			sched_yield();
		ok = !rc && load_module();
	}
	atomic_store(&unloading, false);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	write_file("/sys/bus/mdev/devices/00000000-0000-4000-8000-000000000999/remove", "1");
	return ok;
}
