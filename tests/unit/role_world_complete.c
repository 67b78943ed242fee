// SPDX-License-Identifier: Apache-2.0
// How one pending thing is completed, well or not, and what it does to devices, VMMs, disks and the connection.
#include <errno.h>
#include <stdio.h>

#include "role_world_internal.h"

static struct pending *find_job(struct world *w, int side, unsigned device, enum ls_job_kind kind)
{
	for (unsigned i = 0; i < w->n_pending; i++) {
		struct pending *p = &w->pending[i];
		if (p->what == WHAT_JOB && p->side == side && p->device == device && p->job == kind)
			return p;
	}
	return NULL;
}

// May it complete now, as far as the other side is concerned?
bool world_eligible(struct world *w, const struct pending *p)
{
	if (p->stuck)
		return false;
	if (p->what == WHAT_MSG) // in order within a connection
		for (const struct pending *q = w->pending; q < p; q++)
			if (q->what == WHAT_MSG && q->side == p->side)
				return false;
	if (p->what != WHAT_JOB || p->interrupted || w->side[p->side].broken[p->device])
		return true;
	if (p->job == LS_JOB_CONNECT)
		return w->side[D].sent[p->device]; // its ACCEPT is through
	if (p->job == LS_JOB_LOAD)
		return w->side[S].sent[p->device];
	return true;
}

void world_cut(struct world *w)
{
	unsigned keep = 0;

	for (unsigned i = 0; i < w->plan->n; i++)
		w->side[S].broken[i] = w->side[D].broken[i] = true;
	for (unsigned i = 0; i < w->n_pending; i++)
		if (w->pending[i].what != WHAT_MSG)
			w->pending[keep++] = w->pending[i];
	w->n_pending = keep;
	if (!w->connection)
		return;
	w->connection = 0;
	world_feed(w, D, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
	world_feed(w, S, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
}

static void complete_job(struct world *w, struct pending p, bool fail, bool applied, bool bent, bool reset)
{
	struct side *me = &w->side[p.side];
	struct ls_job_result job = { .kind = p.job, .from_state = me->state[p.device], .begin_ns = w->now };
	bool waits = p.job == LS_JOB_CONNECT || p.job == LS_JOB_ACCEPT || p.job == LS_JOB_SEND ||
		     p.job == LS_JOB_LOAD || p.job == LS_JOB_PRECOPY;

	if (waits && p.interrupted) {
		job.status = ls_fail(&job.error, LS_E_CANCELLED, ECANCELED, "interrupted");
	} else if (fail || (waits && me->broken[p.device])) {
		job.status = ls_fail(&job.error, fail && !waits ? LS_E_ARC_FAILED : LS_E_STREAM_BROKEN, EIO, "failed");
		if (applied && p.job != LS_JOB_CLOSE)
			me->state[p.device] = LS_STATE_ERROR;
		if (waits)
			w->side[S].broken[p.device] = w->side[D].broken[p.device] = true;
	} else {
		switch (p.job) {
		case LS_JOB_ARC:
			if (me->state[p.device] == LS_STATE_ERROR ||
			    ls_fsm_next(7, me->state[p.device], (int)p.target) < 0)
				world_violate(w, "asks for an arc that does not exist");
			me->state[p.device] = p.target;
			if (reset && p.side == D && me->disk == LS_WORD_COMMITTED) {
				job.from_state = LS_STATE_RUNNING;
				w->strayed = true;
			} else if (reset && p.side == S && me->paused && me->disk == LS_WORD_ACTIVE) {
				me->state[p.device] = LS_STATE_RUNNING;
			}
			break;
		case LS_JOB_RESET:
			me->state[p.device] = LS_STATE_RUNNING;
			break;
		case LS_JOB_ADOPT:
			me->open |= 1u << p.device;
			break;
		case LS_JOB_CLOSE:
			me->open &= ~(1u << p.device);
			break;
		case LS_JOB_ACCEPT:
			w->side[D].sent[p.device] = true;
			break;
		case LS_JOB_SEND:
			w->side[S].sent[p.device] = true;
			break;
		case LS_JOB_LOAD:
			me->state[p.device] = LS_STATE_STOP;
			w->wrong_image = w->wrong_image || bent;
			break;
		default:
			break;
		}
		job.length = 1000 + p.device;
		job.digest[0] = (uint8_t)(p.device + 1 + bent);
	}
	job.state = me->state[p.device];
	job.end_ns = w->now;
	world_feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_JOB_DONE, .device = p.device, .job = &job });
}

static void complete_vmm(struct world *w, struct pending p, bool fail)
{
	struct side *me = &w->side[p.side];
	struct ls_error err;

	if (!fail && p.op == LS_VMM_PAUSE) {
		me->runs = false;
		me->paused = true;
	}
	if (!fail && p.op == LS_VMM_RESUME)
		me->runs = true;
	ls_fail(&err, LS_E_VMM_FAILED, EIO, "failed");
	world_feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_VMM_DONE, .op = p.op,
						      .error = fail ? &err : NULL });
}

bool world_lied(struct world *w, enum ls_word word)
{
	return (w->plan->lie == LIE_RETURNING && word == LS_WORD_RETURNING) ||
	       (w->plan->lie == LIE_COMMITTED && word == LS_WORD_COMMITTED);
}

void world_complete(struct world *w, struct pending p, bool fail, bool applied, bool bent, bool reset)
{
	struct side *me = &w->side[p.side];

	switch (p.what) {
	case WHAT_PERSIST:
		if (!fail || applied) {
			if (!ls_word_may_follow(me->disk, p.word) && w->plan->lie == LIE_NONE)
				world_violate(w, "a word was taken back");
			if (!world_lied(w, p.word))
				me->disk = p.word;
		}
		me->silent = me->silent || fail;
		me->persist_failed = me->persist_failed || fail;
		world_feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_PERSISTED, .word = p.word,
							      .status = fail ? -EIO : 0 });
		break;
	case WHAT_JOB:
		complete_job(w, p, fail, applied, bent && p.job == LS_JOB_LOAD, reset);
		break;
	case WHAT_VMM:
		complete_vmm(w, p, fail);
		break;
	case WHAT_DIAL:
		if (fail || ls_role_mute(w->side[D].role)) {
			world_feed(w, S, (struct ls_role_event){ .kind = LS_EV_PEER_LOST });
			break;
		}
		w->connection = p.connection;
		world_feed(w, D, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = "s" });
		world_feed(w, S, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = "d" });
		break;
	case WHAT_MSG:
		if (fail) {
			world_cut(w);
			break;
		}
		if (w->plan->lie == LIE_CONSENT && p.msg.kind == LS_MSG_CONSENT_REQUEST) {
			struct ls_role_msg forged = p.msg;
			forged.kind = LS_MSG_CONSENT;
			world_feed(w, D, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &forged });
			break;
		}
		if (w->plan->lie == LIE_ABORT && p.msg.kind == LS_MSG_STARTED)
			p.msg.kind = LS_MSG_ABORT;
		world_feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &p.msg });
		if (p.side == D && p.msg.kind == LS_MSG_WORD_QUERY && p.msg.settle)
			world_check_settled(w);
		break;
	case WHAT_HELLO:
		me->vmm_away = false;
		world_feed(w, p.side, (struct ls_role_event){ .kind = LS_EV_VMM_UP, .vmm_runs = me->runs });
		break;
	}
	// A source's CONNECT shows at the destination as a stream to accept.
	for (unsigned i = 0; i < w->plan->n && !w->side[D].broken[i]; i++) {
		struct pending *connect = find_job(w, S, i, LS_JOB_CONNECT);
		if (connect && !connect->target) {
			connect->target = LS_STATE_STOP; // told
			world_feed(w, D, (struct ls_role_event){ .kind = LS_EV_STREAM, .device = i });
		}
	}
}
