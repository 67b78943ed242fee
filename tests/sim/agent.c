// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/control.h"
#include "tests/sim/control.h"

const char *sim_migration_id(unsigned migration)
{
	return migration ? "m2" : "m1";
}

static const char *name_of(const struct sim_agent *a)
{
	return a->w->host[a->host].name;
}

bool sim_agent_may_run(const struct sim_agent *a)
{
	bool may = a->host == 0 || a->may_still;

	for (unsigned m = 0; m < SIM_MIGRATIONS; m++) {
		const struct sim_row *d = &a->durable[m];
		if (d->side == LS_SIDE_DEST && (d->word == LS_WORD_COMMITTED || d->word == LS_WORD_STARTED))
			may = true;
		if (d->side == LS_SIDE_SOURCE && d->word == LS_WORD_RELEASED)
			may = false;
	}
	return may;
}

// Has a destination's COMMITTED taken the VM over?
bool sim_agent_decided(const struct world *w)
{
	for (unsigned h = 1; h < SIM_HOSTS; h++)
		if (sim_agent_may_run(w->agent[h]))
			return true;
	return false;
}

bool sim_agent_started(const struct sim_agent *a)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->durable[m].word == LS_WORD_STARTED)
			return true;
	return false;
}

bool sim_agent_released(const struct sim_agent *a)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->durable[m].word == LS_WORD_RELEASED)
			return true;
	return false;
}

// ---- the role

struct timer {
	unsigned host, migration;
	uint64_t number;
};

static void on_timer(struct world *w, void *arg)
{
	struct timer *t = arg;
	struct sim_mig *m = w->agent[t->host]->mig[t->migration];

	if (m && m->timer == t->number)
		sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_TIMER });
}

static void set_timer(struct sim_mig *m)
{
	struct world *w = m->a->w;
	uint64_t at = ls_role_deadline(m->role);
	struct timer *t;

	m->timer = ++w->numbers;
	if (at == LS_NO_DEADLINE)
		return;
	t = sim_alloc(sizeof(*t));
	*t = (struct timer){ m->a->host, m->request.migration, m->timer };
	sim_at(w, SIM_AGENT + m->a->host, at > w->now ? at - w->now : 0, on_timer, t);
}

static void on_closed(struct sim_agent *a, unsigned migration, enum ls_word word, int status)
{
	if (status == 0)
		a->row[migration].done = true;
	else
		sim_agent_fall_silent(a); // the next life takes it up again, whatever has begun by then
}

static void on_written(struct sim_agent *a, unsigned migration, enum ls_word word, int status)
{
	if (status == 0)
		a->row[migration].word = word;
	if (a->mig[migration])
		sim_agent_feed(a->mig[migration],
			       (struct ls_role_event){ .kind = LS_EV_PERSISTED, .word = word, .status = status });
	if (status < 0)
		sim_agent_fall_silent(a);
}

// Rule 10, for all that it has in hand.
void sim_agent_fall_silent(struct sim_agent *a)
{
	struct ls_error err;

	if (a->silent)
		return;
	a->silent = true;
	sim_trace(a->w, "%s: the agent falls silent", name_of(a));
	ls_fail(&err, LS_E_LEDGER, EIO, "simulated");
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (a->mig[m])
			sim_agent_feed(a->mig[m], (struct ls_role_event){ .kind = LS_EV_MUTE, .error = &err });
}

static void on_conflict(struct sim_agent *a, unsigned migration, enum ls_word word, int status)
{
	if (status < 0)
		sim_agent_fall_silent(a); // the next life would not know of it
}

// A word that is spoken is on the disk.
static void check_spoken(struct sim_mig *m, enum ls_word word)
{
	if (m->a->durable[m->request.migration].word != word)
		sim_violation(m->a->w, "word-spoken", "%s: says %s, the disk holds %s", name_of(m->a),
			      ls_word_name(word), ls_word_name(m->a->durable[m->request.migration].word));
}

static void emit(struct sim_mig *m, const struct ls_role_action *act)
{
	struct world *w = m->a->w;
	char text[200];

	if (act->kind == LS_ACT_EMIT_STEP && act->device < 0 && !act->end_ns)
		sim_trace(w, "%s %s: %s%s", name_of(m->a), sim_migration_id(m->request.migration),
			  act->unwind ? "unwind: " : "",
			  ls_step_text(ls_role_schedule(m->role), act->step, m->request.side == LS_SIDE_DEST, text,
				       sizeof(text)));
	if (act->kind == LS_ACT_EMIT_WORD)
		check_spoken(m, act->word);
	if (act->kind == LS_ACT_EMIT_ERROR || act->kind == LS_ACT_END)
		sim_trace(w, "%s %s: %s %s", name_of(m->a), sim_migration_id(m->request.migration),
			  act->kind == LS_ACT_END ? "ends" : "error",
			  act->error ? ls_error_text(act->error, text, sizeof(text)) : "well");
	sim_report_add(&m->report, m->role, name_of(m->a), act, w->now);
	for (unsigned c = 0; c < 2; c++)
		sim_coordinator_news(w->coordinator[c], m->a->host, m->request.migration);
}

static void carry_out(struct sim_mig *m, const struct ls_role_action *act)
{
	switch (act->kind) {
	case LS_ACT_PERSIST:
		sim_disk_word(m->a, m->request.migration, act->word, on_written);
		break;
	case LS_ACT_JOB:
		sim_job_start(m, (unsigned)act->device, act->job, act->target);
		break;
	case LS_ACT_INTERRUPT:
		sim_job_interrupt(m, (unsigned)act->device);
		break;
	case LS_ACT_VMM:
		sim_vmm_ask(m, act->op);
		break;
	case LS_ACT_PEER_CONNECT:
		sim_link_dial(m);
		break;
	case LS_ACT_PEER_CLOSE:
		sim_link_close(m);
		break;
	case LS_ACT_PEER_SEND:
		sim_link_send(m, act);
		break;
	case LS_ACT_CONFLICT:
		m->a->row[m->request.migration].conflict = true;
		sim_disk_conflict(m->a, m->request.migration, on_conflict);
		break;
	case LS_ACT_DONE:
		sim_disk_done(m->a, m->request.migration, on_closed);
		break;
	default:
		emit(m, act);
		break;
	}
}

void sim_agent_feed(struct sim_mig *m, struct ls_role_event e)
{
	struct ls_role_actions *todo;

	if (!m->begun)
		return;
	e.time_ns = m->a->w->now;
	m->a->w->fed[e.kind]++;
	// Copied: carrying out an action may feed the other role, never this one at once.
	todo = malloc(sizeof(*todo));
	if (!todo)
		abort();
	const struct ls_role_actions *actions = ls_role_event(m->role, &e);
	todo->n = actions->n;
	memcpy(todo->at, actions->at, actions->n * sizeof(*actions->at));
	for (unsigned i = 0; i < todo->n; i++)
		carry_out(m, &todo->at[i]);
	free(todo);
	if (ls_role_conflict(m->role))
		m->a->w->conflict[m->a->host][m->request.migration] = true;
	set_timer(m);
	sim_service_waiters(m);
}

static unsigned rule_off(void)
{
	static const char *const names[] = { "rule-1", "rule-2", "rule-3", "rule-4", "rule-5",
					     "rule-6", "rule-7", "rule-8", "rule-9", "rule-10" };

	for (unsigned i = 0; i < 10; i++)
		if (ls_control(names[i]))
			return i + 1;
	return 0;
}

struct sim_mig *sim_agent_begin(struct sim_agent *a, const struct sim_request *q)
{
	struct sim_mig *m = sim_alloc(sizeof(*m));
	struct ls_role_params p = { .side = q->side, .vm = "vm1", .stuck_ns = 2 * S, .retry_ns = 200 * MS,
				    .peer_ns = 5 * S, .vmm_ns = 3 * S, .deadline_ns = q->deadline_ns };

	m->a = a;
	m->request = *q;
	strcpy(p.migration, sim_migration_id(q->migration));
	strcpy(p.host, name_of(a));
	strcpy(p.peer_host, a->w->host[q->peer].name);
	strcpy(p.ledger_id, a->ledger_id);
	strcpy(p.peer_ledger_id, q->peer_ledger_id);
	p.schedule = q->schedule;
	p.skip_quiesce = ls_control("skip-quiesce-barrier");
	p.rule_off = rule_off();
	for (unsigned i = 0; i < a->w->n; i++)
		p.state[i] = a->w->host[a->host].dev[i].state;
	m->role = ls_role_new(&p);
	if (!m->role)
		abort();
	a->mig[q->migration] = m;
	return m;
}

// ---- lives

void sim_mig_free(struct sim_mig *m)
{
	if (!m)
		return;
	ls_role_free(m->role);
	sim_report_free(&m->report);
	free(m);
}

struct sim_agent *sim_agent_new(struct world *w, unsigned host)
{
	struct sim_agent *a = sim_alloc(sizeof(*a));

	a->w = w;
	a->host = host;
	a->fd_store = sim_random(w, 4);
	a->vmm_here = true;
	sim_disk_new(a);
	return a;
}

void sim_agent_free(struct sim_agent *a)
{
	for (unsigned m = 0; a && m < SIM_MIGRATIONS; m++)
		sim_mig_free(a->mig[m]);
	if (a)
		sim_disk_free(a);
	free(a);
}

void sim_agent_kill(struct sim_agent *a)
{
	struct world *w = a->w;

	if (!w->process[SIM_AGENT + a->host].up)
		return;
	sim_trace(w, "%s: the agent dies", name_of(a));
	sim_kill(w, SIM_AGENT + a->host);
	sim_calls_lose(w, a->host);
	for (unsigned c = 0; c < 2; c++)
		sim_coordinator_agent_died(w->coordinator[c], a->host);
	sim_link_lose(w, a->host);
	sim_jobs_lose_streams(w, a->host);
	if (!a->fd_store)
		a->stored = 0;
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++) {
		sim_mig_free(a->mig[m]);
		a->mig[m] = NULL;
	}
	if (!a->stored && w->host[a->host].vm == SIM_VM_NONE) // nobody has them open any more
		for (unsigned i = 0; i < w->n; i++)
			if (!w->host[a->host].dev[i].op.busy)
				sim_device_reset(w, a->host, i);
}

static void take_up(struct sim_agent *a, const struct sim_request *q, enum ls_word word)
{
	struct sim_row *row = &a->row[q->migration];
	struct sim_mig *m;

	row->known = true;
	row->side = q->side;
	row->word = word;
	if (q->peer == UINT32_MAX)
		return; // a tombstone
	m = sim_agent_begin(a, q);
	m->begun = true;
	m->report.base = a->w->now;
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_RESTART,
						  .word = word,
						  .restart = { .done = row->done,
							       .conflict = row->conflict,
							       .fenced = row->claim,
							       .vmm_here = a->vmm_here,
							       .vmm_lends = true,
							       .held = a->stored,
							       .rebooted = a->rebooted } });
}

void sim_agent_start(struct sim_agent *a)
{
	struct world *w = a->w;

	sim_trace(w, "%s: the agent starts again", name_of(a));
	sim_start(w, SIM_AGENT + a->host);
	memcpy(a->row, a->durable, sizeof(a->row));
	memset(a->writing_first, 0, sizeof(a->writing_first));
	memset(a->order, 0, sizeof(a->order));
	a->silent = a->stopping = false;
	a->disk_free_at = 0;
	a->born_ns = w->now;
	a->vmm_here = false;
	sim_disk_read(a, take_up);
}
