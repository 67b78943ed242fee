// SPDX-License-Identifier: Apache-2.0
// What of a device belongs to the VMM and not to its image (K10): PCI config space, MSI, interrupt counts. And the
// blobs that carry them to the other VMM.
#ifndef TV_PLATFORM_H
#define TV_PLATFORM_H

#include "tests/vmm/guest.h"

#define TV_BLOB_MAX 1024u

struct tv_saved_device {
	uint8_t config[TV_CONFIG_SIZE];
	uint64_t unread[LSM_VECTORS];
};

struct tv_saved_vm {
	uint64_t ram_size;
	uint64_t resumes;       // how often every vector was signalled once
};

// Memory, bus-master and MSI-enable bits on, SET_IRQS.
int tv_platform_boot(struct tv_bus *bus, struct tv_device *dev);

// Source, devices stopped: takes unread interrupts out of the eventfds. They stay in dev->unread
// too, in case the VM comes back. Only those of vectors that this VMM delivers itself: the service vector
// plays one that the kernel delivers (irqfd), whose pending state nobody can read: it is lost.
int tv_platform_save(struct tv_bus *bus, struct tv_device *dev, struct tv_saved_device *ret);
// Destination, device in STOP.
int tv_platform_restore(struct tv_bus *bus, struct tv_device *dev, const struct tv_saved_device *saved);
// Source, coming back: what the kernel would have swallowed.
void tv_platform_drop_undelivered(struct tv_device *dev);
// Once for every vector, after the vCPU may run again.
void tv_platform_signal(struct tv_device *dev);

size_t tv_blob_device(const struct tv_saved_device *saved, uint8_t out[TV_BLOB_MAX]);
size_t tv_blob_vm(const struct tv_saved_vm *saved, uint8_t out[TV_BLOB_MAX]);
int tv_blob_read_device(const void *blob, size_t len, struct tv_saved_device *ret); // -EBADMSG
int tv_blob_read_vm(const void *blob, size_t len, struct tv_saved_vm *ret);         // -EBADMSG

#endif
