// SPDX-License-Identifier: Apache-2.0
// Every device carries the set of states that it may be in. A step maps that set to the one it may have within the
// step (anywhere on its walks) and the one after it. Within a step devices move independently, and a step
// maps each device's set on its own: so for each pair of devices the product of their two sets is exactly what an
// execution can show, and checking pairs is both sound and exact. For an unwind that holds as long as it is
// simulated from each forward step by itself: sets of different steps are never merged.
// schedule_order.c has seen to it before that every step stands where it may.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/schedule.h"
#include "common/schedule_internal.h"

typedef uint16_t states; // bit s: LS_STATE s; and one more:
#define FRESH LS_STATE_COUNT // RUNNING since open or reset, untouched by its VM: no initiator (K3)
#define BIT(state) ((states)(1u << (state)))
#define STATES_SPEAKING (BIT(LS_STATE_RUNNING) | BIT(LS_STATE_PRE_COPY))
// Not ERROR: what such a device misses is lost with its own state, under any schedule.
#define STATES_DEAF (BIT(LS_STATE_STOP) | BIT(LS_STATE_STOP_COPY) | BIT(LS_STATE_RESUMING))

// Starting points of an unwind that have been dealt with. They are few: a schedule has few distinct steps.
#define MAX_STARTS 128

struct track_kind {
	const char *name;
	bool dest, unwind;
};

struct walk {
	const struct ls_schedule *s;
	struct track_kind kind;
	const struct ls_track *track;
	unsigned index;                  // of the step under way
	int begun_in;                    // unwind: the forward step that it left, else -1
	bool vm_runs;                    // it may
	states may[LS_MAX_DEVICES];      // before the step; after step_*(): after it
	states within[LS_MAX_DEVICES];
	struct ls_error *err;
};

struct start {
	bool vm_runs;
	states may[LS_MAX_DEVICES];
};

struct starts {
	unsigned n;
	struct start start[MAX_STARTS];
};

static int refuse(const struct walk *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(const struct walk *w, const char *fmt, ...)
{
	char what[192], begun[48] = "";
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	if (w->begun_in >= 0)
		snprintf(begun, sizeof(begun), " (begun in step %d)", w->begun_in);
	return ls_fail(w->err, LS_E_SCHEDULE_INVALID, EINVAL, "%s step %u%s: %s", w->kind.name, w->index, begun,
		       what);
}

static const char *state_text(unsigned state)
{
	return state == FRESH ? "RUNNING after a reset" : ls_state_name((int)state);
}

static unsigned lowest(states set)
{
	return (unsigned)__builtin_ctz(set);
}

static const char *name_of(const struct walk *w, unsigned device)
{
	return ls_schedule_name(w->s, w->kind.dest, device);
}

// One device, one state it may be in: adds where its walk leads through, and where it ends.
static int walk_arc(const struct walk *w, const struct ls_step *step, unsigned i, unsigned from, states *within,
		    states *after)
{
	const enum ls_state target = ls_step_target(w->s, w->kind.dest, w->kind.unwind, step, i);
	const enum ls_state cur = from == FRESH ? LS_STATE_RUNNING : (enum ls_state)from;
	enum ls_state path[LS_FSM_PATH_MAX], before = cur;
	int n;

	if (cur == target || (w->kind.unwind && ls_unwind_skips(step, cur))) {
		*after |= BIT(from);
		return 0;
	}
	n = ls_fsm_path(ls_schedule_flags(w->s, w->kind.dest, i), cur, target, path);
	if (n < 0)
		return refuse(w, "%s has no way from %s to %s", name_of(w, i), state_text(from), ls_state_name(target));
	for (int k = 0; k < n; before = path[k++]) {
		if (ls_state_saving(before) && !ls_state_saving(path[k]) && !w->kind.unwind)
			return refuse(w, "%s leaves %s for %s before its stream has ended", name_of(w, i),
				      ls_state_name(before), ls_state_name(path[k]));
		if (before == LS_STATE_RESUMING)
			return refuse(w, "%s leaves RESUMING for %s without its image", name_of(w, i),
				      ls_state_name(path[k]));
		*within |= BIT(path[k]);
	}
	*after |= BIT(target);
	return 0;
}

static int step_arc(struct walk *w, const struct ls_step *step)
{
	for (unsigned i = 0; i < w->s->n_devices; i++) {
		states after = 0;

		if (!(step->devices >> i & 1))
			continue;
		for (unsigned from = 0; from <= FRESH; from++) {
			int r = w->may[i] & BIT(from) ? walk_arc(w, step, i, from, &w->within[i], &after) : 0;

			if (r < 0)
				return r;
		}
		// A guest may reset its device while it runs, which ends a pre-copy (K5).
		if (w->vm_runs && after & BIT(LS_STATE_PRE_COPY))
			after |= BIT(LS_STATE_RUNNING);
		w->within[i] |= after;
		w->may[i] = after;
	}
	return 0;
}

static void step_reset(struct walk *w)
{
	const unsigned fresh = w->vm_runs ? LS_STATE_RUNNING : FRESH;

	for (unsigned i = 0; i < w->s->n_devices; i++) {
		for (unsigned from = 0; from < LS_STATE_COUNT; from++) {
			if (!(w->may[i] & BIT(from)) || !ls_unwind_resets(w->kind.dest, (int)from))
				continue;
			w->may[i] &= (states)~BIT(from);
			w->may[i] |= BIT(fresh);
		}
		w->within[i] |= w->may[i];
	}
}

static int require(const struct walk *w, unsigned device, states allowed)
{
	states bad = w->may[device] & (states)~allowed;

	return bad ? refuse(w, "%s may be in %s when '%s' comes", name_of(w, device), state_text(lowest(bad)),
			    ls_step_kind_name(w->track->step[w->index].kind)) : 0;
}

static int require_before_pause(const struct walk *w, unsigned device)
{
	if (!w->s->device[device].precopy)
		return require(w, device, BIT(LS_STATE_RUNNING));
	if (!(w->may[device] & BIT(LS_STATE_PRE_COPY)))
		return refuse(w, "%s has not been brought to PRE_COPY", name_of(w, device));
	return require(w, device, BIT(LS_STATE_PRE_COPY) | BIT(LS_STATE_RUNNING));
}

// What must be reached before a milestone, and what the milestone itself does to the devices.
static int step_milestone(struct walk *w, const struct ls_step *step)
{
	int r = 0;

	for (unsigned i = 0; i < w->s->n_devices && r == 0; i++) {
		if (step->kind == LS_STEP_PRECOPY || step->gate == LS_GATE_BEFORE_PAUSE) {
			r = require_before_pause(w, i);
		} else if (step->gate == LS_GATE_STOPPED) {
			r = require(w, i, BIT(LS_STATE_STOP_COPY));
		} else if (step->kind == LS_STEP_VMM_RESUME) {
			r = require(w, i, BIT(LS_STATE_RUNNING) | BIT(FRESH));
		} else if (step->kind == LS_STEP_LOAD) {
			r = require(w, i, BIT(LS_STATE_RESUMING));
			w->within[i] |= BIT(LS_STATE_STOP);
			w->may[i] = BIT(LS_STATE_STOP);
		}
	}
	if (step->kind == LS_STEP_VMM_RESUME)
		w->vm_runs = true;
	return r;
}

static int check_pairs(const struct walk *w, bool vm_runs)
{
	for (unsigned i = 0; i < w->s->n_devices; i++) {
		const states moved = w->within[i] & (states)~(STATES_SPEAKING | BIT(FRESH) | BIT(LS_STATE_ERROR));
		const states speaking = w->within[i] & STATES_SPEAKING;
		const uint32_t reaches = speaking ? ls_schedule_reaches(w->s, i) : 0;

		if (vm_runs && moved)
			return refuse(w, "%s may be in %s while the VM runs", name_of(w, i), state_text(lowest(moved)));
		for (unsigned j = 0; j < w->s->n_devices; j++)
			if (reaches >> j & 1 && w->within[j] & STATES_DEAF)
				return refuse(w, "%s in %s may write to %s in %s", name_of(w, i),
					      state_text(lowest(speaking)), name_of(w, j),
					      state_text(lowest(w->within[j] & STATES_DEAF)));
	}
	return 0;
}

static int take_step(struct walk *w)
{
	const struct ls_step *step = &w->track->step[w->index];
	const bool vm_ran = w->vm_runs;
	int r = 0;

	memcpy(w->within, w->may, sizeof(w->within));
	if (step->kind == LS_STEP_ARC)
		r = step_arc(w, step);
	else if (step->kind == LS_STEP_RESET)
		step_reset(w);
	else
		r = step_milestone(w, step);
	if (r == 0)
		r = check_pairs(w, vm_ran);
	if (step->kind == LS_STEP_VMM_PAUSE)
		w->vm_runs = false;
	return r;
}

static bool covered(const struct starts *starts, const struct start *start)
{
	for (unsigned k = 0; k < starts->n; k++) {
		states beyond = 0;

		for (unsigned i = 0; i < LS_MAX_DEVICES; i++)
			beyond |= start->may[i] & (states)~starts->start[k].may[i];
		if (!beyond && starts->start[k].vm_runs == start->vm_runs)
			return true;
	}
	return false;
}

// Where an unwind may begin that leaves `w` within its step: what is under way ends anywhere on its walk, and every
// device may have failed. A device whose VM may run is touched by it.
static int add_start(const struct walk *w, bool vm_runs, struct starts *starts)
{
	struct start start = { .vm_runs = vm_runs };

	for (unsigned i = 0; i < w->s->n_devices; i++) {
		start.may[i] = w->within[i] | BIT(LS_STATE_ERROR);
		if (vm_runs && start.may[i] & BIT(FRESH))
			start.may[i] = (start.may[i] & (states)~BIT(FRESH)) | BIT(LS_STATE_RUNNING);
	}
	if (covered(starts, &start))
		return 0;
	if (starts->n == MAX_STARTS)
		return refuse(w, "the unwind has more than %d starting points", MAX_STARTS);
	starts->start[starts->n++] = start;
	return 0;
}

static int verify_unwind(struct walk *w, const struct walk *forward, bool vm_runs)
{
	struct starts starts;
	int r;

	starts.n = 0;
	r = add_start(forward, vm_runs, &starts);
	w->begun_in = (int)forward->index;
	// The list grows while it is worked through: an unwind that was cut short begins anew.
	for (unsigned k = 0; k < starts.n && r == 0; k++) {
		w->vm_runs = starts.start[k].vm_runs;
		memcpy(w->may, starts.start[k].may, sizeof(w->may));
		for (w->index = 0; w->index < w->track->n && r == 0; w->index++) {
			r = take_step(w);
			if (r == 0)
				r = add_start(w, w->vm_runs, &starts);
		}
	}
	return r;
}

static int verify_host(const struct ls_schedule *s, bool dest, struct ls_error *err)
{
	struct walk w = {
		.s = s, .kind = { dest ? "destination" : "source", dest, false },
		.track = dest ? &s->dest : &s->source, .begun_in = -1, .vm_runs = !dest, .err = err,
	};
	struct walk u = {
		.s = s, .kind = { dest ? "destination unwind" : "source unwind", dest, true },
		.track = dest ? &s->dest_unwind : &s->source_unwind, .err = err,
	};
	bool may_unwind = true;

	for (unsigned i = 0; i < s->n_devices; i++)
		w.may[i] = BIT(dest ? FRESH : LS_STATE_RUNNING);
	for (w.index = 0; w.index < w.track->n; w.index++) {
		const enum ls_step_kind kind = w.track->step[w.index].kind;
		const bool vm_ran = w.vm_runs;
		int r = take_step(&w);

		if (r < 0)
			return r;
		// After the destination's word, and after its STARTED, there is no way back (rules 4 and 6).
		may_unwind = may_unwind && kind != LS_STEP_RELEASE;
		if (may_unwind)
			r = verify_unwind(&u, &w, vm_ran);
		if (r < 0)
			return r;
		may_unwind = may_unwind && kind != LS_STEP_DECIDE;
	}
	return 0;
}

int ls_schedule_verify(const struct ls_schedule *s, struct ls_error *err)
{
	int r = ls_schedule_check_devices(s, LS_E_SCHEDULE_INVALID, err);

	if (r == 0)
		r = ls_schedule_check_order(s, err);
	if (r == 0)
		r = verify_host(s, false, err);
	if (r == 0)
		r = verify_host(s, true, err);
	return r;
}
