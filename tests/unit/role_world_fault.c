// SPDX-License-Identifier: Apache-2.0
// Faults that strike between two completions: cuts, kills, power, operators.
#include "role_world_internal.h"

// What was under way when the agent died, and came to its end without it.
static void land(struct world *w, const struct pending *p)
{
	struct side *me = &w->side[p->side];

	if (p->what == WHAT_PERSIST && !world_lied(w, p->word))
		me->disk = p->word;
	if (p->what == WHAT_JOB && p->job == LS_JOB_ARC)
		me->state[p->device] = p->target;
	if (p->what == WHAT_JOB && p->job == LS_JOB_RESET)
		me->state[p->device] = LS_STATE_RUNNING;
	if (p->what == WHAT_JOB && p->job == LS_JOB_LOAD && world_eligible(w, p) && !me->broken[p->device])
		me->state[p->device] = LS_STATE_STOP;
	if (p->what == WHAT_VMM && p->op == LS_VMM_PAUSE) {
		me->runs = false;
		me->paused = true;
	}
	if (p->what == WHAT_VMM && p->op == LS_VMM_RESUME)
		me->runs = true;
}

static void crash(struct world *w, int k, bool kept, bool applied, bool rebooted)
{
	struct side *me = &w->side[k];
	bool linked = w->connection != 0;
	unsigned keep = 0;

	for (unsigned i = 0; applied && i < w->n_pending; i++)
		if (w->pending[i].side == k && !w->pending[i].stuck)
			land(w, &w->pending[i]);
	for (unsigned i = 0; i < w->n_pending; i++) {
		struct pending *p = &w->pending[i];
		if (p->what != WHAT_MSG && p->side != k)
			w->pending[keep++] = *p;
	}
	w->n_pending = keep;
	for (unsigned i = 0; i < w->plan->n; i++)
		w->side[S].broken[i] = w->side[D].broken[i] = true;
	w->connection = 0;
	w->strayed = w->strayed && k != D; // an agent that dies before it writes LOST leaves nothing to tell it by
	me->must_ask = w->fenced && !me->runs;
	ls_role_free(me->role);
	me->role = world_make_role(w, k);
	me->ended = LS_END_NONE;
	me->silent = false;
	if (rebooted)
		me->vmm_alive = me->runs = false;
	me->vmm_away = me->vmm_alive;
	if (!kept)
		me->open = 0;
	for (unsigned i = 0; rebooted && i < LS_MAX_DEVICES; i++)
		me->state[i] = LS_STATE_RUNNING;
	if (linked)
		world_feed(w, !k, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
	if (me->vmm_alive)
		world_put(w, WHAT_HELLO, k);
	world_feed(w, k, (struct ls_role_event){ .kind = LS_EV_RESTART, .word = me->disk,
						 .restart = { .done = me->done, .fenced = me->fenced,
							      .conflict = me->conflict, .rebooted = rebooted,
							      .vmm_lends = true, .held = me->open } });
}

static void resolve(struct world *w)
{
	const struct ls_role *r = w->side[S].role;
	bool lost = ls_role_may_resolve(r, LS_RESOLVE_RETURN_LOST, false, NULL) == 0;

	if (!lost && ls_role_may_resolve(r, LS_RESOLVE_RETURN_FENCED, true, NULL) < 0)
		return;
	w->fenced = !lost;
	w->side[S].fenced = !lost;
	w->side[S].ended = LS_END_NONE;
	world_feed(w, S, (struct ls_role_event){ .kind = LS_EV_RESOLVE, .claimed = !lost,
						 .resolve = lost ? LS_RESOLVE_RETURN_LOST : LS_RESOLVE_RETURN_FENCED });
}

void world_strike(struct world *w, enum fault fault)
{
	struct ls_error cancel;
	int k = fault == FAULT_VMM_SOURCE ? S : D;

	ls_fail(&cancel, LS_E_CANCELLED, 0, "cancelled");
	switch (fault) {
	case FAULT_CUT:
		world_cut(w);
		break;
	case FAULT_CANCEL_SOURCE:
	case FAULT_CANCEL_DEST:
	case FAULT_SETTLE:
		world_feed(w, fault == FAULT_CANCEL_SOURCE ? S : D,
			   (struct ls_role_event){ .kind = fault == FAULT_SETTLE ? LS_EV_SETTLE : LS_EV_UNWIND,
						   .error = &cancel });
		if (fault == FAULT_SETTLE)
			world_check_settled(w);
		break;
	case FAULT_VMM_SOURCE:
	case FAULT_VMM_DEST:
		if (!w->side[k].vmm_alive)
			break;
		w->side[k].vmm_alive = w->side[k].runs = false;
		for (unsigned i = 0; i < w->n_pending; i++)
			if ((w->pending[i].what == WHAT_VMM || w->pending[i].what == WHAT_HELLO) &&
			    w->pending[i].side == k)
				w->pending[i--] = w->pending[--w->n_pending];
		if (!w->side[k].vmm_away)
			world_feed(w, k, (struct ls_role_event){ .kind = LS_EV_VMM_LOST });
		break;
	case FAULT_CRASH_SOURCE:
	case FAULT_CRASH_SOURCE_APPLIED:
	case FAULT_BARE_SOURCE:
		crash(w, S, fault != FAULT_BARE_SOURCE, fault == FAULT_CRASH_SOURCE_APPLIED, false);
		break;
	case FAULT_CRASH_DEST:
	case FAULT_CRASH_DEST_APPLIED:
	case FAULT_BARE_DEST:
		crash(w, D, fault != FAULT_BARE_DEST, fault == FAULT_CRASH_DEST_APPLIED, false);
		break;
	case FAULT_POWER_DEST:
		crash(w, D, false, false, true);
		break;
	case FAULT_REST:
		world_feed(w, S, (struct ls_role_event){ .kind = LS_EV_REST, .rest_ns = UINT64_MAX / 2 });
		break;
	case FAULT_FENCE:
		resolve(w);
		break;
	case FAULT_LATE:
		w->now += 100000 * MS;
		for (int i = 0; i < 2; i++)
			if (ls_role_deadline(w->side[i].role) <= w->now)
				world_feed(w, i, (struct ls_role_event){ .kind = LS_EV_TIMER });
		break;
	default:
		break;
	}
}
