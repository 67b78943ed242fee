// SPDX-License-Identifier: Apache-2.0
// What the runs have met, added up over all of them.
#ifndef LS_TESTS_SIM_COVER_H
#define LS_TESTS_SIM_COVER_H

#include "tests/sim/operator.h"

#define SIM_PHASES 11

struct sim_cover {
	uint64_t runs, events, writes, faulty, fired, longest;
	uint64_t phase[SIM_PHASES], lied, vm_dead, second;
	uint64_t met, said; // false fences that met a destination that had committed; that ended in CONFLICT on both sides
	uint64_t fault[SIM_FAULT_COUNT];
	uint64_t words[LS_WORD_COUNT][LS_WORD_COUNT];       // events at (source, destination)
	uint64_t state[2][LS_STATE_COUNT];                  // devices, after each event
	uint64_t fed[LS_EV_TIMER + 1]; // events of roles, by kind
	uint32_t fault_at[SIM_FAULT_COUNT][LS_WORD_COUNT][LS_WORD_COUNT];
};

void sim_cover_event(struct sim_cover *t, const struct world *w, unsigned *faults_seen);
void sim_cover_run(struct sim_cover *t, const struct world *w);
void sim_cover_add(struct sim_cover *to, const struct sim_cover *from);
// Prints; false if a kind of fault, or of event, was met less than `least` times.
bool sim_cover_print(const struct sim_cover *t, uint64_t least);

#endif
