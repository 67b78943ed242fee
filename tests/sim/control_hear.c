// SPDX-License-Identifier: Apache-2.0
// What agents hold that the store does not know: they tell at the first contact and from time to time, and before an id
// that seems new is begun.
#include <string.h>

#include "coordinator/message.h"
#include "tests/sim/agent.h"
#include "tests/sim/control.h"

static void rebuild(struct sim_coordinator *c, const struct sim_answer *answer)
{
	unsigned migration = answer->call.migration;
	const struct sim_mig *m = c->w->agent[answer->call.host]->mig[migration];
	Lockstep__V1__ListAgentMigrationsResponse__Entry *entry;

	if (c->seq[migration] || !answer->known || !m)
		return;
	entry = sim_entry(c->w, m, answer->word, answer->ledger_id);
	c->seq[migration] = ls_seq_rebuild(entry, c->w->host[answer->call.host].name, sim_seq_now(c->w));
	ls_msg_free(entry);
	if (!c->seq[migration])
		return;
	sim_trace(c->w, "%s: %s is known again from the %s", sim_who_name(SIM_COORD + c->c),
		  sim_migration_id(migration), c->w->host[answer->call.host].name);
	sim_coordinator_drain(c, migration);
}

static void on_taken_back(struct world *w, const struct sim_answer *a)
{
}

// Over here, open there: an order that came late began it again.
static void take_back(struct sim_coordinator *c, const struct sim_answer *a)
{
	const struct ls_seq *q = c->seq[a->call.migration];
	struct sim_call call = {
		.coordinator = c->c, .host = a->call.host, .migration = a->call.migration, .term = c->term
	};

	if (!q || !ls_seq_ended(q) || ls_seq_operator(q) || ls_seq_loose(q))
		return;
	call.method = a->word == LS_WORD_ACTIVE ? SIM_CALL_UNWIND : SIM_CALL_SETTLE;
	if (a->word == LS_WORD_ACTIVE || a->word == LS_WORD_UNDECIDED)
		sim_call_send(c->w, call, on_taken_back);
}

struct contact {
	unsigned c, host;
};

static void on_list_again(struct world *w, void *arg)
{
	const struct contact *k = arg;

	sim_coordinator_list(w->coordinator[k->c], k->host);
}

static void on_listed(struct world *w, const struct sim_answer *a)
{
	struct sim_coordinator *c = w->coordinator[a->call.coordinator];
	struct contact *k;

	if (!a->status) {
		if (a->known && ls_word_open(a->word) && !a->done) {
			take_back(c, a);
			rebuild(c, a);
		}
		if (a->call.migration + 1 == SIM_MIGRATIONS) {
			c->listed[a->call.host] = true;
		} else {
			struct sim_call next = a->call;
			next.migration++;
			sim_call_send(w, next, on_listed);
			return;
		}
	}
	k = sim_alloc(sizeof(*k));
	*k = (struct contact){ c->c, a->call.host };
	sim_at(w, SIM_COORD + c->c, a->status ? 500 * MS : 30 * S, on_list_again, k);
}

static void on_list_hello(struct world *w, const struct sim_answer *a)
{
	struct sim_coordinator *c = w->coordinator[a->call.coordinator];
	struct contact *k;

	if (!a->status) {
		sim_coordinator_introduced(c, a);
		sim_call_send(w, (struct sim_call){ .method = SIM_CALL_LIST, .coordinator = c->c, .host = a->call.host,
						    .term = c->term }, on_listed);
		return;
	}
	k = sim_alloc(sizeof(*k));
	*k = (struct contact){ c->c, a->call.host };
	sim_at(w, SIM_COORD + c->c, 500 * MS, on_list_again, k);
}

void sim_coordinator_list(struct sim_coordinator *c, unsigned host)
{
	sim_call_send(c->w, (struct sim_call){ .method = SIM_CALL_HELLO, .coordinator = c->c, .host = host },
		      on_list_hello);
}

// ---- a migration begins

static void begin(struct sim_coordinator *c, unsigned migration, unsigned dest)
{
	Lockstep__V1__MigrationSpec spec = LOCKSTEP__V1__MIGRATION_SPEC__INIT;
	Lockstep__V1__PrecopyPolicy precopy = LOCKSTEP__V1__PRECOPY_POLICY__INIT;
	Lockstep__V1__Gate hold[2];

	spec.id = (char *)sim_migration_id(migration);
	spec.vm = "vm1";
	spec.source = (char *)c->w->host[0].name;
	spec.destination = (char *)c->w->host[dest].name;
	spec.deadline_ms = c->w->deadline_ms;
	precopy.skip = c->w->no_precopy;
	spec.precopy = &precopy;
	if (c->w->hold_pause)
		hold[spec.n_hold++] = LOCKSTEP__V1__GATE__GATE_BEFORE_PAUSE;
	if (c->w->hold_decide)
		hold[spec.n_hold++] = LOCKSTEP__V1__GATE__GATE_DECIDE;
	spec.hold = hold;
	c->seq[migration] = ls_seq_new(&spec, "test", sim_seq_now(c->w));
	sim_coordinator_drain(c, migration);
}

static void on_asked(struct world *w, const struct sim_answer *a)
{
	struct sim_coordinator *c = w->coordinator[a->call.coordinator];
	unsigned m = a->call.migration;

	if (a->status)
		c->unasked[m] = true;
	else
		rebuild(c, a);
	if (--c->asking[m] || c->seq[m] || c->unasked[m])
		return;
	begin(c, m, c->wanted[m]);
}

// The same id again is the same migration, also where only agents know it. Not answered by an agent: not yet.
void sim_coordinator_begin(struct sim_coordinator *c, unsigned migration, unsigned dest)
{
	const unsigned hosts[] = { 0, dest };

	if (c->seq[migration] || c->asking[migration] || !c->listed[0] || !c->listed[dest])
		return;
	c->wanted[migration] = dest;
	c->unasked[migration] = false;
	c->asking[migration] = 2;
	for (unsigned i = 0; i < 2; i++)
		sim_call_send(c->w, (struct sim_call){ .method = SIM_CALL_LIST, .coordinator = c->c, .host = hosts[i],
						       .migration = migration, .term = c->term }, on_asked);
}
