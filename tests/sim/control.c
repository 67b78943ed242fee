// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "tests/sim/agent.h"
#include "tests/sim/operator.h"

struct ls_seq_time sim_seq_now(const struct world *w)
{
	return (struct ls_seq_time){ .now_ns = w->now, .unix_ms = 1700000000000ull + w->now / MS };
}

unsigned sim_host_of(const struct sim_coordinator *c, unsigned migration, enum ls_seq_side side)
{
	const Lockstep__V1__MigrationSpec *spec = ls_seq_view(c->seq[migration])->spec;
	const char *name = side == LS_SEQ_SOURCE ? spec->source : spec->destination;

	for (unsigned h = 0; h < SIM_HOSTS; h++)
		if (strcmp(name, c->w->host[h].name) == 0)
			return h;
	abort();
}

// ---- the disk

struct moment {
	unsigned c, migration, side;
	uint64_t number;
};

static void at(struct sim_coordinator *c, uint64_t delay, sim_fn *fn, unsigned migration, unsigned side,
	       uint64_t number)
{
	struct moment *m = sim_alloc(sizeof(*m));

	*m = (struct moment){ c->c, migration, side, number };
	sim_at(c->w, SIM_COORD + c->c, delay, fn, m);
}

static void on_synced(struct world *w, void *arg)
{
	struct moment *m = arg;
	struct sim_coordinator *c = w->coordinator[m->c];

	if (sim_fault(w, SIM_STORE_SYNC)) { // its process ends, and starts again with what was written before
		sim_coordinator_kill(c);
		sim_coordinator_start(c);
		return;
	}
	unsigned n = c->n_durable[m->migration]++;
	ls_seq_persisted(c->seq[m->migration], c->disk[m->migration][n], sim_seq_now(w));
	sim_coordinator_drain(c, m->migration);
}

static void persist(struct sim_coordinator *c, unsigned migration, Lockstep__Store__Record *record)
{
	if (c->n_disk[migration] == SIM_RECORDS) {
		sim_violation(c->w, "the coordinator writes without end");
		ls_msg_free(record);
		return;
	}
	c->disk[migration][c->n_disk[migration]++] = record;
	at(c, 1 * MS, on_synced, migration, 0, 0); // one thread writes, in order
}

static void forget(struct sim_coordinator *c, unsigned migration, unsigned keep)
{
	while (c->n_disk[migration] > keep)
		ls_msg_free(c->disk[migration][--c->n_disk[migration]]);
	if (c->n_durable[migration] > keep)
		c->n_durable[migration] = keep;
}

void sim_coordinator_lose_store(struct sim_coordinator *c, bool all)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (c->n_durable[m])
			forget(c, m, all ? 0 : (unsigned)sim_random(c->w, c->n_durable[m]));
	c->term = all ? 0 : c->term - (c->term > 0);
	sim_trace(c->w, "%s: the store is %s", sim_who_name(SIM_COORD + c->c), all ? "lost" : "one from yesterday");
}

// ---- watching

static void each_event(void *user, const void *event)
{
	struct moment *m = user;
	struct sim_coordinator *c = ((struct world *)(uintptr_t)m->number)->coordinator[m->c];
	const Lockstep__V1__AgentEvent *e = event;

	if (!c->watch[m->migration][m->side].on || !c->seq[m->migration])
		return;
	c->watch[m->migration][m->side].after = e->sequence;
	ls_seq_agent_event(c->seq[m->migration], (enum ls_seq_side)m->side, e, sim_seq_now(c->w));
	sim_coordinator_drain(c, m->migration);
}

static void on_watch_ended(struct world *w, void *arg)
{
	struct moment *m = arg;
	struct sim_coordinator *c = w->coordinator[m->c];
	struct sim_watch *watch = &c->watch[m->migration][m->side];

	if (!watch->on || watch->number != m->number)
		return;
	watch->on = false;
	ls_seq_watch_ended(c->seq[m->migration], (enum ls_seq_side)m->side, sim_seq_now(w));
	sim_coordinator_drain(c, m->migration);
}

static void end_watch(struct sim_coordinator *c, unsigned migration, unsigned side, uint64_t delay)
{
	at(c, delay, on_watch_ended, migration, side, c->watch[migration][side].number);
}

static void on_news(struct world *w, void *arg)
{
	struct moment *m = arg;
	struct sim_coordinator *c = w->coordinator[m->c];
	struct sim_watch *watch = &c->watch[m->migration][m->side];
	struct moment each = { m->c, m->migration, m->side, (uintptr_t)w };

	if (!watch->on || watch->number != m->number)
		return;
	unsigned host = sim_host_of(c, m->migration, (enum ls_seq_side)m->side);
	if (!sim_reaches(w, SIM_COORD + c->c, SIM_HOST + host) || sim_fault(w, SIM_WATCH)) {
		end_watch(c, m->migration, m->side, sim_random(w, 2 * S));
		return;
	}
	const struct sim_mig *mig = w->agent[host]->mig[m->migration];
	if (!mig || !mig->begun) { // NOT_FOUND: no such migration in this life
		end_watch(c, m->migration, m->side, sim_latency(w));
		return;
	}
	sim_report_each(&mig->report, watch->after, each_event, &each);
	if (watch->on && watch->number == m->number && ls_role_ended(mig->role))
		end_watch(c, m->migration, m->side, 0);
	sim_coordinator_drain(c, m->migration);
}

void sim_coordinator_news(struct sim_coordinator *c, unsigned host, unsigned migration)
{
	if (!c || !c->seq[migration] || !c->w->process[SIM_COORD + c->c].up)
		return;
	for (unsigned side = 0; side < 2; side++)
		if (c->watch[migration][side].on && sim_host_of(c, migration, (enum ls_seq_side)side) == host)
			at(c, 300 * US, on_news, migration, side, c->watch[migration][side].number); // order is kept
}

void sim_coordinator_agent_died(struct sim_coordinator *c, unsigned host)
{
	for (unsigned m = 0; c && m < SIM_MIGRATIONS; m++)
		for (unsigned side = 0; side < 2; side++)
			if (c->seq[m] && c->watch[m][side].on && sim_host_of(c, m, (enum ls_seq_side)side) == host)
				end_watch(c, m, side, sim_reaches(c->w, SIM_COORD + c->c, SIM_HOST + host) ? sim_latency(c->w) : 3 * S);
}

// ---- the machine

static void on_tick(struct world *w, void *arg)
{
	struct moment *m = arg;
	struct sim_coordinator *c = w->coordinator[m->c];

	if (m->number != c->timer[m->migration])
		return;
	ls_seq_tick(c->seq[m->migration], sim_seq_now(w));
	sim_coordinator_drain(c, m->migration);
}

static void carry_out(struct sim_coordinator *c, unsigned migration, const struct ls_seq_action *act)
{
	struct sim_watch *watch;

	switch (act->kind) {
	case LS_SEQ_PERSIST:
		persist(c, migration, act->record);
		break;
	case LS_SEQ_PLAN:
		sim_coordinator_plan(c, migration);
		break;
	case LS_SEQ_WATCH:
		watch = &c->watch[migration][act->side];
		*watch = (struct sim_watch){ .on = true, .after = act->after, .number = ++c->w->numbers };
		sim_coordinator_news(c, sim_host_of(c, migration, act->side), migration);
		break;
	case LS_SEQ_CHANGED:
		sim_operator_news(c->w, c, migration);
		break;
	default:
		sim_coordinator_call(c, migration, act);
		break;
	}
}

void sim_coordinator_drain(struct sim_coordinator *c, unsigned migration)
{
	struct ls_seq *q = c->seq[migration];
	struct ls_seq_action act;

	while (q && c->seq[migration] == q && ls_seq_next(q, &act))
		carry_out(c, migration, &act);
	if (!q || c->seq[migration] != q)
		return;
	c->timer[migration] = ++c->w->numbers;
	uint64_t deadline = ls_seq_deadline(q);
	if (deadline != UINT64_MAX)
		at(c, deadline > c->w->now ? deadline - c->w->now : 0, on_tick, migration, 0, c->timer[migration]);
}

void sim_coordinator_begin(struct sim_coordinator *c, unsigned migration, unsigned dest)
{
	Lockstep__V1__MigrationSpec spec = LOCKSTEP__V1__MIGRATION_SPEC__INIT;
	Lockstep__V1__PrecopyPolicy precopy = LOCKSTEP__V1__PRECOPY_POLICY__INIT;
	Lockstep__V1__Gate hold[] = { LOCKSTEP__V1__GATE__GATE_DECIDE };

	if (c->seq[migration])
		return; // the same id again: the same migration
	spec.id = (char *)sim_migration_id(migration);
	spec.vm = "vm1";
	spec.source = (char *)c->w->host[0].name;
	spec.destination = (char *)c->w->host[dest].name;
	spec.deadline_ms = c->w->deadline_ms;
	precopy.skip = c->w->no_precopy;
	spec.precopy = &precopy;
	spec.n_hold = c->w->hold_decide;
	spec.hold = hold;
	c->seq[migration] = ls_seq_new(&spec, "test", sim_seq_now(c->w));
	sim_coordinator_drain(c, migration);
}

void sim_coordinator_rebuild(struct sim_coordinator *c, const struct sim_answer *answer)
{
	unsigned migration = answer->call.migration;
	const struct sim_mig *m = c->w->agent[answer->call.host]->mig[migration];
	Lockstep__V1__ListAgentMigrationsResponse__Entry *entry;

	if (c->seq[migration] || !answer->known || !m || answer->done || !ls_word_open(answer->word))
		return;
	entry = sim_entry(c->w, m, answer->word, answer->ledger_id);
	c->seq[migration] = ls_seq_rebuild(entry, c->w->host[answer->call.host].name, sim_seq_now(c->w));
	ls_msg_free(entry);
	if (!c->seq[migration])
		return;
	sim_trace(c->w, "%s: %s is known again from the %s", sim_who_name(SIM_COORD + c->c), sim_migration_id(migration),
		  c->w->host[answer->call.host].name);
	sim_coordinator_drain(c, migration);
}

// ---- lives

struct sim_coordinator *sim_coordinator_new(struct world *w, unsigned c)
{
	struct sim_coordinator *k = sim_alloc(sizeof(*k));

	k->w = w;
	k->c = c;
	k->term = 1;
	return k;
}

void sim_coordinator_kill(struct sim_coordinator *c)
{
	if (!c->w->process[SIM_COORD + c->c].up)
		return;
	sim_trace(c->w, "the %s dies", sim_who_name(SIM_COORD + c->c));
	sim_kill(c->w, SIM_COORD + c->c);
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++) {
		ls_seq_free(c->seq[m]);
		c->seq[m] = NULL;
		forget(c, m, c->n_durable[m]);
	}
	memset(c->watch, 0, sizeof(c->watch));
	memset(c->introduced, 0, sizeof(c->introduced));
	memset(c->listed, 0, sizeof(c->listed));
	c->stale = false;
}

void sim_coordinator_start(struct sim_coordinator *c)
{
	sim_trace(c->w, "the %s starts", sim_who_name(SIM_COORD + c->c));
	sim_start(c->w, SIM_COORD + c->c);
	c->term++;
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++) {
		if (!c->n_durable[m])
			continue;
		c->seq[m] = ls_seq_restore(c->disk[m][0]);
		for (unsigned i = 1; i < c->n_durable[m]; i++)
			ls_seq_fold(c->seq[m], c->disk[m][i]);
		ls_seq_go_on(c->seq[m], sim_seq_now(c->w));
		sim_coordinator_drain(c, m);
	}
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		sim_coordinator_list(c, h);
}

void sim_coordinator_free(struct sim_coordinator *c)
{
	for (unsigned m = 0; c && m < SIM_MIGRATIONS; m++) {
		ls_seq_free(c->seq[m]);
		forget(c, m, 0);
	}
	free(c);
}
