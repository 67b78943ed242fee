// SPDX-License-Identifier: Apache-2.0
// The way back: who may choose it, and why it was chosen.
#include "agent/role_int.h"

#include "common/cause.h"

bool role_may_unwind(const struct ls_role *r)
{
	return !r->mute && !r->unwinding && !r->ended && r->persisting == LS_WORD_NONE &&
	       (r->word == LS_WORD_ACTIVE || r->word == LS_WORD_UNDECIDED);
}

void role_keep_cause(struct ls_role *r, const struct ls_error *cause)
{
	if (!cause || !ls_cause_beats(cause->reason, r->cause.reason))
		return;
	r->cause = *cause;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (cause == &r->dev[i].error)
			return; // told as the device's own
	role_emit_error(r, &r->cause);
}

static void turn_back(struct ls_role *r, enum ls_word word)
{
	r->unwinding = true;
	r->phase = PHASE_DRAIN;
	r->drain_ns = r->now;
	r->begun = false;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		struct role_device *d = &r->dev[i];
		d->wanted = d->stream_waiting = d->stream_up = false;
		d->interrupted = d->busy;
		role_act(r, LS_ACT_INTERRUPT)->device = (int)i; // an idle one only loses its stream
	}
	role_persist(r, word);
}

void role_turn_back(struct ls_role *r, enum ls_word word, const struct ls_error *cause)
{
	r->cause = *cause;
	role_emit_error(r, &r->cause);
	turn_back(r, word);
}

void role_fail(struct ls_role *r, const struct ls_error *cause)
{
	bool may = role_may_unwind(r);

	if (may || (r->unwinding && !r->ended))
		role_keep_cause(r, cause);
	if (may)
		turn_back(r, r->p.side == LS_SIDE_SOURCE ? LS_WORD_RETURNING : LS_WORD_ABORTED);
}

void role_return(struct ls_role *r)
{
	if (r->word != LS_WORD_CONSENTED || r->persisting || r->mute || r->unwinding || r->ended)
		return;
	r->retry_at = LS_NO_DEADLINE;
	turn_back(r, LS_WORD_RETURNING);
}
