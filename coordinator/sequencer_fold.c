// SPDX-License-Identifier: Apache-2.0
// What is known of a migration: the fold of its records.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_internal.h"

static int how_of_word(const char *word)
{
	static const struct {
		const char *word;
		int how;
	} last[] = {
		{"RELEASED", HOW_DONE}, {"RETURNED", HOW_RETURNED}, {"STARTED", HOW_DONE}, {"ABORTED", HOW_ABORTED}};

	for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++)
		if (strcmp(last[i].word, word) == 0)
			return last[i].how;
	return HOW_NONE;
}

bool ls_seq_last_word(const char *word)
{
	return how_of_word(word) != HOW_NONE;
}

bool ls_seq_source_returns(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE];

	return ls_seq_word_is(s, "RETURNING") || ls_seq_word_is(s, "RETURNED") || (s->ended && s->how == HOW_RETURNED);
}

bool ls_seq_dest_aborted(const struct ls_seq *q)
{
	const struct seq_side *d = &q->side[LS_SEQ_DEST];

	return ls_seq_word_is(d, "ABORTED") || (d->ended && d->how == HOW_ABORTED);
}

bool ls_seq_dest_lost(const struct ls_seq *q)
{
	const struct seq_side *d = &q->side[LS_SEQ_DEST];

	return ls_seq_word_is(d, "LOST_AFTER_COMMIT") ||
	       (d->ended && d->error && strcmp(d->error->reason, "LOST_AFTER_COMMIT") == 0);
}

bool ls_seq_dest_runs(const struct ls_seq *q)
{
	const struct seq_side *d = &q->side[LS_SEQ_DEST];

	return ls_seq_word_is(d, "STARTED") || (d->ended && d->how == HOW_DONE);
}

bool ls_seq_conflict(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];
	bool committed = ls_seq_dest_runs(q) || (ls_seq_word_is(d, "COMMITTED") && !ls_seq_dest_lost(q));
	bool released = ls_seq_word_is(s, "RELEASED") || (s->ended && s->how == HOW_DONE);

	return (ls_seq_source_returns(q) && committed) || (released && ls_seq_dest_aborted(q));
}

bool ls_seq_consented(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	return ls_seq_word_is(s, "CONSENTED") || ls_seq_word_is(s, "RELEASED") || ls_seq_word_is(d, "COMMITTED") ||
	       ls_seq_word_is(d, "STARTED") || ls_seq_dest_lost(q);
}

bool ls_seq_cancel_refused(const struct ls_seq *q)
{
	return q->side[LS_SEQ_SOURCE].unwind_refused || ls_seq_consented(q);
}

uint32_t ls_seq_allowed(const struct ls_seq *q)
{
	uint32_t allowed = 0;

	if (!(q->side[LS_SEQ_SOURCE].gates & ls_seq_gate_bit(LS_GATE_BEFORE_PAUSE)) || !q->side[LS_SEQ_DEST].prepared)
		return 0;
	for (unsigned g = LS_GATE_BEFORE_PAUSE; g < LS_GATE_COUNT; g++) {
		if (ls_seq_held(q) & ls_seq_gate_bit(g))
			break;
		allowed |= ls_seq_gate_bit(g);
	}
	return allowed;
}

static void fold_word(struct ls_seq *q, enum ls_seq_side side, const char *word)
{
	if (!word[0])
		return;
	snprintf(q->side[side].word, sizeof(q->side[side].word), "%s", word);
	ls_msg_set(side == LS_SEQ_SOURCE ? &q->view->source_word : &q->view->destination_word, word);
}

static void fold_ended(struct seq_side *s, int how, const Lockstep__V1__ErrorDetail *error)
{
	s->ended = true;
	s->how = how;
	LS_MSG_SET_CLONE(s->error, error);
}

static void fold_agent(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__AgentEvent *e)
{
	struct seq_side *s = &q->side[side];

	if (e->sequence > s->seen)
		s->seen = e->sequence;
	switch (e->kind_case) {
	case LOCKSTEP__V1__AGENT_EVENT__KIND_STEP:
		return ls_seq_fold_step(q, side, e->step);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_GATE:
		if (e->gate > 0 && e->gate < (int)LS_GATE_COUNT)
			s->gates |= ls_seq_gate_bit(e->gate);
		return;
	case LOCKSTEP__V1__AGENT_EVENT__KIND_WORD:
		return fold_word(q, side, e->word);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_ERROR:
		return ls_seq_fold_error(q, side, e->error, false);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_ENDED:
		s->ended_anew = true;
		ls_seq_fold_error(q, side, e->ended->error, true);
		return fold_ended(s, e->ended->how, e->ended->error);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_BLACKOUT:
		LS_MSG_SET_CLONE(q->view->blackout, e->blackout);
		return;
	case LOCKSTEP__V1__AGENT_EVENT__KIND_PROGRESS:
	default:
		return;
	}
}

static enum ls_seq_side side_of(Lockstep__V1__Side side)
{
	return side == LOCKSTEP__V1__SIDE__SIDE_DESTINATION ? LS_SEQ_DEST : LS_SEQ_SOURCE;
}

static void set_prepared(struct seq_side *s, const char *ledger_id)
{
	s->prepared = true;
	s->gone = false;
	snprintf(s->ledger_id, sizeof(s->ledger_id), "%s", ledger_id);
}

static void fold_told(struct ls_seq *q, const Lockstep__Store__Told *t)
{
	enum ls_seq_side side = side_of(t->side);
	struct seq_side *s = &q->side[side];
	bool other = strcmp(t->word, s->word) != 0;

	s->unwind_refused |= t->refused_unwind;
	if (t->refused_unwind)
		return;
	s->ledger_lost = t->ledger_lost;
	if (t->ledger_lost)
		return;
	s->gone = !t->known;
	// A Prepare whose answer was lost did arrive.
	if (t->known && side == LS_SEQ_SOURCE && !s->prepared)
		set_prepared(s, t->ledger_id);
	fold_word(q, side, t->word);
	if (t->ended && (!s->ended || (!ls_seq_through(s) && other)))
		fold_ended(s, t->known ? how_of_word(t->word) : HOW_NONE, NULL);
}

static void fold_found(struct ls_seq *q, const Lockstep__Store__Found *f)
{
	enum ls_seq_side side = side_of(f->side);

	set_prepared(&q->side[side], f->ledger_id);
	fold_word(q, side, f->word);
	if (side == LS_SEQ_SOURCE && f->peer_ledger_id[0] && !q->side[LS_SEQ_DEST].prepared)
		set_prepared(&q->side[LS_SEQ_DEST], f->peer_ledger_id);
}

static void fold_resolved(struct ls_seq *q, const Lockstep__Store__Resolved *r)
{
	ls_msg_free(q->refused);
	q->refused = NULL;
	q->resolving = r->action;
	q->side[LS_SEQ_SOURCE].ended_anew = q->side[LS_SEQ_DEST].ended_anew = false;
	if (r->claim)
		LS_MSG_APPEND(q->view->n_claim, q->view->claim, ls_msg_clone(r->claim));
	q->closing |= r->action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_CLOSE;
	if (q->closing)
		snprintf(q->closer, sizeof(q->closer), "%s", r->actor);
}

static void fold_resolve_answered(struct ls_seq *q, const Lockstep__Store__ResolveAnswered *r)
{
	struct seq_side *s = &q->side[side_of(r->side)];

	if (q->closing || (side_of(r->side) == LS_SEQ_DEST && ls_seq_dest_lost(q))) {
		s->closed = true;
		return;
	}
	q->resolving = LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_EXPLAIN;
	LS_MSG_SET_CLONE(q->refused, r->error);
	if (r->error)
		return;
	// It goes on, and says so anew when it is through; that may have overtaken its answer.
	fold_word(q, side_of(r->side), r->word);
	if (s->ended && s->how == HOW_OPERATOR && !s->ended_anew)
		s->ended = false;
}

static void fold_finished(struct ls_seq *q, const Lockstep__Store__Finished *f)
{
	bool operator = f->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR;

	if (q->called && !f->closed) {
		ls_msg_free(q->view->error);
		q->view->error = q->first;
		q->first = NULL;
	}
	if (operator && !f->closed)
		LS_MSG_SET_CLONE(q->first, q->view->error);
	q->called = operator && !f->closed;
	q->finished = !q->called;
	q->closed = f->closed;
	if (f->closed) {
		q->resolving = LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_EXPLAIN;
		ls_msg_set(&q->view->closed_by, q->closer);
	}
	q->view->phase = f->phase;
	// An operator needs to read why they are called, whatever went wrong first.
	if (f->error && (!q->view->error || operator))
		LS_MSG_SET_CLONE(q->view->error, f->error);
}

static void fold_planned(struct ls_seq *q, const Lockstep__Store__Planned *p)
{
	Lockstep__V1__Migration *v = q->view;
	const Lockstep__V1__DryRunResponse *plan = p->plan;

	LS_MSG_SET_CLONE(q->planned, p);
	for (size_t i = 0; i < plan->n_check; i++)
		LS_MSG_APPEND(v->n_check, v->check, ls_msg_clone(plan->check[i]));
	LS_MSG_SET_CLONE(v->schedule, plan->schedule);
	if (!v->error)
		v->error = ls_msg_clone(p->error);
	for (size_t i = 0; v->schedule && i < v->schedule->n_device; i++) {
		Lockstep__V1__DeviceProgress *d;

		LS_MSG_NEW(d, LOCKSTEP__V1__DEVICE_PROGRESS__INIT);
		ls_msg_set(&d->name, v->schedule->device[i]->source_name);
		d->source_state = d->destination_state = LS_STATE_RUNNING;
		LS_MSG_APPEND(v->n_device, v->device, d);
	}
}

void ls_seq_fold(struct ls_seq *q, const Lockstep__Store__Record *r)
{
	struct seq_side *s;

	switch (r->kind_case) {
	case LOCKSTEP__STORE__RECORD__KIND_CREATED:
		q->view->created_ms = r->time_ms;
		break;
	case LOCKSTEP__STORE__RECORD__KIND_PLANNED:
		if (!q->planned && r->planned->plan)
			fold_planned(q, r->planned);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_PREPARED:
		s = &q->side[side_of(r->prepared->side)];
		set_prepared(s, r->prepared->ledger_id);
		if (!s->word[0])
			fold_word(q, side_of(r->prepared->side), r->prepared->word);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_PREPARE_FAILED:
		s = &q->side[side_of(r->prepare_failed->side)];
		s->refused = true;
		s->refused_certain = r->prepare_failed->certain;
		ls_seq_fold_error(q, side_of(r->prepare_failed->side), r->prepare_failed->error, false);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_AGENT:
		if (r->agent->event)
			fold_agent(q, side_of(r->agent->side), r->agent->event);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_ASKED:
		q->cancel_asked |= r->asked->cancel;
		if (r->asked->release > 0 && r->asked->release < (int)LS_GATE_COUNT)
			q->released |= ls_seq_gate_bit(r->asked->release);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_TOLD:
		fold_told(q, r->told);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_FINISHED:
		fold_finished(q, r->finished);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_FOUND:
		fold_found(q, r->found);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_RESOLVED:
		fold_resolved(q, r->resolved);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_RESOLVE_ANSWERED:
		fold_resolve_answered(q, r->resolve_answered);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_RESUMED:
		q->called = false;
		ls_msg_free(q->view->error);
		q->view->error = q->first;
		q->first = NULL;
		break;
	default:
		break;
	}
	ls_seq_refresh(q, r->time_ms);
}
