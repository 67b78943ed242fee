// SPDX-License-Identifier: Apache-2.0
// What clients see of a migration: phase, gate, steps, progress, errors.
#include <string.h>

#include "common/cause.h"
#include "common/cause.h"
#include "coordinator/message.h"
#include "coordinator/sequencer_internal.h"

// More than all steps of all tracks with all devices' shares; an agent that sends more is not believed.
#define STEP_TIMES_MAX (4 * LS_MAX_STEPS * (LS_MAX_DEVICES + 1))

uint32_t ls_seq_held(const struct ls_seq *q)
{
	uint32_t gates = 0;

	for (size_t i = 0; i < q->view->spec->n_hold; i++)
		gates |= ls_seq_gate_bit(q->view->spec->hold[i]);
	return gates & ~q->released;
}

static Lockstep__V1__Phase phase_of(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	if (q->finished)
		return q->view->phase;
	if (q->called)
		return LOCKSTEP__V1__PHASE__PHASE_OPERATOR;
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

	// Every gate lies before the consent.
	if (q->finished || q->called || ls_seq_consented(q) || phase_of(q) == LOCKSTEP__V1__PHASE__PHASE_UNWINDING)
		return LOCKSTEP__V1__GATE__GATE_NONE;
	for (unsigned g = LS_GATE_BEFORE_PAUSE; g < LS_GATE_COUNT; g++)
		if (reached & ls_seq_held(q) & ls_seq_gate_bit(g))
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

// When its agent last told this device's state.
static uint64_t *state_ns(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__DeviceProgress *d)
{
	for (size_t i = 0; i < q->view->n_device && i < LS_MAX_DEVICES; i++)
		if (q->view->device[i] == d)
			return &q->side[side].state_ns[i];
	return NULL;
}

void ls_seq_progress(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__DeviceProgress *p, uint64_t time_ns)
{
	Lockstep__V1__DeviceProgress *d = device_of(q, side, p->name);
	bool over = q->side[side].handed_back;

	if (!d)
		return;
	if (!over && state_ns(q, side, d))
		*state_ns(q, side, d) = time_ns;
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

bool ls_seq_only_consequence(const Lockstep__V1__ErrorDetail *e)
{
	return ls_cause_rank(ls_reason_parse(e->reason)) < LS_CAUSE_OWN;
}

// Which of the two is the cause? The first, unless the later one knows better: of its own side's errors an agent says
// itself in the end which it is, as what fails on the way back is none.
static bool beats(const Lockstep__V1__ErrorDetail *later, const Lockstep__V1__ErrorDetail *first, bool last_word)
{
	return ls_cause_beats(ls_reason_parse(later->reason), ls_reason_parse(first->reason)) &&
	       (last_word || strcmp(first->host, later->host) != 0);
}

void ls_seq_fold_error(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__ErrorDetail *e, bool last_word)
{
	Lockstep__V1__ErrorDetail *copy, **first = q->called ? &q->first : &q->view->error;
	Lockstep__V1__DeviceProgress *d;

	if (!e || !e->reason[0])
		return;
	copy = ls_msg_clone(e);
	if (!copy->host[0])
		ls_msg_set(&copy->host, host_of(q, side));
	d = e->device[0] ? device_of(q, side, e->device) : NULL;
	if (d && !d->error)
		d->error = ls_msg_clone(copy);
	if (*first && !beats(copy, *first, last_word)) {
		ls_msg_free(copy);
		return;
	}
	ls_msg_free(*first);
	*first = copy;
}

// As ls_step_target() has it: on the source's way forward a device in its pre-copy session stays in it.
static uint32_t reached(const struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__StepTime *t,
			const Lockstep__V1__DeviceProgress *d)
{
	const Lockstep__V1__Schedule *s = q->view->schedule;
	uint32_t target = t->step->target;

	if (side != LS_SEQ_SOURCE || t->unwind)
		return target;
	for (size_t i = 0; s && i < s->n_device && i < q->view->n_device; i++)
		if (q->view->device[i] == d && s->device[i]->precopy)
			return target == LS_STATE_RUNNING_P2P ? LS_STATE_PRE_COPY_P2P
			       : target == LS_STATE_STOP      ? LS_STATE_STOP_COPY
							      : target;
	return target;
}

void ls_seq_fold_step(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__StepTime *t)
{
	Lockstep__V1__Migration *v = q->view;
	Lockstep__V1__DeviceProgress *d = t->device[0] ? device_of(q, side, t->device) : NULL;
	Lockstep__V1__StepTime *copy = ls_msg_clone(t);

	ls_msg_set(&copy->host, host_of(q, side));
	if (t->step && side == LS_SEQ_SOURCE && !t->unwind) {
		q->precopying |= t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_PRECOPY;
		q->paused |= t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_VMM_PAUSE;
	}
	// A gate behind which it is already was let go, even if the store that knew it is lost.
	if (t->step && !t->unwind && t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_GATE && t->end_ns &&
	    !t->errno_value && t->step->gate > 0 && t->step->gate < (int)LS_GATE_COUNT)
		q->released |= ls_seq_gate_bit(t->step->gate);
	// The record of a step is on disk some time after its agent told where the device went next.
	uint64_t *told = d ? state_ns(q, side, d) : NULL;
	bool newer = told && t->end_ns < *told;
	if (d && t->step && t->step->kind == LOCKSTEP__V1__STEP_KIND__STEP_ARC && t->end_ns && !t->errno_value && !newer)
		*(side == LS_SEQ_SOURCE ? &d->source_state : &d->destination_state) = reached(q, side, t, d);
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
