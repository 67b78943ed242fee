// SPDX-License-Identifier: Apache-2.0
// What must hold when all is healed and everyone had their time. What holds after every event: hardware.c, disk.c.
#include <string.h>

#include "agent/term.h"
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
		if (!w->operator_->acknowledged[m] || !c->seq[m] || !ls_seq_ended(c->seq[m]) ||
		    ls_seq_operator(c->seq[m]) || ls_seq_loose(c->seq[m]))
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

bool sim_both_have_it(const struct world *w, unsigned m)
{
	enum ls_word s = word(w, 0, m), d = word(w, w->operator_->dest[m], m);

	return (s == LS_WORD_RETURNING || s == LS_WORD_RETURNED) && (d == LS_WORD_COMMITTED || d == LS_WORD_STARTED);
}

static const char *reason_of(const struct ls_seq *q)
{
	const Lockstep__V1__Migration *v = ls_seq_view(q);

	return v->error ? v->error->reason : "";
}

// Both ledgers were lost or set back after the end: one asks the other for what that does not know any more. The
// coordinator has it as over, and logs that it is open there.
static bool set_back_behind_the_end(const struct world *w, const struct sim_coordinator *c, unsigned m)
{
	uint32_t both = 1u | 1u << w->operator_->dest[m];

	return (w->rolled_back & both) == both && c->seq[m] && ls_seq_ended(c->seq[m]);
}

static void judge_roles(struct world *w, const struct sim_coordinator *c, unsigned m)
{
	for (unsigned h = 0; h < SIM_HOSTS; h++) {
		const struct sim_mig *mig = w->agent[h]->mig[m];
		// No word will come: it waits for the operator (rules 6, 8 to 10), who knows.
		bool waits = c->seq[m] &&
			     ls_seq_view(c->seq[m])->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR;
		if (mig && !role_over(mig) && !waits && !set_back_behind_the_end(w, c, m))
			sim_violation(w, "ends", "%s %s never ends (%s)", w->host[h].name, sim_migration_id(m),
				      ls_word_name(ls_role_word(mig->role)));
	}
}

static bool back_home(const struct ls_seq *q)
{
	Lockstep__V1__Phase phase = ls_seq_view(q)->phase;

	return phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED || phase == LOCKSTEP__V1__PHASE__PHASE_REFUSED;
}

// Does the other migration, if there is one, leave the VM at the source?
static bool other_home(const struct world *w, const struct sim_coordinator *c, unsigned m)
{
	unsigned other = 1 - m;
	enum ls_word s = word(w, 0, other), d = word(w, w->operator_->dest[other], other);

	if (other >= w->operator_->started)
		return true;
	if (c->seq[other])
		return back_home(c->seq[other]);
	return s != LS_WORD_RELEASED && d != LS_WORD_COMMITTED && d != LS_WORD_STARTED; // either may have lost its word
}

// The store was lost when all was over: nobody has to know of it any more.
bool sim_forgotten(const struct world *w, unsigned m)
{
	const struct sim_coordinator *c = sim_operator_asks(w);

	if (c->seq[m])
		return false;
	for (unsigned h = 0; h < SIM_HOSTS; h++) {
		const struct sim_mig *mig = w->agent[h]->mig[m];
		if (w->agent[h]->row[m].known && ls_record_holds_vm(w->agent[h]->row[m].word, w->agent[h]->row[m].done))
			return false;
		if (mig && !role_over(mig))
			return false;
	}
	return w->store_lost;
}

// The source's agent and the coordinator have both lost their disks: a VM that stands still there has no story.
static bool nobody_knows(const struct world *w)
{
	return w->store_lost && w->rolled_back & 1;
}

static void judge_migration(struct world *w, const struct sim_coordinator *c, unsigned m)
{
	unsigned dest = w->operator_->dest[m];
	const struct ls_seq *q = c->seq[m];

	if (!q) {
		if (w->operator_->acknowledged[m] && !w->store_lost)
			sim_violation(w, "acknowledged", "%s was acknowledged and is forgotten", sim_migration_id(m));
		else if (!sim_forgotten(w, m))
			sim_violation(w, "acknowledged", "%s is open at an agent and the coordinator does not know it",
				      sim_migration_id(m));
		return;
	}
	Lockstep__V1__Phase phase = ls_seq_view(q)->phase;
	if (!ls_seq_ended(q) && !ls_seq_operator(q))
		sim_violation(w, "ends", "%s never ends (phase %d)", sim_migration_id(m), (int)phase);
	if (phase != LOCKSTEP__V1__PHASE__PHASE_DONE && !reason_of(q)[0])
		sim_violation(w, "reason", "%s ended in phase %d and does not say why", sim_migration_id(m),
			      (int)phase);
	if (w->vm_dead || w->split || nobody_knows(w))
		return;
	if (phase == LOCKSTEP__V1__PHASE__PHASE_DONE && w->host[dest].vm != SIM_VM_RUNNING)
		sim_violation(w, "told-true", "%s is done, but the VM does not run at the %s", sim_migration_id(m),
			      w->host[dest].name);
	if (back_home(q) && other_home(w, c, m) && w->host[0].vm != SIM_VM_RUNNING)
		sim_violation(w, "told-true", "%s returned, but the VM does not run at the source",
			      sim_migration_id(m));
}

// Both sides decided for themselves: the coordinator and both of them have to say so (rule 8).
static void judge_conflict(struct world *w, const struct sim_coordinator *c, unsigned m)
{
	if (!sim_both_have_it(w, m))
		return;
	enum ls_word s = word(w, 0, m), d = word(w, w->operator_->dest[m], m);
	if (!w->lied && !w->older && !w->rolled_back)
		sim_violation(w, "conflict-for-cause", "%s: %s here and %s there without a false fence",
			      sim_migration_id(m), ls_word_name(s), ls_word_name(d));
	if (w->rolled_back)
		return; // a ledger that was set back past its word cannot know; that two never run is checked all the same
	if (!w->conflict[0][m] || !w->conflict[w->operator_->dest[m]][m] || (c->seq[m] && !w->told_conflict[m]))
		sim_violation(w, "conflict", "%s: %s here and %s there, and CONFLICT is not said by the %s",
			      sim_migration_id(m), ls_word_name(s), ls_word_name(d),
			      !w->conflict[0][m]                       ? "source"
			      : !w->conflict[w->operator_->dest[m]][m] ? "destination"
								       : "coordinator");
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
	if (!runs && !waits && !w->vm_dead && !nobody_knows(w))
		sim_violation(w, "somewhere", "the VM runs nowhere, and nobody says why");
}
