// SPDX-License-Identifier: Apache-2.0
#include "coordinator/validate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/schedule.h"

// Whatever came, in at most 32 printable characters.
static const char *shown(const char *value, char buf[40])
{
	size_t n = 0;

	for (; value[n] && n < 32; n++)
		buf[n] = value[n] >= 0x20 && value[n] < 0x7f ? value[n] : '?';
	snprintf(buf + n, 40 - n, "%s", value[n] ? "..." : "");
	return buf;
}

int ls_validate_name(const char *field, const char *value, bool may_be_empty, struct ls_error *err)
{
	char buf[40];

	if ((may_be_empty && !value[0]) || ls_name_valid(value))
		return 0;
	return ls_fail(err, LS_E_INVALID, 0, "%s: must be 1 to 63 of [A-Za-z0-9._-], is `%s`", field,
		       shown(value, buf));
}

int ls_validate_actor(const char *actor, struct ls_error *err)
{
	size_t n = strlen(actor);

	for (size_t i = 0; i < n; i++)
		if (actor[i] < 0x20 || actor[i] > 0x7e)
			return ls_fail(err, LS_E_INVALID, 0, "actor: must be printable ASCII");
	return n <= 128 ? 0 : ls_fail(err, LS_E_INVALID, 0, "actor: at most 128 characters, has %zu", n);
}

int ls_validate_gate(const char *field, int gate, struct ls_error *err)
{
	if (gate > LS_GATE_NONE && gate < LS_GATE_COUNT)
		return 0;
	return ls_fail(err, LS_E_INVALID, 0, "%s: must be GATE_BEFORE_PAUSE, GATE_STOPPED or GATE_DECIDE, is %d", field,
		       gate);
}

static int check_hold(const Lockstep__V1__MigrationSpec *spec, struct ls_error *err)
{
	unsigned seen = 0;

	for (size_t i = 0; i < spec->n_hold; i++) {
		int r = ls_validate_gate("spec.hold", spec->hold[i], err);

		if (r < 0)
			return r;
		if (seen & 1u << spec->hold[i])
			return ls_fail(err, LS_E_INVALID, 0, "spec.hold: the gate %s is there twice",
				       ls_gate_name((enum ls_gate)spec->hold[i]));
		seen |= 1u << spec->hold[i];
	}
	return 0;
}

int ls_validate_spec(const Lockstep__V1__MigrationSpec *spec, bool dry_run, struct ls_error *err)
{
	int r = ls_validate_name("spec.id", spec->id, dry_run, err);

	if (r == 0)
		r = ls_validate_name("spec.vm", spec->vm, false, err);
	if (r == 0)
		r = ls_validate_name("spec.source", spec->source, false, err);
	if (r == 0)
		r = ls_validate_name("spec.destination", spec->destination, false, err);
	if (r < 0)
		return r;
	if (spec->deadline_ms && (spec->deadline_ms < 10 || spec->deadline_ms > 3600000))
		return ls_fail(err, LS_E_INVALID, 0, "spec.deadline_ms: must be 0 (none) or 10 to 3600000, is %llu",
			       (unsigned long long)spec->deadline_ms);
	if (spec->precopy && spec->precopy->max_rounds > 1000)
		return ls_fail(err, LS_E_INVALID, 0, "spec.precopy.max_rounds: at most 1000, is %u",
			       spec->precopy->max_rounds);
	return check_hold(spec, err);
}

int ls_validate_limit(uint32_t limit, struct ls_error *err)
{
	return limit <= LS_LIST_MOST ? 0
				     : ls_fail(err, LS_E_INVALID, 0, "limit: at most %u, is %u", LS_LIST_MOST, limit);
}
