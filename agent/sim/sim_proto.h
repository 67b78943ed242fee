// SPDX-License-Identifier: Apache-2.0
// What lockstep-simhost and its clients say to each other; private to agent/sim. A request is one SOCK_SEQPACKET
// message with the reply channel attached (SCM_RIGHTS), and after it the fd that the request hands over, if any. The
// reply channel is a SOCK_STREAM: reply head (with an fd, if one is handed out), then `len` bytes. A request's
// payload beyond LS_SIM_INLINE comes over the reply channel too. Same host, same build: plain structs.
#ifndef LS_AGENT_SIM_PROTO_H
#define LS_AGENT_SIM_PROTO_H

#include <stdint.h>

#define LS_SIM_INLINE 4096u
#define LS_SIM_BULK (1024u * 1024u)

enum ls_sim_op {
	// control socket
	LS_SIM_OP_OPEN = 1, // payload: name
	LS_SIM_OP_QUERY,    // payload: name; reply: struct ls_sim_info
	LS_SIM_OP_CHECK,    // payload: type NUL version
	LS_SIM_OP_DEBUG,    // payload: name NUL command
	LS_SIM_OP_COUNTERS, // payload: name; reply: struct ls_sim_counters
	// device fd
	LS_SIM_OP_INFO,         // reply: struct ls_sim_dev_info
	LS_SIM_OP_REGION_READ,  // arg: region, offset, length
	LS_SIM_OP_REGION_WRITE, // arg: region, offset
	LS_SIM_OP_DMA_MAP,      // arg: offset, iova, size; fd
	LS_SIM_OP_DMA_UNMAP,    // arg: -, iova, size
	LS_SIM_OP_SET_IRQ,      // arg: vector; fd or none
	LS_SIM_OP_RESET,
	LS_SIM_OP_GET_STATE, // reply value: state
	LS_SIM_OP_SET_STATE, // arg: state; reply: data_fd or none
	LS_SIM_OP_DATA_SIZE,
	// data_fd
	LS_SIM_OP_READ, // arg: length
	LS_SIM_OP_WRITE,
	LS_SIM_OP_PRECOPY_INFO // reply value: initial, dirty
};

struct ls_sim_request {
	uint32_t op;
	uint32_t len; // payload bytes
	uint64_t arg[3];
};

struct ls_sim_reply {
	int32_t status; // 0 or more, or negative errno
	uint32_t has_fd;
	uint64_t len;
	uint64_t value[2];
};

#endif
