// SPDX-License-Identifier: Apache-2.0
// `lockstep-agent show`: ledger and devices of this host, for the night when no coordinator answers.
#ifndef LS_AGENT_SHOW_H
#define LS_AGENT_SHOW_H

#include "agent/config.h"

int ls_show(const struct ls_agent_config *config); // exit code

#endif
