// SPDX-License-Identifier: Apache-2.0
// The connection between two agents: order is kept, letters arrive once or the connection breaks, and one end may
// learn of that long after the other.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/agent.h"

#define WIRE_NS (300 * US)
#define DIAL_NS (2 * S)
#define SILENCE_NS (4 * S) // until a peer that vanished is noticed

struct end { // of a connection
	unsigned host, migration;
	uint64_t number;
	struct ls_error error;
};

struct sim_mig *sim_peer(const struct sim_mig *m)
{
	struct sim_agent *other = m->a->w->agent[m->request.peer];

	if (!m->a->w->process[SIM_AGENT + m->request.peer].up)
		return NULL;
	struct sim_mig *peer = other->mig[m->request.migration];
	return peer && peer->begun ? peer : NULL;
}

static struct sim_mig *mig_of(struct world *w, const struct end *e)
{
	return w->agent[e->host]->mig[e->migration];
}

static struct end *end_at(unsigned host, unsigned migration, uint64_t number, enum ls_reason reason)
{
	struct end *e = sim_alloc(sizeof(*e));

	e->host = host;
	e->migration = migration;
	e->number = number;
	ls_fail(&e->error, reason, ECONNREFUSED, "simulated");
	return e;
}

static void on_lost(struct world *w, void *arg)
{
	struct end *e = arg;
	struct sim_mig *m = mig_of(w, e);

	if (!m || m->conn != e->number)
		return;
	m->conn = 0;
	sim_trace(w, "%s: the connection to %s is lost", w->host[e->host].name, w->host[m->request.peer].name);
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
}

static void lose_in(struct sim_mig *m, uint64_t delay)
{
	if (m->conn)
		sim_at(m->a->w, SIM_AGENT + m->a->host, delay, on_lost,
		       end_at(m->a->host, m->request.migration, m->conn, LS_E_STREAM_BROKEN));
}

void sim_link_break(struct world *w, unsigned migration, uint64_t most_ns)
{
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		if (w->agent[h]->mig[migration])
			lose_in(w->agent[h]->mig[migration], 100 * US + sim_random(w, most_ns));
}

void sim_link_lose(struct world *w, unsigned host)
{
	for (unsigned k = 0; k < SIM_MIGRATIONS; k++) {
		struct sim_mig *m = w->agent[host]->mig[k], *other = m ? sim_peer(m) : NULL;
		if (!other || !m->conn || other->conn != m->conn)
			continue;
		bool told = sim_reaches(w, SIM_HOST + host, SIM_HOST + m->request.peer) && sim_runs(w, SIM_HOST + host);
		lose_in(other, told ? sim_latency(w) : SILENCE_NS);
	}
}

// ---- dialling

static void on_refused(struct world *w, void *arg)
{
	struct end *e = arg;
	struct sim_mig *m = mig_of(w, e);

	if (!m || m->dialling != e->number)
		return;
	m->dialling = 0;
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER_LOST, .error = &e->error });
}

static void on_opened(struct world *w, void *arg)
{
	struct end *e = arg;
	struct sim_mig *m = mig_of(w, e), *other = m ? sim_peer(m) : NULL;

	if (!m || m->dialling != e->number || !other || other->conn != e->number) {
		if (other && other->conn == e->number)
			lose_in(other, sim_latency(w));
		return;
	}
	m->dialling = 0;
	m->conn = e->number;
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = other->a->ledger_id });
}

// At the destination's agent.
static void on_accept(struct world *w, void *arg)
{
	struct end *e = arg; // the source's
	struct sim_mig *m = mig_of(w, e), *dest = m ? sim_peer(m) : NULL;

	if (!m || m->dialling != e->number)
		return;
	if (!dest || ls_role_mute(dest->role) || sim_fault(w, SIM_DIAL)) {
		sim_at(w, SIM_AGENT + e->host, sim_latency(w), on_refused,
		       end_at(e->host, e->migration, e->number, LS_E_UNAVAILABLE));
		return;
	}
	dest->conn = e->number;
	// Before whatever is said on it.
	sim_at(w, SIM_AGENT + e->host, WIRE_NS, on_opened, end_at(e->host, e->migration, e->number, LS_E_NONE));
	sim_agent_feed(dest, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = m->a->ledger_id });
}

static void on_dial(struct world *w, void *arg)
{
	struct end *e = arg;
	struct sim_mig *m = mig_of(w, e);

	if (!m || m->dialling != e->number)
		return;
	unsigned peer = m->request.peer;
	if (!w->process[SIM_HOST + peer].up || !sim_reaches(w, SIM_HOST + e->host, SIM_HOST + peer))
		return; // the dial's own time runs out
	if (!w->process[SIM_AGENT + peer].up) {
		sim_at(w, SIM_AGENT + e->host, sim_latency(w), on_refused,
		       end_at(e->host, e->migration, e->number, LS_E_UNAVAILABLE));
		return;
	}
	sim_at(w, SIM_AGENT + peer, 0, on_accept, end_at(e->host, e->migration, e->number, LS_E_NONE));
}

void sim_link_dial(struct sim_mig *m)
{
	struct world *w = m->a->w;

	sim_link_close(m);
	m->dialling = ++w->numbers;
	sim_at(w, SIM_WORLD, sim_latency(w), on_dial, end_at(m->a->host, m->request.migration, m->dialling, LS_E_NONE));
	sim_at(w, SIM_AGENT + m->a->host, DIAL_NS, on_refused,
	       end_at(m->a->host, m->request.migration, m->dialling, LS_E_UNAVAILABLE));
}

void sim_link_close(struct sim_mig *m)
{
	struct sim_mig *other = sim_peer(m);

	if (m->conn && other && other->conn == m->conn)
		lose_in(other, sim_reaches(m->a->w, SIM_HOST + m->a->host, SIM_HOST + m->request.peer) ?
				       sim_latency(m->a->w) :
				       SILENCE_NS);
	m->conn = m->dialling = 0;
}

// ---- letters

struct letter {
	unsigned from, to, migration;
	uint64_t conn;
	struct ls_role_msg msg;
};

static void on_letter(struct world *w, void *arg)
{
	struct letter *l = arg;
	struct sim_mig *m = w->agent[l->to]->mig[l->migration];

	if (!m || m->conn != l->conn)
		return;
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &l->msg });
}

static void on_wire(struct world *w, void *arg)
{
	struct letter *l = arg, *copy;
	struct sim_mig *from = w->agent[l->from]->mig[l->migration], *to = w->agent[l->to]->mig[l->migration];

	if (!sim_reaches(w, SIM_HOST + l->from, SIM_HOST + l->to) || sim_fault(w, SIM_LINK)) {
		// Nothing that was sent later arrives either: the receiver's end is dead at once, and hears of it in
		// time.
		uint64_t dead = ++w->numbers;
		if (from && from->conn == l->conn)
			lose_in(from, sim_random(w, 1 * S));
		if (to && to->conn == l->conn) {
			to->conn = dead;
			lose_in(to, sim_random(w, 1 * S));
		}
		return;
	}
	copy = sim_alloc(sizeof(*copy));
	*copy = *l;
	sim_at(w, SIM_AGENT + l->to, 0, on_letter, copy);
}

void sim_link_send(struct sim_mig *m, const struct ls_role_action *act)
{
	static const char *const names[LS_MSG_COUNT] = { "blobs", "may I?", "consent", "started", "abort",
							 "what is your word?", "my word is" };
	struct letter *l;
	struct world *w = m->a->w;

	if (!m->conn)
		return;
	l = sim_alloc(sizeof(*l));
	l->from = m->a->host;
	l->to = m->request.peer;
	l->migration = m->request.migration;
	l->conn = m->conn;
	ls_role_fill(m->role, act, &l->msg);
	sim_promise_letter(m, &l->msg);
	sim_trace(w, "%s %s: says %s %s", w->host[l->from].name, sim_migration_id(l->migration), names[act->msg],
		  act->msg == LS_MSG_WORD ? ls_word_name(l->msg.word) : "");
	sim_at(w, SIM_WORLD, WIRE_NS, on_wire, l); // one connection: order is kept
}
