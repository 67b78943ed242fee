// SPDX-License-Identifier: Apache-2.0
// What is read from a device, or written to it, and does not return for long (agent/migration.c, hung_at), and what is
// known to take longer than the deadline allows (agent/migration_rest.c).
#include "tests/sim/agent.h"

#define STUCK_NS (2 * S) // the role's stuck_ns

struct hung {
	unsigned host, migration, device;
	uint64_t number;
	sim_job_fn *then;
};

static struct sim_mig *job_of(struct world *w, const struct hung *h)
{
	struct sim_mig *m = w->agent[h->host]->mig[h->migration];

	return m && m->job[h->device].busy && m->job[h->device].number == h->number ? m : NULL;
}

static bool forward(const struct sim_mig *m)
{
	enum ls_word word = ls_role_word(m->role);

	return (word == LS_WORD_ACTIVE || word == LS_WORD_UNDECIDED) && !ls_role_unwinding(m->role) &&
	       !ls_role_persisting(m->role) && !ls_role_mute(m->role) && !ls_role_ended(m->role);
}

static void on_hung(struct world *w, void *arg)
{
	struct hung *h = arg;
	struct sim_mig *m = job_of(w, h);
	struct ls_error err;

	if (!m || m->job[h->device].waiting || !forward(m))
		return;
	ls_fail(&err, LS_E_ARC_STUCK, 0, "simulated");
	ls_error_at(&err, ls_role_device_name(m->role, h->device), NULL);
	sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_UNWIND, .error = &err });
}

static void on_back(struct world *w, void *arg)
{
	struct hung *h = arg;
	struct sim_mig *m = job_of(w, h);

	if (m)
		h->then(m, h->device);
}

bool sim_job_hangs(struct sim_mig *m, unsigned i, sim_job_fn *then)
{
	struct world *w = m->a->w;
	struct sim_job *j = &m->job[i];
	struct hung h = { m->a->host, m->request.migration, i, j->number, then }, *e;

	if ((j->kind != LS_JOB_PRECOPY && j->kind != LS_JOB_SEND && j->kind != LS_JOB_LOAD) ||
	    !sim_fault(w, SIM_READ_STUCK))
		return false;
	j->waiting = false; // nothing reaches it there
	e = sim_alloc(sizeof(*e));
	*e = h;
	sim_at(w, SIM_AGENT + m->a->host, STUCK_NS, on_hung, e);
	e = sim_alloc(sizeof(*e));
	*e = h;
	sim_at(w, SIM_AGENT + m->a->host, 1 * S + sim_random(w, 20 * S), on_back, e);
	return true;
}

static void on_rest(struct world *w, void *arg)
{
	struct hung *h = arg;
	struct sim_mig *m = w->agent[h->host]->mig[h->migration];

	if (m && ls_role_blackout(m->role)->pause_ns && ls_role_word(m->role) == LS_WORD_ACTIVE &&
	    !ls_role_unwinding(m->role))
		sim_agent_feed(m, (struct ls_role_event){ .kind = LS_EV_REST, .rest_ns = m->request.deadline_ns });
}

void sim_job_rest(struct sim_mig *m)
{
	struct world *w = m->a->w;
	struct hung *e;

	if (!m->request.deadline_ns || !sim_fault(w, SIM_TOO_SLOW))
		return;
	e = sim_alloc(sizeof(*e));
	*e = (struct hung){ .host = m->a->host, .migration = m->request.migration };
	sim_at(w, SIM_AGENT + m->a->host, sim_random(w, 4 * MS), on_rest, e);
}
