// SPDX-License-Identifier: Apache-2.0
// The world's walk: which pending thing is completed next, and what there is to say at the end.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role_world_internal.h"

#define STEPS_MAX 3000

void world_feed(struct world *w, int k, struct ls_role_event event)
{
	struct ls_role_actions copy;

	event.time_ns = w->now;
	copy = *ls_role_event(w->side[k].role, &event);
	for (unsigned i = 0; i < copy.n; i++)
		world_act(w, k, &copy.at[i]);
	world_check(w);
	if (w->closing) {
		w->closing = false;
		world_cut(w);
	}
}

static int choose(struct world *w)
{
	unsigned ready[PENDING_MAX], n = 0;

	for (unsigned i = 0; i < w->n_pending; i++)
		if (world_eligible(w, &w->pending[i]))
			ready[n++] = i;
	if (n == 0)
		return -1;
	if (w->plan->seed == 0)
		return (int)ready[0];
	if (w->plan->seed == 1)
		return (int)ready[n - 1];
	w->random = w->random * 1103515245u + 12345u;
	return (int)ready[(w->random >> 16) % n];
}

// Nothing else will happen: a call that hung comes back after all.
static bool let_go(struct world *w)
{
	for (unsigned i = 0; i < w->n_pending; i++)
		if (w->pending[i].stuck) {
			w->pending[i].stuck = false;
			return true;
		}
	return false;
}

static bool step(struct world *w)
{
	const struct plan *plan = w->plan;
	enum fault now[2] = { w->n_completed == plan->at ? plan->fault : FAULT_NONE,
			      w->n_completed == plan->second_at ? plan->second : FAULT_NONE };
	for (int i = 0; i < 2; i++)
		if (((now[i] >= FAULT_CUT && now[i] <= FAULT_LATE) || now[i] >= FAULT_CRASH_SOURCE) && !w->struck[i]) {
			w->struck[i] = true; // while time passes no completion is counted
			world_strike(w, now[i]);
		}
	int i = choose(w);
	if (i < 0) {
		uint64_t at = LS_NO_DEADLINE;
		for (int k = 0; k < 2; k++)
			if (ls_role_deadline(w->side[k].role) < at)
				at = ls_role_deadline(w->side[k].role);
		if (at == LS_NO_DEADLINE || (w->side[D].ended == LS_END_OPERATOR && at > 3600000 * MS))
			return let_go(w);
		w->now = at > w->now ? at : w->now;
		for (int k = 0; k < 2; k++)
			if (ls_role_deadline(w->side[k].role) <= w->now)
				world_feed(w, k, (struct ls_role_event){ .kind = LS_EV_TIMER });
		return true;
	}
	struct pending p = w->pending[i];
	bool fail = false, applied = false, bent = false, reset = false;
	for (int k = 0; k < 2; k++) {
		fail = fail || now[k] == FAULT_FAIL || now[k] == FAULT_FAIL_APPLIED;
		applied = applied || now[k] == FAULT_FAIL_APPLIED;
		bent = bent || now[k] == FAULT_BENT;
		reset = reset || now[k] == FAULT_RESET;
		if (now[k] == FAULT_STUCK && p.what == WHAT_JOB && p.job != LS_JOB_CONNECT && p.job != LS_JOB_ACCEPT &&
		    p.job != LS_JOB_PRECOPY) { // the worker bounds the first two, the operator the third
			w->pending[i].stuck = true;
			w->n_completed++;
			return true;
		}
	}
	memmove(&w->pending[i], &w->pending[i + 1], sizeof(p) * (w->n_pending - (unsigned)i - 1));
	w->n_pending--;
	w->now += MS;
	w->out->hit = w->out->hit || (now[0] && (now[0] != FAULT_BENT || p.job == LS_JOB_LOAD));
	world_complete(w, p, fail, applied, bent, reset);
	w->n_completed++;
	return true;
}

struct ls_role *world_make_role(struct world *w, int k)
{
	struct ls_role_params p = {
		.side = k == S ? LS_SIDE_SOURCE : LS_SIDE_DEST,
		.migration = "m", .vm = "vm", .schedule = w->schedule,
		.deadline_ns = 50000 * MS, .stuck_ns = 200000 * MS, .retry_ns = 500 * MS, .peer_ns = 60000 * MS,
		.vmm_ns = 30000 * MS, .rule_off = w->plan->rule_off,
	};
	snprintf(p.host, sizeof(p.host), "%s", k == S ? "hs" : "hd");
	snprintf(p.peer_host, sizeof(p.peer_host), "%s", k == S ? "hd" : "hs");
	snprintf(p.ledger_id, sizeof(p.ledger_id), "%s", k == S ? "s" : "d");
	snprintf(p.peer_ledger_id, sizeof(p.peer_ledger_id), "%s", k == S ? "d" : "s");
	for (unsigned i = 0; i < LS_MAX_DEVICES; i++)
		p.state[i] = w->side[k].state[i];
	return ls_role_new(&p);
}

void run_world(const struct plan *plan, struct outcome *ret)
{
	struct world *w = calloc(1, sizeof(*w));
	struct ls_error err;

	memset(ret, 0, sizeof(*ret));
	w->plan = plan;
	w->out = ret;
	w->random = plan->seed;
	w->now = 1000 * MS;
	w->schedule.n_devices = plan->n;
	for (unsigned i = 0; i < plan->n; i++) {
		struct ls_sched_device *d = &w->schedule.device[i];
		snprintf(d->source_name, sizeof(d->source_name), "a%u", i);
		snprintf(d->dest_name, sizeof(d->dest_name), "b%u", i);
		d->source_flags = d->dest_flags = plan->flags[i];
		d->precopy = plan->precopy[i];
		d->reaches = (1u << plan->n) - 1;
	}
	if (ls_schedule_make(&w->schedule, &err) < 0 || ls_schedule_verify(&w->schedule, &err) < 0) {
		snprintf(ret->violation, sizeof(ret->violation), "schedule: %s", err.message);
		free(w);
		return;
	}
	for (int k = 0; k < 2; k++) {
		for (unsigned i = 0; i < LS_MAX_DEVICES; i++)
			w->side[k].state[i] = LS_STATE_RUNNING;
		w->side[k].role = world_make_role(w, k);
		w->side[k].vmm_alive = true;
		w->side[k].open = (1u << plan->n) - 1;
		w->side[k].disk = k == S ? LS_WORD_ACTIVE : LS_WORD_UNDECIDED;
	}
	w->side[S].runs = true;
	for (int k = D; k >= S; k--) {
		world_feed(w, k, (struct ls_role_event){ .kind = LS_EV_BEGIN, .word = w->side[k].disk });
		world_feed(w, k, (struct ls_role_event){ .kind = LS_EV_GRANT, .gates = ~0u });
	}
	for (unsigned i = 0; i < STEPS_MAX && step(w); i++)
		;
	ret->completions = w->n_completed;
	ret->source = w->side[S].ended;
	ret->dest = w->side[D].ended;
	ret->source_runs = w->side[S].runs;
	ret->dest_runs = w->side[D].runs;
	if (!ret->violation[0] && w->fenced && world_silent_conflict(w))
		world_violate(w, "a false fence ends in silence");
	ret->conflict = ls_role_conflict(w->side[S].role) || ls_role_conflict(w->side[D].role);
	ret->source_word = w->side[S].disk;
	ret->dest_word = w->side[D].disk;
	if (!ret->violation[0] && ret->source_runs == ret->dest_runs && ret->source != LS_END_OPERATOR &&
	    ret->dest != LS_END_OPERATOR && w->side[S].vmm_alive && w->side[D].vmm_alive)
		world_violate(w, "nobody runs, and nobody calls the operator");
	if (!ret->violation[0] && (!ret->dest || (!ret->source && ret->dest != LS_END_OPERATOR)))
		world_violate(w, "has not come to an end");
	ls_role_free(w->side[S].role);
	ls_role_free(w->side[D].role);
	free(w);
}
