// SPDX-License-Identifier: Apache-2.0
// `lockstep-agent show`: what the ledger holds and which devices there are, for the night when no coordinator answers.
// Reads only, beside a running agent or without one.
#ifndef LS_AGENT_SHOW_H
#define LS_AGENT_SHOW_H

#include "agent/config.h"

struct ls_show_options {
	bool json;
	bool states; // opens devices that nobody has, to ask for their state
};

// The process's exit status.
int ls_show(const struct ls_agent_config *config, const struct ls_show_options *options);

#endif
