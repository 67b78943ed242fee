// SPDX-License-Identifier: Apache-2.0
// Looks at a VM's devices and changes nothing: sysfs off the loop, then each idle device is opened by its worker (with
// the fd that its VMM lends for a look), probed and closed. What a migration holds is not looked at again. One survey
// of a VM at a time; VMs do not wait for each other. A device whose driver does not answer in time is said to be stuck
// and left to its worker: nobody can take it until the call has returned.
#ifndef LS_AGENT_SURVEY_H
#define LS_AGENT_SURVEY_H

#include "agent/agent.h"

#define LS_SURVEY_MS 5000 // for a look, or arc_timeout_ms where that is less: who asks waits about 8 s

// Calls `done` when every device of `vm` ("": of all) has been looked at, perhaps before it returns; ownership of
// `user` stays outside.
typedef void ls_survey_done_fn(void *user, bool cancelled);
int ls_survey(struct ls_agent *a, const char *vm, ls_survey_done_fn *done, void *user);
bool ls_survey_under_way(const struct ls_agent *a, const char *vm);
// A VMM has just connected: probe its devices soon.
void ls_survey_vm(struct ls_agent *a, struct ls_vmm *v);
// The agent is closing: everyone hears `cancelled`. Devices and VMMs must not answer afterwards.
void ls_survey_drop(struct ls_agent *a);

#endif
