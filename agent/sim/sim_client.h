// SPDX-License-Identifier: Apache-2.0
// Blocking client of lockstep-simhost, the simulated "kernel and hardware" of one host. Used by the
// agent's `sim` provider and by test VMMs.
//
// A device fd (and a data_fd) is a socket. It behaves as a VFIO device fd does: dup'ed and passed
// on with SCM_RIGHTS, used by several processes and threads at once, closed for the device when its last
// dup is closed. Every request carries its own reply channel, so answers never mix.
// All functions may be called from any thread, block, and answer negative errno; -ENODEV when the
// simulated host (or the session behind a data_fd) is gone. Each thread that calls keeps two file
// descriptors until it ends.
#ifndef LS_AGENT_SIM_CLIENT_H
#define LS_AGENT_SIM_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// ---- the host, by its control socket ----

struct ls_sim_info {
	char type[64];     // "full-8M": type and memory, equal on both sides or incompatible
	char version[256]; // migration_version (K8); empty if the host is configured without
	uint32_t flags;    // LS_CAP_*
	uint32_t mem_size; // bytes of local memory (BAR2)
	uint32_t slot;     // on its fabric
	int32_t numa_node;
	bool open;
};

// Answers the device fd; -ENOENT: no such device; -EBUSY: open already; -ECONNREFUSED or -ENOENT: no host.
int ls_sim_open(const char *socket_path, const char *name);
int ls_sim_query(const char *socket_path, const char *name, struct ls_sim_info *ret);
// K8: 0 compatible, -ENOENT: no such type here, else the verdict against `version`.
int ls_sim_check_version(const char *socket_path, const char *type, const char *version);

// The test's hand on a device, in the manner of a driver's debugfs. States are names or numbers.
//   latency FROM TO MS        the arc takes MS milliseconds longer
//   fail FROM TO ERRNO [N]    the next N (default 1; 0: until cleared) such arcs answer ERRNO (name or number)
//   fail-error FROM TO ERRNO  the next such arc answers ERRNO and leaves the device in ERROR
//   stick FROM TO             the next such arc does not return until `release`
//   stick-read                the next read of a data_fd does not return until `release`
//   release                   lets a stuck arc or read go on
//   clear                     forgets all of the above
//   rate N                    descriptors per second, 0: no limit
//   save-rate N, load-rate N  bytes per second through data_fd, 0: no limit
//   renew N                   the next N times that pre-copy asks and no initial data is left, there is some anew (as
//                             Linux 7.2 says it with REINIT): what is dirty counts as such
//   lose-p2p N                the next N writes of its peers vanish on the way
//   go STATE                  as VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, behind the back of whoever drives it
//   slot N                    place on the fabric (device closed)
//   guest-reset               as VFIO_DEVICE_RESET of its VMM
//   wait-closed               answers once nobody has the device open
//   wait-stuck                answers once an arc or a read is stuck
// "ARC" of a walk is one step of it. -EINVAL: not understood.
int ls_sim_debug(const char *socket_path, const char *name, const char *command);

struct ls_sim_counters {
	uint64_t rx_dropped;   // P2P writes lost because the device was stopped
	uint64_t mmio_dropped; // register and window writes lost likewise
	uint64_t rx_outside;
	uint64_t done;         // descriptors consumed since reset
	uint64_t irq_lost;     // interrupts with no eventfd set
	uint64_t renewed;      // how often initial data has appeared anew while pre-copying
	int32_t state;         // without waiting for an arc under way
	int32_t live;          // could it start transfers?
};
int ls_sim_counters(const char *socket_path, const char *name, struct ls_sim_counters *ret);

// ---- a device fd ----

// Regions carry VFIO's numbers.
enum ls_sim_region { LS_SIM_BAR0 = 0, LS_SIM_BAR2 = 2, LS_SIM_CONFIG = 7 };

struct ls_sim_dev_info {
	uint32_t flags;     // LS_CAP_*
	uint32_t bar0_size, bar2_size, config_size;
	uint32_t n_vectors;
};

int ls_sim_get_info(int fd, struct ls_sim_dev_info *ret);
// 0 or -EINVAL (size, alignment, range). BAR0: 4 or 8 bytes, aligned. BAR2: any, up to 1 MiB at once.
// Config space: PCI header (command register at 4: memory bit 1, bus-master bit 2) and an MSI capability.
int ls_sim_region_read(int fd, enum ls_sim_region region, uint64_t offset, void *buf, size_t len);
int ls_sim_region_write(int fd, enum ls_sim_region region, uint64_t offset, const void *buf, size_t len);
// The device sees [iova, iova + size) as `memfd` from `offset`. -EEXIST: overlaps another map. Maps belong to
// the opening: they go when the device is closed, and survive a reset. The caller keeps memfd.
int ls_sim_dma_map(int fd, int memfd, uint64_t offset, uint64_t iova, uint64_t size);
int ls_sim_dma_unmap(int fd, uint64_t iova, uint64_t size); // exactly one map; -ENOENT
// eventfd of an MSI vector, -1: none. The caller keeps its fd.
int ls_sim_set_irq(int fd, unsigned vector, int eventfd);
int ls_sim_reset(int fd);

// ---- migration (K1, K2); enum ls_state ----

int ls_sim_get_state(int fd, int *ret);
// *data_fd: a new session's, or -1. -EMFILE: the device HAS moved, the stream is lost (K2).
int ls_sim_set_state(int fd, int state, int *data_fd);
int ls_sim_data_size(int fd, uint64_t *ret);

// ---- a data_fd (K4, K5) ----

ssize_t ls_sim_read(int data_fd, void *buf, size_t len);        // at most 1 MiB at once
ssize_t ls_sim_write(int data_fd, const void *buf, size_t len); // at most 1 MiB at once
// 1: as 0, and initial data has appeared anew.
int ls_sim_precopy_info(int data_fd, uint64_t *initial, uint64_t *dirty);

#endif
