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
				end_watch(c, m, side,
					  sim_reaches(c->w, SIM_COORD + c->c, SIM_HOST + host) ? sim_latency(c->w)
											       : 3 * S);
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
		sim_store_append(c, migration, act->record);
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
		if (ls_seq_view(c->seq[migration])->error)
			c->w->told_conflict[migration] |=
				!strcmp(ls_seq_view(c->seq[migration])->error->reason, "CONFLICT");
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
	}
	sim_store_crash(c);
	memset(c->watch, 0, sizeof(c->watch));
	memset(c->introduced, 0, sizeof(c->introduced));
	memset(c->listed, 0, sizeof(c->listed));
	memset(c->asking, 0, sizeof(c->asking));
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
		c->seq[m] = sim_store_restore(c, m);
		ls_seq_go_on(c->seq[m], sim_seq_now(c->w));
		sim_coordinator_drain(c, m);
	}
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		sim_coordinator_list(c, h);
}

void sim_coordinator_free(struct sim_coordinator *c)
{
	for (unsigned m = 0; c && m < SIM_MIGRATIONS; m++)
		ls_seq_free(c->seq[m]);
	if (c)
		sim_store_free(c);
	free(c);
}
