// SPDX-License-Identifier: Apache-2.0
// Describe both hosts, check, plan: the real plan over simulated answers.
#include <stdlib.h>

#include "coordinator/message.h"
#include "coordinator/plan.h"
#include "tests/sim/agent.h"
#include "tests/sim/control.h"

static Lockstep__V1__DescribeResponse *describe(const struct world *w, unsigned host)
{
	Lockstep__V1__DescribeResponse *r;
	Lockstep__V1__VmmInfo *vmm;

	LS_MSG_NEW(r, LOCKSTEP__V1__DESCRIBE_RESPONSE__INIT);
	for (unsigned i = 0; i < w->n; i++) {
		Lockstep__V1__Device *d;
		LS_MSG_NEW(d, LOCKSTEP__V1__DEVICE__INIT);
		ls_msg_setf(&d->name, "%c%u", w->host[host].name[0], i);
		ls_msg_set(&d->vm, "vm1");
		ls_msg_set(&d->provider, "sim");
		ls_msg_set(&d->driver, "sim");
		ls_msg_set(&d->type, "t");
		ls_msg_setf(&d->slot, "%u", i);
		d->flags = w->host[host].dev[i].flags;
		d->state = LS_STATE_RUNNING;
		d->open = d->size_known = true;
		d->size = 4096;
		LS_MSG_APPEND(r->n_device, r->device, d);
	}
	LS_MSG_NEW(vmm, LOCKSTEP__V1__VMM_INFO__INIT);
	ls_msg_set(&vmm->vm, "vm1");
	ls_msg_set(&vmm->adapter, "native");
	vmm->connected = w->agent[host]->vmm_here;
	vmm->incoming = w->host[host].vm != SIM_VM_RUNNING;
	LS_MSG_APPEND(r->n_vmm, r->vmm, vmm);
	return r;
}

struct planning {
	unsigned c, migration;
};

static void on_plan(struct world *w, void *arg)
{
	struct planning *p = arg;
	struct sim_coordinator *c = w->coordinator[p->c];
	Lockstep__V1__HelloResponse hello = LOCKSTEP__V1__HELLO_RESPONSE__INIT;
	const Lockstep__V1__CheckVersionResponse *verdict[2 * LS_MAX_DEVICES] = { 0 };
	Lockstep__V1__DescribeResponse *told[2] = { NULL };
	struct ls_history *history = ls_history_new();
	struct ls_pairs pairs;
	uint8_t token[LS_TOKEN_SIZE] = { 1 };

	hello.protocol_min = hello.protocol_max = LS_PROTOCOL;
	struct ls_plan_input in = { .spec = ls_seq_view(c->seq[p->migration])->spec,
				    .verdict = verdict,
				    .history = history };
	struct ls_plan_host *side[2] = { &in.source, &in.dest };
	for (unsigned i = 0; i < 2; i++) {
		unsigned host = sim_host_of(c, p->migration, (enum ls_seq_side)i);
		side[i]->name = w->host[host].name;
		ls_fail(&side[i]->error, LS_E_UNAVAILABLE, 0, "simulated");
		if (!sim_runs(w, SIM_AGENT + host) || !sim_reaches(w, SIM_COORD + c->c, SIM_HOST + host))
			continue;
		side[i]->error = (struct ls_error){ .reason = LS_E_NONE };
		side[i]->hello = &hello;
		side[i]->describe = told[i] = describe(w, host);
	}
	if (told[0] && told[1]) {
		ls_plan_pair("vm1", told[0], told[1], &pairs);
		in.pairs = &pairs;
	}
	Lockstep__V1__DryRunResponse *plan = ls_plan_make(&in, NULL);
	if (!plan->feasible && !w->faults.n)
		sim_violation(w, "plan", "the plan is not feasible");
	sim_trace(w, "planned: %u devices, %s", w->n, plan->feasible ? "feasible" : "not feasible");
	ls_seq_planned(c->seq[p->migration], plan, token, sim_seq_now(w));
	ls_msg_free(plan);
	ls_msg_free(told[0]);
	ls_msg_free(told[1]);
	ls_history_free(history);
	sim_coordinator_drain(c, p->migration);
}

void sim_coordinator_plan(struct sim_coordinator *c, unsigned migration)
{
	struct planning *p = sim_alloc(sizeof(*p));

	*p = (struct planning){ c->c, migration };
	sim_at(c->w, SIM_COORD + c->c, 1 * MS + sim_latency(c->w), on_plan, p);
}
