// SPDX-License-Identifier: Apache-2.0
// The order of steps in a track, without regard to what they do.
#include <errno.h>
#include <stdio.h>

#include "common/schedule.h"
#include "common/schedule_internal.h"

// A step that must come, once, in this order; whether arcs may stand before it.
struct milestone {
	enum ls_step_kind kind;
	enum ls_gate gate;
	enum { NO_DEVICES, ALL_DEVICES, PRECOPY_DEVICES } devices; // the last: left out where nothing pre-copies
	bool arcs_before;
};

#define MILESTONES_MAX 8
struct order {
	const char *track;
	unsigned n;
	struct milestone milestone[MILESTONES_MAX];
};

static const struct order source_order = {
	"source", 8, {
		{ LS_STEP_STREAMS,    LS_GATE_NONE,         ALL_DEVICES,     false },
		{ LS_STEP_PRECOPY,    LS_GATE_NONE,         PRECOPY_DEVICES, true },
		{ LS_STEP_GATE,       LS_GATE_BEFORE_PAUSE, NO_DEVICES,      false },
		{ LS_STEP_VMM_PAUSE,  LS_GATE_NONE,         NO_DEVICES,      false },
		{ LS_STEP_GATE,       LS_GATE_STOPPED,      NO_DEVICES,      true },
		{ LS_STEP_VMM_FINAL,  LS_GATE_NONE,         NO_DEVICES,      false },
		{ LS_STEP_CONSENT,    LS_GATE_NONE,         NO_DEVICES,      false },
		{ LS_STEP_RELEASE,    LS_GATE_NONE,         ALL_DEVICES,     false },
	}
};
static const struct order dest_order = {
	"destination", 6, {
		{ LS_STEP_LOAD,       LS_GATE_NONE,         ALL_DEVICES,     true },
		{ LS_STEP_VMM_READY,  LS_GATE_NONE,         NO_DEVICES,      false },
		{ LS_STEP_GATE,       LS_GATE_DECIDE,       NO_DEVICES,      false },
		{ LS_STEP_DECIDE,     LS_GATE_NONE,         NO_DEVICES,      false },
		{ LS_STEP_VMM_RESUME, LS_GATE_NONE,         NO_DEVICES,      true },
		{ LS_STEP_STARTED,    LS_GATE_NONE,         NO_DEVICES,      false },
	}
};
static const struct order source_unwind_order = {
	"source unwind", 3, {
		{ LS_STEP_RESET,      LS_GATE_NONE,         ALL_DEVICES,     false },
		{ LS_STEP_VMM_RESUME, LS_GATE_NONE,         NO_DEVICES,      true },
		{ LS_STEP_RETURNED,   LS_GATE_NONE,         NO_DEVICES,      false },
	}
};
static const struct order dest_unwind_order = {
	"destination unwind", 2, {
		{ LS_STEP_RESET,       LS_GATE_NONE,        ALL_DEVICES,     false },
		{ LS_STEP_VMM_DISCARD, LS_GATE_NONE,        NO_DEVICES,      false },
	}
};

static uint32_t devices_of(const struct ls_schedule *s, const struct milestone *m)
{
	switch (m->devices) {
	case ALL_DEVICES: return ls_schedule_all(s);
	case PRECOPY_DEVICES: return ls_schedule_precopy(s);
	default: return 0;
	}
}

static int refuse(struct ls_error *err, const struct order *order, unsigned index, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static int refuse(struct ls_error *err, const struct order *order, unsigned index, const char *fmt, ...)
{
	char what[160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return ls_fail(err, LS_E_SCHEDULE_INVALID, EINVAL, "%s step %u: %s", order->track, index, what);
}

static int check_arc(const struct ls_schedule *s, const struct order *order, unsigned index, const struct ls_step *step,
		     const struct milestone *next, struct ls_error *err)
{
	if (!next->arcs_before)
		return refuse(err, order, index, "no arc may stand before '%s'", ls_step_kind_name(next->kind));
	if (!step->devices || step->devices & ~ls_schedule_all(s))
		return refuse(err, order, index, "devices 0x%x are not of the %u there are", step->devices,
			      s->n_devices);
	if (!ls_state_valid((int)step->target) || step->gate != LS_GATE_NONE)
		return refuse(err, order, index, "an arc with target %d and gate %d", (int)step->target,
			      (int)step->gate);
	return 0;
}

static int check_milestone(const struct ls_schedule *s, const struct order *order, unsigned index,
			   const struct ls_step *step, const struct milestone *m, struct ls_error *err)
{
	if (step->kind != m->kind || step->gate != m->gate)
		return refuse(err, order, index, "'%s%s%s' where '%s%s%s' must come", ls_step_kind_name(step->kind),
			      step->gate ? " " : "", step->gate ? ls_gate_name(step->gate) : "",
			      ls_step_kind_name(m->kind), m->gate ? " " : "", m->gate ? ls_gate_name(m->gate) : "");
	if (step->devices != devices_of(s, m))
		return refuse(err, order, index, "'%s' has devices 0x%x and must have 0x%x",
			      ls_step_kind_name(step->kind), step->devices, devices_of(s, m));
	if (step->target != 0)
		return refuse(err, order, index, "'%s' has a target", ls_step_kind_name(step->kind));
	return 0;
}

static int check_track(const struct ls_schedule *s, const struct order *order, const struct ls_track *track,
		       struct ls_error *err)
{
	unsigned at = 0, index;
	int r = 0;

	if (track->n > LS_MAX_STEPS)
		return refuse(err, order, LS_MAX_STEPS, "there are %u steps; at most %d are possible", track->n,
			      LS_MAX_STEPS);
	for (index = 0; index < track->n && r == 0; index++) {
		const struct ls_step *step = &track->step[index];

		if (at < order->n && order->milestone[at].devices == PRECOPY_DEVICES && !ls_schedule_precopy(s))
			at++;
		if (at == order->n)
			return refuse(err, order, index, "'%s' behind the last step", ls_step_kind_name(step->kind));
		if (step->kind == LS_STEP_ARC)
			r = check_arc(s, order, index, step, &order->milestone[at], err);
		else
			r = check_milestone(s, order, index, step, &order->milestone[at++], err);
	}
	if (r == 0 && at < order->n)
		return refuse(err, order, index, "'%s' is missing", ls_step_kind_name(order->milestone[at].kind));
	return r;
}

int ls_schedule_check_order(const struct ls_schedule *s, struct ls_error *err)
{
	int r = check_track(s, &source_order, &s->source, err);

	if (r == 0)
		r = check_track(s, &source_unwind_order, &s->source_unwind, err);
	if (r == 0)
		r = check_track(s, &dest_order, &s->dest, err);
	if (r == 0)
		r = check_track(s, &dest_unwind_order, &s->dest_unwind, err);
	return r;
}
