// SPDX-License-Identifier: Apache-2.0
// Carries out the sequencer's actions: calls to agents that may get lost, a disk that takes time, a
// client that may change its mind, a process that may be killed and start again from its records.
#include "tests/sim/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/plan.h"
#include "coordinator/sequencer.h"
#include "proto/wire/sched_pb.h"

struct sim_coordinator {
	struct world *w;
	struct ls_seq *seq;
	uint64_t life;                     // grows with every restart
	unsigned timer;                    // generation
	Lockstep__Store__Record *disk[256]; // in the order of writing; the first n_durable are synced
	unsigned n_disk, n_durable;
	struct { bool on; uint64_t after; } watch[2];
	bool cancelled, releasing;
};

static void drain(struct sim_coordinator *c);

static struct ls_seq_time now(const struct world *w)
{
	return (struct ls_seq_time){ .now_ns = w->now, .unix_ms = 1700000000000ull + w->now / MS };
}

// ---- disk

struct moment {
	struct sim_coordinator *c;
	uint64_t life;
};

static void *moment(struct sim_coordinator *c)
{
	struct moment *m = sim_alloc(sizeof(*m));

	*m = (struct moment){ c, c->life };
	return m;
}

static void on_synced(struct world *w, void *arg)
{
	struct moment *m = arg;

	if (m->life != m->c->life)
		return; // killed before the sync
	ls_seq_persisted(m->c->seq, m->c->disk[m->c->n_durable++], now(w));
	drain(m->c);
}

static void persist(struct sim_coordinator *c, Lockstep__Store__Record *record)
{
	if (c->n_disk == sizeof(c->disk) / sizeof(*c->disk)) {
		sim_violation(c->w, "the coordinator writes without end");
		ls_msg_free(record);
		return;
	}
	c->disk[c->n_disk++] = record;
	sim_at(c->w, 1 * MS, on_synced, moment(c)); // one thread writes, in order
}

// ---- the plan

static Lockstep__V1__DescribeResponse *describe(const struct world *w, unsigned host)
{
	Lockstep__V1__DescribeResponse *r;
	Lockstep__V1__VmmInfo *vmm;

	LS_MSG_NEW(r, LOCKSTEP__V1__DESCRIBE_RESPONSE__INIT);
	for (unsigned i = 0; i < w->n; i++) {
		Lockstep__V1__Device *d;
		LS_MSG_NEW(d, LOCKSTEP__V1__DEVICE__INIT);
		ls_msg_setf(&d->name, "%s%u", host ? "dst" : "src", i);
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
	vmm->connected = true;
	vmm->incoming = host;
	LS_MSG_APPEND(r->n_vmm, r->vmm, vmm);
	return r;
}

static void on_plan(struct world *w, void *arg)
{
	struct moment *m = arg;
	struct sim_coordinator *c = m->c;
	Lockstep__V1__HelloResponse hello = LOCKSTEP__V1__HELLO_RESPONSE__INIT;
	struct ls_pairs pairs;
	struct ls_history *history;
	uint8_t token[LS_TOKEN_SIZE] = { 1 };

	if (m->life != c->life)
		return;
	hello.protocol_min = hello.protocol_max = LS_PROTOCOL;
	Lockstep__V1__DescribeResponse *source = describe(w, 0), *dest = describe(w, 1);
	history = ls_history_new();
	ls_plan_pair("vm1", source, dest, &pairs);
	const Lockstep__V1__CheckVersionResponse *verdict[2 * LS_MAX_DEVICES] = { 0 };
	struct ls_plan_input in = {
		.spec = ls_seq_view(c->seq)->spec,
		.source = { .name = "source", .hello = &hello, .describe = source },
		.dest = { .name = "destination", .hello = &hello, .describe = dest },
		.pairs = &pairs,
		.verdict = verdict,
		.history = history,
	};
	Lockstep__V1__DryRunResponse *plan = ls_plan_make(&in, NULL);
	if (!plan->feasible) {
		char *why = NULL;
		for (size_t i = 0; i < plan->n_check; i++)
			if (plan->check[i]->result == LOCKSTEP__V1__CHECK__RESULT__FAIL)
				why = plan->check[i]->id;
		sim_violation(w, "the plan is not feasible: %s", why ? why : "?");
	}
	sim_trace(w, "planned: %u devices", w->n);
	ls_seq_planned(c->seq, plan, token, now(w));
	ls_msg_free(plan);
	ls_msg_free(source);
	ls_msg_free(dest);
	ls_history_free(history);
	drain(c);
}

// ---- calls

struct call {
	uint64_t life;
	struct ls_seq_action act;
	enum ls_rpc_status status;
	bool sent, known;
	const char *word;
};

static void on_answer(struct world *w, void *arg)
{
	struct call *call = arg;
	struct sim_coordinator *c = w->coordinator;
	struct ls_seq_answer answer = { .kind = call->act.kind, .status = call->status, .sent = call->sent,
					.known = call->known, .word = call->word,
					.ledger_id = call->act.side ? "destination-ledger" : "source-ledger" };

	if (call->life != c->life)
		return;
	if (answer.status)
		ls_fail(&answer.error, answer.status == LS_RPC_UNAVAILABLE ? LS_E_UNAVAILABLE : LS_E_BAD_STATE, 0,
			"simulated");
	ls_seq_answer(c->seq, call->act.side, &answer, now(w));
	drain(c);
}

static int apply(struct world *w, struct call *call)
{
	struct sim_agent *a = w->agent[call->act.side];

	switch (call->act.kind) {
	case LS_SEQ_PREPARE: {
		struct ls_schedule s;
		struct ls_error err;
		const Lockstep__Store__Planned *p = ls_seq_plan(w->coordinator->seq);
		if (ls_schedule_from_pb(p->plan->schedule, &s, &err) < 0 || ls_schedule_verify(&s, &err) < 0) {
			sim_violation(w, "an agent refuses the schedule: %s", err.message);
			return -EINVAL;
		}
		return sim_agent_prepare(a, &s);
	}
	case LS_SEQ_GRANT:
		return sim_agent_grant(a, call->act.gates);
	case LS_SEQ_UNWIND:
		return sim_agent_unwind(a);
	case LS_SEQ_SETTLE:
		return sim_agent_settle(a);
	default:
		return 0;
	}
}

static void on_call(struct world *w, void *arg)
{
	struct call *call = arg, *answer;

	if (call->life != w->coordinator->life)
		return; // it may have been under way: the lost calls below are the same thing
	answer = sim_alloc(sizeof(*answer));
	*answer = *call;
	answer->sent = true;
	if (sim_chance(w, w->faults.rpc_lost)) {
		answer->status = LS_RPC_UNAVAILABLE;
	} else {
		int status = apply(w, answer);
		answer->status = status == -EPERM   ? LS_RPC_FAILED_PRECONDITION :
				 status == -ENOENT ? LS_RPC_NOT_FOUND :
				 status < 0	   ? LS_RPC_INVALID_ARGUMENT :
						     LS_RPC_OK;
		answer->word = ls_word_name(sim_agent_word(w->agent[call->act.side]));
		answer->known = sim_agent_word(w->agent[call->act.side]) != LS_WORD_NONE;
		if (sim_chance(w, w->faults.rpc_answer_lost))
			answer->status = LS_RPC_UNAVAILABLE;
	}
	sim_at(w, sim_latency(w), on_answer, answer);
}

// ---- watching

struct news {
	struct sim_coordinator *c;
	uint64_t life;
	unsigned side; // or the timer's generation
};

static void restart(struct sim_coordinator *c)
{
	sim_trace(c->w, "the coordinator is killed and starts again with %u records", c->n_durable);
	ls_seq_free(c->seq);
	while (c->n_disk > c->n_durable)
		ls_msg_free(c->disk[--c->n_disk]);
	c->life++;
	c->watch[0].on = c->watch[1].on = false;
	c->seq = ls_seq_restore(c->disk[0]);
	for (unsigned i = 1; i < c->n_disk; i++)
		ls_seq_fold(c->seq, c->disk[i]);
	ls_seq_go_on(c->seq, now(c->w));
}

static void each_event(void *user, const void *event)
{
	struct news *n = user;
	struct sim_coordinator *c = n->c;
	const Lockstep__V1__AgentEvent *e = event;

	if (n->life != c->life || !c->watch[n->side].on)
		return;
	c->watch[n->side].after = e->sequence;
	ls_seq_agent_event(c->seq, (enum ls_seq_side)n->side, e, now(c->w));
	if (e->kind_case == LOCKSTEP__V1__AGENT_EVENT__KIND_WORD && !c->cancelled &&
	    sim_chance(c->w, c->w->faults.cancel)) {
		struct ls_error err;
		c->cancelled = true;
		sim_trace(c->w, "the client cancels");
		ls_seq_cancel(c->seq, "test", now(c->w), &err);
	}
	drain(c);
	if (c->n_durable && sim_chance(c->w, c->w->faults.restart))
		restart(c);
}

static void on_news(struct world *w, void *arg)
{
	struct news *n = arg;
	struct sim_coordinator *c = w->coordinator;

	if (n->life != c->life || !c->watch[n->side].on)
		return;
	bool through = sim_agent_events(w->agent[n->side], c->watch[n->side].after, each_event, n);
	if (n->life == c->life && c->watch[n->side].on && (through || sim_chance(w, w->faults.rpc_lost))) {
		c->watch[n->side].on = false;
		ls_seq_watch_ended(c->seq, (enum ls_seq_side)n->side, now(w));
	}
	drain(c);
}

void sim_coordinator_news(struct sim_coordinator *c, unsigned side)
{
	struct news *n;

	if (!c->watch[side].on)
		return;
	n = sim_alloc(sizeof(*n));
	*n = (struct news){ c, c->life, side };
	sim_at(c->w, 300 * US, on_news, n); // one stream: order is kept
}

// ---- the machine

static void on_tick(struct world *w, void *arg)
{
	struct news *n = arg;
	struct sim_coordinator *c = w->coordinator;

	if (n->life != c->life || n->side != c->timer)
		return;
	ls_seq_tick(c->seq, now(w));
	drain(c);
}

static void on_release(struct world *w, void *arg)
{
	struct sim_coordinator *c = w->coordinator;
	struct ls_error err;

	ls_seq_release(c->seq, LS_GATE_DECIDE, "test", now(w), &err);
	drain(c);
}

static void carry_out(struct sim_coordinator *c, const struct ls_seq_action *act)
{
	struct world *w = c->w;
	struct call *call;

	switch (act->kind) {
	case LS_SEQ_PERSIST:
		persist(c, act->record);
		break;
	case LS_SEQ_PLAN:
		sim_at(w, sim_latency(w), on_plan, moment(c));
		break;
	case LS_SEQ_WATCH:
		c->watch[act->side].on = true;
		c->watch[act->side].after = act->after;
		sim_coordinator_news(c, act->side);
		break;
	case LS_SEQ_CHANGED:
		if (ls_seq_view(c->seq)->waiting_at == LOCKSTEP__V1__GATE__GATE_DECIDE && !c->releasing) {
			c->releasing = true;
			sim_at(w, sim_random(w, 50 * MS), on_release, NULL);
		}
		break;
	default:
		call = sim_alloc(sizeof(*call));
		*call = (struct call){ .life = c->life, .act = *act };
		sim_at(w, sim_latency(w), on_call, call);
		break;
	}
}

static void drain(struct sim_coordinator *c)
{
	struct ls_seq_action act;
	struct news *n;

	while (ls_seq_next(c->seq, &act))
		carry_out(c, &act);
	c->timer++;
	if (ls_seq_deadline(c->seq) == UINT64_MAX)
		return;
	n = sim_alloc(sizeof(*n));
	*n = (struct news){ c, c->life, c->timer };
	sim_at(c->w, ls_seq_deadline(c->seq) > c->w->now ? ls_seq_deadline(c->seq) - c->w->now : 0, on_tick, n);
}

static void on_start(struct world *w, void *arg)
{
	drain(w->coordinator);
}

struct sim_coordinator *sim_coordinator_new(struct world *w)
{
	struct sim_coordinator *c = sim_alloc(sizeof(*c));
	Lockstep__V1__MigrationSpec spec = LOCKSTEP__V1__MIGRATION_SPEC__INIT;
	Lockstep__V1__PrecopyPolicy precopy = LOCKSTEP__V1__PRECOPY_POLICY__INIT;
	Lockstep__V1__Gate hold[] = { LOCKSTEP__V1__GATE__GATE_DECIDE };

	c->w = w;
	spec.id = "m1";
	spec.vm = "vm1";
	spec.source = "source";
	spec.destination = "destination";
	spec.deadline_ms = w->deadline_ms;
	precopy.skip = w->no_precopy;
	spec.precopy = &precopy;
	spec.n_hold = w->hold_decide;
	spec.hold = hold;
	c->seq = ls_seq_new(&spec, "test", now(w));
	sim_at(w, 0, on_start, NULL);
	return c;
}

void sim_coordinator_free(struct sim_coordinator *c)
{
	if (!c)
		return;
	ls_seq_free(c->seq);
	for (unsigned i = 0; i < c->n_disk; i++)
		ls_msg_free(c->disk[i]);
	free(c);
}

bool sim_coordinator_ended(const struct sim_coordinator *c)
{
	return ls_seq_ended(c->seq);
}

const char *sim_coordinator_phase(const struct sim_coordinator *c)
{
	static const char *const name[] = { "none", "planning", "preparing", "precopy", "blackout", "unwinding",
					    "releasing", "done", "returned", "refused", "operator" };

	return name[ls_seq_view(c->seq)->phase];
}
