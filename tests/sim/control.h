// SPDX-License-Identifier: Apache-2.0
// A simulated lockstepd: what coordinator/ does around the sequencer. There are two of one name: the second begins with
// an empty store and a higher term, when the first is gone or seems so.
#ifndef LS_TESTS_SIM_CONTROL_H
#define LS_TESTS_SIM_CONTROL_H

#include "coordinator/sequencer.h"
#include "tests/sim/call.h"
#include "tests/sim/world.h"

#define SIM_RECORDS 1024

struct sim_watch {
	bool on;
	uint64_t after, number;
};

struct sim_coordinator {
	struct world *w;
	unsigned c;

	// The disk, in the order of writing; the first n_durable of each are synced.
	Lockstep__Store__Record *disk[SIM_MIGRATIONS][SIM_RECORDS];
	unsigned n_disk[SIM_MIGRATIONS], n_durable[SIM_MIGRATIONS];
	uint64_t term;
	bool failing; // writes
	uint64_t failing_until;

	// This life.
	struct ls_seq *seq[SIM_MIGRATIONS];
	struct sim_watch watch[SIM_MIGRATIONS][2];
	uint64_t timer[SIM_MIGRATIONS];
	bool introduced[SIM_HOSTS], listed[SIM_HOSTS];
	bool stale; // an agent follows somebody else
	unsigned asking[SIM_MIGRATIONS], wanted[SIM_MIGRATIONS]; // before it begins: agents to answer; where to
	bool unasked[SIM_MIGRATIONS];                            // one did not
};

struct sim_coordinator *sim_coordinator_new(struct world *w, unsigned c);
void sim_coordinator_free(struct sim_coordinator *c);
void sim_coordinator_kill(struct sim_coordinator *c);
void sim_coordinator_start(struct sim_coordinator *c);
void sim_coordinator_news(struct sim_coordinator *c, unsigned host, unsigned migration);
void sim_coordinator_agent_died(struct sim_coordinator *c, unsigned host);
void sim_coordinator_drain(struct sim_coordinator *c, unsigned migration);
unsigned sim_host_of(const struct sim_coordinator *c, unsigned migration, enum ls_seq_side side);
struct ls_seq_time sim_seq_now(const struct world *w);

// control_store.c
void sim_store_append(struct sim_coordinator *c, unsigned migration, Lockstep__Store__Record *record); // taken over
void sim_store_lose(struct sim_coordinator *c, bool all); // else only the end of it
void sim_store_crash(struct sim_coordinator *c);          // its process is gone
struct ls_seq *sim_store_restore(struct sim_coordinator *c, unsigned migration);
void sim_store_free(struct sim_coordinator *c);

// control_call.c
void sim_coordinator_call(struct sim_coordinator *c, unsigned migration, const struct ls_seq_action *act);
void sim_coordinator_introduced(struct sim_coordinator *c, const struct sim_answer *hello);

// control_hear.c
void sim_coordinator_list(struct sim_coordinator *c, unsigned host); // what its agent holds, until it answers
void sim_coordinator_begin(struct sim_coordinator *c, unsigned migration, unsigned dest);

// control_plan.c
void sim_coordinator_plan(struct sim_coordinator *c, unsigned migration);

#endif
