// SPDX-License-Identifier: Apache-2.0
// What the VMM answers, and what follows when it dies.
#include "agent/role_int.h"

#include "common/cause.h"

const struct ls_track role_track_dead = { .n = 1, .step = { { .kind = LS_STEP_RESET, .devices = UINT32_MAX } } };

void role_on_vmm(struct ls_role *r, enum ls_vmm_op op, const struct ls_error *error)
{
	if (!r->vmm_busy || r->vmm_op != op)
		return;
	r->vmm_busy = false;
	r->vmm_answered = true;
	if (op == LS_VMM_PAUSE)
		r->blackout.paused_ns = r->now;
	if (error) {
		struct ls_error late = *error;
		if (op == LS_VMM_GONE || op == LS_VMM_DISCARD || op == LS_VMM_RETURN)
			return; // it is leaving anyway
		if (op == LS_VMM_LEND) {
			r->late = late;
			role_emit_error(r, &r->late);
			r->found.held = 0; // those that are not here are not to be had
			return;
		}
		if (role_may_unwind(r)) {
			role_fail(r, &late);
		} else if (r->phase == PHASE_DRAIN) {
			r->late = late;
			role_emit_error(r, &r->late);
		} else if (!r->unwinding || (op == LS_VMM_RESUME && !r->vmm_lost)) {
			r->late = late;
			role_emit_error(r, &r->late);
			role_end(r, LS_END_OPERATOR, &r->late);
		}
		return;
	}
	switch (op) {
	case LS_VMM_FINAL:
		r->final_done = true;
		break;
	case LS_VMM_READY:
		r->ready = true;
		break;
	case LS_VMM_RESUME:
		r->resumed = true;
		r->resumed_ns = r->now;
		break;
	case LS_VMM_LEND:
		r->found.held = r->all;
		break;
	default:
		break;
	}
}

bool role_vmm_dead(const struct ls_role *r)
{
	return r->vmm_lost && !r->resumed && (r->p.side == LS_SIDE_SOURCE || r->word == LS_WORD_COMMITTED);
}

// What is under way ends, then every device is reset and closed.
void role_bury(struct ls_role *r)
{
	r->phase = PHASE_DRAIN;
	r->drain_ns = r->now;
	r->begun = false;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		r->dev[i].wanted = false;
}

// An operator was called for, and what was held for them has lost its VM.
static bool held_in_vain(const struct ls_role *r)
{
	if (r->ended != LS_END_OPERATOR || r->conflict || r->mute || r->persisting || r->close || !role_idle(r))
		return false;
	return r->word == LS_WORD_RETURNING || r->word == LS_WORD_COMMITTED;
}

void role_on_vmm_lost(struct ls_role *r)
{
	if (r->vmm_lost)
		return;
	r->vmm_lost = true;
	r->vmm_busy = false;
	r->vmm_answered = true;
	if (r->resumed || r->mute || r->phase == PHASE_CLOSING ||
	    (r->phase == PHASE_OVER && r->ended != LS_END_OPERATOR))
		return;
	ls_fail(&r->gone, LS_E_VMM_FAILED, 0, "the VMM of %s went away%s", r->p.vm,
		r->word == LS_WORD_COMMITTED ? " after the commit" : "");
	if (role_may_unwind(r)) {
		role_fail(r, &r->gone);
		return;
	}
	if (r->unwinding && ls_cause_beats(r->gone.reason, r->cause.reason))
		role_keep_cause(r, &r->gone);
	else
		role_emit_error(r, &r->gone);
	if (held_in_vain(r)) {
		role_revive(r, PHASE_DRAIN);
		role_bury(r);
	} else if (!r->ended && ((r->p.side == LS_SIDE_SOURCE && r->phase == PHASE_UNWIND) ||
				 (r->word == LS_WORD_COMMITTED && !r->persisting))) {
		role_bury(r);
	}
}
