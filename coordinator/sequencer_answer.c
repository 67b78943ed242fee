// SPDX-License-Identifier: Apache-2.0
// How a call to an agent ended, and what follows: a record of what it said, or the same call again.
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_next.h"

void ls_seq_settled(struct seq_side *s)
{
	s->busy = false;
	s->tries = 0;
	s->retry_ns = 0;
}

static bool uncertain(const struct ls_seq_answer *a)
{
	return a->status == LS_RPC_UNAVAILABLE || a->status == LS_RPC_DEADLINE_EXCEEDED ||
	       a->status == LS_RPC_CANCELLED || a->status == LS_RPC_UNKNOWN || a->status == LS_RPC_INTERNAL;
}

static void try_again(struct seq_side *s, struct ls_seq_time t)
{
	s->busy = false;
	s->retry_ns = ls_seq_backoff(s->tries, t.now_ns);
	s->tries++;
}

static void answer_prepare(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *a, struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];
	Lockstep__Store__Record *r;

	s->maybe_sent |= a->sent && uncertain(a);
	if (a->status != LS_RPC_OK && uncertain(a) && ls_seq_prepare_again(s))
		return try_again(s, t);
	r = ls_seq_record(t);
	if (a->status == LS_RPC_OK) {
		r->kind_case = LOCKSTEP__STORE__RECORD__KIND_PREPARED;
		LS_MSG_NEW(r->prepared, LOCKSTEP__STORE__PREPARED__INIT);
		r->prepared->side = ls_seq_side_value(side);
		ls_msg_set(&r->prepared->ledger_id, a->ledger_id);
		ls_msg_set(&r->prepared->word, a->word);
	} else {
		r->kind_case = LOCKSTEP__STORE__RECORD__KIND_PREPARE_FAILED;
		LS_MSG_NEW(r->prepare_failed, LOCKSTEP__STORE__PREPARE_FAILED__INIT);
		r->prepare_failed->side = ls_seq_side_value(side);
		// What it refused may be ours all the same, as an earlier life asked for it.
		r->prepare_failed->certain = !s->maybe_sent && a->error.reason != LS_E_ALREADY_EXISTS;
		r->prepare_failed->error = ls_msg_error(&a->error);
	}
	ls_seq_persist(q, r); // busy until it is durable
}

enum tells { TELLS_WORD, TELLS_REFUSED, TELLS_LEDGER_LOST };

static void tell(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *a, enum tells what,
		 struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];
	Lockstep__Store__Record *r = ls_seq_record(t);
	const char *word = a->word ? a->word : "";

	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_TOLD;
	LS_MSG_NEW(r->told, LOCKSTEP__STORE__TOLD__INIT);
	r->told->side = ls_seq_side_value(side);
	r->told->refused_unwind = what == TELLS_REFUSED;
	r->told->ledger_lost = what == TELLS_LEDGER_LOST;
	if (what != TELLS_REFUSED) {
		r->told->known = a->status == LS_RPC_OK && a->known;
		ls_msg_set(&r->told->word, word);
		ls_msg_set(&r->told->ledger_id, a->ledger_id);
	}
	r->told->ended = what == TELLS_WORD && !s->watching && ls_seq_last_word(word);
	s->busy = true;
	ls_seq_persist(q, r);
}

// Rule 9. It was prepared and is not known now: the ledger is another, or was set back.
static bool from_other_ledger(const struct seq_side *s, const struct ls_seq_answer *a, bool known)
{
	if (s->ledger_id[0] && a->ledger_id && a->ledger_id[0] && strcmp(a->ledger_id, s->ledger_id) != 0)
		return true;
	return !known && s->prepared;
}

static bool news(const struct seq_side *s, const struct ls_seq_answer *a, bool known)
{
	const char *word = a->word ? a->word : "";

	if (s->ledger_lost)
		return true;
	return !known ? !s->gone : strcmp(word, s->word) != 0 || (ls_seq_last_word(word) && !s->watching && !s->ended);
}

static void answer_word(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *a, struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];
	bool known = a->status == LS_RPC_OK && a->known;

	if (a->kind == LS_SEQ_UNWIND && (a->status == LS_RPC_FAILED_PRECONDITION ||
					 (a->status == LS_RPC_NOT_FOUND && s->prepared))) {
		s->ask = true; // which word was it?
		if (a->status == LS_RPC_FAILED_PRECONDITION)
			return tell(q, side, a, TELLS_REFUSED, t);
		return try_again(s, t);
	}
	if (a->status != LS_RPC_OK && a->status != LS_RPC_NOT_FOUND)
		return try_again(s, t);
	if (from_other_ledger(s, a, known)) {
		if (!s->ledger_lost)
			return tell(q, side, a, TELLS_LEDGER_LOST, t);
		return try_again(s, t);
	}
	if (a->kind == LS_SEQ_GET_WORD)
		s->ask = false;
	if (news(s, a, known))
		tell(q, side, a, TELLS_WORD, t);
	else if (a->kind == LS_SEQ_GET_WORD)
		ls_seq_settled(s);
	else
		try_again(s, t); // heard, and not done yet
}

static void answer_resolve(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *a, struct ls_seq_time t)
{
	Lockstep__Store__Record *r;

	if (a->status != LS_RPC_OK && uncertain(a))
		return try_again(&q->side[side], t);
	r = ls_seq_record(t);
	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_RESOLVE_ANSWERED;
	LS_MSG_NEW(r->resolve_answered, LOCKSTEP__STORE__RESOLVE_ANSWERED__INIT);
	r->resolve_answered->side = ls_seq_side_value(side);
	ls_msg_set(&r->resolve_answered->word, a->word);
	if (a->status != LS_RPC_OK)
		r->resolve_answered->error = ls_msg_error(&a->error);
	ls_seq_persist(q, r);
}

void ls_seq_answer(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *a, struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];

	if (a->status == LS_RPC_OK || !uncertain(a)) {
		s->silent_ns = 0;
	} else if (!s->silent_ns) {
		s->silent_ns = t.now_ns;
		s->silent_ms = t.unix_ms;
	}
	if (ls_seq_deaf(q)) {
		s->busy = false; // asked again, should a loose end remain
		return;
	}
	switch (a->kind) {
	case LS_SEQ_PREPARE:
		answer_prepare(q, side, a, t);
		break;
	case LS_SEQ_GRANT:
		if (a->status == LS_RPC_OK) {
			s->granted |= s->granting;
			ls_seq_settled(s);
		} else {
			try_again(s, t);
		}
		break;
	case LS_SEQ_FIND:
		// An agent of an earlier release has no list to look in.
		if (a->status != LS_RPC_OK && a->status != LS_RPC_UNIMPLEMENTED && a->status != LS_RPC_NOT_FOUND)
			try_again(s, t);
		else if (!ls_seq_found(q, side, a, t))
			ls_seq_settled(s);
		break;
	case LS_SEQ_RESOLVE:
		answer_resolve(q, side, a, t);
		break;
	default:
		answer_word(q, side, a, t);
		break;
	}
	ls_seq_advance(q, t);
}
