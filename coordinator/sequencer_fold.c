// SPDX-License-Identifier: Apache-2.0
// What is known of a migration: the fold of its records into flags and into the view that clients see.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_internal.h"

// More than all steps of all tracks with all devices' shares; an agent that sends more is not believed.
#define STEP_TIMES_MAX (4 * LS_MAX_STEPS * (LS_MAX_DEVICES + 1))

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

bool ls_seq_consented(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	return ls_seq_word_is(s, "CONSENTED") || ls_seq_word_is(s, "RELEASED") || ls_seq_word_is(d, "COMMITTED") ||
	       ls_seq_word_is(d, "STARTED");
}

bool ls_seq_cancel_refused(const struct ls_seq *q)
{
	return q->side[LS_SEQ_SOURCE].unwind_refused || ls_seq_consented(q);
}

static uint32_t held(const struct ls_seq *q)
{
	uint32_t gates = 0;

	for (size_t i = 0; i < q->view->spec->n_hold; i++)
		gates |= ls_seq_gate_bit(q->view->spec->hold[i]);
	return gates & ~q->released;
}

uint32_t ls_seq_allowed(const struct ls_seq *q)
{
	uint32_t allowed = 0;

	if (!(q->side[LS_SEQ_SOURCE].gates & ls_seq_gate_bit(LS_GATE_BEFORE_PAUSE)) || !q->side[LS_SEQ_DEST].prepared)
		return 0;
	for (unsigned g = LS_GATE_BEFORE_PAUSE; g < LS_GATE_COUNT; g++) {
		if (held(q) & ls_seq_gate_bit(g))
			break;
		allowed |= ls_seq_gate_bit(g);
	}
	return allowed;
}

static Lockstep__V1__Phase phase_of(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	if (q->finished)
		return q->view->phase;
	if (!q->planned || !q->planned->plan->feasible)
		return LOCKSTEP__V1__PHASE__PHASE_PLANNING;
	if (ls_seq_word_is(d, "STARTED") || ls_seq_word_is(s, "RELEASED"))
		return LOCKSTEP__V1__PHASE__PHASE_RELEASING;
	if (ls_seq_source_returns(q) || ls_seq_dest_aborted(q) || s->refused || d->refused)
		return LOCKSTEP__V1__PHASE__PHASE_UNWINDING;
	if (q->paused)
		return LOCKSTEP__V1__PHASE__PHASE_BLACKOUT;
	if (q->precopying)
		return LOCKSTEP__V1__PHASE__PHASE_PRECOPY;
	return LOCKSTEP__V1__PHASE__PHASE_PREPARING;
}

static Lockstep__V1__Gate waiting_gate(const struct ls_seq *q)
{
	uint32_t reached = q->side[LS_SEQ_SOURCE].gates | q->side[LS_SEQ_DEST].gates;

	if (q->finished || phase_of(q) == LOCKSTEP__V1__PHASE__PHASE_UNWINDING)
		return LOCKSTEP__V1__GATE__GATE_NONE;
	for (unsigned g = LS_GATE_BEFORE_PAUSE; g < LS_GATE_COUNT; g++)
		if (reached & held(q) & ls_seq_gate_bit(g))
			return (Lockstep__V1__Gate)g;
	return LOCKSTEP__V1__GATE__GATE_NONE;
}

void ls_seq_refresh(struct ls_seq *q, uint64_t unix_ms)
{
	Lockstep__V1__Migration *v = q->view;
	struct ls_seq_mark *last = q->n_marks ? &q->mark[q->n_marks - 1] : NULL;

	v->phase = phase_of(q);
	v->waiting_at = waiting_gate(q);
	v->sequence++;
	if (unix_ms)
		v->changed_ms = unix_ms;
	if (last && last->phase == v->phase && last->waiting_at == v->waiting_at) {
		last->sequence = v->sequence;
		return;
	}
	// More changes than there can be: the newest matters most.
	if (q->n_marks == LS_SEQ_MARKS)
		q->n_marks--;
	q->mark[q->n_marks++] = (struct ls_seq_mark){
		.sequence = v->sequence, .phase = v->phase, .waiting_at = v->waiting_at, .changed_ms = v->changed_ms};
}

static Lockstep__V1__DeviceProgress *device_of(struct ls_seq *q, enum ls_seq_side side, const char *name)
{
	const Lockstep__V1__Schedule *s = q->view->schedule;

	for (size_t i = 0; s && i < s->n_device && i < q->view->n_device; i++)
		if (strcmp(side == LS_SEQ_SOURCE ? s->device[i]->source_name : s->device[i]->destination_name, name) ==
		    0)
			return q->view->device[i];
	return NULL;
}

void ls_seq_progress(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__DeviceProgress *p)
{
	Lockstep__V1__DeviceProgress *d = device_of(q, side, p->name);
	bool over = q->side[side].handed_back;

	if (!d)
		return;
	if (side == LS_SEQ_SOURCE) {
		d->source_state = over ? d->source_state : p->source_state;
		d->bytes_sent = p->bytes_sent;
		d->initial_left = p->initial_left;
		d->dirty_left = p->dirty_left;
		d->rounds = p->rounds;
		d->restarts = p->restarts;
	} else {
		d->destination_state = over ? d->destination_state : p->destination_state;
		d->bytes_loaded = p->bytes_loaded;
	}
	ls_seq_refresh(q, 0);
}

static const char *host_of(const struct ls_seq *q, enum ls_seq_side side)
{
	return side == LS_SEQ_SOURCE ? q->view->spec->source : q->view->spec->destination;
}

// What a side sees when the other one fails: no cause by itself.
static bool only_consequence(const Lockstep__V1__ErrorDetail *e)
{
	static const char *const reason[] = {"STREAM_BROKEN", "PEER_ABORTED", "UNAVAILABLE"};

	for (size_t i = 0; i < sizeof(reason) / sizeof(reason[0]); i++)
		if (strcmp(e->reason, reason[i]) == 0)
			return true;
	return false;
}

static void fold_error(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__ErrorDetail *e)
{
	Lockstep__V1__DeviceProgress *d;
	Lockstep__V1__ErrorDetail *copy;

	if (!e || !e->reason[0])
		return;
	copy = ls_msg_clone(e);
	if (!copy->host[0])
		ls_msg_set(&copy->host, host_of(q, side));
	d = e->device[0] ? device_of(q, side, e->device) : NULL;
	if (d && !d->error)
		d->error = ls_msg_clone(copy);
	// The first cause wins; but news of a failure may overtake the failure's own.
	if (q->view->error && (!only_consequence(q->view->error) || only_consequence(copy) ||
			       strcmp(q->view->error->host, copy->host) == 0)) {
		ls_msg_free(copy);
		return;
	}
	ls_msg_free(q->view->error);
	q->view->error = copy;
}

static void fold_step(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__StepTime *t)
{
	Lockstep__V1__Migration *v = q->view;
	Lockstep__V1__DeviceProgress *d = t->device[0] ? device_of(q, side, t->device) : NULL;
	Lockstep__V1__StepTime *copy = ls_msg_clone(t);

	ls_msg_set(&copy->host, host_of(q, side));
	if (t->step && side == LS_SEQ_SOURCE && !t->unwind) {
		q->precopying |= t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_PRECOPY;
		q->paused |= t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_VMM_PAUSE;
	}
	if (d && t->step && t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_ARC && t->end_ns && !t->errno_value)
		*(side == LS_SEQ_SOURCE ? &d->source_state : &d->destination_state) = t->step->target;
	for (size_t i = 0; i < v->n_step; i++) {
		Lockstep__V1__StepTime *o = v->step[i];

		if (o->index == t->index && o->unwind == t->unwind && strcmp(o->host, copy->host) == 0 &&
		    strcmp(o->device, copy->device) == 0) {
			ls_msg_free(o);
			v->step[i] = copy;
			return;
		}
	}
	if (v->n_step < STEP_TIMES_MAX)
		LS_MSG_APPEND(v->n_step, v->step, copy);
	else
		ls_msg_free(copy);
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
		return fold_step(q, side, e->step);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_GATE:
		if (e->gate > 0 && e->gate < (int)LS_GATE_COUNT)
			s->gates |= ls_seq_gate_bit(e->gate);
		return;
	case LOCKSTEP__V1__AGENT_EVENT__KIND_WORD:
		return fold_word(q, side, e->word);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_ERROR:
		return fold_error(q, side, e->error);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_ENDED:
		fold_error(q, side, e->ended->error);
		return fold_ended(s, e->ended->how, e->ended->error);
	case LOCKSTEP__V1__AGENT_EVENT__KIND_BLACKOUT:
		LS_MSG_SET_CLONE(q->view->blackout, e->blackout);
		return;
	case LOCKSTEP__V1__AGENT_EVENT__KIND_PROGRESS:
	default:
		return;
	}
}

static void fold_told(struct ls_seq *q, const Lockstep__Store__Told *t)
{
	enum ls_seq_side side = t->side == LOCKSTEP__V1__SIDE__SIDE_DESTINATION ? LS_SEQ_DEST : LS_SEQ_SOURCE;
	struct seq_side *s = &q->side[side];

	s->unwind_refused |= t->refused_unwind;
	if (t->refused_unwind)
		return;
	s->gone |= !t->known;
	// A Prepare whose answer was lost did arrive.
	if (t->known && side == LS_SEQ_SOURCE && !s->prepared) {
		s->prepared = true;
		snprintf(s->ledger_id, sizeof(s->ledger_id), "%s", t->ledger_id);
	}
	fold_word(q, side, t->word);
	if (t->ended && !s->ended)
		fold_ended(s, t->known ? how_of_word(t->word) : HOW_NONE, NULL);
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

static enum ls_seq_side side_of(Lockstep__V1__Side side)
{
	return side == LOCKSTEP__V1__SIDE__SIDE_DESTINATION ? LS_SEQ_DEST : LS_SEQ_SOURCE;
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
		s->prepared = true;
		snprintf(s->ledger_id, sizeof(s->ledger_id), "%s", r->prepared->ledger_id);
		if (!s->word[0])
			fold_word(q, side_of(r->prepared->side), r->prepared->word);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_PREPARE_FAILED:
		s = &q->side[side_of(r->prepare_failed->side)];
		s->refused = true;
		s->refused_certain = r->prepare_failed->certain;
		fold_error(q, side_of(r->prepare_failed->side), r->prepare_failed->error);
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
		q->finished = true;
		q->view->phase = r->finished->phase;
		// An operator needs to read why they are called, whatever went wrong first.
		if (r->finished->error &&
		    (!q->view->error || r->finished->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR))
			LS_MSG_SET_CLONE(q->view->error, r->finished->error);
		break;
	default:
		break;
	}
	ls_seq_refresh(q, r->time_ms);
}
