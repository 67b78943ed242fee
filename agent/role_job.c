// SPDX-License-Identifier: Apache-2.0
// What the workers answer: each device's share of a step, its image, its own error.
#include "agent/role_int.h"

#include <errno.h>
#include <string.h>

static int step_index(const struct ls_track *track, enum ls_step_kind kind)
{
	for (unsigned i = 0; i < track->n; i++)
		if (track->step[i].kind == kind)
			return (int)i;
	return -1;
}

static void tell_share(struct ls_role *r, unsigned device, const struct ls_job_result *job, bool for_step)
{
	struct ls_role_action *a;
	int index = (int)r->index;

	if (job->kind == LS_JOB_SEND)
		index = step_index(&r->p.schedule.source, LS_STEP_CONSENT);
	else if (job->kind == LS_JOB_LOAD)
		index = step_index(&r->p.schedule.dest, LS_STEP_LOAD);
	else if (!for_step || r->track == &role_track_dead)
		return;
	if (index < 0)
		return;
	a = role_act(r, LS_ACT_EMIT_STEP);
	a->index = (unsigned)index;
	a->unwind = job->kind != LS_JOB_SEND && job->kind != LS_JOB_LOAD && r->track != &r->p.schedule.source &&
		    r->track != &r->p.schedule.dest;
	a->step = job->kind == LS_JOB_SEND   ? &r->p.schedule.source.step[index] :
		  job->kind == LS_JOB_LOAD ? &r->p.schedule.dest.step[index] :
					     &r->track->step[index];
	a->device = (int)device;
	a->begin_ns = job->begin_ns;
	a->end_ns = job->end_ns;
	a->from_state = job->from_state;
	a->errno_value = job->status < 0 ? -job->status : 0;
}

static void job_failed(struct ls_role *r, struct role_device *d, const struct ls_job_result *job)
{
	if (job->kind == LS_JOB_CLOSE || (d->interrupted && job->status == -ECANCELED))
		return;
	if (!d->error.reason) {
		d->error = job->error;
		role_emit_error(r, &d->error);
	}
	if (role_may_unwind(r)) {
		role_fail(r, &d->error);
	} else if (r->word == LS_WORD_COMMITTED || (r->phase == PHASE_UNWIND && r->p.side == LS_SIDE_SOURCE)) {
		// The start or the way back cannot be finished without it: the others hold.
		d->failed = job->kind == LS_JOB_ARC || job->kind == LS_JOB_RESET;
		r->late = job->error;
		role_end(r, LS_END_OPERATOR, &r->late);
	}
}

// A reset that nobody here asked for (K6: carried out when the arc lets go of the driver's lock) is seen by GET alone.
// While the source's VM runs it is its guest's business (K5).
static bool strayed(const struct ls_role *r, const struct role_device *d, int before, const struct ls_job_result *job)
{
	if (job->kind != LS_JOB_ARC || job->status < 0 || r->unwinding)
		return false;
	if (r->p.side == LS_SIDE_SOURCE)
		return r->paused && job->state != d->target;
	return r->word == LS_WORD_COMMITTED && (job->state != d->target || job->from_state != before);
}

void role_on_job(struct ls_role *r, unsigned device, const struct ls_job_result *job)
{
	struct role_device *d = &r->dev[device];
	bool for_step = d->for_step;
	int before = d->state;

	if (!d->busy || d->job != job->kind)
		return;
	d->busy = d->for_step = false;
	d->state = job->state;
	if (job->kind == LS_JOB_ADOPT) {
		role_on_adopted(r, device, job);
		return;
	}
	role_unstick(r);
	tell_share(r, device, job, for_step);
	if (job->status < 0) {
		job_failed(r, d, job);
		return;
	}
	if (strayed(r, d, before, job)) {
		struct ls_job_result bad = *job;
		bad.status = ls_fail(
			&bad.error, LS_E_BAD_STATE, EIO, "in %s before and in %s after its way to %s: it was reset",
			ls_state_name(job->from_state), ls_state_name(job->state), ls_state_name(d->target));
		ls_error_at(&bad.error, ls_role_device_name(r, device), NULL);
		if (r->word != LS_WORD_COMMITTED) {
			job_failed(r, d, &bad);
			return;
		}
		r->strayed = true; // what had been loaded is gone (rule 6), and the source still has all of it
		d->error = bad.error;
		role_emit_error(r, &d->error);
		return;
	}
	switch (job->kind) {
	case LS_JOB_CONNECT:
	case LS_JOB_ACCEPT:
		d->stream_up = !r->unwinding;
		break;
	case LS_JOB_SEND:
	case LS_JOB_LOAD:
		d->image.length = job->length;
		memcpy(d->image.digest, job->digest, sizeof(d->image.digest));
		d->image_done = true;
		break;
	default:
		break;
	}
}
