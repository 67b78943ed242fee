// SPDX-License-Identifier: Apache-2.0
#include "agent/role_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// A role that is wrong about itself must not decide anything, in no build.
static void must(bool holds)
{
	if (!holds)
		abort();
}

struct ls_role *ls_role_new(const struct ls_role_params *params)
{
	struct ls_role *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->p = *params;
	r->all = params->schedule.n_devices >= 32 ? UINT32_MAX : (1u << params->schedule.n_devices) - 1;
	r->track = params->side == LS_SIDE_SOURCE ? &r->p.schedule.source : &r->p.schedule.dest;
	r->retry_at = r->peer_by = r->vmm_by = LS_NO_DEADLINE;
	for (unsigned i = 0; i < LS_MAX_DEVICES; i++) {
		r->dev[i].state = params->state[i];
		r->dev[i].here = i < params->schedule.n_devices;
	}
	return r;
}

void ls_role_free(struct ls_role *r)
{
	free(r);
}

struct ls_role_action *role_act(struct ls_role *r, enum ls_action_kind kind)
{
	must(r->out.n < LS_ROLE_ACTIONS_MAX);
	struct ls_role_action *a = &r->out.at[r->out.n++];
	*a = (struct ls_role_action){ .kind = kind, .device = -1, .unwind = r->unwinding };
	return a;
}

void role_persist(struct ls_role *r, enum ls_word word)
{
	must(r->persisting == LS_WORD_NONE && ls_word_may_follow(r->word, word));
	r->persisting = word;
	role_act(r, LS_ACT_PERSIST)->word = word;
	if (role_off(r, 1) && word == LS_WORD_COMMITTED) {
		r->word = word;
		r->persisting = LS_WORD_NONE;
	}
}

void role_end(struct ls_role *r, enum ls_end how, const struct ls_error *error)
{
	if (r->ended)
		return;
	r->phase = PHASE_OVER;
	r->ended = how;
	struct ls_role_action *a = role_act(r, LS_ACT_END);
	a->how = how;
	a->error = error && error->reason ? error : NULL;
	if (r->done || (how == LS_END_OPERATOR && !r->close) || (r->fenced && !r->fence_settled && !r->close))
		return;
	r->done = true;
	role_act(r, LS_ACT_DONE);
}

void role_emit_error(struct ls_role *r, const struct ls_error *error)
{
	role_act(r, LS_ACT_EMIT_ERROR)->error = error;
}

void role_send(struct ls_role *r, enum ls_msg_kind kind, bool settle)
{
	struct ls_role_action *a = role_act(r, LS_ACT_PEER_SEND);
	a->msg = kind;
	a->settle = settle;
}

bool role_vmm_here(const struct ls_role *r)
{
	return !r->vmm_lost && !r->vmm_away;
}

void role_vmm(struct ls_role *r, enum ls_vmm_op op)
{
	must(!r->vmm_busy && role_vmm_here(r));
	r->vmm_busy = true;
	r->vmm_op = op;
	r->vmm_answered = false;
	role_act(r, LS_ACT_VMM)->op = op;
}

void role_say_word(struct ls_role *r, enum ls_word word)
{
	r->word = word;
	role_act(r, LS_ACT_EMIT_WORD)->word = word;
}

static void on_begin(struct ls_role *r, enum ls_word word)
{
	role_say_word(r, word);
	if (r->p.side == LS_SIDE_DEST && r->p.peer_ns)
		r->peer_by = r->now + r->p.peer_ns;
}

// Rule 10.
static void fall_silent(struct ls_role *r, const struct ls_error *error)
{
	if (r->mute || role_off(r, 10))
		return;
	r->mute = true;
	role_act(r, LS_ACT_PEER_CLOSE); // silence that the other side can see
	if (r->ended)
		return;
	r->late = *error;
	role_emit_error(r, &r->late);
	role_end(r, LS_END_OPERATOR, &r->late);
}

static void on_persisted(struct ls_role *r, enum ls_word word, int status)
{
	struct ls_error err;

	if (r->persisting != word || r->mute)
		return;
	r->persisting = LS_WORD_NONE;
	if (status < 0 && !role_off(r, 10)) {
		ls_fail(&err, LS_E_LEDGER, -status, "cannot write %s: what counts is on the disk, restart to read it",
			ls_word_name(word));
		fall_silent(r, &err);
		return;
	}
	role_say_word(r, word);
	switch (word) {
	case LS_WORD_CONSENTED:
		if (r->peer_aborted) {
			role_return(r);
		} else if (r->peer_up) {
			role_send(r, LS_MSG_CONSENT, false);
			r->blackout.answered_ns = r->now;
		}
		break;
	case LS_WORD_RELEASED:
		if (r->peer_up)
			role_send(r, LS_MSG_WORD, false);
		break;
	case LS_WORD_RETURNING:
	case LS_WORD_ABORTED:
		if (r->peer_up)
			role_send(r, LS_MSG_ABORT, false);
		if (r->p.side == LS_SIDE_DEST && !r->asked && !r->restarted)
			role_heard(r); // one that was never asked for consent waits for no word
		break;
	case LS_WORD_STARTED:
		if (r->peer_up)
			role_send(r, LS_MSG_STARTED, false);
		break;
	case LS_WORD_LOST:
		if (r->peer_up)
			role_send(r, LS_MSG_WORD, false);
		role_say_lost(r);
		break;
	default:
		break;
	}
	if (r->conflict_due)
		role_conflict(r, r->conflict_due);
}

const struct ls_role_actions *ls_role_event(struct ls_role *r, const struct ls_role_event *e)
{
	r->out.n = 0;
	r->now = e->time_ns;
	switch (e->kind) {
	case LS_EV_BEGIN:
		on_begin(r, e->word);
		break;
	case LS_EV_RESTART:
		role_on_restart(r, e->word, &e->restart);
		break;
	case LS_EV_PERSISTED:
		on_persisted(r, e->word, e->status);
		break;
	case LS_EV_GRANT:
		r->granted |= e->gates;
		break;
	case LS_EV_STOP:
		role_fail(r, e->error);
		if (r->now < r->vmm_by && r->vmm_by != LS_NO_DEADLINE)
			role_on_vmm_late(r);
		break;
	case LS_EV_UNWIND:
	case LS_EV_SETTLE:
		if (e->kind == LS_EV_UNWIND || (r->p.side == LS_SIDE_DEST && !role_off(r, 5)))
			role_fail(r, e->error);
		break;
	case LS_EV_STREAM:
		if (r->phase == PHASE_FORWARD && !r->restarted && e->device < r->p.schedule.n_devices)
			r->dev[e->device].stream_waiting = true;
		break;
	case LS_EV_JOB_DONE:
		if (e->device < r->p.schedule.n_devices)
			role_on_job(r, e->device, e->job);
		break;
	case LS_EV_VMM_DONE:
		role_on_vmm(r, e->op, e->error);
		break;
	case LS_EV_VMM_LOST:
		role_on_vmm_lost(r);
		break;
	case LS_EV_VMM_UP:
		role_on_vmm_up(r, e->vmm_runs);
		break;
	case LS_EV_RESOLVE:
		role_on_resolve(r, e->resolve, e->claimed);
		break;
	case LS_EV_REST:
		role_on_rest(r, e->rest_ns);
		break;
	case LS_EV_PEER_UP:
		role_on_peer_up(r, e->ledger_id);
		break;
	case LS_EV_PEER_LOST:
		role_on_peer_lost(r, e->error);
		break;
	case LS_EV_PEER:
		role_on_peer(r, e->msg);
		break;
	case LS_EV_TIMER:
		role_on_timer(r);
		break;
	case LS_EV_MUTE:
		fall_silent(r, e->error);
		break;
	}
	role_answer(r);
	role_advance(r);
	return &r->out;
}

enum ls_word ls_role_word(const struct ls_role *r)
{
	return r->word;
}

bool ls_role_mute(const struct ls_role *r)
{
	return r->mute;
}

bool ls_role_persisting(const struct ls_role *r)
{
	return r->persisting != LS_WORD_NONE;
}

bool ls_role_unwinding(const struct ls_role *r)
{
	return r->unwinding;
}

bool ls_role_conflict(const struct ls_role *r)
{
	return r->conflict;
}

enum ls_end ls_role_ended(const struct ls_role *r)
{
	return r->ended;
}

const struct ls_error *ls_role_cause(const struct ls_role *r)
{
	return r->cause.reason ? &r->cause : NULL;
}

const struct ls_role_blackout *ls_role_blackout(const struct ls_role *r)
{
	return &r->blackout;
}

const struct ls_schedule *ls_role_schedule(const struct ls_role *r)
{
	return &r->p.schedule;
}

const char *ls_role_device_name(const struct ls_role *r, unsigned device)
{
	const struct ls_sched_device *d = &r->p.schedule.device[device];

	return r->p.side == LS_SIDE_SOURCE ? d->source_name : d->dest_name;
}

void ls_role_fill(const struct ls_role *r, const struct ls_role_action *action, struct ls_role_msg *ret)
{
	bool source = r->p.side == LS_SIDE_SOURCE;

	memset(ret, 0, sizeof(*ret));
	ret->kind = action->msg;
	ret->settle = action->settle;
	ret->word = r->word;
	memcpy(ret->ledger_id, r->p.ledger_id, sizeof(ret->ledger_id));
	ret->resumed_ns = r->resumed_ns;
	ret->error = r->cause;
	if (action->msg != LS_MSG_CONSENT && action->msg != LS_MSG_CONSENT_REQUEST)
		return;
	ret->devices = r->all;
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		ret->image[i] = r->dev[i].image;
	memcpy(ret->migration, r->p.migration, sizeof(ret->migration));
	memcpy(ret->vm, r->p.vm, sizeof(ret->vm));
	memcpy(ret->host, source ? r->p.peer_host : r->p.host, sizeof(ret->host));
	if (action->msg == LS_MSG_CONSENT)
		memcpy(ret->ledger_id, r->p.peer_ledger_id, sizeof(ret->ledger_id));
}
