// SPDX-License-Identifier: Apache-2.0
// The VM's devices and the ways to reach them: VFIO (by device file and iommufd, or by group and type1), and the
// simulated host.
// Register, window and config accesses may come from any thread; the rest from the main thread.
#ifndef TV_DEVICE_H
#define TV_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "kmod/model/lsm.h"

#define TV_MAX_DEVICES 16
#define TV_CONFIG_SIZE 256u

enum tv_region { TV_BAR0, TV_BAR2, TV_CONFIG, TV_REGIONS };

struct tv_device {
	char name[64];                  // as in the agent's config
	char path[256];                 // sysfs path, or the name on the simulated host
	int fd;                         // -1: not open
	int group;                      // vfio by group only, -1: none
	uint64_t offset[TV_REGIONS];    // vfio only: where the region lies in the fd
	int irq[LSM_VECTORS];           // eventfds, made once; -1 before
	uint64_t unread[LSM_VECTORS];   // counts taken out of the eventfds, not yet seen by the guest
};

struct tv_bus {
	const struct tv_backend *backend;
	const char *host;               // sim: control socket of the simulated host
	int container;                  // vfio: type1 container or iommufd, -1: none
	unsigned n;
	struct tv_device dev[TV_MAX_DEVICES];
};

struct tv_backend {
	const char *name;
	int (*open)(struct tv_bus *bus, struct tv_device *dev, struct ls_error *err);
	// All of RAM, for every open device. `ram` is the caller's own map of `memfd`.
	int (*map)(struct tv_bus *bus, int memfd, void *ram, uint64_t iova, uint64_t size, struct ls_error *err);
	int (*read)(struct tv_device *dev, enum tv_region region, uint64_t offset, void *buf, size_t len);
	int (*write)(struct tv_device *dev, enum tv_region region, uint64_t offset, const void *buf, size_t len);
	int (*set_irqs)(struct tv_device *dev); // every vector to its eventfd
	int (*reset)(struct tv_device *dev);
	void (*close)(struct tv_bus *bus);      // all devices; harmless on half-open ones
};

extern const struct tv_backend tv_backend_cdev;  // device files and one iommufd
extern const struct tv_backend tv_backend_group; // groups and one type1 container
extern const struct tv_backend tv_backend_sim;

// Does the kernel have a device file for the device with this sysfs path?
bool tv_cdev_there(const char *path);

void tv_bus_init(struct tv_bus *bus, const struct tv_backend *backend, const char *host);
// "NAME=PATH"
int tv_bus_add(struct tv_bus *bus, const char *spec, struct ls_error *err);
// Opens every device, maps RAM for them, makes their eventfds.
int tv_bus_open(struct tv_bus *bus, int memfd, void *ram, uint64_t iova, uint64_t size, struct ls_error *err);
void tv_bus_close(struct tv_bus *bus);
struct tv_device *tv_bus_find(struct tv_bus *bus, const char *name); // NULL: none

// Registers. A read that fails answers all ones, as PCI does.
uint32_t tv_read32(struct tv_bus *bus, struct tv_device *dev, uint32_t reg);
uint64_t tv_read64(struct tv_bus *bus, struct tv_device *dev, uint32_t reg);
void tv_write32(struct tv_bus *bus, struct tv_device *dev, uint32_t reg, uint32_t value);
void tv_write64(struct tv_bus *bus, struct tv_device *dev, uint32_t reg, uint64_t value);

#endif
