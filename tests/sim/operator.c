// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/operator.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "tests/sim/agent.h"

struct sim_coordinator *sim_operator_asks(const struct world *w)
{
	return w->coordinator[w->process[SIM_COORD + 1].up || w->superseded];
}

// ---- the client

static void on_start(struct world *w, void *arg)
{
	struct sim_operator *o = w->operator_;
	struct sim_coordinator *c = sim_operator_asks(w);
	unsigned m = *(unsigned *)arg, *again;

	if (o->acknowledged[m])
		return;
	if (sim_runs(w, SIM_COORD + c->c)) {
		sim_coordinator_begin(c, m, o->dest[m]);
		o->acknowledged[m] = c->n_durable[m] > 0;
	}
	again = sim_alloc(sizeof(*again));
	*again = m;
	sim_at(w, SIM_WORLD, o->acknowledged[m] ? 0 : 20 * MS, on_start, again); // the same id again, until it is acknowledged
}

static void start(struct world *w, unsigned migration, unsigned dest, uint64_t delay)
{
	unsigned *m = sim_alloc(sizeof(*m));

	*m = migration;
	w->operator_->dest[migration] = dest;
	w->operator_->started = migration + 1;
	w->dest = dest;
	sim_at(w, SIM_WORLD, delay, on_start, m);
}

static void on_release(struct world *w, void *arg)
{
	struct sim_coordinator *c = sim_operator_asks(w);
	unsigned m = *(unsigned *)arg;
	struct ls_error err;

	w->operator_->releasing = false;
	if (!sim_runs(w, SIM_COORD + c->c) || !c->seq[m])
		return;
	enum ls_gate gate = (enum ls_gate)ls_seq_view(c->seq[m])->waiting_at;
	ls_seq_release(c->seq[m], gate, "test", sim_seq_now(w), &err);
	sim_coordinator_drain(c, m);
}

static void on_cancel(struct world *w, void *arg)
{
	struct sim_coordinator *c = sim_operator_asks(w);
	unsigned m = *(unsigned *)arg;
	struct ls_error err;

	if (!sim_runs(w, SIM_COORD + c->c) || !c->seq[m])
		return;
	sim_trace(w, "the client cancels");
	ls_seq_cancel(c->seq[m], "test", sim_seq_now(w), &err);
	sim_coordinator_drain(c, m);
}

static void soon(struct world *w, unsigned migration, uint64_t most, sim_fn *fn)
{
	unsigned *m = sim_alloc(sizeof(*m));

	*m = migration;
	sim_at(w, SIM_WORLD, sim_random(w, most), fn, m);
}

void sim_operator_news(struct world *w, struct sim_coordinator *c, unsigned migration)
{
	struct sim_operator *o = w->operator_;
	const Lockstep__V1__Migration *v = ls_seq_view(c->seq[migration]);

	if (v->waiting_at != LOCKSTEP__V1__GATE__GATE_NONE && !o->releasing) {
		o->releasing = true;
		soon(w, migration, w->scene.hasty ? 300 * MS : 50 * MS, on_release);
	}
	if (!o->cancelled && sim_fault(w, SIM_CANCEL)) {
		o->cancelled = true;
		soon(w, migration, 20 * MS, on_cancel);
	}
	if (o->started == 1 && o->acknowledged[0] && !ls_seq_ended(c->seq[0]) && sim_fault(w, SIM_HASTE)) {
		sim_trace(w, "the client begins a second migration before the first is over");
		start(w, 1, 2, sim_random(w, 50 * MS));
	}
	// A retry is a new migration with a new id, to the same host or another.
	if (v->phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED && o->retries && o->started == 1 && !w->vm_dead) {
		unsigned dest = sim_random(w, 3) ? 2 : 1;
		if (w->host[dest].vm == SIM_VM_NONE && sim_runs(w, SIM_VMM + dest))
			w->host[dest].vm = SIM_VM_INCOMING; // a fresh VMM waits there
		sim_trace(w, "the client tries again, to the %s", w->host[dest].name);
		start(w, 1, dest, 10 * MS + sim_random(w, 500 * MS));
	}
}

// ---- the operator

static bool is_open(const Lockstep__V1__ResolveResponse *told, Lockstep__V1__ResolveAction action)
{
	for (size_t i = 0; i < told->n_option; i++)
		if (told->option[i]->action == action)
			return told->option[i]->open;
	return false;
}

static void resolve(struct world *w, struct sim_coordinator *c, unsigned m, Lockstep__V1__ResolveAction action)
{
	Lockstep__V1__FenceClaim claim = LOCKSTEP__V1__FENCE_CLAIM__INIT;
	bool fence = action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED;
	struct ls_error err = { .reason = LS_E_NONE };
	char text[200];

	w->older |= w->ran_away && (fence || action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_LOST);
	claim.host = (char *)w->host[w->operator_->dest[m]].name;
	claim.method = LOCKSTEP__V1__FENCE_CLAIM__METHOD__POWERED_OFF;
	claim.evidence = "BMC says off";
	claim.actor = "operator";
	int r = ls_seq_resolve(c->seq[m], action, fence ? &claim : NULL, "operator", sim_seq_now(w), &err);
	sim_trace(w, "the operator resolves %s: action %d%s%s", sim_migration_id(m), (int)action,
		  r < 0 ? ", refused: " : "", r < 0 ? ls_error_text(&err, text, sizeof(text)) : "");
	sim_coordinator_drain(c, m);
}

// Whether the destination's host is dead is for the operator to know. One in a while is wrong.
static void fence(struct world *w, unsigned m)
{
	unsigned dest = w->operator_->dest[m];

	w->operator_->fences++;
	if (!w->process[SIM_HOST + dest].up)
		return; // as true as can be
	if (sim_fault(w, SIM_FALSE_FENCE)) {
		w->operator_->lies++;
		w->lied = true;
		sim_trace(w, "the operator claims that the %s was powered off, and is wrong", w->host[dest].name);
		return;
	}
	sim_power_off(w, dest);
}

static void help(struct world *w, struct sim_coordinator *c, unsigned m)
{
	Lockstep__V1__ResolveResponse *told = ls_seq_explain(c->seq[m]);
	static const Lockstep__V1__ResolveAction by_choice[] = {
		LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_LOST,
		LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RESET_SOURCE,
		LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RESET_DESTINATION,
		LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED,
		LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_CLOSE,
	};
	uint32_t *tried = &w->operator_->tried[m];

	for (unsigned i = 0; i < sizeof(by_choice) / sizeof(by_choice[0]); i++) {
		if (!is_open(told, by_choice[i]) || *tried & 1u << by_choice[i])
			continue;
		if (by_choice[i] == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_CLOSE && !w->healed)
			break; // not before everyone can be asked
		*tried |= 1u << by_choice[i];
		if (by_choice[i] == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED)
			fence(w, m);
		resolve(w, c, m, by_choice[i]);
		break;
	}
	ls_msg_free(told);
	w->operator_->acts++;
}

// Rule 10: what counts is on the disk, so the agent is started again. So is a coordinator that is refused as the older
// of two, once it is the only one: it learns the highest term (docs/runbook.md).
static void restart_the_mute(struct world *w)
{
	struct sim_coordinator *c = sim_operator_asks(w);

	if (c->stale) {
		sim_coordinator_kill(c);
		sim_coordinator_start(c);
	}
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
			if (w->agent[h]->silent || (w->agent[h]->mig[m] && ls_role_mute(w->agent[h]->mig[m]->role)))
				sim_restart_agent(w, h);
}

static void help_all(struct world *w, bool *ret_more)
{
	struct sim_coordinator *c = sim_operator_asks(w);

	*ret_more = false;
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (sim_runs(w, SIM_COORD + c->c) && c->seq[m] && ls_seq_operator(c->seq[m]) &&
		    !ls_seq_resolving(c->seq[m])) {
			*ret_more = true;
			help(w, c, m);
		}
}

static void on_night(struct world *w, void *arg)
{
	bool more;

	if (w->healed)
		return;
	help_all(w, &more);
	sim_at(w, SIM_WORLD, 5 * S, on_night, NULL);
}

static void on_call_for_help(struct world *w, void *arg)
{
	bool more;

	help_all(w, &more);
	if (more && w->operator_->acts < 12)
		sim_at(w, SIM_WORLD, 8 * S, on_call_for_help, NULL);
}

void sim_operator_called(struct world *w)
{
	restart_the_mute(w);
	sim_at(w, SIM_WORLD, 10 * S, on_call_for_help, NULL);
}

// The client asks from time to time: a coordinator that starts again has no news of its own.
static void on_look(struct world *w, void *arg)
{
	struct sim_coordinator *c = sim_operator_asks(w);

	for (unsigned m = 0; m < w->operator_->started && sim_runs(w, SIM_COORD + c->c); m++)
		if (c->seq[m])
			sim_operator_news(w, c, m);
	sim_at(w, SIM_WORLD, 1 * S, on_look, NULL);
}

struct sim_operator *sim_operator_new(struct world *w)
{
	struct sim_operator *o = sim_alloc(sizeof(*o));

	w->operator_ = o;
	o->retries = sim_random(w, 2);
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		sim_coordinator_list(w->coordinator[0], h);
	start(w, 0, 1, 0);
	if (w->scene.at_night)
		sim_at(w, SIM_WORLD, 30 * S, on_night, NULL);
	sim_at(w, SIM_WORLD, 1 * S, on_look, NULL);
	return o;
}
