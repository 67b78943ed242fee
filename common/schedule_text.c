// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/schedule.h"
#include "common/schedule_internal.h"

static const char *const gate_names[LS_GATE_COUNT] = { "none", "before-pause", "stopped", "decide" };

static const struct {
	const char *name, *text;
} kinds[LS_STEP_KIND_COUNT] = {
	[LS_STEP_NONE] = { "none", "nothing" },
	[LS_STEP_STREAMS] = { "streams", "connect the streams" },
	[LS_STEP_ARC] = { "arc", NULL },
	[LS_STEP_PRECOPY] = { "precopy", "pre-copy" },
	[LS_STEP_GATE] = { "gate", NULL },
	[LS_STEP_VMM_PAUSE] = { "vmm-pause", "pause the VM" },
	[LS_STEP_VMM_FINAL] = { "vmm-final", "last pass over RAM" },
	[LS_STEP_CONSENT] = { "consent", "consent" },
	[LS_STEP_RELEASE] = { "release", "release" },
	[LS_STEP_LOAD] = { "load", "load" },
	[LS_STEP_VMM_READY] = { "vmm-ready", "hand config space to the VMM, wait until it is ready" },
	[LS_STEP_DECIDE] = { "decide", "ask for consent, decide" },
	[LS_STEP_VMM_RESUME] = { "vmm-resume", "resume the VM" },
	[LS_STEP_STARTED] = { "started", "tell that the VM runs here" },
	[LS_STEP_RESET] = { "reset", "reset" },
	[LS_STEP_VMM_DISCARD] = { "vmm-discard", "discard the VM" },
	[LS_STEP_RETURNED] = { "returned", "note that the VM runs here again" },
};

const char *ls_gate_name(enum ls_gate gate)
{
	return (unsigned)gate < LS_GATE_COUNT ? gate_names[gate] : "?";
}

int ls_gate_parse(const char *name, enum ls_gate *ret)
{
	for (unsigned i = LS_GATE_NONE + 1; i < LS_GATE_COUNT; i++) {
		if (strcmp(name, gate_names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *ls_step_kind_name(enum ls_step_kind kind)
{
	return (unsigned)kind < LS_STEP_KIND_COUNT ? kinds[kind].name : "?";
}

// "all", "nic0, nic1", or "nic0, nic1 and 7 more"
static void devices_text(const struct ls_schedule *s, uint32_t mask, bool dest, char *buf, size_t size)
{
	size_t used = 0;
	unsigned left_out = 0;

	if (mask == ls_schedule_all(s)) {
		snprintf(buf, size, "all");
		return;
	}
	buf[0] = 0;
	for (unsigned i = 0; i < s->n_devices; i++) {
		const char *name = ls_schedule_name(s, dest, i);

		if (!(mask >> i & 1))
			continue;
		if (left_out || used + strlen(name) + sizeof(", ") + sizeof(" and 32 more") > size)
			left_out++;
		else
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", name);
	}
	if (left_out)
		snprintf(buf + used, size - used, "%s%u more", used ? " and " : "", left_out);
}

const char *ls_step_text(const struct ls_schedule *s, const struct ls_step *step, bool dest, char *buf,
			 unsigned long size)
{
	char names[LS_NAME_MAX * 4];

	devices_text(s, step->devices, dest, names, sizeof(names));
	if (step->kind == LS_STEP_ARC)
		snprintf(buf, size, "%s -> %s", names, ls_state_name(step->target));
	else if (step->kind == LS_STEP_GATE)
		snprintf(buf, size, "gate %s", ls_gate_name(step->gate));
	else if ((unsigned)step->kind >= LS_STEP_KIND_COUNT)
		snprintf(buf, size, "step of unknown kind %d", (int)step->kind);
	else if (step->devices && step->devices != ls_schedule_all(s))
		snprintf(buf, size, "%s: %s", kinds[step->kind].text, names);
	else
		snprintf(buf, size, "%s", kinds[step->kind].text);
	return buf;
}
