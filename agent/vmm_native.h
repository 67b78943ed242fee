// SPDX-License-Identifier: Apache-2.0
// The agent's unix socket for VMMs that speak vmm.proto.
#ifndef LS_AGENT_VMM_NATIVE_H
#define LS_AGENT_VMM_NATIVE_H

#include "agent/vmm.h"

struct ls_vmm_socket;
int ls_vmm_socket_open(uv_loop_t *loop, const char *path, struct ls_vmms *vmms, struct ls_vmm_socket **ret,
		       struct ls_error *err);
void ls_vmm_socket_close(struct ls_vmm_socket *s);

#endif
