// SPDX-License-Identifier: Apache-2.0
#include "common/schedule.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/schedule_internal.h"

static bool name_ok(const char name[LS_NAME_MAX])
{
	return memchr(name, 0, LS_NAME_MAX) && ls_name_valid(name);
}

static bool flags_ok(unsigned flags)
{
	return ls_fsm_next(flags, LS_STATE_RUNNING, LS_STATE_STOP_COPY) >= 0;
}

int ls_schedule_check_devices(const struct ls_schedule *s, enum ls_reason reason, struct ls_error *err)
{
	if (s->n_devices < 1 || s->n_devices > LS_MAX_DEVICES)
		return ls_fail(err, reason, EINVAL, "%u devices; 1 to %d are possible", s->n_devices, LS_MAX_DEVICES);
	for (unsigned i = 0; i < s->n_devices; i++) {
		const struct ls_sched_device *d = &s->device[i];

		if (!name_ok(d->source_name) || !name_ok(d->dest_name))
			return ls_fail(err, reason, EINVAL, "device %u: a name has 1 to 63 of A-Z a-z 0-9 . _ -", i);
		for (unsigned j = 0; j < i; j++)
			if (strcmp(d->source_name, s->device[j].source_name) == 0 ||
			    strcmp(d->dest_name, s->device[j].dest_name) == 0)
				return ls_fail(err, reason, EINVAL, "devices %u and %u have one name", j, i);
		if (!flags_ok(d->source_flags) || !flags_ok(d->dest_flags))
			return ls_fail(err, reason, EINVAL, "%s -> %s: migration flags %u -> %u; 1, 3, 5 and 7 exist",
				       d->source_name, d->dest_name, d->source_flags, d->dest_flags);
		if (d->reaches & ~ls_schedule_all(s))
			return ls_fail(err, reason, EINVAL, "%s: reaches devices beyond the %u there are",
				       d->source_name, s->n_devices);
		if (d->precopy && !(d->source_flags & LS_CAP_PRE_COPY))
			return ls_fail(err, reason, EINVAL, "%s: is to pre-copy, but has flags %u", d->source_name,
				       d->source_flags);
	}
	return 0;
}

static uint32_t without_p2p(const struct ls_schedule *s, bool dest)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < s->n_devices; i++)
		if (!(ls_schedule_flags(s, dest, i) & LS_CAP_P2P))
			mask |= UINT32_C(1) << i;
	return mask;
}

static uint32_t reached_by_others(const struct ls_schedule *s)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < s->n_devices; i++)
		mask |= ls_schedule_reaches(s, i);
	return mask;
}

static uint32_t reaching_others(const struct ls_schedule *s)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < s->n_devices; i++)
		if (ls_schedule_reaches(s, i))
			mask |= UINT32_C(1) << i;
	return mask;
}

// Two devices that cannot be quiesced and can reach one another: whichever stops last, or starts first, writes to
// one that is deaf. Where only one reaches the other an order exists, but not worth its barriers.
static int refuse_unquiet_pairs(const struct ls_schedule *s, bool dest, struct ls_error *err)
{
	uint32_t unquiet = without_p2p(s, dest), bad = 0;
	char names[160] = "";
	size_t used = 0;
	unsigned left_out = 0;

	for (unsigned i = 0; i < s->n_devices; i++) {
		uint32_t met = unquiet >> i & 1 ? ls_schedule_reaches(s, i) & unquiet : 0;

		if (met)
			bad |= met | UINT32_C(1) << i;
	}
	if (!bad)
		return 0;
	for (unsigned i = 0; i < s->n_devices; i++) {
		const char *name = ls_schedule_name(s, dest, i);

		if (!(bad >> i & 1))
			continue;
		if (used + strlen(name) + 3 > sizeof(names))
			left_out++;
		else
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", name);
	}
	if (left_out)
		return ls_fail(err, LS_E_NOT_FEASIBLE, EOPNOTSUPP,
			       "on the %s these reach each other and lack P2P, so none can stop first: %s and %u more",
			       dest ? "destination" : "source", names, left_out);
	return ls_fail(err, LS_E_NOT_FEASIBLE, EOPNOTSUPP,
		       "on the %s these reach each other and lack P2P, so none can stop first: %s",
		       dest ? "destination" : "source", names);
}

static void add(struct ls_track *track, struct ls_step step)
{
	track->step[track->n++] = step;
}

static void add_plain(struct ls_track *track, enum ls_step_kind kind, uint32_t devices)
{
	add(track, (struct ls_step){ .kind = kind, .devices = devices });
}

static void add_gate(struct ls_track *track, enum ls_gate gate)
{
	add(track, (struct ls_step){ .kind = LS_STEP_GATE, .gate = gate });
}

static void add_arc(struct ls_track *track, uint32_t devices, enum ls_state target)
{
	if (devices)
		add(track, (struct ls_step){ .kind = LS_STEP_ARC, .devices = devices, .target = target });
}

static void make_source(struct ls_schedule *s)
{
	const uint32_t all = ls_schedule_all(s), precopy = ls_schedule_precopy(s), unquiet = without_p2p(s, false);
	struct ls_track *t = &s->source;

	add_plain(t, LS_STEP_STREAMS, all);
	add_arc(t, precopy, LS_STATE_PRE_COPY);
	if (precopy)
		add_plain(t, LS_STEP_PRECOPY, precopy);
	add_gate(t, LS_GATE_BEFORE_PAUSE);
	add_plain(t, LS_STEP_VMM_PAUSE, 0);
	add_arc(t, all & ~unquiet, LS_STATE_RUNNING_P2P);
	// Its last writes still find all others listening. One that reaches nobody may as well stop with the rest.
	add_arc(t, unquiet & reaching_others(s), LS_STATE_STOP);
	add_arc(t, all, LS_STATE_STOP_COPY);
	add_gate(t, LS_GATE_STOPPED);
	add_plain(t, LS_STEP_VMM_FINAL, 0);
	add_plain(t, LS_STEP_CONSENT, 0);
	add_plain(t, LS_STEP_RELEASE, all);
}

// From stopped to running: nobody speaks before all listen.
static void add_start(const struct ls_schedule *s, bool dest, struct ls_track *t)
{
	const uint32_t all = ls_schedule_all(s), unquiet = without_p2p(s, dest);

	add_arc(t, all & ~unquiet, LS_STATE_RUNNING_P2P);
	add_arc(t, unquiet & reached_by_others(s), LS_STATE_RUNNING);
	add_arc(t, all, LS_STATE_RUNNING);
	add_plain(t, LS_STEP_VMM_RESUME, 0);
}

static void make_dest(struct ls_schedule *s)
{
	struct ls_track *t = &s->dest;

	add_arc(t, ls_schedule_all(s), LS_STATE_RESUMING);
	add_plain(t, LS_STEP_LOAD, ls_schedule_all(s));
	add_plain(t, LS_STEP_VMM_READY, 0);
	add_gate(t, LS_GATE_DECIDE);
	add_plain(t, LS_STEP_DECIDE, 0);
	add_start(s, true, t);
	add_plain(t, LS_STEP_STARTED, 0);
}

int ls_schedule_make(struct ls_schedule *s, struct ls_error *err)
{
	int r = ls_schedule_check_devices(s, LS_E_INVALID, err);

	if (r < 0)
		return r;
	r = refuse_unquiet_pairs(s, false, err);
	if (r < 0)
		return r;
	r = refuse_unquiet_pairs(s, true, err);
	if (r < 0)
		return r;
	s->source = s->source_unwind = s->dest = s->dest_unwind = (struct ls_track){ .n = 0 };
	make_source(s);
	make_dest(s);
	add_plain(&s->source_unwind, LS_STEP_RESET, ls_schedule_all(s));
	add_start(s, false, &s->source_unwind);
	add_plain(&s->source_unwind, LS_STEP_RETURNED, 0);
	add_plain(&s->dest_unwind, LS_STEP_RESET, ls_schedule_all(s));
	add_plain(&s->dest_unwind, LS_STEP_VMM_DISCARD, 0);
	return 0;
}

enum ls_state ls_step_target(const struct ls_schedule *s, bool dest, bool unwind, const struct ls_step *step,
			     unsigned device)
{
	if (dest || unwind || !s->device[device].precopy)
		return step->target;
	switch (step->target) {
	case LS_STATE_RUNNING_P2P: return LS_STATE_PRE_COPY_P2P;
	case LS_STATE_STOP: return LS_STATE_STOP_COPY;
	default: return step->target;
	}
}

bool ls_unwind_skips(const struct ls_step *step, enum ls_state cur)
{
	return step->kind == LS_STEP_ARC && step->target == LS_STATE_RUNNING_P2P && ls_state_initiates(cur);
}

bool ls_unwind_resets(bool dest, int cur)
{
	return dest || cur == LS_STATE_ERROR || !ls_state_valid(cur);
}
