// SPDX-License-Identifier: Apache-2.0
// Walks a track: begins a step, gives each device its job, waits for the barrier, goes on.
#include "agent/role_int.h"

const struct ls_step *role_step(const struct ls_role *r)
{
	if ((r->phase != PHASE_FORWARD && r->phase != PHASE_UNWIND) || !r->begun || r->index >= r->track->n)
		return NULL;
	return &r->track->step[r->index];
}

bool role_idle(const struct ls_role *r)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (r->dev[i].busy)
			return false;
	return !r->vmm_busy;
}

void role_submit(struct ls_role *r, unsigned i, enum ls_job_kind job, bool for_step)
{
	struct role_device *d = &r->dev[i];
	struct ls_role_action *a = role_act(r, LS_ACT_JOB);

	a->device = (int)i;
	a->job = job;
	if (job == LS_JOB_ARC)
		a->target = ls_step_target(&r->p.schedule, r->p.side == LS_SIDE_DEST, r->unwinding,
					   &r->track->step[r->index], i);
	d->target = (int)a->target;
	d->busy = true;
	d->job = job;
	d->for_step = for_step;
	d->since_ns = r->now;
	d->interrupted = false;
}

// One job at a time: the step's first, then what the device's stream needs.
static void pump(struct ls_role *r, unsigned i)
{
	struct role_device *d = &r->dev[i];

	if (d->busy)
		return;
	if (d->wanted) {
		d->wanted = false;
		role_submit(r, i, d->wanted_job, true);
	} else if (r->phase != PHASE_FORWARD) {
		return;
	} else if (d->stream_waiting) {
		d->stream_waiting = false;
		role_submit(r, i, LS_JOB_ACCEPT, false);
	} else if (!d->image_begun && d->stream_up && !d->error.reason &&
		   d->state == (r->p.side == LS_SIDE_SOURCE ? LS_STATE_STOP_COPY : LS_STATE_RESUMING)) {
		d->image_begun = true;
		role_submit(r, i, r->p.side == LS_SIDE_SOURCE ? LS_JOB_SEND : LS_JOB_LOAD, false);
	}
}

void role_want(struct ls_role *r, uint32_t devices, enum ls_job_kind job)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		if (!(devices & 1u << i) || !r->dev[i].here)
			continue;
		r->dev[i].wanted = true;
		r->dev[i].wanted_job = job;
	}
}

static void want_arcs(struct ls_role *r, const struct ls_step *step)
{
	if (r->p.skip_quiesce && !r->unwinding && r->paused && !ls_state_deaf(step->target))
		return;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		int state = r->dev[i].state;
		int target = ls_step_target(&r->p.schedule, r->p.side == LS_SIDE_DEST, r->unwinding, step, i);
		if (target == state || ((r->unwinding || r->partly) && ls_unwind_skips(step, (enum ls_state)state)))
			continue;
		role_want(r, step->devices & 1u << i, LS_JOB_ARC);
	}
	if (!r->unwinding && r->paused && ls_state_deaf(step->target) && !r->blackout.quiesced_ns)
		r->blackout.quiesced_ns = r->now;
}

// A destination starts over from nothing; a source resets only what cannot go back by itself.
static void want_resets(struct ls_role *r, uint32_t devices)
{
	bool all = r->p.side == LS_SIDE_DEST || r->track == &role_track_dead;

	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (ls_unwind_resets(all, r->dev[i].state))
			role_want(r, devices & 1u << i, LS_JOB_RESET);
}

static void begin_step(struct ls_role *r)
{
	const struct ls_step *step = &r->track->step[r->index];

	r->begun = true;
	r->step_ns = r->now;
	r->vmm_answered = false;
	struct ls_role_action *a = role_act(r, LS_ACT_EMIT_STEP);
	a->index = r->index;
	a->unwind = r->unwinding || r->track == &role_track_dead;
	a->step = step;
	a->begin_ns = r->now;
	switch (step->kind) {
	case LS_STEP_STREAMS:
		if (r->p.side == LS_SIDE_SOURCE) {
			r->dialling = true;
			role_act(r, LS_ACT_PEER_CONNECT);
			role_want(r, step->devices, LS_JOB_CONNECT);
		}
		break;
	case LS_STEP_ARC:
		want_arcs(r, step);
		break;
	case LS_STEP_PRECOPY:
		role_want(r, step->devices, LS_JOB_PRECOPY);
		break;
	case LS_STEP_GATE:
		if (!(r->granted & 1u << step->gate))
			role_act(r, LS_ACT_EMIT_GATE)->gate = step->gate;
		break;
	case LS_STEP_VMM_PAUSE:
		r->paused = true;
		r->blackout.pause_ns = r->now;
		role_vmm(r, LS_VMM_PAUSE);
		break;
	case LS_STEP_VMM_FINAL:
		if (!r->final_done)
			role_vmm(r, LS_VMM_FINAL);
		break;
	case LS_STEP_DECIDE:
		role_send(r, LS_MSG_CONSENT_REQUEST, false);
		r->asked = true;
		if (r->p.peer_ns)
			r->peer_by = r->now + r->p.peer_ns;
		break;
	case LS_STEP_VMM_RESUME:
		if ((r->paused || r->p.side == LS_SIDE_DEST) && role_vmm_here(r))
			role_vmm(r, LS_VMM_RESUME);
		break;
	case LS_STEP_VMM_DISCARD:
		if (role_vmm_here(r))
			role_vmm(r, LS_VMM_DISCARD);
		break;
	case LS_STEP_STARTED:
		role_persist(r, LS_WORD_STARTED);
		break;
	case LS_STEP_RETURNED:
		role_persist(r, LS_WORD_RETURNED);
		break;
	case LS_STEP_RESET:
		want_resets(r, step->devices);
		break;
	default: // waits: consent, release, load, ready
		break;
	}
}

static bool jobs_done(const struct ls_role *r)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (r->dev[i].wanted || (r->dev[i].busy && r->dev[i].for_step))
			return false;
	return true;
}

static bool streams_up(const struct ls_role *r, uint32_t devices)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if ((devices & 1u << i) && !r->dev[i].stream_up)
			return false;
	return r->peer_up;
}

static bool loaded(const struct ls_role *r, uint32_t devices)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if ((devices & 1u << i) && !(r->dev[i].image_done && r->dev[i].state == LS_STATE_STOP))
			return false;
	return true;
}

// STARTED is here: RELEASED, then the devices lose what they still hold. Never SET RUNNING.
static bool released(struct ls_role *r)
{
	if (r->word == LS_WORD_CONSENTED && r->peer_started && !r->persisting)
		role_persist(r, LS_WORD_RELEASED);
	if (r->word != LS_WORD_RELEASED)
		return false;
	if (!r->told_end) {
		r->told_end = true;
		role_want(r, r->all, LS_JOB_RESET);
	}
	return jobs_done(r);
}

static bool step_done(struct ls_role *r, const struct ls_step *step)
{
	switch (step->kind) {
	case LS_STEP_STREAMS:
		return jobs_done(r) && streams_up(r, step->devices);
	case LS_STEP_GATE:
		return r->granted & 1u << step->gate;
	case LS_STEP_VMM_PAUSE:
		if (r->p.final_before_stop && r->vmm_answered && !r->final_done) {
			role_vmm(r, LS_VMM_FINAL);
			return false;
		}
		return r->vmm_answered;
	case LS_STEP_VMM_FINAL:
		if (!r->final_done || !r->peer_up)
			return false;
		if (!r->blobs_sent)
			role_send(r, LS_MSG_BLOBS, false);
		r->blobs_sent = true;
		return true;
	case LS_STEP_CONSENT:
		role_try_consent(r);
		return r->word == LS_WORD_CONSENTED;
	case LS_STEP_RELEASE:
		return released(r);
	case LS_STEP_LOAD:
		return loaded(r, step->devices);
	case LS_STEP_VMM_READY:
		if (r->blobs_here && !r->ready && !r->vmm_busy && !r->vmm_lost)
			role_vmm(r, LS_VMM_READY);
		return r->ready;
	case LS_STEP_DECIDE:
		return r->word == LS_WORD_COMMITTED;
	case LS_STEP_STARTED:
		return r->word == LS_WORD_STARTED;
	case LS_STEP_RETURNED:
		return r->word == LS_WORD_RETURNED;
	case LS_STEP_VMM_RESUME:
	case LS_STEP_VMM_DISCARD:
		return !r->vmm_busy;
	default:
		return jobs_done(r);
	}
}

static void end_step(struct ls_role *r, const struct ls_step *step)
{
	struct ls_role_action *a = role_act(r, LS_ACT_EMIT_STEP);

	a->index = r->index;
	a->unwind = r->unwinding || r->track == &role_track_dead;
	a->step = step;
	a->begin_ns = r->step_ns;
	a->end_ns = r->now;
	if (!r->unwinding && step->kind == LS_STEP_ARC && step->target == LS_STATE_STOP_COPY)
		r->blackout.stopped_ns = r->now;
	r->begun = false;
	r->index++;
}

static void begin_unwind_track(struct ls_role *r)
{
	r->phase = PHASE_UNWIND;
	r->index = 0;
	r->begun = false;
	if (role_vmm_dead(r)) {
		r->track = &role_track_dead;
		r->how = LS_END_OPERATOR;
	} else if (r->p.side == LS_SIDE_SOURCE) {
		r->track = &r->p.schedule.source_unwind;
		r->how = LS_END_RETURNED;
	} else {
		r->track = &r->p.schedule.dest_unwind;
		r->how = LS_END_ABORTED;
	}
}

// Every fd is dropped, then the VMM hears it.
static void close_all(struct ls_role *r)
{
	bool closed = true;

	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		struct role_device *d = &r->dev[i];
		if (!d->closed && !d->busy) {
			d->closed = true;
			role_submit(r, i, LS_JOB_CLOSE, false);
		}
		closed = closed && d->closed && !d->busy;
	}
	if (!closed || r->vmm_busy)
		return;
	enum ls_vmm_op last = r->word == LS_WORD_RELEASED ? LS_VMM_GONE : LS_VMM_RETURN;
	if (role_vmm_here(r) && !(r->vmm_answered && r->vmm_op == last)) {
		role_vmm(r, last);
		return;
	}
	// An operator hears why they are needed, whatever went wrong first.
	role_end(r, r->how ? r->how : LS_END_DONE, r->track == &role_track_dead ? &r->gone : &r->cause);
}

// Of an earlier life, or after an operator's reset: what has to be there first.
static bool may_go_on(struct ls_role *r)
{
	if (r->strayed) {
		if (!r->persisting && role_idle(r))
			role_lose(r);
		return false;
	}
	if (r->adopting) {
		if (!role_take_up(r) || r->persisting)
			return false;
	}
	if (r->resetting) {
		for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
			pump(r, i);
		if (!jobs_done(r))
			return false;
		r->resetting = false;
	}
	if (r->restarted && r->word == LS_WORD_COMMITTED && r->track != &role_track_dead && !r->begun &&
	    (r->persisting || r->ask_first || !role_may_walk(r)))
		return false;
	return true;
}

void role_advance(struct ls_role *r)
{
	while (!r->mute && r->phase != PHASE_OVER && r->word != LS_WORD_NONE) {
		if (r->phase == PHASE_DRAIN) {
			if (!role_take_up(r) || r->persisting || !role_idle(r))
				return;
			if (role_may_walk(r))
				begin_unwind_track(r);
		} else if (r->phase == PHASE_CLOSING) {
			close_all(r);
			return;
		} else if (r->index >= r->track->n) {
			r->phase = PHASE_CLOSING;
			r->vmm_answered = false;
		} else if (!may_go_on(r)) {
			return;
		} else {
			const struct ls_step *step = &r->track->step[r->index];
			if (r->word == LS_WORD_COMMITTED && role_vmm_dead(r) && r->track != &role_track_dead) {
				role_bury(r); // it died while the word was being written
				continue;
			}
			if (!r->begun)
				begin_step(r);
			for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
				pump(r, i);
			if (r->phase == PHASE_DRAIN || r->phase == PHASE_OVER)
				continue; // the step's own check turned back
			if (!step_done(r, step)) {
				for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
					pump(r, i);
				return;
			}
			end_step(r, step);
		}
	}
}
