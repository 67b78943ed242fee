// SPDX-License-Identifier: Apache-2.0
// The VMM, as an agent asks it, and how it comes and goes.
#include <errno.h>

#include "tests/sim/agent.h"

struct vmm_event {
	unsigned host, migration;
	enum ls_vmm_op op;
	bool fails;
};

static void on_vmm_answer(struct world *w, void *arg)
{
	struct vmm_event *e = arg;
	struct sim_mig *m = w->agent[e->host]->mig[e->migration];
	struct ls_error err;

	ls_fail(&err, LS_E_VMM_FAILED, EIO, "simulated");
	if (m)
		sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = e->op,
							  .error = e->fails ? &err : NULL });
}

static void on_vmm(struct world *w, void *arg)
{
	struct vmm_event *e = arg, *answer;
	struct sim_host *h = &w->host[e->host];

	if (!e->fails)
		switch (e->op) {
		case LS_VMM_PAUSE:
			h->vm = SIM_VM_PAUSED;
			break;
		case LS_VMM_RESUME:
			if (h->vm != SIM_VM_RUNNING)
				sim_vm_resume(w, e->host);
			break;
		case LS_VMM_GONE:
		case LS_VMM_DISCARD:
			h->vm = SIM_VM_NONE;
			break;
		default:
			break;
		}
	answer = sim_alloc(sizeof(*answer));
	*answer = *e;
	sim_at(w, SIM_AGENT + e->host, 50 * US, on_vmm_answer, answer);
}

void sim_vmm_ask(struct sim_mig *m, enum ls_vmm_op op)
{
	struct world *w = m->a->w;
	struct vmm_event *e = sim_alloc(sizeof(*e));
	bool may_fail = op == LS_VMM_PAUSE || op == LS_VMM_FINAL || op == LS_VMM_READY;

	if (op == LS_VMM_RESUME)
		sim_promise_start(m);
	*e = (struct vmm_event){ .host = m->a->host, .migration = m->request.migration, .op = op,
				 .fails = may_fail && sim_fault(w, SIM_VMM_ERROR) };
	sim_at(w, SIM_VMM + m->a->host, 100 * US + sim_random(w, 4 * MS), on_vmm, e);
}

void sim_agent_vmm_lost(struct sim_agent *a)
{
	a->vmm_here = false;
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->mig[m])
			sim_agent_feed(a->mig[m], (struct ls_role_event){ .kind = LS_EV_VMM_LOST });
}

void sim_agent_vmm_up(struct sim_agent *a)
{
	if (a->vmm_here)
		return;
	a->vmm_here = true;
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->mig[m])
			sim_agent_feed(a->mig[m],
				       (struct ls_role_event){ .kind = LS_EV_VMM_UP,
							       .vmm_runs = a->w->host[a->host].vm == SIM_VM_RUNNING });
}
