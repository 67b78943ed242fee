// SPDX-License-Identifier: Apache-2.0
// A role of an earlier life: what its durable word asks for, and how its devices come back into hand.
//
//   source       ACTIVE -> RETURNING        RETURNING: the way back       CONSENTED: asks the destination
//                RELEASED: lets go          RETURNED: it runs here, left alone
//   destination  UNDECIDED -> ABORTED       ABORTED: resets, closes       STARTED: it runs here, tells the source
//                COMMITTED: asks the source, goes on with the start; if its loaded devices are gone: LOST
#include "agent/role_int.h"

#include <errno.h>
#include <string.h>

int role_after(const struct ls_track *track, enum ls_step_kind kind)
{
	for (unsigned i = 0; i < track->n; i++)
		if (track->step[i].kind == kind)
			return (int)i + 1;
	return 0;
}

void role_say_lost(struct ls_role *r)
{
	ls_fail(&r->late, LS_E_LOST_AFTER_COMMIT, ENODEV,
		"the devices loaded for VM %s were lost after the commit: only an operator may return it to %s",
		r->p.vm, r->p.peer_host);
	role_emit_error(r, &r->late);
	role_end(r, LS_END_OPERATOR, &r->late);
}

static void restarted_error(const struct ls_role *r, struct ls_error *ret)
{
	ls_fail(ret, LS_E_UNAVAILABLE, 0, "the agent on %s was restarted", r->p.host);
}

static void back(struct ls_role *r, enum ls_word word)
{
	struct ls_error err;

	restarted_error(r, &err);
	r->paused = true; // not known, and RESUME does no harm to a VM that runs
	if (word == LS_WORD_ACTIVE || word == LS_WORD_UNDECIDED) {
		role_fail(r, &err);
		return;
	}
	r->partly = true;
	r->unwinding = true;
	r->phase = PHASE_DRAIN;
	r->drain_ns = r->now;
	r->cause = err;
	role_emit_error(r, &r->cause);
}

static void forward(struct ls_role *r, enum ls_step_kind kind, bool at_it)
{
	r->phase = PHASE_FORWARD;
	r->index = (unsigned)role_after(r->track, kind);
	if (at_it) {
		r->index--;
		r->begun = true;
		r->step_ns = r->now;
	}
}

void role_on_restart(struct ls_role *r, enum ls_word word, const struct ls_role_restart *found)
{
	bool source = r->p.side == LS_SIDE_SOURCE;

	if (ls_word_side(word) != r->p.side)
		return;
	role_say_word(r, word);
	r->restarted = true;
	r->found = *found;
	r->fenced = source && found->fenced;
	r->done = found->done;
	r->vmm_away = !found->vmm_here;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		r->dev[i].state = -1;
		r->dev[i].here = false;
		r->dev[i].closed = true;
	}
	if (found->conflict) {
		role_on_old_conflict(r);
		if (r->fenced)
			r->retry_at = r->now; // the other side may not have heard of it
		return;
	}
	if (word == LS_WORD_RETURNED || word == LS_WORD_STARTED || found->done) {
		role_end(r, word == LS_WORD_RETURNED ? LS_END_RETURNED :
			    word == LS_WORD_ABORTED  ? LS_END_ABORTED :
			    ls_word_open(word)	     ? LS_END_OPERATOR :
						       LS_END_DONE, NULL);
		if (r->fenced && !r->done)
			r->retry_at = r->now;
		return;
	}
	if (word == LS_WORD_LOST) {
		role_say_lost(r);
		return;
	}
	r->adopting = true;
	if (r->vmm_away)
		r->vmm_by = r->now + r->p.vmm_ns;
	switch (word) {
	case LS_WORD_CONSENTED:
		forward(r, LS_STEP_RELEASE, true);
		r->paused = true;
		r->retry_at = r->now;
		break;
	case LS_WORD_RELEASED:
		forward(r, LS_STEP_RELEASE, true);
		r->peer_started = true;
		break;
	case LS_WORD_COMMITTED:
		forward(r, LS_STEP_DECIDE, false);
		r->ask_first = !role_off(r, 6);
		r->partly = true;
		if ((found->held & r->all) != r->all && (found->rebooted || found->vmm_none))
			role_persist(r, LS_WORD_LOST);
		break;
	default:
		back(r, word);
		if (r->fenced)
			r->retry_at = r->now;
		break;
	}
}

static bool any_missing(const struct ls_role *r)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (!r->dev[i].here && !r->dev[i].tried)
			return true;
	return false;
}

// The devices live on in their VMM. What is to be given up at the destination is not asked for.
static void take_the_rest(struct ls_role *r)
{
	if ((r->p.side == LS_SIDE_DEST && r->word != LS_WORD_COMMITTED) || r->persisting == LS_WORD_LOST ||
	    !any_missing(r) || r->lend_asked || r->vmm_lost)
		return;
	if (!r->found.vmm_lends) {
		r->lend_asked = true;
		r->found.held = r->all;
	} else if (!r->vmm_away && !r->vmm_busy) {
		r->lend_asked = true;
		role_vmm(r, LS_VMM_LEND);
	}
}

static bool hold(struct ls_role *r, enum hold hold, const struct ls_error *err)
{
	struct ls_error late = *err;

	r->hold = hold;
	r->held_in = r->phase;
	r->late = late;
	role_emit_error(r, &r->late);
	role_end(r, LS_END_OPERATOR, &r->late);
	return false;
}

// With CONSENTED the destination's word comes first; then nothing is left to wait for but the kernel.
static void hold_if_stuck(struct ls_role *r)
{
	if (r->persisting || (r->word == LS_WORD_CONSENTED && !r->peer_started))
		return;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (r->dev[i].busy && r->dev[i].told_stuck) {
			hold(r, HOLD_ADOPT, &r->dev[i].error);
			return;
		}
}

bool role_take_up(struct ls_role *r)
{
	if (!r->adopting)
		return true;
	take_the_rest(r);
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		struct role_device *d = &r->dev[i];
		if (!(r->found.held & 1u << i) || d->here || d->tried || d->busy)
			continue;
		d->tried = true;
		role_submit(r, i, LS_JOB_ADOPT, false);
	}
	if (!role_idle(r) || (r->vmm_away && !r->vmm_absent)) {
		hold_if_stuck(r);
		return false;
	}
	r->adopting = false;
	if (r->vmm_absent && (r->word == LS_WORD_RELEASED || r->word == LS_WORD_ABORTED))
		r->vmm_lost = true; // it was told, or there is nobody to tell
	return true;
}

void role_on_adopted(struct ls_role *r, unsigned device, const struct ls_job_result *job)
{
	struct role_device *d = &r->dev[device];

	if (job->status == 0) {
		d->here = true;
		d->closed = false;
		memset(&d->error, 0, sizeof(d->error)); // it was stuck, perhaps
	} else if (!d->error.reason) {
		d->error = job->error;
		role_emit_error(r, &d->error);
	}
	if (r->hold == HOLD_ADOPT && r->ended == LS_END_OPERATOR)
		role_revive(r, r->held_in);
}

void role_on_vmm_up(struct ls_role *r, bool runs)
{
	if (!r->restarted || !r->vmm_away)
		return; // in one life, one that comes again is another
	r->vmm_away = r->vmm_absent = r->judged = false;
	r->found.vmm_runs = runs;
	r->vmm_by = LS_NO_DEADLINE;
	if (r->hold == HOLD_VMM && r->ended == LS_END_OPERATOR)
		role_revive(r, r->held_in);
	if (!r->ended && r->phase != PHASE_CLOSING)
		r->adopting = true;
}

void role_on_vmm_late(struct ls_role *r)
{
	r->vmm_by = LS_NO_DEADLINE;
	r->vmm_absent = r->vmm_away;
}

// Rule 6: a start goes on only from where a start can have come to. And where a device ended in ERROR on the way
// back, its state is not given up without an operator.
static bool walkable(const struct ls_role *r, int state)
{
	if (r->p.side == LS_SIDE_SOURCE)
		return !r->partly || (ls_state_valid(state) && state != LS_STATE_ERROR);
	return state == LS_STATE_STOP || state == LS_STATE_RUNNING_P2P || state == LS_STATE_RUNNING;
}

// Rule 6: the loaded devices are gone. Not where a VMM says that it runs the VM; and devices that it lends anew and
// that all run are those of a VMM that was started anew, or cannot be told from them. One that cannot be had proves
// nothing.
static bool lost(const struct ls_role *r)
{
	unsigned here = 0, running = 0;

	if (r->p.side != LS_SIDE_DEST || r->found.vmm_runs)
		return false;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		here += r->dev[i].here;
		running += r->dev[i].state == LS_STATE_RUNNING;
	}
	return here == r->p.schedule.n_devices && r->lend_asked && running == here;
}

void role_lose(struct ls_role *r)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices && !r->emptied; i++)
		role_submit(r, i, LS_JOB_RESET, true);
	if (r->emptied)
		role_persist(r, LS_WORD_LOST);
	r->resetting = !r->emptied;
	r->emptied = true;
}

bool role_may_walk(struct ls_role *r)
{
	struct ls_error err;

	if (!r->restarted || r->judged || r->word == LS_WORD_ABORTED || r->word == LS_WORD_RELEASED || r->vmm_lost)
		return true;
	if (r->vmm_absent) {
		ls_fail(&err, LS_E_VMM_ABSENT, 0,
			"the VMM of %s has not connected again: its devices are held as they are", r->p.vm);
		return hold(r, HOLD_VMM, &err);
	}
	if (lost(r)) {
		// Nobody can tell them from those that were loaded, and these run: not beyond this word.
		role_lose(r);
		return false;
	}
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		struct role_device *d = &r->dev[i];
		if (d->here && walkable(r, d->state))
			continue;
		d->failed = d->here;
		ls_fail(&err, LS_E_BAD_STATE, EIO,
			d->here ? "is in %s after the restart: only a reset helps" : "is not to be had%s",
			d->here ? ls_state_name(d->state) : "");
		ls_error_at(&err, ls_role_device_name(r, i), NULL);
		return hold(r, HOLD_NONE, d->error.reason ? &d->error : &err);
	}
	r->judged = true;
	return true;
}
