// SPDX-License-Identifier: Apache-2.0
// The agent's unix socket for VMMs that speak vmm.proto.
#ifndef LS_AGENT_VMM_NATIVE_H
#define LS_AGENT_VMM_NATIVE_H

#include "agent/vmm.h"

struct ls_vmm_socket;
// `path` is shorter than 108 bytes; what a server that is gone left there is removed. `vmms` outlives it. CONFIG:
// cannot listen. Loop thread.
int ls_vmm_socket_open(uv_loop_t *loop, const char *path, struct ls_vmms *vmms, struct ls_vmm_socket **ret,
		       struct ls_error *err);
// Hangs up on every VMM and removes `path`. Handles go when the loop has run. NULL is fine.
void ls_vmm_socket_close(struct ls_vmm_socket *s);

#endif
