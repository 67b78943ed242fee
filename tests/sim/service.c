// SPDX-License-Identifier: Apache-2.0
// What an agent answers a coordinator, as agent/service*.c and agent/migration_prepare.c do.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/term.h"
#include "tests/sim/agent.h"

static void say(struct sim_agent *a, const struct sim_call *call, enum ls_rpc_status status, enum ls_reason reason,
		bool known, enum ls_word word)
{
	struct sim_answer answer = { .call = *call, .status = status, .reason = reason, .known = known, .word = word };

	answer.done = a->row[call->migration].done;
	strcpy(answer.ledger_id, a->ledger_id);
	answer.term = a->term;
	strcpy(answer.coordinator, a->coordinator);
	if (status == LS_RPC_OK)
		sim_promise_answer(a, call, answer.known, answer.word);
	sim_call_reply(a->w, &answer);
}

static void reply(struct sim_agent *a, const struct sim_call *call, enum ls_rpc_status status, enum ls_reason reason)
{
	say(a, call, status, reason, a->row[call->migration].known, a->row[call->migration].word);
}

static void wait(struct sim_mig *m, const struct sim_call *call)
{
	if (m->n_waiters < SIM_WAITERS) {
		m->waiter[m->n_waiters] = *call;
		m->waiter[m->n_waiters++].request = NULL;
	}
	sim_service_waiters(m);
}

static bool unwound(enum ls_word word)
{
	return word == LS_WORD_RETURNING || word == LS_WORD_RETURNED || word == LS_WORD_ABORTED;
}

// After an event that may have begun to write a word: answers once it is durable.
void sim_service_waiters(struct sim_mig *m)
{
	struct sim_agent *a = m->a;
	unsigned k = m->request.migration;

	if (ls_role_persisting(m->role))
		return;
	while (m->n_waiters) {
		struct sim_call call = m->waiter[--m->n_waiters];
		if (ls_role_mute(m->role) && call.method != SIM_CALL_PREPARE)
			reply(a, &call, LS_RPC_FAILED_PRECONDITION, LS_E_LEDGER);
		else if (call.method == SIM_CALL_UNWIND && !unwound(a->row[k].word))
			reply(a, &call, LS_RPC_FAILED_PRECONDITION, LS_E_CONFLICT);
		else
			reply(a, &call, LS_RPC_OK, LS_E_NONE);
	}
}

static bool vm_free(const struct sim_agent *a, unsigned except)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++) {
		if (m == except)
			continue;
		if (a->row[m].known && ls_record_holds_vm(a->row[m].word, a->row[m].done))
			return false;
		if (a->mig[m] && ls_role_holds_vm(a->mig[m]->role))
			return false;
	}
	return true;
}

static void on_first_word(struct sim_agent *a, unsigned migration, enum ls_word word, int status)
{
	struct sim_mig *m = a->mig[migration];

	a->writing_first[migration] = false;
	if (!m)
		return;
	if (status < 0) {
		struct sim_call call = m->waiter[0];
		unsigned n = m->n_waiters;
		a->mig[migration] = NULL;
		a->stored = 0;
		while (n)
			call = m->waiter[--n], reply(a, &call, LS_RPC_INTERNAL, LS_E_LEDGER);
		sim_mig_free(m);
		return;
	}
	a->row[migration] = (struct sim_row){ .known = true, .side = m->request.side, .word = word };
	m->begun = true;
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_BEGIN, .word = word });
	if (!a->vmm_here)
		sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_VMM_LOST });
	if (a->stopping)
		sim_agent_stop(a);
}

static void prepare(struct sim_agent *a, const struct sim_call *call)
{
	struct world *w = a->w;
	const struct sim_request *q = call->request;
	struct sim_mig *m = a->mig[call->migration];
	const struct sim_host *h = &w->host[a->host];
	bool incoming = h->vm == SIM_VM_INCOMING;

	if (m && !m->begun) {
		wait(m, call);
		return;
	}
	if (m && memcmp(&m->request, q, sizeof(*q)) == 0) {
		wait(m, call);
		return;
	}
	if (a->row[call->migration].known) {
		reply(a, call, LS_RPC_ALREADY_EXISTS, LS_E_ALREADY_EXISTS);
		return;
	}
	if (a->stopping) {
		reply(a, call, LS_RPC_UNAVAILABLE, LS_E_UNAVAILABLE);
		return;
	}
	if (!vm_free(a, call->migration)) {
		reply(a, call, LS_RPC_FAILED_PRECONDITION, LS_E_VM_BUSY);
		return;
	}
	if (!a->vmm_here || incoming != (q->side == LS_SIDE_DEST) || h->vm == SIM_VM_NONE) {
		reply(a, call, LS_RPC_FAILED_PRECONDITION, LS_E_VMM_ABSENT);
		return;
	}
	for (unsigned i = 0; i < w->n; i++) {
		if (h->dev[i].op.busy || (q->side == LS_SIDE_SOURCE && h->dev[i].state != LS_STATE_RUNNING)) {
			reply(a, call, LS_RPC_FAILED_PRECONDITION, LS_E_BAD_STATE);
			return;
		}
		if (q->side == LS_SIDE_DEST)
			sim_device_reset(w, a->host, i);
	}
	a->stored = (1u << w->n) - 1;
	a->writing_first[call->migration] = true;
	m = sim_agent_begin(a, q);
	m->waiter[m->n_waiters++] = *call;
	sim_disk_begin(a, q, q->side == LS_SIDE_SOURCE ? LS_WORD_ACTIVE : LS_WORD_UNDECIDED, on_first_word);
}

static void on_tombstone(struct sim_agent *a, unsigned migration, enum ls_word word, int status)
{
	struct sim_call *call = &a->settles[migration];

	if (status == 0)
		a->row[migration] = (struct sim_row){ .known = true, .side = LS_SIDE_DEST, .word = word };
	if (status < 0 || a->silent)
		reply(a, call, LS_RPC_FAILED_PRECONDITION, LS_E_LEDGER);
	else
		reply(a, call, LS_RPC_OK, LS_E_NONE);
	if (status < 0)
		sim_agent_fall_silent(a);
}

static void settle(struct sim_agent *a, const struct sim_call *call)
{
	struct sim_mig *m = a->mig[call->migration];
	struct sim_request tomb = { .migration = call->migration, .peer = UINT32_MAX, .side = LS_SIDE_DEST };
	struct ls_error err;

	if (m && !m->begun) { // the first word is on its way to the disk
		reply(a, call, LS_RPC_UNAVAILABLE, LS_E_UNAVAILABLE);
		return;
	}
	switch (ls_settle(m, a->row[call->migration].known)) {
	case LS_SETTLE_ROLE:
		ls_fail(&err, LS_E_CANCELLED, 0, "settled by the coordinator");
		sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_SETTLE, .error = &err });
		wait(m, call);
		break;
	case LS_SETTLE_ANSWER:
		reply(a, call, LS_RPC_OK, LS_E_NONE);
		break;
	case LS_SETTLE_WRITE:
		a->settles[call->migration] = *call;
		sim_disk_begin(a, &tomb, LS_WORD_ABORTED, on_tombstone);
		break;
	case LS_SETTLE_SPEAK:
		say(a, call, LS_RPC_OK, LS_E_NONE, true, LS_WORD_ABORTED);
		break;
	}
}

static void unwind(struct sim_agent *a, const struct sim_call *call)
{
	struct sim_mig *m = a->mig[call->migration];
	struct ls_error err;

	if (!m || !m->begun) {
		reply(a, call, LS_RPC_NOT_FOUND, LS_E_NOT_FOUND);
		return;
	}
	ls_fail(&err, LS_E_CANCELLED, 0, "the client changed its mind");
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_UNWIND, .error = &err });
	wait(m, call);
}

static void resolve_now(struct sim_agent *a, const struct sim_call *call)
{
	struct sim_mig *m = a->mig[call->migration];
	struct ls_error err;

	if (!m || ls_role_may_resolve(m->role, (enum ls_resolve)call->resolve, call->claimed, &err) < 0) {
		reply(a, call, LS_RPC_FAILED_PRECONDITION, m ? err.reason : LS_E_NOT_FOUND);
		return;
	}
	sim_trace(a->w, "%s %s: the operator's word is carried out", a->w->host[a->host].name,
		  sim_migration_id(call->migration));
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_RESOLVE, .resolve = (enum ls_resolve)call->resolve,
						  .claimed = call->claimed });
	wait(m, call);
}

static struct sim_call claims[SIM_HOSTS]; // one operator, one claim at a time

static void on_claim(struct sim_agent *a, unsigned migration, enum ls_word word, int status)
{
	if (status == 0) {
		a->row[migration].claim = true;
		resolve_now(a, &claims[a->host]);
	} else {
		reply(a, &claims[a->host], LS_RPC_UNAVAILABLE, LS_E_LEDGER);
	}
}

static void resolve(struct sim_agent *a, const struct sim_call *call)
{
	struct sim_mig *m = a->mig[call->migration];
	struct ls_error err;

	// The claim is durable before it is acted on (rule 8), and kept only if it may be.
	if (!call->claimed || !m ||
	    ls_role_may_resolve(m->role, (enum ls_resolve)call->resolve, call->claimed, &err) < 0) {
		resolve_now(a, call);
		return;
	}
	claims[a->host] = *call;
	sim_disk_claim(a, call->migration, on_claim);
}

// ---- who is obeyed (agent/obey.c)

static const char coordinator_id[] = "c1"; // both: the second is the first, started elsewhere without its store

static bool stale(struct sim_agent *a, const struct sim_call *call)
{
	return ls_term_check(a->term, a->coordinator, call->term, coordinator_id, NULL) < 0;
}

static void carry_out(struct sim_agent *a, const struct sim_call *call);

static void on_term(struct sim_agent *a, unsigned order, enum ls_word word, int status)
{
	struct sim_order *o = &a->order[order];

	if (!o->on)
		return;
	o->on = false;
	if (status < 0)
		sim_agent_fall_silent(a);
	if (a->silent || stale(a, &o->call))
		reply(a, &o->call, LS_RPC_FAILED_PRECONDITION, a->silent ? LS_E_LEDGER : LS_E_STALE_COORDINATOR);
	else
		carry_out(a, &o->call);
}

// No order before its term is durable.
static void obey(struct sim_agent *a, const struct sim_call *call)
{
	unsigned order = 0;

	if (stale(a, call)) {
		reply(a, call, LS_RPC_FAILED_PRECONDITION, LS_E_STALE_COORDINATOR);
		return;
	}
	a->term = call->term;
	strcpy(a->coordinator, coordinator_id);
	if (call->term <= a->durable_term) {
		carry_out(a, call);
		return;
	}
	while (order < SIM_ORDERS && a->order[order].on)
		order++;
	if (order == SIM_ORDERS) {
		reply(a, call, LS_RPC_UNAVAILABLE, LS_E_UNAVAILABLE);
		return;
	}
	a->order[order] = (struct sim_order){ .on = true, .call = *call };
	if (call->request) {
		a->order[order].request = *call->request;
		a->order[order].call.request = &a->order[order].request;
	}
	sim_disk_term(a, order, on_term);
}

void sim_service(struct sim_agent *a, const struct sim_call *call)
{
	bool asks = call->method == SIM_CALL_HELLO || call->method == SIM_CALL_DESCRIBE;

	if (asks)
		reply(a, call, LS_RPC_OK, LS_E_NONE);
	else if (a->silent)
		reply(a, call, LS_RPC_FAILED_PRECONDITION, LS_E_LEDGER);
	else if (call->method == SIM_CALL_GET_WORD || (call->method == SIM_CALL_LIST && call->term <= a->term))
		reply(a, call, LS_RPC_OK, LS_E_NONE); // whoever lists with a newer term is followed before it is told
	else
		obey(a, call);
}

static void carry_out(struct sim_agent *a, const struct sim_call *call)
{
	sim_promise_order(a, call);
	switch (call->method) {
	case SIM_CALL_PREPARE:
		prepare(a, call);
		break;
	case SIM_CALL_GRANT:
		if (a->mig[call->migration] && a->mig[call->migration]->begun) {
			sim_agent_feed(a->mig[call->migration],
				       (struct ls_role_event){ .kind = LS_EV_GRANT, .gates = call->gates });
			reply(a, call, LS_RPC_OK, LS_E_NONE);
		} else {
			reply(a, call, LS_RPC_NOT_FOUND, LS_E_NOT_FOUND);
		}
		break;
	case SIM_CALL_UNWIND:
		unwind(a, call);
		break;
	case SIM_CALL_SETTLE:
		settle(a, call);
		break;
	case SIM_CALL_RESOLVE:
		resolve(a, call);
		break;
	default:
		reply(a, call, LS_RPC_OK, LS_E_NONE);
		break;
	}
}
