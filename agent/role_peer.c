// SPDX-License-Identifier: Apache-2.0
// What the other agent says: consent, started, abort, words.
#include "agent/role_int.h"

#include <errno.h>
#include <string.h>

#include "common/cause.h"

#define FENCE_PATIENCE 20 // times slower than one that keeps a VM waiting

// NULL, or the first image that differs.
static int first_difference(const struct ls_role *r, const struct ls_role_msg *msg)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++) {
		const struct ls_image *mine = &r->dev[i].image, *theirs = &msg->image[i];
		if (!(msg->devices & 1u << i) || mine->length != theirs->length ||
		    memcmp(mine->digest, theirs->digest, sizeof(mine->digest)) != 0)
			return (int)i;
	}
	return -1;
}

static bool images_agree(struct ls_role *r, const struct ls_role_msg *msg)
{
	int i = first_difference(r, msg);
	struct ls_error err;

	if (i < 0 || role_off(r, 2))
		return true;
	ls_fail(&err, LS_E_DIGEST_MISMATCH, EBADMSG, "source and destination do not hold the same image");
	ls_error_at(&err, ls_role_device_name(r, (unsigned)i), NULL);
	role_fail(r, &err);
	return false;
}

static bool all_images(const struct ls_role *r)
{
	for (unsigned i = 0; i < r->p.schedule.n_devices; i++)
		if (!r->dev[i].image_done)
			return false;
	return true;
}

void role_try_consent(struct ls_role *r)
{
	struct ls_error err;

	if (!r->request_here || !all_images(r) || !role_may_unwind(r))
		return;
	if (strcmp(r->request.ledger_id, r->p.peer_ledger_id) != 0) {
		ls_fail(&err, LS_E_LEDGER_LOST, 0, "the destination's ledger is not the one that was prepared");
		role_fail(r, &err);
		return;
	}
	if (!images_agree(r, &r->request))
		return;
	role_persist(r, LS_WORD_CONSENTED);
}

// Rule 1: everything that can refuse has spoken; rule 2: the token is about exactly this.
static void on_consent(struct ls_role *r, const struct ls_role_msg *msg)
{
	const struct ls_step *step = role_step(r);
	struct ls_error err;

	if (!role_may_unwind(r) || r->p.side != LS_SIDE_DEST)
		return;
	r->peer_by = LS_NO_DEADLINE;
	if (!step || step->kind != LS_STEP_DECIDE || !r->asked || !r->ready || !all_images(r)) {
		ls_fail(&err, LS_E_INVALID, EPROTO, "consent came before it was asked for");
		role_fail(r, &err);
		return;
	}
	if (strcmp(msg->migration, r->p.migration) != 0 || strcmp(msg->vm, r->p.vm) != 0 ||
	    strcmp(msg->host, r->p.host) != 0 || strcmp(msg->ledger_id, r->p.ledger_id) != 0) {
		ls_fail(&err, LS_E_INVALID, EPROTO, "the consent is for another migration, VM, host or ledger");
		role_fail(r, &err);
		return;
	}
	if (images_agree(r, msg) && !r->vmm_lost)
		role_persist(r, LS_WORD_COMMITTED);
}

// The source will ask for no word of this migration any more: it let go, or took the VM back.
void role_heard(struct ls_role *r)
{
	if (r->heard)
		return;
	r->heard = true;
	role_act(r, LS_ACT_HEARD);
}

// The other side gave up.
static void on_abort(struct ls_role *r, const struct ls_error *theirs)
{
	struct ls_error err;
	char text[200];

	ls_fail(&err, LS_E_PEER_ABORTED, 0, "%s gave up: %s", r->p.peer_host,
		ls_error_text(theirs, text, sizeof(text)));
	if (r->p.side == LS_SIDE_DEST)
		role_heard(r);
	if (r->p.side == LS_SIDE_DEST && (r->word == LS_WORD_COMMITTED || r->persisting == LS_WORD_COMMITTED ||
					  r->word == LS_WORD_STARTED)) {
		role_conflict(r, "the source took back a VM that was committed here");
		return;
	}
	if (r->unwinding && ls_cause_rank(theirs->reason) <= LS_CAUSE_SILENCE)
		return; // it knows no more than we do
	role_fail(r, &err);
	if (r->unwinding || r->ended || (r->word != LS_WORD_CONSENTED && r->persisting != LS_WORD_CONSENTED))
		return;
	r->peer_aborted = true;
	role_keep_cause(r, &err);
	role_return(r); // waits for the disk if CONSENTED is on its way there
}

// Rule 6: what the source says decides whether a start of an earlier life may go on.
static void on_source_word(struct ls_role *r, const struct ls_role_msg *msg)
{
	if (r->p.peer_ledger_id[0] && strcmp(msg->ledger_id, r->p.peer_ledger_id) != 0)
		return; // said when the connection came up
	if (msg->word == LS_WORD_RELEASED || msg->word == LS_WORD_RETURNING || msg->word == LS_WORD_RETURNED)
		role_heard(r);
	if (msg->word == LS_WORD_CONSENTED || msg->word == LS_WORD_RELEASED)
		r->ask_first = false;
	else if ((msg->word == LS_WORD_RETURNING || msg->word == LS_WORD_RETURNED) &&
		 (r->word == LS_WORD_COMMITTED || r->word == LS_WORD_STARTED))
		role_conflict(r, "the source took back a VM that was committed here");
}

// Rule 8: the destination that was said to be dead speaks. An answer to what was asked after our Abort: it has
// heard of the conflict too.
static void on_word_after_fence(struct ls_role *r, enum ls_word word, bool answer)
{
	if (word == LS_WORD_COMMITTED || word == LS_WORD_STARTED)
		role_conflict(r, "the fence was false, the destination had committed");
	if (answer && r->fence_asked && word != LS_WORD_UNDECIDED)
		role_fence_settled(r);
}

static void on_word(struct ls_role *r, const struct ls_role_msg *msg)
{
	struct ls_error none = { .reason = LS_E_NONE };

	if (r->p.side != LS_SIDE_SOURCE) {
		on_source_word(r, msg);
		return;
	}
	if (strcmp(msg->ledger_id, r->p.peer_ledger_id) == 0 &&
	    (r->word == LS_WORD_RETURNING || r->word == LS_WORD_RETURNED || r->persisting == LS_WORD_RETURNING)) {
		on_word_after_fence(r, msg->word, true);
		return;
	}
	if (r->word != LS_WORD_CONSENTED)
		return;
	if (strcmp(msg->ledger_id, r->p.peer_ledger_id) != 0 && !role_off(r, 9))
		return; // said when the connection came up
	r->retry_at = LS_NO_DEADLINE;
	switch (msg->word) {
	case LS_WORD_ABORTED:
		ls_fail(&none, LS_E_PEER_ABORTED, 0, "the destination aborted");
		on_abort(r, &none);
		break;
	case LS_WORD_STARTED:
		r->peer_started = true;
		break;
	case LS_WORD_COMMITTED:
		r->peer_started = role_off(r, 4);
		r->retry_at = r->now + r->p.retry_ns; // STARTED follows, or it turns out that the devices are lost
		break;
	case LS_WORD_UNDECIDED:
		r->retry_at = r->now + r->p.retry_ns;
		if (role_off(r, 5))
			role_return(r);
		break;
	case LS_WORD_LOST:
		if (r->peer_lost || r->ended)
			break;
		r->peer_lost = true;
		ls_fail(&r->late, LS_E_LOST_AFTER_COMMIT, 0,
			"%s committed and then lost the devices: only an operator may return the VM", r->p.peer_host);
		role_emit_error(r, &r->late);
		role_end(r, LS_END_OPERATOR, &r->late);
		break;
	default:
		r->retry_at = r->now + r->p.retry_ns;
		break;
	}
}

void role_on_peer(struct ls_role *r, const struct ls_role_msg *msg)
{
	bool source = r->p.side == LS_SIDE_SOURCE;
	struct ls_error err;

	switch (msg->kind) {
	case LS_MSG_BLOBS:
		r->blobs_here = !source;
		break;
	case LS_MSG_CONSENT_REQUEST:
		if (!source || r->request_here)
			break;
		r->request = *msg;
		r->request_here = true;
		r->blackout.asked_ns = r->now;
		break;
	case LS_MSG_CONSENT:
		on_consent(r, msg);
		break;
	case LS_MSG_STARTED:
		if (source && (r->word == LS_WORD_RETURNING || r->word == LS_WORD_RETURNED ||
			       r->persisting == LS_WORD_RETURNING))
			on_word_after_fence(r, LS_WORD_STARTED, false);
		if (!source || r->word != LS_WORD_CONSENTED || r->persisting == LS_WORD_RETURNING || r->peer_started)
			break;
		r->peer_started = true;
		r->retry_at = LS_NO_DEADLINE;
		r->blackout.started_ns = r->now;
		role_act(r, LS_ACT_EMIT_BLACKOUT);
		break;
	case LS_MSG_ABORT:
		on_abort(r, &msg->error);
		break;
	case LS_MSG_WORD_QUERY:
		r->answer_due = true;
		if (msg->settle && !source && role_may_unwind(r) && !role_off(r, 5)) {
			ls_fail(&err, LS_E_PEER_ABORTED, 0, "the source asked to settle what was undecided");
			role_fail(r, &err);
		}
		break;
	case LS_MSG_WORD:
		on_word(r, msg);
		break;
	default:
		break;
	}
}

void role_answer(struct ls_role *r)
{
	if (!r->answer_due || r->persisting || r->mute || !r->peer_up)
		return;
	r->answer_due = false;
	role_send(r, LS_MSG_WORD, false);
}

// Returned on a claim: whether it was true is asked until the destination answers.
static bool fence_open(const struct ls_role *r)
{
	return r->fenced && !r->fence_settled && !r->mute &&
	       (r->word == LS_WORD_RETURNING || r->word == LS_WORD_RETURNED);
}

static void ask_fenced(struct ls_role *r)
{
	r->fence_asked = true;
	role_send(r, LS_MSG_WORD_QUERY, true);
	r->retry_at = r->now + r->p.retry_ns * FENCE_PATIENCE;
}

void role_on_peer_up(struct ls_role *r, const char *ledger_id)
{
	bool source = r->p.side == LS_SIDE_SOURCE;

	if (r->peer_up)
		role_on_peer_lost(r, NULL);
	r->peer_up = true;
	r->dialling = false;
	r->peer_seen = true;
	r->peer_by = LS_NO_DEADLINE;
	if (source && strcmp(ledger_id, r->p.peer_ledger_id) != 0 && !role_off(r, 9)) {
		struct ls_error err;
		ls_fail(&err, LS_E_LEDGER_LOST, 0, "the destination's ledger is not the one that was prepared");
		if (r->word == LS_WORD_CONSENTED && !r->unwinding && !r->ended) {
			r->late = err;
			role_emit_error(r, &r->late);
			role_end(r, LS_END_OPERATOR, &r->late);
		}
		role_fail(r, &err);
		return;
	}
	if (r->mute) {
		role_act(r, LS_ACT_PEER_CLOSE);
		return;
	}
	if (!source && r->p.peer_ledger_id[0] && strcmp(ledger_id, r->p.peer_ledger_id) != 0) {
		struct ls_error err;
		ls_fail(&err, LS_E_LEDGER_LOST, 0, "the source's ledger is not the one that was prepared");
		if (r->word == LS_WORD_COMMITTED && r->ask_first && !r->ended && !r->persisting) {
			r->late = err;
			role_emit_error(r, &r->late);
			role_end(r, LS_END_OPERATOR, &r->late);
		}
		role_fail(r, &err);
		return;
	}
	if (!source && r->ask_first && r->word == LS_WORD_COMMITTED)
		role_send(r, LS_MSG_WORD_QUERY, false);
	if (source && r->word == LS_WORD_CONSENTED && !r->unwinding) {
		role_send(r, LS_MSG_WORD_QUERY, true);
		r->retry_at = r->now + r->p.retry_ns;
	}
	if (!source && r->word == LS_WORD_STARTED)
		role_send(r, LS_MSG_STARTED, false);
	if (r->word == LS_WORD_RETURNING || r->word == LS_WORD_RETURNED || r->word == LS_WORD_ABORTED)
		role_send(r, LS_MSG_ABORT, false);
	if (fence_open(r))
		ask_fenced(r);
}

void role_on_peer_lost(struct ls_role *r, const struct ls_error *error)
{
	struct ls_error err;

	r->peer_up = r->dialling = r->answer_due = r->fence_asked = false;
	if (r->p.side == LS_SIDE_SOURCE && !r->ended && !r->unwinding && !r->peer_started &&
	    (r->word == LS_WORD_CONSENTED || r->persisting == LS_WORD_CONSENTED)) {
		r->retry_at = r->now + r->p.retry_ns;
		if (role_off(r, 3))
			role_return(r);
		return;
	}
	if (fence_open(r))
		r->retry_at = r->now + r->p.retry_ns * FENCE_PATIENCE;
	if (error)
		err = *error;
	else
		ls_fail(&err, LS_E_STREAM_BROKEN, 0, "the connection to %s is lost", r->p.peer_host);
	role_fail(r, &err);
}

void role_reach(struct ls_role *r)
{
	r->retry_at = LS_NO_DEADLINE;
	if (r->mute)
		return;
	if (fence_open(r)) {
		if (r->peer_up) {
			ask_fenced(r);
		} else if (!r->dialling) {
			r->dialling = true;
			role_act(r, LS_ACT_PEER_CONNECT);
		}
		r->retry_at = r->now + r->p.retry_ns * FENCE_PATIENCE;
		return;
	}
	if (r->word != LS_WORD_CONSENTED || r->ended || r->unwinding || r->peer_started) {
		if (r->persisting)
			r->retry_at = r->now + r->p.retry_ns;
		return;
	}
	if (r->peer_up) {
		role_send(r, LS_MSG_WORD_QUERY, true);
		r->retry_at = r->now + r->p.retry_ns;
	} else if (!r->dialling) {
		r->dialling = true;
		role_act(r, LS_ACT_PEER_CONNECT);
	}
}
