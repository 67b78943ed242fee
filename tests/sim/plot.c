// SPDX-License-Identifier: Apache-2.0
// Who dies, freezes or is cut off, when, and how it ends.
#include <string.h>

#include "tests/sim/agent.h"
#include "tests/sim/operator.h"

void sim_plot_init(struct world *w)
{
	w->heal_at = 5 * S + sim_random(w, 20 * S);
}

static unsigned node_of(enum sim_who who)
{
	if (who >= SIM_HOST)
		return who;
	if (who >= SIM_VMM)
		return SIM_HOST + (who - SIM_VMM);
	if (who >= SIM_AGENT)
		return SIM_HOST + (who - SIM_AGENT);
	return who;
}

bool sim_reaches(const struct world *w, enum sim_who a, enum sim_who b)
{
	return !w->cut[node_of(a)][node_of(b)];
}

// ---- each trouble and its end

struct trouble {
	enum sim_who who, other;
	bool sound; // VMM: it was incoming
};

static void after(struct world *w, sim_fn *fn, enum sim_who who, enum sim_who other)
{
	struct trouble *t = sim_alloc(sizeof(*t));
	uint64_t left = w->heal_at > w->now ? w->heal_at - w->now : 0;
	uint64_t most = w->scene.long_troubles ? left / 8 + 1
			: sim_random(w, 3)     ? 300 * MS
			: sim_random(w, 2)     ? 4 * S
					       : left;

	*t = (struct trouble){ .who = who, .other = other };
	uint64_t least = w->scene.long_troubles ? left - left / 8 : 1 * MS;
	sim_at(w, SIM_WORLD, least + sim_random(w, most), fn, t);
}

static void start_agent(struct world *w, unsigned host);

static void on_agent_start(struct world *w, void *arg)
{
	start_agent(w, ((struct trouble *)arg)->who - SIM_AGENT);
}

static void on_vmm_connects(struct world *w, void *arg)
{
	unsigned host = ((struct trouble *)arg)->who - SIM_VMM;

	if (sim_runs(w, SIM_AGENT + host) && w->host[host].vm != SIM_VM_NONE)
		sim_agent_vmm_up(w->agent[host]);
}

// The VMM finds the new agent's socket.
static void vmm_connects(struct world *w, unsigned host)
{
	struct trouble *t = sim_alloc(sizeof(*t));

	t->who = SIM_VMM + host;
	sim_at(w, SIM_VMM + host, 1 * MS + sim_random(w, 200 * MS), on_vmm_connects, t);
}

static void start_agent(struct world *w, unsigned host)
{
	if (w->process[SIM_AGENT + host].up || !w->process[SIM_HOST + host].up)
		return;
	sim_agent_start(w->agent[host]);
	vmm_connects(w, host);
}

static void kill_agent(struct world *w, unsigned host)
{
	if (!w->process[SIM_AGENT + host].up)
		return;
	sim_agent_kill(w->agent[host]);
	after(w, on_agent_start, SIM_AGENT + host, 0);
}

void sim_restart_agent(struct world *w, unsigned host)
{
	sim_agent_kill(w->agent[host]);
	start_agent(w, host);
}

static void on_vmm_lost(struct world *w, void *arg)
{
	unsigned host = ((struct trouble *)arg)->who - SIM_AGENT;

	if (w->host[host].vm == SIM_VM_NONE)
		sim_agent_vmm_lost(w->agent[host]);
}

static void kill_vmm(struct world *w, unsigned host)
{
	struct trouble *t;

	if (!w->process[SIM_VMM + host].up)
		return;
	sim_trace(w, "%s: the VMM dies", w->host[host].name);
	sim_kill(w, SIM_VMM + host);
	sim_start(w, SIM_VMM + host); // a process may be there again; the VM of this one is not
	sim_vm_dies(w, host);
	for (unsigned i = 0; i < w->n; i++)
		sim_device_left(w, host, i);
	t = sim_alloc(sizeof(*t));
	t->who = SIM_AGENT + host;
	sim_at(w, SIM_AGENT + host, 200 * US, on_vmm_lost, t);
}

static void on_thaw(struct world *w, void *arg)
{
	struct trouble *t = arg;

	if (!w->process[t->who].frozen)
		return;
	sim_trace(w, "the %s thaws", sim_who_name(t->who));
	sim_thaw(w, t->who);
}

static void freeze(struct world *w, enum sim_who who)
{
	if (!sim_runs(w, who))
		return;
	sim_trace(w, "the %s freezes", sim_who_name(who));
	sim_freeze(w, who);
	after(w, on_thaw, who, 0);
}

static void on_host_thaw(struct world *w, void *arg)
{
	unsigned host = ((struct trouble *)arg)->who - SIM_HOST;

	if (!w->process[SIM_HOST + host].frozen)
		return;
	sim_trace(w, "the %s thaws", sim_who_name(SIM_HOST + host));
	sim_thaw(w, SIM_HOST + host);
	sim_thaw(w, SIM_VMM + host);
	sim_thaw(w, SIM_AGENT + host);
}

static void freeze_host(struct world *w, unsigned host)
{
	if (!sim_runs(w, SIM_HOST + host))
		return;
	sim_trace(w, "the %s freezes", sim_who_name(SIM_HOST + host));
	sim_freeze(w, SIM_HOST + host);
	sim_freeze(w, SIM_VMM + host);
	sim_freeze(w, SIM_AGENT + host);
	after(w, on_host_thaw, SIM_HOST + host, 0);
}

static void on_power_on(struct world *w, void *arg)
{
	unsigned host = ((struct trouble *)arg)->who - SIM_HOST;

	if (w->process[SIM_HOST + host].up)
		return;
	sim_trace(w, "the %s is powered on", sim_who_name(SIM_HOST + host));
	sim_start(w, SIM_HOST + host);
	sim_start(w, SIM_VMM + host);
	start_agent(w, host);
}

void sim_power_off(struct world *w, unsigned host)
{
	if (!w->process[SIM_HOST + host].up)
		return;
	sim_trace(w, "the %s loses its power", sim_who_name(SIM_HOST + host));
	sim_agent_kill(w->agent[host]);
	sim_kill(w, SIM_VMM + host);
	sim_kill(w, SIM_HOST + host);
	sim_vm_dies(w, host);
	w->agent[host]->stored = 0;
	w->agent[host]->may_still = false;
	w->agent[host]->rebooted = true;
	for (unsigned i = 0; i < w->n; i++) {
		w->host[host].dev[i].op = (struct sim_kernel_op){ 0 };
		sim_device_reset(w, host, i);
	}
	after(w, on_power_on, SIM_HOST + host, 0);
}

static void on_mend(struct world *w, void *arg)
{
	struct trouble *t = arg;

	sim_trace(w, "the %s and the %s see each other again", sim_who_name(t->who), sim_who_name(t->other));
	w->cut[t->who][t->other] = w->cut[t->other][t->who] = false;
}

static void cut(struct world *w, enum sim_who a, enum sim_who b)
{
	if (w->cut[a][b])
		return;
	sim_trace(w, "the %s and the %s are cut off from each other", sim_who_name(a), sim_who_name(b));
	w->cut[a][b] = w->cut[b][a] = true;
	for (unsigned m = 0; a >= SIM_HOST && m < SIM_MIGRATIONS; m++)
		sim_link_break(w, m, 6 * S);
	after(w, on_mend, a, b);
}

static void on_found_again(struct world *w, void *arg)
{
	enum sim_who host = ((struct trouble *)arg)->who;

	sim_trace(w, "the %s is in touch again", sim_who_name(host));
	for (unsigned who = 0; who < SIM_WHO_COUNT; who++)
		w->cut[who][host] = w->cut[host][who] = false;
}

// From coordinators and from the other agents alike.
static void isolate(struct world *w, unsigned host)
{
	sim_trace(w, "nobody reaches the %s any more", sim_who_name(SIM_HOST + host));
	for (unsigned who = 0; who < SIM_WHO_COUNT; who++)
		if (who != SIM_HOST + host)
			w->cut[who][SIM_HOST + host] = w->cut[SIM_HOST + host][who] = true;
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		sim_link_break(w, m, 6 * S);
	after(w, on_found_again, SIM_HOST + host, 0);
}

// Its VMM and VM live on; the new agent knows of nothing.
static void reinstall(struct world *w, unsigned host)
{
	struct sim_agent *a = w->agent[host];

	if (!w->process[SIM_AGENT + host].up)
		return;
	sim_trace(w, "%s: the agent is installed anew", w->host[host].name);
	a->stored = 0;
	a->may_still |= host != 0 && sim_agent_may_run(a);
	sim_agent_kill(a);
	sim_disk_lose(a);
	after(w, on_agent_start, SIM_AGENT + host, 0);
}

static void on_coordinator_start(struct world *w, void *arg)
{
	struct trouble *t = arg;

	if (!w->process[t->who].up && !(t->who == SIM_COORD && w->superseded))
		sim_coordinator_start(w->coordinator[t->who - SIM_COORD]);
}

static void kill_coordinator(struct world *w)
{
	struct sim_coordinator *c = sim_operator_asks(w);

	if (!w->process[SIM_COORD + c->c].up)
		return;
	sim_coordinator_kill(c);
	after(w, on_coordinator_start, SIM_COORD + c->c, 0);
}

static void lose_store(struct world *w, bool all)
{
	struct sim_coordinator *c = sim_operator_asks(w);

	sim_coordinator_kill(c);
	sim_store_lose(c, all);
	after(w, on_coordinator_start, SIM_COORD + c->c, 0);
	memset(w->operator_->acknowledged, 0, sizeof(w->operator_->acknowledged));
	w->store_lost = true;
}

// The first is thought dead. It may be, or freeze, or go on and be refused.
static void second_coordinator(struct world *w)
{
	if (w->superseded)
		return;
	w->superseded = w->store_lost = true;
	sim_trace(w, "a second coordinator takes over");
	if (sim_random(w, 2))
		freeze(w, SIM_COORD);
	sim_coordinator_start(w->coordinator[1]);
}

static void ledger(struct world *w, unsigned host, bool all)
{
	if (!w->process[SIM_HOST + host].up)
		return;
	sim_power_off(w, host); // disks are not replaced, nor set back, under a running VM
	if (all)
		sim_disk_lose(w->agent[host]);
	else
		sim_disk_roll_back(w->agent[host]);
}

static void happen(struct world *w, enum sim_fault kind)
{
	unsigned s = 0, d = w->dest;

	switch (kind) {
	case SIM_KILL_COORD: kill_coordinator(w); break;
	case SIM_KILL_SOURCE: kill_agent(w, s); break;
	case SIM_KILL_DEST: kill_agent(w, d); break;
	case SIM_KILL_SOURCE_VMM: kill_vmm(w, s); break;
	case SIM_KILL_DEST_VMM: kill_vmm(w, d); break;
	case SIM_FREEZE_COORD: freeze(w, SIM_COORD + sim_operator_asks(w)->c); break;
	case SIM_FREEZE_SOURCE: freeze(w, SIM_AGENT + s); break;
	case SIM_FREEZE_DEST: freeze(w, SIM_AGENT + d); break;
	case SIM_FREEZE_SOURCE_VMM: freeze(w, SIM_VMM + s); break;
	case SIM_FREEZE_DEST_VMM: freeze(w, SIM_VMM + d); break;
	case SIM_FREEZE_SOURCE_HOST: freeze_host(w, s); break;
	case SIM_FREEZE_DEST_HOST: freeze_host(w, d); break;
	case SIM_STOP_SOURCE: sim_agent_stop(w->agent[s]); break;
	case SIM_STOP_DEST: sim_agent_stop(w->agent[d]); break;
	case SIM_POWER_SOURCE: sim_power_off(w, s); break;
	case SIM_POWER_DEST: sim_power_off(w, d); break;
	case SIM_CUT_COORD_SOURCE: cut(w, SIM_COORD + sim_operator_asks(w)->c, SIM_HOST + s); break;
	case SIM_CUT_COORD_DEST: cut(w, SIM_COORD + sim_operator_asks(w)->c, SIM_HOST + d); break;
	case SIM_CUT_AGENTS: cut(w, SIM_HOST + s, SIM_HOST + d); break;
	case SIM_ISOLATE_DEST: isolate(w, d); break;
	case SIM_REINSTALL_SOURCE: reinstall(w, s); break;
	case SIM_REINSTALL_DEST: reinstall(w, d); break;
	case SIM_LEDGER_LOST_SOURCE: ledger(w, s, true); break;
	case SIM_LEDGER_LOST_DEST: ledger(w, d, true); break;
	case SIM_LEDGER_OLD_SOURCE: ledger(w, s, false); break;
	case SIM_LEDGER_OLD_DEST: ledger(w, d, false); break;
	case SIM_STORE_LOST: lose_store(w, true); break;
	case SIM_STORE_OLD: lose_store(w, false); break;
	case SIM_SECOND_COORD: second_coordinator(w); break;
	default: break;
	}
}

// Is there anything left to break? Else it is no fault.
static bool possible(const struct world *w, enum sim_fault kind)
{
	unsigned d = w->dest;

	switch (kind) {
	case SIM_KILL_SOURCE: return w->process[SIM_AGENT].up;
	case SIM_KILL_DEST: return w->process[SIM_AGENT + d].up;
	case SIM_STOP_SOURCE: return sim_runs(w, SIM_AGENT) && !w->agent[0]->stopping;
	case SIM_STOP_DEST: return sim_runs(w, SIM_AGENT + d) && !w->agent[d]->stopping;
	case SIM_FREEZE_SOURCE: return sim_runs(w, SIM_AGENT);
	case SIM_FREEZE_DEST: return sim_runs(w, SIM_AGENT + d);
	case SIM_FREEZE_SOURCE_HOST: return sim_runs(w, SIM_HOST);
	case SIM_FREEZE_DEST_HOST: return sim_runs(w, SIM_HOST + d);
	case SIM_POWER_SOURCE: return w->process[SIM_HOST].up;
	case SIM_POWER_DEST: return w->process[SIM_HOST + d].up;
	case SIM_CUT_AGENTS: return !w->cut[SIM_HOST][SIM_HOST + d];
	case SIM_ISOLATE_DEST: return !w->cut[SIM_HOST][SIM_HOST + d] || !w->cut[SIM_COORD][SIM_HOST + d];
	case SIM_SECOND_COORD: return !w->superseded;
	default: return true;
	}
}

static void heal(struct world *w)
{
	w->healed = true;
	sim_trace(w, "all is healed");
	memset(w->cut, 0, sizeof(w->cut));
	if (w->superseded && w->process[SIM_COORD].up)
		sim_coordinator_kill(w->coordinator[0]); // whoever is refused everywhere is put away
	for (unsigned who = 0; who < SIM_WHO_COUNT; who++)
		if (w->process[who].frozen)
			sim_thaw(w, who);
	for (unsigned h = 0; h < SIM_HOSTS; h++) {
		if (!w->process[SIM_HOST + h].up) {
			sim_start(w, SIM_HOST + h);
			sim_start(w, SIM_VMM + h);
		}
		start_agent(w, h);
	}
	struct sim_coordinator *c = sim_operator_asks(w);
	if (!w->process[SIM_COORD + c->c].up)
		sim_coordinator_start(c);
}

void sim_plot(struct world *w)
{
	static const enum sim_fault first = SIM_KILL_COORD, last = SIM_SECOND_COORD;

	sim_agents_end(w);
	if (w->healed)
		return;
	if (w->now >= w->heal_at) {
		heal(w);
		return;
	}
	for (enum sim_fault kind = first; kind <= last; kind++)
		if (sim_fault_likely(w, kind) && possible(w, kind) && sim_fault(w, kind))
			happen(w, kind);
}
