// SPDX-License-Identifier: Apache-2.0
/* What the driver owes the kernel around it: SET_IRQS as vfio-pci answers, memory's owner, VFIO's own debugfs. */
#include <sys/mount.h>
#include <sys/stat.h>

#include "kmod_test.h"

static int set_irqs(uint32_t argsz, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, int32_t fd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[LSM_VECTORS];
	} irqs = { .set = { .argsz = argsz, .flags = flags, .index = index, .start = start, .count = count } };

	for (unsigned i = 0; i < LSM_VECTORS; i++)
		irqs.fds[i] = fd;
	return ioctl(a.fd, VFIO_DEVICE_SET_IRQS, &irqs) ? -errno : 0;
}

bool test_interrupts_are_set_up_as_vfio_pci_does_or_refused(void)
{
	const uint32_t trigger = VFIO_IRQ_SET_ACTION_TRIGGER, none = VFIO_IRQ_SET_DATA_NONE, fds = VFIO_IRQ_SET_DATA_EVENTFD;
	const uint32_t head = sizeof(struct vfio_irq_set), whole = head + 4 * LSM_VECTORS, msi = VFIO_PCI_MSI_IRQ_INDEX;

	CHECK(fresh_pair());
	CHECK_EQ(set_irqs(head, none | trigger, msi, 0, 1, 0), 0);
	CHECK(irq_wait(&a, 1));
	CHECK_EQ(set_irqs(head, none | VFIO_IRQ_SET_ACTION_MASK, msi, 0, 1, 0), -ENOTTY);
	CHECK_EQ(set_irqs(head, none | VFIO_IRQ_SET_ACTION_UNMASK, msi, 0, 1, 0), -ENOTTY);
	CHECK_EQ(set_irqs(head, none | trigger, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, 0), -EINVAL);
	CHECK_EQ(set_irqs(head, none | trigger, VFIO_PCI_NUM_IRQS, 0, 1, 0), -EINVAL);
	CHECK_EQ(set_irqs(head - 1, none | trigger, msi, 0, 1, 0), -EINVAL);
	CHECK_EQ(set_irqs(head, none | trigger, msi, LSM_VECTORS, 1, 0), -EINVAL);
	CHECK_EQ(set_irqs(head, none | trigger, msi, 1, LSM_VECTORS, 0), -EINVAL);
	CHECK_EQ(set_irqs(head, none | trigger, msi, 2, 0xffffffff, 0), -EINVAL);
	CHECK_EQ(set_irqs(head, fds | trigger, msi, 0, LSM_VECTORS, a.irq[0]), -EINVAL);
	CHECK_EQ(set_irqs(whole, fds | none | trigger, msi, 0, 1, a.irq[0]), -EINVAL);
	CHECK_EQ(set_irqs(whole, fds | trigger | 1u << 20, msi, 0, 1, a.irq[0]), -EINVAL);
	CHECK_EQ(set_irqs(whole, fds | trigger, msi, 0, 1, -2), -EINVAL);
	CHECK_EQ(set_irqs(whole, fds | trigger, msi, 0, 1, a.fd), -EINVAL);
	/* None of these took away what was set up; this does. */
	CHECK_EQ(set_irqs(head, none | trigger, msi, 0, 1, 0), 0);
	CHECK(irq_wait(&a, 1));
	CHECK_EQ(set_irqs(head, none | trigger, msi, 0, 0, 0), 0);
	CHECK_EQ(set_irqs(head, none | trigger, msi, 0, 1, 0), 0);
	CHECK(read(a.irq[0], &(uint64_t){ 0 }, 8) < 0);
	return true;
}

#define CGROUPS "/tmp/cgroups"

static bool join(const char *group)
{
	char path[100], pid[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	snprintf(pid, sizeof(pid), "%d", getpid());
	return write_file(path, pid);
}

static long long charged(const char *group)
{
	char path[100], text[32];

	snprintf(path, sizeof(path), "%s/memory.current", group);
	return read_file(path, text, sizeof(text)) ? atoll(text) : -1;
}

/* Its opener pays for what others touch first: an agent that loads an image, a peer that writes. */
bool test_memory_is_charged_to_whoever_opened_the_device(void)
{
	const char *owner = CGROUPS "/owner";
	long long before, size = 8 << 20;
	struct vdev c;

	/* What is left of one that failed. */
	umount2(CGROUPS, MNT_DETACH);
	mkdir(CGROUPS, 0700);
	CHECK(!mount("none", CGROUPS, "cgroup2", 0, NULL));
	CHECK(write_file(CGROUPS "/cgroup.subtree_control", "+memory"));
	rmdir(owner);
	CHECK(!mkdir(owner, 0700));
	CHECK(vdev_create(&c, "p2p", 8, 0, -1));
	CHECK(join(owner));
	CHECK(vdev_open(&vm, &c) && vdev_start(&c));
	CHECK(join(CGROUPS));
	before = charged(owner);
	for (long long at = 0; at < size; at += 4096)
		CHECK_EQ(window(&c, (unsigned)at, &(uint8_t){ 1 }, 1, true), 0);
	CHECK_EQ(vdev_counter(&c, "pages "), size / 4096);
	/* Kernels charge by batches of 64 pages. */
	CHECK(before >= 0 && charged(owner) - before > size - (1 << 20));
	CHECK_EQ(reset(&c), 0);
	CHECK(charged(owner) - before < 1 << 20);
	vdev_close(&c);
	CHECK(vdev_remove(&c));
	CHECK(!rmdir(owner) && !umount(CGROUPS));
	return true;
}

static bool debugfs_says(struct vdev *v, const char *state)
{
	char path[300], text[32] = "";

	snprintf(path, sizeof(path), "/sys/kernel/debug/vfio/%s/migration/state", v->uuid);
	CHECK(read_file(path, text, sizeof(text)));
	text[strcspn(text, "\n")] = 0;
	if (strcmp(text, state))
		printf("# %s: %s, want %s\n", path, text, state);
	return !strcmp(text, state);
}

/* It asks the driver of devices that nobody has open, too (K11). */
bool test_vfios_own_debugfs_tells_the_state_open_or_closed(void)
{
	struct vdev c;

	if (access("/sys/kernel/debug/vfio", F_OK)) {
		printf("# no VFIO_DEBUGFS in this kernel: not tried\n");
		return true;
	}
	CHECK(fresh_pair());
	CHECK(debugfs_says(&a, "RUNNING"));
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK(debugfs_says(&a, "RUNNING_P2P") && debugfs_says(&b, "RUNNING"));
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, NULL), 0);
	CHECK(debugfs_says(&a, "STOP_COPY"));
	CHECK(vdev_create(&c, "p2p", 8, 0, -1));
	CHECK(debugfs_says(&c, "RUNNING"));
	CHECK(vdev_open(&vm, &c));
	CHECK_EQ(set_state(&c, LSM_STOP, NULL), 0);
	CHECK(debugfs_says(&c, "STOP"));
	vdev_close(&c);
	CHECK(debugfs_says(&c, "RUNNING"));
	CHECK(vdev_remove(&c));
	return true;
}
