// SPDX-License-Identifier: Apache-2.0
#include "p2p_world.h"

#include <stdio.h>
#include <string.h>

uint64_t world_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static bool chance(struct world *w, unsigned one_in)
{
	return world_random(&w->random) % one_in == 0;
}

static void violation(struct world *w, const char *what, unsigned device)
{
	if (w->violations++ == 0)
		snprintf(w->what, sizeof(w->what), "device %u in %s: %s", device,
			 ls_state_name(w->state[device]), what);
}

void world_begin(struct world *w, const struct ls_schedule *s, bool dest, uint64_t seed)
{
	*w = (struct world){ .s = s, .dest = dest, .random = seed, .vm_runs = !dest };
	for (unsigned i = 0; i < s->n_devices; i++) {
		w->state[i] = LS_STATE_RUNNING;
		w->fresh[i] = dest;
	}
}

static void everyone_writes(struct world *w)
{
	for (unsigned i = 0; i < w->s->n_devices; i++) {
		if (w->vm_runs && w->state[i] != LS_STATE_RUNNING && w->state[i] != LS_STATE_PRE_COPY &&
		    w->state[i] != LS_STATE_ERROR)
			violation(w, "its VM runs", i);
		if (w->fresh[i] || (w->state[i] != LS_STATE_RUNNING && w->state[i] != LS_STATE_PRE_COPY))
			continue;
		for (unsigned j = 0; j < w->s->n_devices; j++) {
			if (i == j || !(w->s->device[i].reaches >> j & 1))
				continue;
			w->sent[i][j]++;
			switch (w->state[j]) {
			case LS_STATE_RUNNING:
			case LS_STATE_RUNNING_P2P:
			case LS_STATE_PRE_COPY:
			case LS_STATE_PRE_COPY_P2P:
				w->got[i][j]++;
				break;
			case LS_STATE_ERROR:
				w->excused[i][j]++;
				break;
			}
		}
	}
}

static unsigned flags_of(const struct world *w, unsigned i)
{
	return w->dest ? w->s->device[i].dest_flags : w->s->device[i].source_flags;
}

static bool saving(int state)
{
	return state == LS_STATE_PRE_COPY || state == LS_STATE_PRE_COPY_P2P || state == LS_STATE_STOP_COPY;
}

// One arc of one device towards its target.
static void move(struct world *w, unsigned i, int target, bool unwind)
{
	int next = ls_fsm_next(flags_of(w, i), w->state[i], target);

	if (next < 0) {
		violation(w, "refuses the arc", i);
		return;
	}
	if (!unwind && saving(w->state[i]) && !saving(next))
		violation(w, "its session ends", i);
	if (w->state[i] == LS_STATE_RESUMING)
		violation(w, "leaves RESUMING without its image", i);
	w->state[i] = next;
}

// All devices of the step, in random order of arcs; true: all arrived. False: broken off by a failure, with what was
// under way left where it was.
static bool arcs(struct world *w, const struct ls_step *step, bool unwind, bool fail)
{
	uint32_t pending = 0;
	int target[LS_MAX_DEVICES];

	for (unsigned i = 0; i < w->s->n_devices; i++) {
		target[i] = ls_step_target(w->s, w->dest, unwind, step, i);
		if (step->devices >> i & 1 && w->state[i] != target[i] &&
		    !(unwind && ls_unwind_skips(step, w->state[i])))
			pending |= UINT32_C(1) << i;
	}
	while (pending) {
		unsigned i = world_random(&w->random) % w->s->n_devices;

		if (!(pending >> i & 1))
			continue;
		if (fail && chance(w, 8)) {
			if (chance(w, 2))
				w->state[i] = LS_STATE_ERROR;
			everyone_writes(w);
			return false;
		}
		move(w, i, target[i], unwind);
		if (w->state[i] == target[i] || w->violations)
			pending &= ~(UINT32_C(1) << i);
		everyone_writes(w);
	}
	return true;
}

static void expect_all(struct world *w, int state, const char *what)
{
	for (unsigned i = 0; i < w->s->n_devices; i++)
		if (w->state[i] != state)
			violation(w, what, i);
}

// What a step other than an arc means for the devices.
static void milestone(struct world *w, const struct ls_step *step)
{
	switch (step->kind) {
	case LS_STEP_PRECOPY:
		for (unsigned i = 0; i < w->s->n_devices; i++)
			if (w->s->device[i].precopy && chance(w, 10))
				w->state[i] = LS_STATE_RUNNING; // its guest reset it
		break;
	case LS_STEP_VMM_PAUSE:
		w->vm_runs = false;
		break;
	case LS_STEP_GATE:
		if (step->gate == LS_GATE_STOPPED)
			expect_all(w, LS_STATE_STOP_COPY, "not stopped");
		break;
	case LS_STEP_LOAD:
		expect_all(w, LS_STATE_RESUMING, "cannot load");
		for (unsigned i = 0; i < w->s->n_devices; i++) {
			w->state[i] = LS_STATE_STOP;
			w->fresh[i] = false;
		}
		break;
	case LS_STEP_DECIDE:
		expect_all(w, LS_STATE_STOP, "not loaded");
		break;
	case LS_STEP_RESET:
		for (unsigned i = 0; i < w->s->n_devices; i++) {
			if (!ls_unwind_resets(w->dest, w->state[i]))
				continue;
			w->state[i] = LS_STATE_RUNNING;
			w->fresh[i] = !w->vm_runs;
			everyone_writes(w);
		}
		break;
	case LS_STEP_VMM_RESUME:
		expect_all(w, LS_STATE_RUNNING, "not running");
		w->vm_runs = true;
		memset(w->fresh, 0, sizeof(w->fresh));
		break;
	default:
		break;
	}
	everyone_writes(w);
}

bool world_forward(struct world *w, bool fail)
{
	const struct ls_track *t = w->dest ? &w->s->dest : &w->s->source;
	const enum ls_step_kind last = w->dest ? LS_STEP_DECIDE : LS_STEP_RELEASE;
	bool no_return = false;

	everyone_writes(w);
	for (unsigned k = 0; k < t->n && !w->violations; k++) {
		no_return = no_return || t->step[k].kind == last;
		if (fail && !no_return && chance(w, t->n))
			return false;
		if (t->step[k].kind != LS_STEP_ARC)
			milestone(w, &t->step[k]);
		else if (!arcs(w, &t->step[k], false, fail && !no_return))
			return false;
	}
	return true;
}

void world_unwind(struct world *w)
{
	const struct ls_track *t = w->dest ? &w->s->dest_unwind : &w->s->source_unwind;
	unsigned patience = 3; // times it may break off

	for (unsigned k = 0; k < t->n && !w->violations; k++) {
		bool fail = patience && chance(w, 3), done = true;

		if (t->step[k].kind == LS_STEP_ARC)
			done = arcs(w, &t->step[k], true, fail);
		else
			milestone(w, &t->step[k]);
		if (!done || (fail && chance(w, 4))) {
			patience--;
			k = UINT32_MAX; // from its first step
		}
	}
}

unsigned world_lost(struct world *w)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < w->s->n_devices; i++)
		for (unsigned j = 0; j < w->s->n_devices; j++) {
			unsigned missing = w->sent[i][j] - w->got[i][j] - w->excused[i][j];

			if (missing && lost == 0)
				snprintf(w->what, sizeof(w->what), "%u of %u writes from %u to %u are missing", missing,
					 w->sent[i][j], i, j);
			lost += missing;
		}
	return lost;
}
