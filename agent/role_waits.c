// SPDX-License-Identifier: Apache-2.0
// What a role that has not ended waits for, for people.
#include <stdio.h>

#include "agent/role_int.h"

static const char *job_name(enum ls_job_kind job)
{
	static const char *const names[] = { "adopt",    "arc",  "reset", "connect", "accept",
					     "pre-copy", "send", "load",  "close" };

	return (unsigned)job < sizeof(names) / sizeof(names[0]) ? names[job] : "job";
}

static const char *step_name(const struct ls_role *r)
{
	const struct ls_step *step = role_step(r);

	if (r->word == LS_WORD_CONSENTED)
		return "the destination's word";
	if (r->word == LS_WORD_COMMITTED && r->ask_first)
		return "the source's word";
	if (r->adopting && r->vmm_away)
		return "the VMM to connect again";
	return step && step->kind == LS_STEP_GATE ? "a gate" : "the other side";
}

void ls_role_waits(const struct ls_role *r, char *ret, size_t size)
{
	if (r->persisting) {
		snprintf(ret, size, "the ledger to hold %s", ls_word_name(r->persisting));
		return;
	}
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (r->dev[i].busy) {
			snprintf(ret, size, "device %s: %s", ls_role_device_name(r, i), job_name(r->dev[i].job));
			return;
		}
	snprintf(ret, size, "%s", r->vmm_busy ? "the VMM's answer" : step_name(r));
}
