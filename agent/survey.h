// SPDX-License-Identifier: Apache-2.0
// Looks at the host's devices and changes nothing: sysfs off the loop, then each idle device is opened by
// its worker (with the fd that its VMM lends for a look), probed and closed. What a migration holds is
// not looked at again. One survey at a time.
#ifndef LS_AGENT_SURVEY_H
#define LS_AGENT_SURVEY_H

#include "agent/agent.h"

// Calls `done` when every device has been looked at; ownership of `user` stays outside.
typedef void ls_survey_done_fn(void *user, bool cancelled);
int ls_survey(struct ls_agent *a, ls_survey_done_fn *done, void *user);
// A VMM has just connected: probe its devices soon.
void ls_survey_vm(struct ls_agent *a, struct ls_vmm *v);
// The agent is closing: everyone hears `cancelled`. Devices and VMMs must not answer afterwards.
void ls_survey_drop(struct ls_agent *a);

#endif
