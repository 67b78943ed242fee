// SPDX-License-Identifier: Apache-2.0
// Inside the native adapter: vmm_socket.c (listener, connections, packets), vmm_native.c (what they say), vmm_give.c
// (devices that the agent opens for a VMM). Loop thread.
#ifndef LS_AGENT_VMM_NATIVE_INT_H
#define LS_AGENT_VMM_NATIVE_INT_H

#include "agent/vmm_native.h"
#include "lockstep/v1/vmm.pb-c.h"

typedef Lockstep__V1__VmmMessage Message;
struct gift;

struct connection {
	struct connection *next;
	struct ls_vmm_socket *socket;
	struct ls_vmms *vmms;
	struct ls_vmm *vmm; // after Hello
	int fd;
	uv_poll_t poll;
	uv_timer_t hello;   // until it has said Hello, and has the devices that it asked for
	uint32_t id;        // of the request under way
	struct gift *gift;  // its devices are being opened
	bool taking;        // they are on their way
	int closing;
};

// why: what it did wrong, for the log; NULL: it went away, or the cause is logged.
void ls_vmm_hang_up(struct connection *c, const char *why);
// Gives the message the next id; the fds stay the caller's.
void ls_vmm_say(struct connection *c, Message *message, const int *fds, unsigned n_fds);
// One packet. What it did wrong, or NULL. *fds_taken: they have another owner now.
const char *ls_vmm_packet(struct connection *c, const void *packet, size_t len, const int *fds, unsigned n_fds,
			  bool *fds_taken);
// Hello is over: the VMM is there.
void ls_vmm_greet(struct connection *c);

// Opens the VM's devices off the loop and hands them over; ends in ls_vmm_greet() or a hang-up. What it asked for in
// vain, or NULL.
const char *ls_vmm_give(struct connection *c, Lockstep__V1__VmmDevicesBy by);
void ls_vmm_taken(struct connection *c, const Message *answer);
void ls_vmm_give_nobody(struct connection *c); // the connection goes away

#endif
