// SPDX-License-Identifier: Apache-2.0
// What an agent drives a device through. Two implementations: `vfio` (the kernel, agent/vfio.c) and
// `sim` (a simulated host in a process of its own, agent/sim/). Nothing here or above knows any
// particular driver. All calls may block for long (K2: SET_STATE waits for firmware) and belong on
// the device's worker thread; one thread at a time per device.
#ifndef LS_AGENT_PROVIDER_H
#define LS_AGENT_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/fsm.h"
#include "common/schedule.h"

// What is known of a device without opening it.
struct ls_dev_info {
	char driver[64];
	char type[64];      // mdev type, or "vvvv:dddd:ssss:ssss:rr" of a PCI function
	char version[256];  // migration_version read at this device (K8); empty if absent
	int numa_node;      // -1: unknown
	bool present;       // the path exists and is a VFIO device
};

// Probed once per opening (K1).
struct ls_dev_caps {
	unsigned flags;      // LS_CAP_*; 0: not migratable
	bool v1_only;        // the deprecated migration region and nothing else
	bool size_known;     // MIG_DATA_SIZE is there
	bool dirty_tracking; // DMA_LOGGING_START is there
};

// All devices of a VM, opened here to be handed to its VMM (K10). Whoever closes the last copy of a fd closes the
// device.
enum ls_gift_way { LS_GIFT_ANY, LS_GIFT_GROUP, LS_GIFT_FILE };
struct ls_gift {
	enum ls_gift_way way; // how they were opened: by group, or by device file
	int shared;           // the container or iommufd of all; -1: none
	unsigned n;
	struct {
		int device;
		int group;    // LS_GIFT_GROUP; devices of one group have dups of one fd. -1: none
	} at[LS_MAX_DEVICES];
};
#define LS_GIFT_NONE ((struct ls_gift){.shared = -1})
void ls_gift_close(struct ls_gift *g);

struct ls_dev; // one opened device; owned by whoever opened it

struct ls_provider {
	const char *name; // as in the agent's config

	// Reads sysfs or asks the simulated host. 0 with info->present false if there is no such device.
	int (*inspect)(const char *path, struct ls_dev_info *info, struct ls_error *err);

	// K8: writes `version` to the device's own attribute, or to its parent's for `type`; before the device exists,
	// to those of all parents that offer the type, where one that refuses decides. 1 compatible, 0 no attribute,
	// negative errno: the attribute's verdict against it. `where` gets the attribute's name.
	int (*check_version)(const char *path, const char *type, const char *version, char *where, size_t where_size);

	// `fd` >= 0: a device fd lent by the VMM, taken over on success (closed by close()).
	// -1: opens the device itself, for a look while no VMM has it: DEVICE_BUSY, DEVICE_ABSENT.
	int (*open)(const char *path, int fd, struct ls_dev **ret, struct ls_error *err);
	void (*close)(struct ls_dev *dev); // NULL is fine
	// NULL: VMMs open these devices themselves. LS_GIFT_ANY: whichever way this host has. All or, on failure, none.
	int (*open_gift)(const char *const *path, unsigned n, enum ls_gift_way way, struct ls_gift *ret,
			 struct ls_error *err);
	int (*fd)(const struct ls_dev *dev); // the device's, borrowed: to be kept over a restart of the agent

	int (*probe)(struct ls_dev *dev, struct ls_dev_caps *ret, struct ls_error *err);
	int (*data_size)(struct ls_dev *dev, uint64_t *ret); // estimate, bytes; -ENOTTY: not offered
	int (*get_state)(struct ls_dev *dev, int *ret);      // may answer states that we do not know
	// *data_fd: the new session's fd (owned by the caller), or -1. Call get_state after any error.
	int (*set_state)(struct ls_dev *dev, enum ls_state to, int *data_fd);
	int (*reset)(struct ls_dev *dev);

	// On a session's fd. read: 0 is the end in STOP_COPY; -ENOMSG or 0 in PRE_COPY only a temporary one.
	ssize_t (*read)(struct ls_dev *dev, int data_fd, void *buf, size_t len);
	ssize_t (*write)(struct ls_dev *dev, int data_fd, const void *buf, size_t len);
	// 1: as 0, and data that counts as initial has appeared anew, so that readiness is judged afresh (Linux 7.2).
	int (*precopy_info)(struct ls_dev *dev, int data_fd, uint64_t *initial, uint64_t *dirty);
};

extern const struct ls_provider ls_provider_vfio;
extern const struct ls_provider ls_provider_sim;

// By name; NULL if unknown.
const struct ls_provider *ls_provider_find(const char *name);

#endif
