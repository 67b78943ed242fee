// SPDX-License-Identifier: Apache-2.0
// The connection to the agent: vmm.proto on a SOCK_SEQPACKET socket. One packet in, the answer out.
#ifndef TV_AGENT_LINK_H
#define TV_AGENT_LINK_H

#include "tests/vmm/vm.h"

struct tv_hello {
	const char *vm;
	bool incoming;
	uint64_t ram_bytes;
	int devices_by;         // VmmDevicesBy
};

// Connects and says Hello. The fd, or -errno: the agent is not there (yet).
int tv_agent_connect(const char *path, const struct tv_hello *who, struct ls_error *err);
// After a Hello that asks for devices: waits for them and puts them on the bus, which decides its backend. Negative
// errno: there are none, and the agent says why.
int tv_agent_take(int fd, struct tv_bus *bus, uint32_t *ret_id, struct ls_error *err);
int tv_agent_taken(int fd, uint32_t id); // they are in use
// Receives one message and answers it. Negative errno: the connection is of no more use.
int tv_agent_serve(int fd, struct tv_vm *vm, struct ls_error *err);

#endif
