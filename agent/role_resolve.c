// SPDX-License-Identifier: Apache-2.0
// What an operator decides, and what no operator can mend: a fence that was false.
#include "agent/role_int.h"

#include <errno.h>

#define REFUSE(reason, ...) return ls_fail(err, LS_E_##reason, 0, __VA_ARGS__)

void role_revive(struct ls_role *r, enum phase phase)
{
	if (r->ended)
		r->phase = phase;
	r->ended = LS_END_NONE;
	r->hold = HOLD_NONE;
}

static bool any_failed(const struct ls_role *r, bool *ret_absent)
{
	bool failed = false;

	*ret_absent = false;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		failed = failed || r->dev[i].failed;
		*ret_absent = *ret_absent || !r->dev[i].here;
	}
	return failed;
}

static int may_return(const struct ls_role *r, bool claimed, struct ls_error *err)
{
	if (r->p.side != LS_SIDE_SOURCE)
		REFUSE(INVALID, "only a source can return a VM");
	if (r->word != LS_WORD_CONSENTED || r->unwinding || r->peer_started)
		REFUSE(CONFLICT, "the source's word is %s: %s", ls_word_name(r->word),
		       r->word == LS_WORD_ACTIVE ? "it returns the VM by itself, cancel instead" : "it is settled");
	if (!claimed && !r->peer_lost)
		REFUSE(CONFLICT,
		       "the destination has not said LOST_AFTER_COMMIT, and nobody claims that it was fenced");
	return 0;
}

static int may_reset(const struct ls_role *r, bool source, struct ls_error *err)
{
	bool absent;

	if ((r->p.side == LS_SIDE_SOURCE) != source)
		REFUSE(INVALID, "this host is the %s", source ? "destination" : "source");
	if (r->ended != LS_END_OPERATOR || r->conflict ||
	    r->word != (source ? LS_WORD_RETURNING : LS_WORD_COMMITTED) || !any_failed(r, &absent))
		REFUSE(CONFLICT, "no device failed on its way %s", source ? "back" : "into the start");
	if (absent || r->vmm_lost)
		REFUSE(CONFLICT, "not every device is here, or the VMM is gone");
	return 0;
}

int ls_role_may_resolve(const struct ls_role *r, enum ls_resolve action, bool claimed, struct ls_error *err)
{
	if (r->mute)
		REFUSE(LEDGER, "the ledger has failed: restart the agent to read what the disk holds");
	if (r->persisting)
		REFUSE(CONFLICT, "a word is being written: try again");
	for (unsigned i = 0; r->ended && i < r->p.schedule.n_devices; i++)
		if (r->dev[i].busy && action != LS_RESOLVE_RETURN_FENCED && action != LS_RESOLVE_RETURN_LOST)
			REFUSE(ARC_STUCK, "device %s has not come back from the kernel", ls_role_device_name(r, i));
	switch (action) {
	case LS_RESOLVE_RETURN_FENCED:
		if (!claimed)
			REFUSE(INVALID, "a fence wants a claim: host, method, evidence, actor");
		return may_return(r, true, err);
	case LS_RESOLVE_RETURN_LOST:
		return may_return(r, claimed, err);
	case LS_RESOLVE_RESET_SOURCE:
	case LS_RESOLVE_RESET_DESTINATION:
		return may_reset(r, action == LS_RESOLVE_RESET_SOURCE, err);
	case LS_RESOLVE_CLOSE:
		if (r->ended != LS_END_OPERATOR || (r->done && !r->conflict) || r->close)
			REFUSE(CONFLICT, "%s",
			       r->ended ? "it is closed already" : "it is not over: nothing waits for an operator");
		return 0;
	default:
		REFUSE(INVALID, "resolve action %d", (int)action);
	}
}

static void give_back(struct ls_role *r, bool claimed)
{
	struct ls_error err;

	r->fenced = r->fenced || claimed;
	if (r->ended) {
		role_revive(r, PHASE_FORWARD);
		r->adopting = r->restarted;
	}
	if (r->peer_lost)
		ls_fail(&err, LS_E_LOST_AFTER_COMMIT, 0, "an operator returns the VM: %s lost it after the commit",
			r->p.peer_host);
	else
		ls_fail(&err, LS_E_CANCELLED, 0, "an operator returns the VM: %s was fenced", r->p.peer_host);
	role_turn_back(r, LS_WORD_RETURNING, &err);
	r->retry_at = r->fenced ? r->now + r->p.retry_ns : LS_NO_DEADLINE;
}

static void reset_failed(struct ls_role *r)
{
	bool source = r->p.side == LS_SIDE_SOURCE;

	role_revive(r, source ? PHASE_UNWIND : PHASE_FORWARD);
	r->track = source ? &r->p.schedule.source_unwind : &r->p.schedule.dest;
	r->index = source ? 0 : (unsigned)role_after(r->track, LS_STEP_DECIDE);
	r->unwinding = source;
	r->begun = false;
	r->how = source ? LS_END_RETURNED : LS_END_NONE;
	r->partly = r->resetting = true;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		r->dev[i].wanted = false;
		if (r->dev[i].failed)
			role_want(r, 1u << i, LS_JOB_RESET);
		r->dev[i].failed = false;
	}
}

static void close_it(struct ls_role *r)
{
	role_revive(r, PHASE_CLOSING);
	r->cause = r->late.reason ? r->late : r->cause;
	r->how = LS_END_OPERATOR;
	r->close = true;
	r->done = r->done && !r->conflict; // with the record the conflict is closed
	r->adopting = false;
	r->vmm_answered = false;
	r->retry_at = LS_NO_DEADLINE;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		r->dev[i].wanted = false;
}

void role_on_resolve(struct ls_role *r, enum ls_resolve action, bool claimed)
{
	if (ls_role_may_resolve(r, action, claimed, NULL) < 0)
		return;
	switch (action) {
	case LS_RESOLVE_RETURN_FENCED:
	case LS_RESOLVE_RETURN_LOST:
		give_back(r, claimed);
		break;
	case LS_RESOLVE_CLOSE:
		close_it(r);
		break;
	default:
		reset_failed(r);
		break;
	}
}

static void call_conflict(struct ls_role *r, const char *what)
{
	r->conflict = true;
	ls_fail(&r->late, LS_E_CONFLICT, 0, "%s: VM %s may run on both %s and %s", what, r->p.vm, r->p.host,
		r->p.peer_host);
	role_emit_error(r, &r->late);
	r->ended = LS_END_NONE;
	r->hold = HOLD_NONE;
	role_end(r, LS_END_OPERATOR, &r->late);
}

// Both sides may run it. Nothing more is started, resumed or let go here.
void role_conflict(struct ls_role *r, const char *what)
{
	if (r->conflict || r->mute || role_off(r, 8))
		return;
	r->conflict_due = r->persisting ? what : NULL;
	if (r->persisting)
		return; // what counts is what the disk holds then
	role_act(r, LS_ACT_CONFLICT);
	call_conflict(r, what);
}

void role_on_old_conflict(struct ls_role *r)
{
	call_conflict(r, "in an earlier life of this agent the other side was heard to have it too");
}

void role_fence_settled(struct ls_role *r)
{
	r->fence_settled = true;
	r->retry_at = LS_NO_DEADLINE;
	if (!r->ended || r->ended == LS_END_OPERATOR || r->conflict || r->done)
		return;
	r->done = true;
	role_act(r, LS_ACT_DONE);
}
