// SPDX-License-Identifier: Apache-2.0
// What must hold when all is healed and everyone had their time. What holds after every event: hardware.c, disk.c.
#include <string.h>

#include "coordinator/message.h"
#include "tests/sim/agent.h"
#include "tests/sim/operator.h"

static bool role_over(const struct sim_mig *m)
{
	return ls_role_ended(m->role) != LS_END_NONE || ls_role_mute(m->role);
}

bool sim_settled(const struct world *w)
{
	const struct sim_coordinator *c = sim_operator_asks(w);

	for (unsigned m = 0; m < w->operator_->started; m++)
		if (!w->operator_->acknowledged[m] || !c->seq[m] || !ls_seq_ended(c->seq[m]) || ls_seq_operator(c->seq[m]) ||
		    ls_seq_loose(c->seq[m]))
			return false;
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
			if (w->agent[h]->mig[m] && !role_over(w->agent[h]->mig[m]))
				return false;
	for (unsigned h = 0; h < SIM_HOSTS; h++)
		if (!sim_runs(w, SIM_AGENT + h))
			return false;
	return true;
}

static enum ls_word word(const struct world *w, unsigned host, unsigned migration)
{
	return w->agent[host]->durable[migration].word;
}

static const char *reason_of(const struct ls_seq *q)
{
	const Lockstep__V1__Migration *v = ls_seq_view(q);

	return v->error ? v->error->reason : "";
}

static void judge_roles(struct world *w, const struct sim_coordinator *c, unsigned m)
{
	for (unsigned h = 0; h < SIM_HOSTS; h++) {
		const struct sim_mig *mig = w->agent[h]->mig[m];
		// No word will come: it waits for the operator (rules 6, 8 to 10), who knows.
		bool waits = c->seq[m] &&
			     ls_seq_view(c->seq[m])->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR;
		if (mig && !role_over(mig) && !waits)
			sim_violation(w, "%s %s never ends (%s)", w->host[h].name, sim_migration_id(m),
				      ls_word_name(ls_role_word(mig->role)));
	}
}

static void judge_migration(struct world *w, const struct sim_coordinator *c, unsigned m)
{
	unsigned dest = w->operator_->dest[m];
	const struct ls_seq *q = c->seq[m];
	bool last = m + 1 == w->operator_->started;

	if (!q) {
		if (w->operator_->acknowledged[m] && !w->store_lost)
			sim_violation(w, "%s was acknowledged and is forgotten", sim_migration_id(m));
		return;
	}
	Lockstep__V1__Phase phase = ls_seq_view(q)->phase;
	if (!ls_seq_ended(q) && !ls_seq_operator(q))
		sim_violation(w, "%s never ends (phase %d)", sim_migration_id(m), (int)phase);
	if (phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR && !reason_of(q)[0])
		sim_violation(w, "%s waits for an operator and does not say why", sim_migration_id(m));
	if (w->vm_dead || w->lied || !last)
		return;
	if (phase == LOCKSTEP__V1__PHASE__PHASE_DONE && w->host[dest].vm != SIM_VM_RUNNING)
		sim_violation(w, "%s is done, but the VM does not run at the %s", sim_migration_id(m), w->host[dest].name);
	if (phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED && w->host[0].vm != SIM_VM_RUNNING)
		sim_violation(w, "%s returned, but the VM does not run at the source", sim_migration_id(m));
}

// Both sides decided for themselves: somebody has to say so.
static void judge_conflict(struct world *w, const struct sim_coordinator *c, unsigned m)
{
	enum ls_word s = word(w, 0, m), d = word(w, w->operator_->dest[m], m);
	bool both = (s == LS_WORD_RETURNING || s == LS_WORD_RETURNED) && (d == LS_WORD_COMMITTED || d == LS_WORD_STARTED);

	if (!both)
		return;
	bool said = w->conflict || (c->seq[m] && !strcmp(reason_of(c->seq[m]), "CONFLICT"));
	// A ledger that was set back past its word cannot know; that two never run is checked all the same.
	if (!said && !w->rolled_back)
		sim_violation(w, "%s: %s here and %s there, and nobody says CONFLICT", sim_migration_id(m), ls_word_name(s),
			      ls_word_name(d));
	if (!w->lied && !w->older && !w->rolled_back)
		sim_violation(w, "%s: %s here and %s there without a false fence", sim_migration_id(m), ls_word_name(s),
			      ls_word_name(d));
}

void sim_judge(struct world *w)
{
	const struct sim_coordinator *c = sim_operator_asks(w);
	bool runs = false, waits = false;

	for (unsigned h = 0; h < SIM_HOSTS; h++) {
		sim_disk_check(w->agent[h]);
		runs |= w->host[h].vm == SIM_VM_RUNNING;
	}
	for (unsigned m = 0; m < w->operator_->started; m++) {
		judge_roles(w, c, m);
		judge_migration(w, c, m);
		judge_conflict(w, c, m);
		waits |= c->seq[m] && ls_seq_view(c->seq[m])->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR;
	}
	if (!runs && !waits && !w->vm_dead)
		sim_violation(w, "the VM runs nowhere, and nobody says why");
}
