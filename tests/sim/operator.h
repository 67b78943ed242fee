// SPDX-License-Identifier: Apache-2.0
// The client, who starts, releases, cancels and tries again, and the operator, who is called when nobody else may
// decide.
#ifndef LS_TESTS_SIM_OPERATOR_H
#define LS_TESTS_SIM_OPERATOR_H

#include "tests/sim/control.h"

struct sim_operator {
	unsigned started;                // migrations asked for
	unsigned dest[SIM_MIGRATIONS];   // host
	bool acknowledged[SIM_MIGRATIONS];
	bool retries, releasing, cancelled;
	unsigned acts;                   // of the operator, in all
	uint32_t tried[SIM_MIGRATIONS];  // actions
	unsigned fences, lies;
};

struct sim_operator *sim_operator_new(struct world *w);
void sim_operator_news(struct world *w, struct sim_coordinator *c, unsigned migration);
struct sim_coordinator *sim_operator_asks(const struct world *w); // the coordinator that is followed
void sim_operator_called(struct world *w); // all is healed: whoever waits is helped

#endif
