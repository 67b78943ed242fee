// SPDX-License-Identifier: Apache-2.0
// A simulated agent's list of events, as its Watch stream would give them.
#ifndef LS_TESTS_SIM_REPORT_H
#define LS_TESTS_SIM_REPORT_H

#include "agent/role.h"
#include "lockstep/v1/agent.pb-c.h"

struct sim_report {
	Lockstep__V1__AgentEvent **event;
	unsigned n;
	uint64_t base; // what earlier lives told is numbered up to here
};

void sim_report_add(struct sim_report *r, const struct ls_role *role, const char *host,
		    const struct ls_role_action *act, uint64_t now);
void sim_report_each(const struct sim_report *r, uint64_t after, void (*each)(void *user, const void *event),
		     void *user);
void sim_report_free(struct sim_report *r);

#endif
