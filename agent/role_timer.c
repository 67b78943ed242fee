// SPDX-License-Identifier: Apache-2.0
// Deadlines, and whatever takes time too long.
#include "agent/role_int.h"

#include <errno.h>

// A kernel call that does not return cannot be killed: whoever waits for it says so and stops there.
static uint64_t stuck_at(const struct ls_role *r, const struct role_device *d)
{
	bool arc = d->job == LS_JOB_ARC || d->job == LS_JOB_RESET || d->job == LS_JOB_ADOPT;

	if (!d->busy || r->ended || !r->p.stuck_ns || (d->job == LS_JOB_ADOPT && d->told_stuck))
		return LS_NO_DEADLINE;
	if (arc)
		return d->since_ns + r->p.stuck_ns;
	if (r->phase == PHASE_DRAIN || d->job == LS_JOB_CLOSE)
		return (d->since_ns > r->drain_ns ? d->since_ns : r->drain_ns) + r->p.stuck_ns;
	return LS_NO_DEADLINE;
}

static uint64_t blackout_by(const struct ls_role *r)
{
	if (r->p.side != LS_SIDE_SOURCE || !r->p.deadline_ns || !r->blackout.pause_ns || !role_may_unwind(r))
		return LS_NO_DEADLINE;
	return r->blackout.pause_ns + r->p.deadline_ns;
}

static void on_stuck(struct ls_role *r, unsigned i)
{
	struct role_device *d = &r->dev[i];
	struct ls_error stuck;

	ls_fail(&stuck, LS_E_ARC_STUCK, ETIMEDOUT,
		"the kernel has not returned for %llu ms: nothing on this host touches the other devices now",
		(unsigned long long)((r->now - d->since_ns) / 1000000));
	ls_error_at(&stuck, ls_role_device_name(r, i), NULL);
	if (!d->error.reason) {
		d->error = stuck;
		role_emit_error(r, &d->error);
	}
	if (role_may_unwind(r)) {
		role_fail(r, &d->error);
		if (!r->mute && r->persisting)
			return; // once the word is durable, the drain meets it again
	}
	if (r->persisting)
		return;
	d->told_stuck = true;
	if (d->job == LS_JOB_ADOPT && r->word == LS_WORD_CONSENTED)
		return; // the destination's word comes first
	r->hold = d->job == LS_JOB_ADOPT ? HOLD_ADOPT : HOLD_STUCK;
	r->held_in = r->phase;
	r->late = stuck;
	role_end(r, LS_END_OPERATOR, &r->late);
}

// Where one had hung this goes on from where it was; another that still hangs is told of again.
void role_unstick(struct ls_role *r)
{
	if (r->hold != HOLD_STUCK || r->ended != LS_END_OPERATOR)
		return;
	role_revive(r, r->held_in);
	if (role_vmm_dead(r) && r->phase != PHASE_CLOSING)
		role_bury(r);
}

void role_on_timer(struct ls_role *r)
{
	struct ls_error late;

	if (r->now >= blackout_by(r)) {
		ls_fail(&late, LS_E_DEADLINE, ETIMEDOUT, "the VM has been paused for %llu ms, its limit",
			(unsigned long long)((r->now - r->blackout.pause_ns) / 1000000));
		role_fail(r, &late);
	}
	if (r->now >= r->peer_by) {
		r->peer_by = LS_NO_DEADLINE;
		ls_fail(&late, LS_E_UNAVAILABLE, ETIMEDOUT, "the source %s",
			r->asked ? "does not answer the request for consent" : "has not connected");
		role_fail(r, &late);
	}
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (r->now >= stuck_at(r, &r->dev[i]))
			on_stuck(r, i);
	if (r->now >= r->vmm_by)
		role_on_vmm_late(r);
	if (r->now >= r->retry_at)
		role_reach(r);
}

// What is known not to fit is not waited for. Never after consent.
void role_on_rest(struct ls_role *r, uint64_t rest_ns)
{
	uint64_t by = blackout_by(r);
	struct ls_error late;

	if (by == LS_NO_DEADLINE || r->now >= by || rest_ns <= by - r->now)
		return;
	ls_fail(&late, LS_E_DEADLINE, ETIMEDOUT,
		"the VM has been paused for %llu ms, and the rest takes at least %llu ms: %llu ms are allowed",
		(unsigned long long)((r->now - r->blackout.pause_ns) / 1000000),
		(unsigned long long)(rest_ns / 1000000), (unsigned long long)(r->p.deadline_ns / 1000000));
	role_fail(r, &late);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t ls_role_deadline(const struct ls_role *r)
{
	uint64_t at = sooner(blackout_by(r), r->mute ? LS_NO_DEADLINE : sooner(r->peer_by, r->retry_at));

	at = sooner(at, r->mute ? LS_NO_DEADLINE : r->vmm_by);

	// While a word is being written nothing can follow from a stuck arc.
	for (unsigned i = 0; i < r->p.schedule.n_devices && !r->persisting; i++)
		at = sooner(at, stuck_at(r, &r->dev[i]));
	return at;
}
