// SPDX-License-Identifier: Apache-2.0
// Asks both agents what a plan needs to know, and plans. The shell around plan.h.
#ifndef LS_COORDINATOR_PLANNER_H
#define LS_COORDINATOR_PLANNER_H

#include "coordinator/agents.h"
#include "coordinator/history.h"

struct ls_planner_world {
	struct ls_agents *agents;
	const struct ls_history *history;
	// Id of another open migration of this VM, asked when everything else is known; NULL: none.
	const char *(*busy)(void *user, const Lockstep__V1__MigrationSpec *spec);
	void *user;
};

typedef void ls_planner_done_fn(void *user, const Lockstep__V1__DryRunResponse *plan);
// `world` must live until `done`, which runs exactly once, not inside; `spec` is copied; its hosts must be
// configured ones.
void ls_planner_run(const struct ls_planner_world *world, const Lockstep__V1__MigrationSpec *spec,
		    ls_planner_done_fn *done, void *user);

#endif
