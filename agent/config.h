// SPDX-License-Identifier: Apache-2.0
// The agent's configuration file.
//
//   [agent]          host= listen= stream= vmm= ledger= plaintext=loopback|any arc_timeout_ms= keep_ended=
//   [device NAME]    vm= provider=vfio|sim path= slot=
//   [vm NAME]        adapter=native|qmp|exec|none qmp= pause= resume= timeout_ms=
#ifndef LS_AGENT_CONFIG_H
#define LS_AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/schedule.h"

struct ls_device_config {
	char name[LS_NAME_MAX], vm[LS_NAME_MAX], provider[16], path[256], slot[LS_NAME_MAX];
	int line;
};

struct ls_vm_config {
	char name[LS_NAME_MAX], adapter[16], qmp[108];
	char pause[512], resume[512]; // argv, split at blanks; no shell
	uint64_t timeout_ms;
	int line;                     // 0: implied by a device
};

struct ls_agent_config {
	char file[256];
	char host[LS_NAME_MAX], listen[300], stream[300], vmm[108], ledger[512], plaintext[16];
	uint64_t arc_timeout_ms;      // a kernel call that takes longer is reported as stuck
	uint64_t keep_ended;          // migrations that are over and kept whole
	int line;
	unsigned n_devices, n_vms;
	struct ls_device_config *device;
	struct ls_vm_config *vm;      // one for each VM that a section or a device names
};

// One line "FILE:LINE: ..." on failure.
int ls_agent_config_load(const char *path, struct ls_agent_config **ret, struct ls_error *err);
void ls_agent_config_free(struct ls_agent_config *c);
const struct ls_device_config *ls_agent_config_device(const struct ls_agent_config *c, const char *name);
const struct ls_vm_config *ls_agent_config_vm(const struct ls_agent_config *c, const char *name);

#endif
