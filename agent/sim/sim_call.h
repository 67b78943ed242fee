// SPDX-License-Identifier: Apache-2.0
// One request to lockstep-simhost and its answer; private to agent/sim. Any thread.
#ifndef LS_AGENT_SIM_CALL_H
#define LS_AGENT_SIM_CALL_H

#include <stddef.h>
#include <stdint.h>

#include "agent/sim/sim_proto.h"

struct ls_sim_call {
	int fd;
	enum ls_sim_op op;
	uint64_t arg[3];
	const void *out;
	size_t out_len;
	int pass_fd; // -1: none
	void *in;
	size_t in_cap;
	size_t in_len;
	uint64_t value[2];
	int ret_fd; // -1: none
};

// Answers the reply's status: 0 or more, or negative errno.
int ls_sim_call(struct ls_sim_call *k);

#endif
