// SPDX-License-Identifier: Apache-2.0
// The sequencer's calls to agents: hello first, for the term (rule 7).
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "proto/wire/pb.h"
#include "proto/wire/sched_pb.h"
#include "tests/sim/agent.h"
#include "tests/sim/control.h"

static enum ls_seq_action_kind kind_of(enum sim_method method)
{
	static const enum ls_seq_action_kind kinds[] = {
		[SIM_CALL_LIST] = LS_SEQ_FIND,	     [SIM_CALL_PREPARE] = LS_SEQ_PREPARE,
		[SIM_CALL_GRANT] = LS_SEQ_GRANT,     [SIM_CALL_UNWIND] = LS_SEQ_UNWIND,
		[SIM_CALL_SETTLE] = LS_SEQ_SETTLE,   [SIM_CALL_GET_WORD] = LS_SEQ_GET_WORD,
		[SIM_CALL_RESOLVE] = LS_SEQ_RESOLVE,
	};

	return kinds[method];
}

// What the agent's list says of a migration.
Lockstep__V1__ListAgentMigrationsResponse__Entry *sim_entry(const struct world *w, const struct sim_mig *m,
							    enum ls_word word, const char *ledger_id)
{
	Lockstep__V1__ListAgentMigrationsResponse__Entry *e;
	Lockstep__V1__PrepareRequest *p;

	LS_MSG_NEW(e, LOCKSTEP__V1__LIST_AGENT_MIGRATIONS_RESPONSE__ENTRY__INIT);
	LS_MSG_NEW(p, LOCKSTEP__V1__PREPARE_REQUEST__INIT);
	ls_msg_set(&e->migration, sim_migration_id(m->request.migration));
	ls_msg_set(&e->vm, "vm1");
	e->side = (Lockstep__V1__Side)m->request.side;
	ls_msg_set(&e->word, ls_word_name(word));
	e->open = ls_word_open(word);
	ls_msg_set(&e->ledger_id, ledger_id);
	ls_msg_set(&p->migration, e->migration);
	ls_msg_set(&p->vm, "vm1");
	p->side = e->side;
	if (ls_schedule_to_pb(&m->request.schedule, &p->schedule) < 0)
		abort();
	ls_msg_set(&p->peer_host, w->host[m->request.peer].name);
	ls_msg_set(&p->peer_address, "there:1");
	ls_msg_set(&p->peer_ledger_id, m->request.peer_ledger_id);
	p->deadline_ms = m->request.deadline_ns / MS;
	e->prepare = p;
	return e;
}

static void on_call_answer(struct world *w, const struct sim_answer *a)
{
	struct sim_coordinator *c = w->coordinator[a->call.coordinator];
	struct ls_seq *q = c->seq[a->call.migration];
	struct ls_seq_answer answer = { .kind = kind_of(a->call.method), .status = a->status, .sent = a->sent,
					.known = a->known, .word = ls_word_name(a->word), .ledger_id = a->ledger_id };
	const struct sim_mig *m = w->agent[a->call.host]->mig[a->call.migration];
	Lockstep__V1__ListAgentMigrationsResponse__Entry *entry = NULL;

	if (!q)
		return;
	if (a->status) {
		ls_fail(&answer.error, a->reason, 0, "simulated");
		answer.word = answer.ledger_id = NULL;
	}
	if (a->reason == LS_E_STALE_COORDINATOR)
		c->stale = true;
	if (!a->status && a->call.method == SIM_CALL_LIST && a->known && m) {
		entry = sim_entry(w, m, a->word, a->ledger_id);
		answer.prepare = entry->prepare;
	}
	ls_seq_answer(q, a->call.side, &answer, sim_seq_now(w));
	ls_msg_free(entry);
	sim_coordinator_drain(c, a->call.migration);
}

static void fill_prepare(const struct sim_coordinator *c, unsigned migration, struct sim_request *q,
			 enum ls_seq_side side)
{
	struct ls_seq *seq = c->seq[migration];
	struct ls_error err;

	memset(q, 0, sizeof(*q));
	q->migration = migration;
	q->side = side == LS_SEQ_DEST ? LS_SIDE_DEST : LS_SIDE_SOURCE;
	q->peer = sim_host_of(c, migration, side == LS_SEQ_DEST ? LS_SEQ_SOURCE : LS_SEQ_DEST);
	if (q->side == LS_SIDE_SOURCE)
		strcpy(q->peer_ledger_id, ls_seq_ledger_id(seq, LS_SEQ_DEST));
	q->deadline_ns = ls_seq_view(seq)->spec->deadline_ms * MS;
	if (ls_schedule_from_pb(ls_seq_plan(seq)->plan->schedule, &q->schedule, &err) < 0 ||
	    ls_schedule_verify(&q->schedule, &err) < 0)
		sim_violation(c->w, "plan", "an agent refuses the schedule: %s", err.message);
}

static void call_now(struct sim_coordinator *c, struct sim_call call)
{
	struct sim_request q;

	call.term = c->term;
	if (call.method == SIM_CALL_PREPARE) {
		fill_prepare(c, call.migration, &q, call.side);
		call.request = &q;
	}
	sim_call_send(c->w, call, on_call_answer);
}

void sim_coordinator_introduced(struct sim_coordinator *c, const struct sim_answer *hello)
{
	if (c->introduced[hello->call.host])
		return;
	if (hello->term >= c->term) // an equal one is of an earlier life whose store was lost
		c->term = hello->term + 1;
	c->introduced[hello->call.host] = true;
}

// The call itself travels in the hello's `gates` and so on.
static void on_hello(struct world *w, const struct sim_answer *a)
{
	struct sim_coordinator *c = w->coordinator[a->call.coordinator];
	struct sim_answer failed = *a;

	if (!c->seq[a->call.migration])
		return;
	failed.call.method = (enum sim_method)a->call.wanted;
	failed.sent = false; // only Hello was
	if (a->status) {
		on_call_answer(w, &failed);
		return;
	}
	sim_coordinator_introduced(c, a);
	call_now(c, failed.call);
}

static enum sim_method method_of(enum ls_seq_action_kind kind)
{
	switch (kind) {
	case LS_SEQ_PREPARE:
		return SIM_CALL_PREPARE;
	case LS_SEQ_GRANT:
		return SIM_CALL_GRANT;
	case LS_SEQ_UNWIND:
		return SIM_CALL_UNWIND;
	case LS_SEQ_SETTLE:
		return SIM_CALL_SETTLE;
	case LS_SEQ_FIND:
		return SIM_CALL_LIST;
	case LS_SEQ_RESOLVE:
		return SIM_CALL_RESOLVE;
	default:
		return SIM_CALL_GET_WORD;
	}
}

void sim_coordinator_call(struct sim_coordinator *c, unsigned migration, const struct ls_seq_action *act)
{
	struct sim_call call = { .method = method_of(act->kind), .coordinator = c->c, .migration = migration,
				 .side = act->side, .gates = act->gates };

	call.host = sim_host_of(c, migration, act->side);
	if (act->kind == LS_SEQ_RESOLVE) {
		call.resolve = (int)act->resolve;
		call.claimed = act->resolve == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED;
	}
	if (c->introduced[call.host]) {
		call_now(c, call);
		return;
	}
	call.wanted = (int)call.method;
	call.method = SIM_CALL_HELLO;
	sim_call_send(c->w, call, on_hello);
}
