// SPDX-License-Identifier: Apache-2.0
// A host's devices that write numbered messages to one another while a schedule moves them, arc by arc, in
// random order within a step. A device that is deaf loses what it gets. It knows the rules of K3 for single
// devices and nothing of barriers: it is there to notice what a wrong schedule does.
#ifndef LS_TESTS_P2P_WORLD_H
#define LS_TESTS_P2P_WORLD_H

#include "common/schedule.h"

struct world {
	const struct ls_schedule *s;
	bool dest;
	uint64_t random;
	int state[LS_MAX_DEVICES];
	bool fresh[LS_MAX_DEVICES]; // no initiator: nobody has programmed it
	bool vm_runs;
	unsigned sent[LS_MAX_DEVICES][LS_MAX_DEVICES], got[LS_MAX_DEVICES][LS_MAX_DEVICES];
	unsigned excused[LS_MAX_DEVICES][LS_MAX_DEVICES]; // the receiver had failed
	unsigned violations; // other than a lost write; `what` is the first
	char what[160];
};

uint64_t world_random(uint64_t *state);

void world_begin(struct world *w, const struct ls_schedule *s, bool dest, uint64_t seed);
// Runs the forward track; `fail` makes it fail at a random place, if the track lets it unwind from there. True:
// it ran to its end. False: world_unwind() comes next.
bool world_forward(struct world *w, bool fail);
// Runs the unwind, now and then broken off and begun anew.
void world_unwind(struct world *w);
// Messages that got lost. The first missing number is put into `what`.
unsigned world_lost(struct world *w);

#endif
