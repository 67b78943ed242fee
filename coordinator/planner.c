// SPDX-License-Identifier: Apache-2.0
#include "coordinator/planner.h"

#include <stdlib.h>

#include "coordinator/message.h"
#include "coordinator/plan.h"

#define ASK_MS 10000u

struct asked_host {
	struct planning *planning;
	struct ls_host *host;
	Lockstep__V1__HelloResponse *hello;
	Lockstep__V1__DescribeResponse *describe;
	struct ls_error error;
};

struct asked_pair {
	struct planning *planning;
	Lockstep__V1__CheckVersionResponse *verdict;
};

struct planning {
	const struct ls_planner_world *world;
	Lockstep__V1__MigrationSpec *spec;
	ls_planner_done_fn *done;
	void *user;
	unsigned waiting; // for this many answers
	struct asked_host source, dest;
	struct ls_pairs pairs;
	struct asked_pair pair[2 * LS_MAX_DEVICES];
};

static void host_view(const struct asked_host *h, struct ls_plan_host *ret)
{
	ret->name = ls_host_config(h->host)->name;
	ret->hello = h->hello;
	ret->describe = h->describe;
	ret->error = h->error;
}

static void finish(struct planning *p)
{
	const Lockstep__V1__CheckVersionResponse *verdict[2 * LS_MAX_DEVICES];
	struct ls_plan_input in = {.spec = p->spec, .verdict = verdict, .history = p->world->history};
	Lockstep__V1__DryRunResponse *plan;

	host_view(&p->source, &in.source);
	host_view(&p->dest, &in.dest);
	if (p->source.describe && p->dest.describe)
		in.pairs = &p->pairs;
	for (unsigned i = 0; i < p->pairs.n; i++)
		verdict[i] = p->pair[i].verdict;
	in.busy_with = p->world->busy ? p->world->busy(p->world->user, p->spec) : NULL;
	plan = ls_plan_make(&in, NULL);
	p->done(p->user, plan);
	ls_msg_free(plan);

	for (unsigned i = 0; i < p->pairs.n; i++)
		ls_msg_free(p->pair[i].verdict);
	for (int i = 0; i < 2; i++) {
		struct asked_host *h = i ? &p->dest : &p->source;

		ls_msg_free(h->hello);
		ls_msg_free(h->describe);
	}
	ls_msg_free(p->spec);
	free(p);
}

static void on_verdict(void *user, const struct ls_agent_answer *a)
{
	struct asked_pair *k = user;
	struct planning *p = k->planning;

	if (a->reply)
		k->verdict = ls_msg_clone(a->reply);
	if (!--p->waiting)
		finish(p);
}

// K8: read at the source, offered to the destination.
static void ask_versions(struct planning *p)
{
	if (!p->source.describe || !p->dest.describe)
		return finish(p);
	ls_plan_pair(p->spec->vm, p->source.describe, p->dest.describe, &p->pairs);
	p->waiting = 1;
	for (unsigned i = 0; i < p->pairs.n; i++) {
		Lockstep__V1__CheckVersionRequest request = LOCKSTEP__V1__CHECK_VERSION_REQUEST__INIT;
		const struct ls_pair *pair = &p->pairs.pair[i];
		Lockstep__V1__Device *s;

		if (pair->source < 0 || pair->dest < 0)
			continue;
		s = p->source.describe->device[pair->source];
		if (!s->version[0])
			continue;
		request.type = s->type;
		request.device = p->dest.describe->device[pair->dest]->name;
		request.version = s->version;
		p->pair[i].planning = p;
		p->waiting++;
		ls_host_call(p->dest.host, "CheckVersion", &request.base, ASK_MS,
			     &lockstep__v1__check_version_response__descriptor, on_verdict, &p->pair[i]);
	}
	if (!--p->waiting)
		finish(p);
}

static void one_less(struct planning *p)
{
	if (!--p->waiting)
		ask_versions(p);
}

static void on_describe(void *user, const struct ls_agent_answer *a)
{
	struct asked_host *h = user;

	if (a->reply)
		h->describe = ls_msg_clone(a->reply);
	else if (a->status == LS_RPC_NOT_FOUND) // no such VM there: no devices of it
		LS_MSG_NEW(h->describe, LOCKSTEP__V1__DESCRIBE_RESPONSE__INIT);
	else if (!h->error.message[0])
		h->error = a->error;
	one_less(h->planning);
}

static void on_hello(void *user, const struct ls_agent_answer *a)
{
	struct asked_host *h = user;

	if (a->reply)
		h->hello = ls_msg_clone(a->reply);
	else if (!h->error.message[0])
		h->error = a->error;
	one_less(h->planning);
}

void ls_planner_run(const struct ls_planner_world *world, const Lockstep__V1__MigrationSpec *spec,
		    ls_planner_done_fn *done, void *user)
{
	struct planning *p = ls_msg_alloc(sizeof(*p));
	Lockstep__V1__DescribeRequest request = LOCKSTEP__V1__DESCRIBE_REQUEST__INIT;

	p->world = world;
	p->spec = ls_msg_clone(spec);
	p->done = done;
	p->user = user;
	p->waiting = 4;
	p->source = (struct asked_host){.planning = p, .host = ls_agents_find(world->agents, spec->source)};
	p->dest = (struct asked_host){.planning = p, .host = ls_agents_find(world->agents, spec->destination)};
	request.vm = p->spec->vm;
	for (int i = 0; i < 2; i++) {
		struct asked_host *h = i ? &p->dest : &p->source;

		ls_host_hello(h->host, on_hello, h);
		ls_host_call(h->host, "Describe", &request.base, ASK_MS, &lockstep__v1__describe_response__descriptor,
			     on_describe, h);
	}
}
