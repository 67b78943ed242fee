// SPDX-License-Identifier: Apache-2.0
// The connection to the agent: vmm.proto on a SOCK_SEQPACKET socket. One packet in, the answer out.
#ifndef TV_AGENT_LINK_H
#define TV_AGENT_LINK_H

#include "tests/vmm/vm.h"

// Connects and says Hello. The fd, or -errno: the agent is not there (yet).
int tv_agent_connect(const char *path, const struct tv_vm *vm, struct ls_error *err);
// Receives one message and answers it. Negative errno: the connection is of no more use.
int tv_agent_serve(int fd, struct tv_vm *vm, struct ls_error *err);

#endif
