// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/call.h"

#include <stdlib.h>

#include "tests/sim/agent.h"

#define OPEN_CALLS 64
#define CALL_NS (5 * S)
#define PREPARE_NS (10 * S)

struct pending {
	bool on, arrived;
	struct sim_call call;
	uint64_t life; // of the caller
	sim_answer_fn *done;
};

struct sim_calls {
	struct pending at[OPEN_CALLS];
};

void sim_calls_free(struct world *w)
{
	free(w->calls);
}

static struct pending *find(struct world *w, uint64_t number)
{
	for (unsigned i = 0; i < OPEN_CALLS; i++)
		if (w->calls->at[i].on && w->calls->at[i].call.number == number)
			return &w->calls->at[i];
	return NULL;
}

static void on_answer(struct world *w, void *arg)
{
	struct sim_answer *a = arg;
	struct pending *p = find(w, a->call.number);

	if (!p)
		return; // answered already, or timed out
	p->on = false;
	p->done(w, a);
}

static void answer_in(struct world *w, uint64_t delay, struct sim_answer a)
{
	struct sim_answer *copy = sim_alloc(sizeof(*copy));

	*copy = a;
	copy->call.request = NULL;
	sim_at(w, SIM_COORD + a.call.coordinator, delay, on_answer, copy);
}

static void fail_in(struct world *w, uint64_t delay, const struct sim_call *call, bool sent)
{
	answer_in(w, delay,
		  (struct sim_answer){
			  .call = *call, .status = LS_RPC_UNAVAILABLE, .reason = LS_E_UNAVAILABLE, .sent = sent });
}

static void on_way_back(struct world *w, void *arg)
{
	struct sim_answer *a = arg;

	if (!sim_reaches(w, SIM_COORD + a->call.coordinator, SIM_HOST + a->call.host))
		return; // the caller's own time runs out
	if (sim_fault(w, SIM_ANSWER_LOST))
		fail_in(w, sim_latency(w), &a->call, true);
	else
		answer_in(w, 0, *a);
}

void sim_call_reply(struct world *w, const struct sim_answer *answer)
{
	struct sim_answer *copy = sim_alloc(sizeof(*copy));

	*copy = *answer;
	copy->sent = true;
	sim_at(w, SIM_WORLD, sim_latency(w), on_way_back, copy);
}

static void on_arrive(struct world *w, void *arg)
{
	struct sim_call *call = arg;

	sim_service(w->agent[call->host], call);
}

static void on_way(struct world *w, void *arg)
{
	struct sim_call *call = arg, *copy;
	struct pending *p = find(w, call->number);

	if (!sim_reaches(w, SIM_COORD + call->coordinator, SIM_HOST + call->host) ||
	    !w->process[SIM_HOST + call->host].up)
		return;
	if (sim_fault(w, SIM_CALL_LOST)) {
		fail_in(w, sim_latency(w), call, true);
		return;
	}
	if (!w->process[SIM_AGENT + call->host].up) {
		fail_in(w, sim_latency(w), call, false);
		return;
	}
	if (p)
		p->arrived = true;
	copy = sim_alloc(sizeof(*copy) + sizeof(struct sim_request));
	*copy = *call;
	copy->request = NULL;
	if (call->request) {
		copy->request = (struct sim_request *)(copy + 1);
		*copy->request = *call->request;
	}
	sim_at(w, SIM_AGENT + call->host, 0, on_arrive, copy);
}

static void travel(struct world *w, const struct sim_call *call, uint64_t delay)
{
	struct sim_call *copy = sim_alloc(sizeof(*copy) + sizeof(struct sim_request));

	*copy = *call;
	if (call->request) {
		copy->request = (struct sim_request *)(copy + 1);
		*copy->request = *call->request;
	}
	sim_at(w, SIM_WORLD, delay, on_way, copy);
}

void sim_call_send(struct world *w, struct sim_call call, sim_answer_fn *done)
{
	struct pending *p = NULL;

	if (!w->calls)
		w->calls = sim_alloc(sizeof(*w->calls));
	for (unsigned i = 0; i < OPEN_CALLS && !p; i++) {
		struct pending *at = &w->calls->at[i];
		if (!at->on || at->life != w->process[SIM_COORD + at->call.coordinator].life)
			p = at;
	}
	if (!p) {
		sim_violation(w, "bounded", "more than %d calls are open", OPEN_CALLS);
		return;
	}
	call.number = ++w->numbers;
	*p = (struct pending){ .on = true, .call = call, .life = w->process[SIM_COORD + call.coordinator].life, .done = done };
	fail_in(w, call.method == SIM_CALL_PREPARE ? PREPARE_NS : CALL_NS, &call, true);
	bool late = sim_fault(w, SIM_CALL_LATE);
	travel(w, &call, sim_latency(w) + (late ? sim_random(w, 12 * S) : 0));
	if (sim_fault(w, SIM_CALL_TWICE))
		travel(w, &call, sim_latency(w) + sim_random(w, sim_random(w, 2) ? 20 * MS : 4 * S));
}

void sim_calls_lose(struct world *w, unsigned host)
{
	for (unsigned i = 0; w->calls && i < OPEN_CALLS; i++) {
		const struct pending *p = &w->calls->at[i];
		if (p->on && p->arrived && p->call.host == host &&
		    sim_reaches(w, SIM_COORD + p->call.coordinator, SIM_HOST + host) && w->process[SIM_HOST + host].up)
			fail_in(w, sim_latency(w), &p->call, true);
	}
}
