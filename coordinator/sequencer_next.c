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

void ls_seq_persist(struct ls_seq *q, Lockstep__Store__Record *r)
{
	ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_PERSIST, .record = r});
}

Lockstep__Store__Record *ls_seq_record(struct ls_seq_time t)
{
	Lockstep__Store__Record *r;

	LS_MSG_NEW(r, LOCKSTEP__STORE__RECORD__INIT);
	r->time_ms = t.unix_ms;
	return r;
}

bool ls_seq_never_held(const struct seq_side *s)
{
	return !s->prepared && !s->unsure && (s->refused_certain || !s->tried || s->gone);
}

// Nothing is left to be done at the destination: it can never run the VM.
static bool dest_clear(const struct ls_seq *q)
{
	const struct seq_side *d = &q->side[LS_SEQ_DEST];

	return ls_seq_never_held(d) || d->gone || (d->ended && d->how == HOW_ABORTED) || d->closed ||
	       (d->ledger_lost && ls_seq_source_returns(q));
}

void ls_seq_finish(struct ls_seq *q, Lockstep__V1__Phase phase, const struct ls_error *err, struct ls_seq_time t)
{
	bool operator = phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR;
	Lockstep__Store__Record *r = ls_seq_record(t);

	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_FINISHED;
	LS_MSG_NEW(r->finished, LOCKSTEP__STORE__FINISHED__INIT);
	r->finished->phase = phase;
	r->finished->loose = phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED && !dest_clear(q);
	r->finished->closed = operator && q->closing;
	if (err && err->reason != LS_E_NONE)
		r->finished->error = ls_msg_error(err);
	q->overlaying = operator && !r->finished->closed;
	q->finishing = !q->overlaying;
	ls_seq_persist(q, r);
}

bool ls_seq_abandoned(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	// A source that says that it holds nothing was asked back while the store failed, before it was prepared.
	return ((q->cancel_asked || q->store_failing) && !ls_seq_cancel_refused(q)) || s->refused || d->refused ||
	       (s->gone && !s->prepared && !ls_seq_consented(q)) ||
	       ls_seq_source_returns(q) || ls_seq_dest_aborted(q) ||
	       (ls_seq_rebuilt(q) && !s->unsure && !s->prepared && !ls_seq_consented(q));
}

bool ls_seq_source_home(const struct ls_seq *q)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE];

	return ls_seq_never_held(s) || s->gone || (s->ended && s->how == HOW_RETURNED);
}

static void returned(struct ls_seq *q, struct ls_seq_time t)
{
	struct ls_error err = {0};

	if (q->cancel_asked)
		ls_fail(&err, LS_E_CANCELLED, 0, "cancelled by the client");
	else if (q->store_failing)
		ls_fail(&err, LS_E_LEDGER, 0, "the coordinator's store could not be written");
	else if (ls_seq_rebuilt(q) && !q->side[LS_SEQ_SOURCE].prepared)
		ls_fail(&err, LS_E_LEDGER, 0,
			"the coordinator lost its store before the source was prepared: start it anew");
	else
		ls_fail(&err, LS_E_PEER_ABORTED, 0, "given up by an agent that did not say why");
	ls_seq_finish(q, LOCKSTEP__V1__PHASE__PHASE_RETURNED, &err, t);
}

bool ls_seq_patience_over(struct ls_seq *q, struct ls_seq_time t)
{
	q->waiting = true;
	if (!q->patience_ns)
		q->patience_ns = t.now_ns + PATIENCE_NS;
	return t.now_ns >= q->patience_ns;
}

static bool close_told(const struct seq_side *s)
{
	return s->closed || !s->prepared || ls_seq_through(s);
}

// Has it come to an end?
static bool conclude(struct ls_seq *q, struct ls_seq_time t)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];
	struct ls_error err;

	if (!q->planned->plan->feasible) {
		ls_plan_error(q->planned->plan, &err);
		ls_seq_finish(q, LOCKSTEP__V1__PHASE__PHASE_REFUSED, &err, t);
	} else if (q->closing) {
		if ((close_told(s) && close_told(d)) || ls_seq_patience_over(q, t))
			ls_seq_finish(q, LOCKSTEP__V1__PHASE__PHASE_OPERATOR, NULL, t);
	} else if (ls_seq_conflict(q)) {
		return false;
	} else if (s->ended && s->how == HOW_DONE) {
		// RELEASED is written after STARTED was heard: the destination's last events only add detail.
		if (ls_seq_through(d) || ls_seq_patience_over(q, t))
			ls_seq_finish(q, LOCKSTEP__V1__PHASE__PHASE_DONE, NULL, t);
	} else if (!s->prepared && ls_seq_consented(q)) {
		return false; // the source forgot: an operator is called
	} else if (ls_seq_abandoned(q) && ls_seq_source_home(q) && !(ls_seq_waits(d) && !d->closed)) {
		// A destination that is silent can no longer commit (rule 1): the VM is free, the loose end is kept.
		if (dest_clear(q) || ls_seq_patience_over(q, t))
			returned(q, t);
	}
	return q->finishing;
}

// One call per side at a time; returns its kind or -1.
static int next_source(struct ls_seq *q, struct ls_seq_action *a)
{
	struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];
	uint32_t mine = ls_seq_gate_bit(LS_GATE_BEFORE_PAUSE) | ls_seq_gate_bit(LS_GATE_STOPPED);
	uint32_t theirs = ls_seq_gate_bit(LS_GATE_DECIDE);

	if (ls_seq_through(s) || s->gone)
		return -1;
	if (ls_seq_abandoned(q)) {
		// Its word first, where that is in doubt: a ledger that was set back refuses the unwind for ever.
		if (!s->ask && !ls_seq_never_held(s) && !ls_seq_source_returns(q) && !s->unwind_refused && !s->ended)
			return LS_SEQ_UNWIND;
	} else if (d->prepared && !s->prepared && !ls_seq_consented(q)) {
		return LS_SEQ_PREPARE;
	} else if (!s->ended && !s->ask) {
		a->gates = ls_seq_allowed(q) & mine & ~s->granted;
		// The destination's gate first: nothing may be left to ask for once the VM stands still.
		if (a->gates && !(ls_seq_allowed(q) & theirs & ~d->granted))
			return LS_SEQ_GRANT;
	}
	return s->ask ? LS_SEQ_GET_WORD : -1;
}

static int next_dest(struct ls_seq *q, struct ls_seq_action *a)
{
	struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	if (ls_seq_through(d) || d->gone)
		return -1;
	if (ls_seq_dest_lost(q) && ls_seq_source_returns(q) && !d->closed) {
		a->resolve = LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_CLOSE;
		return LS_SEQ_RESOLVE;
	}
	if (ls_seq_abandoned(q)) {
		// Safe once the source cannot consent, or never agreed to take part.
		if (!ls_seq_never_held(d) && !ls_seq_dest_aborted(q) && !d->ended && !ls_seq_conflict(q) &&
		    (ls_seq_source_returns(q) || s->refused || s->gone || ls_seq_never_held(s)))
			return LS_SEQ_SETTLE;
	} else if (!d->prepared) {
		return LS_SEQ_PREPARE;
	} else if (!d->ended && !d->ask) {
		a->gates = ls_seq_allowed(q) & ls_seq_gate_bit(LS_GATE_DECIDE) & ~d->granted;
		if (a->gates)
			return LS_SEQ_GRANT;
	}
	return d->ask ? LS_SEQ_GET_WORD : -1;
}

static bool resolves_at(const struct ls_seq *q, enum ls_seq_side side)
{
	switch (q->resolving) {
	case LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_EXPLAIN:
		return false;
	case LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RESET_DESTINATION:
		return side == LS_SEQ_DEST;
	case LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_CLOSE:
		return !close_told(&q->side[side]);
	default:
		return side == LS_SEQ_SOURCE;
	}
}

static int next_call(struct ls_seq *q, enum ls_seq_side side, struct ls_seq_action *a)
{
	if (q->side[side].unsure)
		return LS_SEQ_FIND;
	if (resolves_at(q, side)) {
		a->resolve = q->resolving;
		return LS_SEQ_RESOLVE;
	}
	if (!q->planned || q->closing)
		return -1;
	return side == LS_SEQ_SOURCE ? next_source(q, a) : next_dest(q, a);
}

static void drive(struct ls_seq *q, enum ls_seq_side side, struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];
	struct ls_seq_action a = {.side = side};
	int kind;

	if (s->prepared && !ls_seq_through(s) && !s->watching && !s->ask && !s->gone && t.now_ns >= s->watch_retry_ns) {
		s->watching = true;
		memset(s->state_ns, 0, sizeof(s->state_ns)); // a host that was booted has another clock
		ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_WATCH, .side = side, .after = s->seen});
	}
	if (s->busy || t.now_ns < s->retry_ns)
		return;
	kind = next_call(q, side, &a);
	if (kind < 0) {
		s->tries = 0;
		return;
	}
	s->busy = true;
	s->granting = a.gates;
	s->tried |= kind == LS_SEQ_PREPARE;
	a.kind = (enum ls_seq_action_kind)kind;
	ls_seq_emit(q, a);
}

bool ls_seq_deaf(const struct ls_seq *q)
{
	return q->finished ? !ls_seq_loose(q) : q->finishing;
}

bool ls_seq_loose(const struct ls_seq *q)
{
	return q->finished && q->view->phase == LOCKSTEP__V1__PHASE__PHASE_RETURNED && q->planned &&
	       !dest_clear(q);
}

static void plan(struct ls_seq *q, struct ls_seq_time t)
{
	for (int i = 0; i < 2; i++)
		if (q->side[i].unsure || q->side[i].busy) {
			drive(q, LS_SEQ_DEST, t);
			drive(q, LS_SEQ_SOURCE, t);
			return;
		}
	if (q->plan_busy)
		return;
	q->plan_busy = true;
	if (q->cancel_asked)
		returned(q, t);
	else
		ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_PLAN});
}

void ls_seq_advance(struct ls_seq *q, struct ls_seq_time t)
{
	if ((q->finished && !ls_seq_loose(q)) || q->finishing || !q->view->created_ms)
		return;
	if (q->finished) {
		if (!q->overlaying)
			ls_seq_call_operator(q, t); // rule 8: a fence that was false shows now
		return drive(q, LS_SEQ_DEST, t);
	}
	if (!q->planned)
		return plan(q, t);
	q->waiting = false;
	if (!q->overlaying) {
		if (conclude(q, t))
			return;
		ls_seq_call_operator(q, t);
	}
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

	if ((q->finished && !ls_seq_loose(q)) || (q->finishing && !q->finished))
		return at;
	// While the call for an operator is being written, its reason is not looked for again.
	if (q->planned && !q->finished && !q->overlaying) {
		at = ls_seq_operator_deadline(q);
		if (q->patience_ns && q->waiting && q->patience_ns < at)
			at = q->patience_ns;
	}
	for (int i = 0; i < 2; i++) {
		const struct seq_side *s = &q->side[i];

		if (ls_seq_through(s) || (q->finished && i == LS_SEQ_SOURCE))
			continue;
		if (!s->busy && s->tries && s->retry_ns < at)
			at = s->retry_ns;
		if (s->prepared && !s->watching && !s->ask && !s->gone && s->watch_retry_ns < at)
			at = s->watch_retry_ns;
	}
	return at;
}
