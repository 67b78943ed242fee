// SPDX-License-Identifier: Apache-2.0
// Two roles wired together in memory, with devices, VMMs, ledgers and a network that fail on demand.
// What the roles ask for becomes pending; the world completes one pending thing after the other and
// checks the rules after each.
#ifndef LS_TESTS_ROLE_WORLD_H
#define LS_TESTS_ROLE_WORLD_H

#include "agent/role.h"

enum fault {
	FAULT_NONE,
	FAULT_FAIL,          // the completion fails: job, persist, VMM request; a message: connection cut
	FAULT_FAIL_APPLIED,  // as above, but a persist reached the disk, an arc left the device in ERROR
	FAULT_CUT,           // every connection is cut just before
	FAULT_CANCEL_SOURCE,
	FAULT_CANCEL_DEST,
	FAULT_SETTLE,
	FAULT_VMM_SOURCE,    // dies
	FAULT_VMM_DEST,
	FAULT_LATE,          // the blackout's deadline passes
	FAULT_BENT,          // a load ends with another digest
	FAULT_STUCK,         // the job never returns
	FAULT_RESET,         // somebody resets the device: of a paused source as the arc ends, of a committed
			     // destination before it
	FAULT_CRASH_SOURCE,  // the agent is killed and starts again, its device fds kept
	FAULT_CRASH_DEST,
	FAULT_CRASH_SOURCE_APPLIED, // as above, but what was under way has reached disk, device and VMM
	FAULT_CRASH_DEST_APPLIED,
	FAULT_BARE_SOURCE,   // killed, no fd is kept
	FAULT_BARE_DEST,
	FAULT_POWER_DEST,    // the host loses power and boots again: VMM and devices are gone
	FAULT_FENCE,         // an operator returns the VM to a source that waits: the claim may be false
	FAULT_REST,          // the rest is known not to fit the deadline
	FAULT_COUNT
};

// The checks must notice each of these: code that breaks a rule, played by the world.
enum lie {
	LIE_NONE,
	LIE_RETURNING,  // acknowledged, not written
	LIE_COMMITTED,
	LIE_CONSENT,    // the destination is told of a consent that was never given
	LIE_ABORT       // the source is told ABORTED by a destination that committed
};

struct plan {
	unsigned n;                    // devices
	unsigned flags[LS_MAX_DEVICES];
	bool precopy[LS_MAX_DEVICES];
	unsigned seed;                 // order of completions: 0 oldest first, 1 newest first, else random
	enum fault fault, second;
	unsigned at, second_at;        // before or at which completion
	enum lie lie;
	unsigned rule_off;             // in the real code
};

struct outcome {
	unsigned completions;
	bool hit;                      // the (first) fault found something to do
	enum ls_end source, dest;
	bool source_runs, dest_runs;
	enum ls_word source_word, dest_word; // on the disks
	bool conflict;                 // one side says so
	char violation[300];           // empty: every rule was kept
};

void run_world(const struct plan *plan, struct outcome *ret);

#endif
