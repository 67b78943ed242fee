// SPDX-License-Identifier: Apache-2.0
// Calls of one migration to its two agents.
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "coordinator/message.h"
#include "coordinator/migrations_internal.h"

#define PREPARE_MS 30000u
#define CALL_MS 5000u

struct agent_call {
	struct ls_migration *m;
	struct ls_seq_action action;
};

static const char *side_name(enum ls_seq_side side)
{
	return side == LS_SEQ_SOURCE ? "source" : "destination";
}

static const char *fault_name(const struct ls_seq_action *a)
{
	bool source = a->side == LS_SEQ_SOURCE;

	switch (a->kind) {
	case LS_SEQ_PREPARE:
		return source ? "prepare.source" : "prepare.destination";
	case LS_SEQ_GRANT:
		return source ? "grant.source" : "grant.destination";
	case LS_SEQ_UNWIND:
		return source ? "unwind.source" : "unwind.destination";
	case LS_SEQ_SETTLE:
		return source ? "settle.source" : "settle.destination";
	case LS_SEQ_FIND:
		return source ? "find.source" : "find.destination";
	case LS_SEQ_RESOLVE:
		return source ? "resolve.source" : "resolve.destination";
	case LS_SEQ_WATCH:
		return source ? "watch.source" : "watch.destination";
	default:
		return source ? "get-word.source" : "get-word.destination";
	}
}

static void answer(struct agent_call *c, const struct ls_agent_answer *a, struct ls_seq_answer answer)
{
	struct ls_migration *m = c->m;
	enum ls_seq_side side = c->action.side;

	answer.kind = c->action.kind;
	answer.status = a->status;
	answer.sent = a->sent;
	answer.error = a->error;
	ls_fault_of(coordinator_call_after, fault_name(&c->action));
	free(c);
	m->calls--;
	if (m->all->stopped)
		return;
	if (a->status != LS_RPC_OK)
		ls_log_error("agent.call", &a->error, "migration=%s side=%s status=%s", ls_seq_view(m->seq)->spec->id,
			     side_name(side), ls_rpc_status_name(a->status));
	ls_seq_answer(m->seq, side, &answer, ls_migrations_now());
	ls_migration_drive(m);
}

static void answered(struct agent_call *c, const struct ls_agent_answer *a, const char *word, const char *ledger_id,
		     bool known)
{
	answer(c, a, (struct ls_seq_answer){.word = word, .ledger_id = ledger_id, .known = known});
}

static void answered_find(struct agent_call *c, const struct ls_agent_answer *a,
			  const Lockstep__V1__ListAgentMigrationsResponse__Entry *e)
{
	answer(c, a,
	       (struct ls_seq_answer){.word = e ? e->word : NULL,
				      .ledger_id = e ? e->ledger_id : NULL,
				      .known = e,
				      .prepare = e ? e->prepare : NULL});
}

static void on_prepared(void *user, const struct ls_agent_answer *a)
{
	const Lockstep__V1__PrepareResponse *r = (const Lockstep__V1__PrepareResponse *)a->reply;

	answered(user, a, r ? r->word : NULL, r ? r->ledger_id : NULL, true);
}

static void on_granted(void *user, const struct ls_agent_answer *a)
{
	answered(user, a, NULL, NULL, false);
}

static void on_word(void *user, const struct ls_agent_answer *a)
{
	const Lockstep__V1__WordResponse *r = (const Lockstep__V1__WordResponse *)a->reply;

	answered(user, a, r ? r->word : NULL, r ? r->ledger_id : NULL, r && r->known);
}

static void prepare(struct agent_call *c, struct ls_host *host, Lockstep__V1__Term *term)
{
	const Lockstep__V1__MigrationSpec *spec = ls_seq_view(c->m->seq)->spec;
	Lockstep__V1__PrepareRequest r = LOCKSTEP__V1__PREPARE_REQUEST__INIT;
	bool source = c->action.side == LS_SEQ_SOURCE;
	const struct ls_host_config *peer =
		ls_host_config(ls_migration_host(c->m, source ? LS_SEQ_DEST : LS_SEQ_SOURCE));

	r.term = term;
	r.migration = spec->id;
	r.vm = spec->vm;
	r.side = source ? LOCKSTEP__V1__SIDE__SIDE_SOURCE : LOCKSTEP__V1__SIDE__SIDE_DESTINATION;
	r.schedule = ls_seq_plan(c->m->seq)->plan->schedule;
	r.peer_host = (char *)peer->name;
	r.peer_address = (char *)peer->stream;
	r.token = ls_seq_plan(c->m->seq)->token;
	if (source)
		r.peer_ledger_id = (char *)ls_seq_ledger_id(c->m->seq, LS_SEQ_DEST);
	r.precopy = spec->precopy;
	r.deadline_ms = spec->deadline_ms;
	r.hold = spec->hold;
	r.n_hold = spec->n_hold;
	if (source && ls_seq_plan(c->m->seq)->plan->estimate)
		r.load_us = (uint64_t)(ls_seq_plan(c->m->seq)->plan->estimate->least_load_ms * 1000);
	ls_host_call(host, "Prepare", &r.base, PREPARE_MS, &lockstep__v1__prepare_response__descriptor, on_prepared, c);
}

static void grant(struct agent_call *c, struct ls_host *host, Lockstep__V1__Term *term)
{
	Lockstep__V1__GrantRequest r = LOCKSTEP__V1__GRANT_REQUEST__INIT;
	Lockstep__V1__Gate gate[LS_GATE_COUNT];

	r.term = term;
	r.migration = ls_seq_view(c->m->seq)->spec->id;
	r.gate = gate;
	for (unsigned g = LS_GATE_BEFORE_PAUSE; g < LS_GATE_COUNT; g++)
		if (c->action.gates & (uint32_t)1 << g)
			gate[r.n_gate++] = (Lockstep__V1__Gate)g;
	ls_host_call(host, "Grant", &r.base, CALL_MS, &lockstep__v1__grant_response__descriptor, on_granted, c);
}

static void unwind(struct agent_call *c, struct ls_host *host, Lockstep__V1__Term *term)
{
	const Lockstep__V1__Migration *v = ls_seq_view(c->m->seq);
	Lockstep__V1__UnwindRequest r = LOCKSTEP__V1__UNWIND_REQUEST__INIT;

	r.term = term;
	r.migration = v->spec->id;
	r.cause = ls_seq_cancel_state(c->m->seq) != LS_SEQ_NOT_ASKED ? (char *)"cancelled by the client"
		  : c->m->all->store_failing ? (char *)"the coordinator's store cannot be written"
		  : v->error					     ? v->error->message
								     : (char *)"the destination gave up";
	ls_host_call(host, "Unwind", &r.base, CALL_MS, &lockstep__v1__word_response__descriptor, on_word, c);
}

static void settle(struct agent_call *c, struct ls_host *host, Lockstep__V1__Term *term)
{
	Lockstep__V1__SettleRequest r = LOCKSTEP__V1__SETTLE_REQUEST__INIT;

	r.term = term;
	r.migration = ls_seq_view(c->m->seq)->spec->id;
	r.vm = ls_seq_view(c->m->seq)->spec->vm;
	ls_host_call(host, "Settle", &r.base, CALL_MS, &lockstep__v1__word_response__descriptor, on_word, c);
}

static void get_word(struct agent_call *c, struct ls_host *host)
{
	Lockstep__V1__WordRequest r = LOCKSTEP__V1__WORD_REQUEST__INIT;

	r.migration = ls_seq_view(c->m->seq)->spec->id;
	ls_host_call(host, "GetWord", &r.base, CALL_MS, &lockstep__v1__word_response__descriptor, on_word, c);
}

static void on_listed(void *user, const struct ls_agent_answer *a)
{
	const Lockstep__V1__ListAgentMigrationsResponse *r =
		(const Lockstep__V1__ListAgentMigrationsResponse *)a->reply;
	struct agent_call *c = user;
	const char *id = ls_migration_spec(c->m)->id;

	for (size_t i = 0; r && i < r->n_migration; i++)
		if (strcmp(r->migration[i]->migration, id) == 0)
			return answered_find(c, a, r->migration[i]);
	answered_find(c, a, NULL);
}

// Its word says whether the agent has it; only for one that has no plan here all the rest is wanted too.
static void on_found(void *user, const struct ls_agent_answer *a)
{
	const Lockstep__V1__WordResponse *r = (const Lockstep__V1__WordResponse *)a->reply;
	Lockstep__V1__ListAgentMigrationsRequest all = LOCKSTEP__V1__LIST_AGENT_MIGRATIONS_REQUEST__INIT;
	struct agent_call *c = user;

	if (!r || !r->known || ls_seq_plan(c->m->seq) || c->m->all->stopped)
		return answered(c, a, r ? r->word : NULL, r ? r->ledger_id : NULL, r && r->known);
	ls_host_call(ls_migration_host(c->m, c->action.side), "ListMigrations", &all.base, CALL_MS,
		     &lockstep__v1__list_agent_migrations_response__descriptor, on_listed, c);
}

static void find(struct agent_call *c, struct ls_host *host)
{
	Lockstep__V1__WordRequest r = LOCKSTEP__V1__WORD_REQUEST__INIT;

	r.migration = ls_migration_spec(c->m)->id;
	ls_host_call(host, "GetWord", &r.base, CALL_MS, &lockstep__v1__word_response__descriptor, on_found, c);
}

static void resolve(struct agent_call *c, struct ls_host *host, Lockstep__V1__Term *term)
{
	Lockstep__V1__AgentResolveRequest r = LOCKSTEP__V1__AGENT_RESOLVE_REQUEST__INIT;

	r.term = term;
	r.migration = ls_migration_spec(c->m)->id;
	r.action = c->action.resolve;
	if (r.action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED)
		r.claim = (Lockstep__V1__FenceClaim *)(uintptr_t)ls_seq_claim(c->m->seq);
	ls_host_call(host, "Resolve", &r.base, CALL_MS, &lockstep__v1__word_response__descriptor, on_word, c);
}

static void call_now(struct agent_call *c)
{
	struct ls_host *host = ls_migration_host(c->m, c->action.side);
	Lockstep__V1__Term term = ls_agents_term(c->m->all->agents);

	ls_fault_of(coordinator_call_before, fault_name(&c->action));
	switch (c->action.kind) {
	case LS_SEQ_PREPARE:
		return prepare(c, host, &term);
	case LS_SEQ_GRANT:
		return grant(c, host, &term);
	case LS_SEQ_UNWIND:
		return unwind(c, host, &term);
	case LS_SEQ_SETTLE:
		return settle(c, host, &term);
	case LS_SEQ_FIND:
		return find(c, host);
	case LS_SEQ_RESOLVE:
		return resolve(c, host, &term);
	default:
		return get_word(c, host);
	}
}

static void on_introduced(void *user, const struct ls_agent_answer *a)
{
	struct agent_call *c = user;
	struct ls_agent_answer failed = *a;

	if (a->status == LS_RPC_OK && !c->m->all->stopped)
		return call_now(c);
	failed.sent = false; // only Hello was
	answered(c, &failed, NULL, NULL, false);
}

static const char *event_name(const Lockstep__V1__AgentEvent *event)
{
	switch (event->kind_case) {
	case LOCKSTEP__V1__AGENT_EVENT__KIND_STEP:
		return "step";
	case LOCKSTEP__V1__AGENT_EVENT__KIND_GATE:
		return "gate";
	case LOCKSTEP__V1__AGENT_EVENT__KIND_WORD:
		return "word";
	case LOCKSTEP__V1__AGENT_EVENT__KIND_ERROR:
		return "error";
	case LOCKSTEP__V1__AGENT_EVENT__KIND_BLACKOUT:
		return "blackout";
	case LOCKSTEP__V1__AGENT_EVENT__KIND_ENDED:
		return "ended";
	default:
		return "progress";
	}
}

static void on_event(void *user, const Lockstep__V1__AgentEvent *event)
{
	struct watch *w = user;

	ls_fault_of(coordinator_event, event_name(event));
	if (w->migration->all->stopped)
		return;
	ls_seq_agent_event(w->migration->seq, w->side, event, ls_migrations_now());
	ls_migration_drive(w->migration);
}

static void on_watch_end(void *user, const struct ls_agent_answer *a)
{
	struct watch *w = user;
	struct ls_migration *m = w->migration;

	ls_fault_of(coordinator_call_after, w->side == LS_SEQ_SOURCE ? "watch.source" : "watch.destination");
	w->on = false;
	m->calls--;
	if (m->all->stopped)
		return;
	if (a->status != LS_RPC_OK && a->status != LS_RPC_DEADLINE_EXCEEDED)
		ls_log_error("agent.watch", &a->error, "migration=%s side=%s", ls_seq_view(m->seq)->spec->id,
			     side_name(w->side));
	ls_seq_watch_ended(m->seq, w->side, ls_migrations_now());
	ls_migration_drive(m);
}

void ls_migration_call_agent(struct ls_migration *m, const struct ls_seq_action *a)
{
	struct ls_host *host = ls_migration_host(m, a->side);
	struct agent_call *c;

	if (!host)
		return; // not in the configuration any more: it waits for a start that knows it
	m->calls++;
	if (a->kind == LS_SEQ_WATCH) {
		ls_fault_of(coordinator_call_before, fault_name(a));
		m->watch[a->side] = (struct watch){.migration = m, .side = a->side, .on = true};
		ls_host_watch(host, ls_seq_view(m->seq)->spec->id, a->after, on_event, on_watch_end,
			      &m->watch[a->side]);
		return;
	}
	c = ls_msg_alloc(sizeof(*c));
	*c = (struct agent_call){.m = m, .action = *a};
	if (ls_host_introduced(host))
		call_now(c);
	else
		ls_host_hello(host, on_introduced, c);
}
