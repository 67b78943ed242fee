// SPDX-License-Identifier: Apache-2.0
// A world around one sequencer: two agents that follow docs/decision.md in the small, a store, calls and watches under
// way. At each point several things may happen next; a script chooses. Index 0 is what would happen without faults.
#ifndef LS_TESTS_SEQ_WORLD_H
#define LS_TESTS_SEQ_WORLD_H

#include "coordinator/sequencer.h"

#define WORLD_EVENTS 64
#define WORLD_RECORDS 256

struct world_agent {
	char word[16];	       // empty: never heard of it
	bool prepared_refuses; // answers Prepare with FAILED_PRECONDITION
	uint32_t granted;
	bool at[LS_GATE_COUNT];
	bool ended;
	bool deaf; // the source: hears nothing of the destination any more
	unsigned prepared_in; // which life of the coordinator prepared it
	unsigned n;
	Lockstep__V1__AgentEvent *event[WORLD_EVENTS];
	// the coordinator's side
	bool calling, watching;
	struct ls_seq_action call;
	unsigned told; // of the watch
};

struct world {
	struct ls_seq *q;
	Lockstep__V1__MigrationSpec *spec;
	Lockstep__V1__DryRunResponse *plan;
	Lockstep__V1__PrepareRequest *prepare[2]; // what the agents remember
	struct world_agent agent[2];
	bool planning, cancelled, cancel_refused, crashed_early;
	bool forgotten; // the store was lost when no agent held anything open any more
	bool operators; // with faults also lost stores, and operators who fence, truly or falsely
	bool fenced;
	unsigned life, losses;
	uint32_t held, released;
	unsigned faults; // how many more may happen
	unsigned n_disk, n_pending;
	Lockstep__Store__Record *disk[WORLD_RECORDS], *pending[WORLD_RECORDS];
	uint64_t now;
	char trace[16384];
};

struct world *world_new(uint32_t held, bool feasible, unsigned faults);
void world_free(struct world *w);
// How many things can happen now; world_do() makes the i-th happen. 0: all is over.
unsigned world_options(struct world *w);
void world_do(struct world *w, unsigned i);
// Makes the destination's next answer get lost, then an operator fence it. False: not now.
bool world_fence(struct world *w);
// Cuts what is under way to or from the destination's agent. False: nothing is.
bool world_cut_dest(struct world *w);
// The agent of this side waits for an operator from now on. `reason` may be empty: it does not say why.
void world_needs_operator(struct world *w, int side, const char *reason);
bool world_over(const struct world *w);
// Fails the test if the end is not as the words say.
void world_check_end(struct world *w);

#endif
