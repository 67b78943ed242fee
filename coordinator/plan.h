// SPDX-License-Identifier: Apache-2.0
// From what both hosts say of a VM's devices to the answer of the dry run: every check as a row, all
// blockers at once, each with its remedy; the schedule; the estimate. Pure. A real migration runs
// the very same code and goes on.
#ifndef LS_COORDINATOR_PLAN_H
#define LS_COORDINATOR_PLAN_H

#include <stdbool.h>

#include "common/schedule.h"
#include "coordinator/history.h"
#include "lockstep/v1/agent.pb-c.h"

#define LS_PROTOCOL 1u // what this coordinator speaks: minimum and maximum

// What one host said. Pointers are borrowed; NULL: it did not answer, `error` says why.
struct ls_plan_host {
	const char *name;
	const Lockstep__V1__HelloResponse *hello;
	const Lockstep__V1__DescribeResponse *describe;
	struct ls_error error;
};

// A source device and its counterpart; indices into both hosts' describe->device, -1: none.
struct ls_pair {
	int source, dest;
	bool by_name; // no slots: paired by equal names
};

struct ls_pairs {
	unsigned n;
	struct ls_pair pair[2 * LS_MAX_DEVICES]; // unpaired devices of the destination come last
	unsigned over;				 // devices beyond what a schedule holds
};

// Pairs the VM's devices by `slot`, then by name. In the source's order.
void ls_plan_pair(const char *vm, const Lockstep__V1__DescribeResponse *source,
		  const Lockstep__V1__DescribeResponse *dest, struct ls_pairs *ret);

struct ls_plan_input {
	const Lockstep__V1__MigrationSpec *spec;
	struct ls_plan_host source, dest;
	const struct ls_pairs *pairs; // NULL if a host did not describe itself
	// pairs->n answers of the destination to the source device's migration_version; NULL: not asked
	// (there is none to ask with) or not answered.
	const Lockstep__V1__CheckVersionResponse *const *verdict;
	const struct ls_history *history;
	const char *busy_with; // id of another open migration of this VM; NULL: none
};

// Never NULL; to be freed with ls_msg_free(). `sched` (may be NULL) is filled if it is feasible.
Lockstep__V1__DryRunResponse *ls_plan_make(const struct ls_plan_input *in, struct ls_schedule *sched);

// NOT_FEASIBLE (or VM_BUSY, UNAVAILABLE: the first blocker's own reason), naming the first blocker and how many more.
void ls_plan_error(const Lockstep__V1__DryRunResponse *plan, struct ls_error *ret);

#endif
