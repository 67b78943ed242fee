// SPDX-License-Identifier: Apache-2.0
// An agent that is told to stop, as agent/stop.c does: no new work, what is open finishes or unwinds, and only then it
// ends. One that waits for a word when all is healed is ended by its service manager.
#include "common/control.h"
#include "tests/sim/agent.h"

void sim_agent_stop(struct sim_agent *a)
{
	struct ls_error err;

	if (!a->stopping)
		sim_trace(a->w, "%s: the agent is told to stop", a->w->host[a->host].name);
	a->stopping = true;
	ls_fail(&err, LS_E_CANCELLED, 0, "the agent on %s was told to stop", a->w->host[a->host].name);
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->mig[m] && a->mig[m]->begun && !ls_role_ended(a->mig[m]->role))
			sim_agent_feed(a->mig[m], (struct ls_role_event){ .kind = LS_EV_STOP, .error = &err });
}

static bool stopped(struct sim_agent *a)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->mig[m] && (!a->mig[m]->begun || !ls_role_ended(a->mig[m]->role)) && !ls_control("stop-at-once"))
			return false;
	for (unsigned i = 0; i < SIM_ORDERS; i++)
		if (a->order[i].on)
			return false;
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->mig[m] && ls_word_open(a->durable[m].word) && ls_role_ended(a->mig[m]->role) != LS_END_OPERATOR)
			sim_violation(a->w, "last-word", "%s %s: told to stop, ends with %s on its disk",
				      a->w->host[a->host].name, sim_migration_id(m), ls_word_name(a->durable[m].word));
	return true;
}

static void on_start_again(struct world *w, void *arg)
{
	unsigned host = *(unsigned *)arg;

	if (!w->process[SIM_AGENT + host].up)
		sim_restart_agent(w, host);
}

void sim_agents_end(struct world *w)
{
	for (unsigned h = 0; h < SIM_HOSTS; h++) {
		unsigned *host;
		if (!w->agent[h]->stopping || !sim_runs(w, SIM_AGENT + h) || !(w->healed || stopped(w->agent[h])))
			continue;
		sim_agent_kill(w->agent[h]);
		host = sim_alloc(sizeof(*host));
		*host = h;
		sim_at(w, SIM_WORLD, 1 * MS + sim_random(w, 300 * MS), on_start_again, host);
	}
}
