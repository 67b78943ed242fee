// SPDX-License-Identifier: Apache-2.0
// What to do next, derived from what is known. Called after every event; asks for whatever is
// needed and not yet under way.
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_next.h"

#define MS 1000000ull
#define PREPARE_TRIES 5u
#define BACKOFF_FIRST_NS (100 * MS)
#define BACKOFF_MOST_NS (10000 * MS)
// How long the side that decides nothing any more is waited for.
#define PATIENCE_NS (30000 * MS)

uint64_t ls_seq_backoff(unsigned tries, uint64_t now_ns)
{
	uint64_t wait = BACKOFF_FIRST_NS << (tries < 8 ? tries : 8);

	return now_ns + (wait < BACKOFF_MOST_NS ? wait : BACKOFF_MOST_NS);
}

void ls_seq_emit(struct ls_seq *q, struct ls_seq_action a)
{
	if (q->head + q->n == q->room) {
		if (q->head) {
			memmove(q->queue, q->queue + q->head, q->n * sizeof(*q->queue));
			q->head = 0;
		} else {
			q->room = q->room ? q->room * 2 : 16;
			q->queue = realloc(q->queue, q->room * sizeof(*q->queue));
			if (!q->queue)
				abort();
		}
	}
	q->queue[q->head + q->n++] = a;
}

Lockstep__Store__Record *ls_seq_record(struct ls_seq_time t)
{
	Lockstep__Store__Record *r;

	LS_MSG_NEW(r, LOCKSTEP__STORE__RECORD__INIT);
	r->time_ms = t.unix_ms;
	return r;
}

// The agent of this side holds nothing of the migration, for certain.
static bool never_held(const struct seq_side *s)
{
	return !s->prepared && (s->refused_certain || !s->tried || s->gone);
}

static bool dest_clear(const struct ls_seq *q)
{
	const struct seq_side *d = &q->side[LS_SEQ_DEST];

	return never_held(d) || d->gone || (d->ended && d->how == HOW_ABORTED);
}

static void finish(struct ls_seq *q, Lockstep__V1__Phase phase, const struct ls_error *err, struct ls_seq_time t)
{
	Lockstep__Store__Record *r = ls_seq_record(t);

	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_FINISHED;
	LS_MSG_NEW(r->finished, LOCKSTEP__STORE__FINISHED__INIT);
	r->finished->phase = phase;
	r->finished->loose = phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED && !dest_clear(q);
	if (err && err->reason != LS_E_NONE)
		r->finished->error = ls_msg_error(err);
	q->finishing = true;
	ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_PERSIST, .record = r});
}

static void operator_needed(struct ls_seq *q, enum ls_reason reason, const char *why, struct ls_seq_time t)
{
	struct ls_error err = {0};

	ls_fail(&err, reason, 0, "%s", why);
	finish(q, LOCKSTEP__V1__PHASE__PHASE_OPERATOR, &err, t);
}

void ls_seq_ledger_lost(struct ls_seq *q, enum ls_seq_side side, struct ls_seq_time t)
{
	if (q->finished || q->finishing)
		return;
	operator_needed(q, LS_E_LEDGER_LOST,
			side == LS_SEQ_SOURCE
				? "the source's ledger is not the one that was prepared: its word is lost"
				: "the destination's ledger is not the one that was prepared: its word is lost",
			t);
}

static bool abandoned(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	return (q->cancel_asked && !ls_seq_cancel_refused(q)) || s->refused || d->refused || ls_seq_source_returns(q) ||
	       ls_seq_dest_aborted(q);
}

static bool source_home(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE];

	return never_held(s) || s->gone || (s->ended && s->how == HOW_RETURNED);
}

static void returned(struct ls_seq *q, struct ls_seq_time t)
{
	struct ls_error err = {0};

	if (q->cancel_asked)
		ls_fail(&err, LS_E_CANCELLED, 0, "cancelled by the client");
	else
		ls_fail(&err, LS_E_PEER_ABORTED, 0, "given up by an agent that did not say why");
	finish(q, LOCKSTEP__V1__PHASE__PHASE_RETURNED, &err, t);
}

static bool patience_over(struct ls_seq *q, struct ls_seq_time t)
{
	q->waiting = true;
	if (!q->patience_ns)
		q->patience_ns = t.now_ns + PATIENCE_NS;
	return t.now_ns >= q->patience_ns;
}

static void operator_by_agent(struct ls_seq *q, struct ls_seq_time t)
{
	const Lockstep__V1__ErrorDetail *why = q->view->error;
	struct ls_error err = {0};

	for (int i = 0; i < 2; i++)
		if (q->side[i].ended && q->side[i].how == HOW_OPERATOR && q->side[i].error)
			why = q->side[i].error;
	if (why)
		ls_msg_error_read(why, &err);
	else
		ls_fail(&err, LS_E_INTERNAL, 0, "an agent waits for an operator and did not say why");
	finish(q, LOCKSTEP__V1__PHASE__PHASE_OPERATOR, &err, t);
}

// Has it come to an end?
static bool conclude(struct ls_seq *q, struct ls_seq_time t)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];
	bool runs_there = ls_seq_word_is(d, "STARTED") || (d->ended && d->how == HOW_DONE);
	bool released = ls_seq_word_is(s, "RELEASED") || (s->ended && s->how == HOW_DONE);

	if (!q->planned->plan->feasible) {
		struct ls_error err;

		ls_plan_error(q->planned->plan, &err);
		finish(q, LOCKSTEP__V1__PHASE__PHASE_REFUSED, &err, t);
	} else if (ls_seq_source_returns(q) && (runs_there || ls_seq_word_is(d, "COMMITTED"))) {
		operator_needed(q, LS_E_CONFLICT,
				"the source took the VM back and the destination has decided to run it", t);
	} else if (released && ls_seq_dest_aborted(q)) {
		operator_needed(q, LS_E_CONFLICT, "the source let the VM go and the destination gave it up", t);
	} else if (s->ended && s->how == HOW_OPERATOR) {
		if (d->ended || never_held(d) || patience_over(q, t))
			operator_by_agent(q, t);
	} else if (d->ended && d->how == HOW_OPERATOR) {
		if (s->ended || never_held(s) || patience_over(q, t))
			operator_by_agent(q, t);
	} else if (s->ended && s->how == HOW_DONE) {
		// RELEASED is written after STARTED was heard: the destination's last events only add detail.
		if (d->ended || patience_over(q, t))
			finish(q, LOCKSTEP__V1__PHASE__PHASE_DONE, NULL, t);
	} else if (abandoned(q) && source_home(q)) {
		// A destination that is silent can no longer commit (rule 1): the VM is free, the loose end is kept.
		if (dest_clear(q) || patience_over(q, t))
			returned(q, t);
	}
	return q->finishing;
}

// One call per side at a time; returns its kind or -1.
static int next_source(struct ls_seq *q, uint32_t *gates)
{
	struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];
	uint32_t mine = ls_seq_gate_bit(LS_GATE_BEFORE_PAUSE) | ls_seq_gate_bit(LS_GATE_STOPPED);
	uint32_t theirs = ls_seq_gate_bit(LS_GATE_DECIDE);

	if (s->ended || s->gone)
		return -1;
	if (abandoned(q)) {
		if (!never_held(s) && !ls_seq_source_returns(q) && !s->unwind_refused)
			return LS_SEQ_UNWIND;
	} else if (d->prepared && !s->prepared) {
		return LS_SEQ_PREPARE;
	} else {
		*gates = ls_seq_allowed(q) & mine & ~s->granted;
		// The destination's gate first: nothing may be left to ask for once the VM stands still.
		if (*gates && !(ls_seq_allowed(q) & theirs & ~d->granted))
			return LS_SEQ_GRANT;
	}
	return s->ask ? LS_SEQ_GET_WORD : -1;
}

static int next_dest(struct ls_seq *q, uint32_t *gates)
{
	struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	if (d->ended || d->gone)
		return -1;
	if (abandoned(q)) {
		// Safe once the source cannot consent, or never agreed to take part.
		if (!never_held(d) && !ls_seq_dest_aborted(q) &&
		    (ls_seq_source_returns(q) || s->refused || s->gone || never_held(s)))
			return LS_SEQ_SETTLE;
	} else if (!d->prepared) {
		return LS_SEQ_PREPARE;
	} else {
		*gates = ls_seq_allowed(q) & ls_seq_gate_bit(LS_GATE_DECIDE) & ~d->granted;
		if (*gates)
			return LS_SEQ_GRANT;
	}
	return d->ask ? LS_SEQ_GET_WORD : -1;
}

static void drive(struct ls_seq *q, enum ls_seq_side side, struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];
	uint32_t gates = 0;
	int kind;

	if (s->prepared && !s->ended && !s->watching && !s->ask && !s->gone && t.now_ns >= s->watch_retry_ns) {
		s->watching = true;
		ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_WATCH, .side = side, .after = s->seen});
	}
	if (s->busy || t.now_ns < s->retry_ns)
		return;
	kind = side == LS_SEQ_SOURCE ? next_source(q, &gates) : next_dest(q, &gates);
	if (kind < 0) {
		s->tries = 0;
		return;
	}
	s->busy = true;
	s->granting = gates;
	s->tried |= kind == LS_SEQ_PREPARE;
	ls_seq_emit(q, (struct ls_seq_action){.kind = (enum ls_seq_action_kind)kind, .side = side, .gates = gates});
}

bool ls_seq_loose(const struct ls_seq *q)
{
	return q->finished && q->view->phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED && q->planned && !dest_clear(q);
}

void ls_seq_advance(struct ls_seq *q, struct ls_seq_time t)
{
	if (ls_seq_loose(q))
		return drive(q, LS_SEQ_DEST, t);
	if (q->finished || q->finishing || !q->view->created_ms)
		return;
	if (!q->planned) {
		if (q->cancel_asked)
			returned(q, t);
		else if (!q->plan_busy)
			ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_PLAN});
		q->plan_busy = true;
		return;
	}
	q->waiting = false;
	if (conclude(q, t))
		return;
	if (!q->waiting)
		q->patience_ns = 0;
	drive(q, LS_SEQ_DEST, t);
	drive(q, LS_SEQ_SOURCE, t);
}

bool ls_seq_prepare_again(const struct seq_side *s)
{
	return s->tries < PREPARE_TRIES;
}

uint64_t ls_seq_deadline(const struct ls_seq *q)
{
	uint64_t at = UINT64_MAX;

	if ((q->finished && !ls_seq_loose(q)) || (q->finishing && !q->finished) || !q->planned)
		return at;
	if (q->patience_ns && !q->finished)
		at = q->patience_ns;
	for (int i = 0; i < 2; i++) {
		const struct seq_side *s = &q->side[i];

		if (s->ended || (q->finished && i == LS_SEQ_SOURCE))
			continue;
		if (!s->busy && s->tries && s->retry_ns < at)
			at = s->retry_ns;
		if (s->prepared && !s->watching && !s->ask && !s->gone && s->watch_retry_ns < at)
			at = s->watch_retry_ns;
	}
	return at;
}
