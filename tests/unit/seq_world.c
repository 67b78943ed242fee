// SPDX-License-Identifier: Apache-2.0
#include "seq_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_internal.h"

enum { S = LS_SEQ_SOURCE, D = LS_SEQ_DEST };

static void note(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct world *w, const char *fmt, ...)
{
	size_t n = strlen(w->trace);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->trace + n, sizeof(w->trace) - n, fmt, ap);
	va_end(ap);
}

#define HOLDS(w, what)                                                                                                 \
	do {                                                                                                           \
		if (!(what))                                                                                           \
			fail_msg("%s\nafter: %s", #what, (w)->trace);                                                  \
	} while (0)

static struct ls_seq_time now(struct world *w)
{
	return (struct ls_seq_time){.now_ns = w->now, .unix_ms = 1000 + w->now / 1000000};
}

static bool says(const struct world *w, int side, const char *word)
{
	return strcmp(w->agent[side].word, word) == 0;
}

// ---- agents ----

static Lockstep__V1__AgentEvent *event(struct world *w, int side)
{
	struct world_agent *a = &w->agent[side];
	Lockstep__V1__AgentEvent *e;

	LS_MSG_NEW(e, LOCKSTEP__V1__AGENT_EVENT__INIT);
	HOLDS(w, a->n < WORLD_EVENTS);
	a->event[a->n++] = e;
	e->sequence = a->n;
	return e;
}

static void speak(struct world *w, int side, const char *word)
{
	Lockstep__V1__AgentEvent *e = event(w, side);

	e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_WORD;
	e->word = (char *)protobuf_c_empty_string;
	ls_msg_set(&e->word, word);
	snprintf(w->agent[side].word, sizeof(w->agent[side].word), "%s", word);
	note(w, "[%c:%s] ", side == S ? 'S' : 'D', word);
}

static void reach(struct world *w, int side, enum ls_gate gate)
{
	Lockstep__V1__AgentEvent *e = event(w, side);

	e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_GATE;
	e->gate = (Lockstep__V1__Gate)gate;
	w->agent[side].at[gate] = true;
}

static void end(struct world *w, int side, Lockstep__V1__Ended__How how)
{
	Lockstep__V1__AgentEvent *e = event(w, side);

	e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_ENDED;
	LS_MSG_NEW(e->ended, LOCKSTEP__V1__ENDED__INIT);
	e->ended->how = how;
	w->agent[side].ended = true;
}

void world_needs_operator(struct world *w, int side, const char *reason)
{
	struct world_agent *a = &w->agent[side];
	Lockstep__V1__ErrorDetail *why;

	end(w, side, LOCKSTEP__V1__ENDED__HOW__OPERATOR);
	note(w, "[%c waits: %s] ", side == S ? 'S' : 'D', reason);
	if (!reason[0])
		return;
	LS_MSG_NEW(why, LOCKSTEP__V1__ERROR_DETAIL__INIT);
	ls_msg_set(&why->reason, reason);
	a->event[a->n - 1]->ended->error = why;
}

static bool passed(const struct world *w, int side, enum ls_gate gate)
{
	return w->agent[side].at[gate] && (w->agent[side].granted & 1u << gate);
}

// What an agent does by itself next; `act` false: only whether there is something.
static bool agent_step(struct world *w, int side, bool act)
{
	struct world_agent *a = &w->agent[side];

	if (side == S) {
		if (says(w, S, "RETURNING"))
			return act  ? speak(w, S, "RETURNED"), end(w, S, LOCKSTEP__V1__ENDED__HOW__RETURNED),
			       true : true;
		if ((says(w, S, "ACTIVE") || says(w, S, "CONSENTED")) && says(w, D, "ABORTED"))
			return act ? speak(w, S, "RETURNING"), true : true;
		if (says(w, S, "ACTIVE") && !a->at[LS_GATE_BEFORE_PAUSE])
			return act ? reach(w, S, LS_GATE_BEFORE_PAUSE), true : true;
		if (says(w, S, "ACTIVE") && passed(w, S, LS_GATE_BEFORE_PAUSE) && !a->at[LS_GATE_STOPPED])
			return act ? reach(w, S, LS_GATE_STOPPED), true : true;
		if (says(w, S, "CONSENTED") && says(w, D, "STARTED"))
			return act ? speak(w, S, "RELEASED"), end(w, S, LOCKSTEP__V1__ENDED__HOW__DONE), true : true;
		return false;
	}
	if (says(w, D, "COMMITTED") && !a->ended)
		return act ? speak(w, D, "STARTED"), end(w, D, LOCKSTEP__V1__ENDED__HOW__DONE), true : true;
	if (says(w, D, "ABORTED") && !a->ended)
		return act ? end(w, D, LOCKSTEP__V1__ENDED__HOW__ABORTED), true : true;
	if (!says(w, D, "UNDECIDED"))
		return false;
	if (says(w, S, "RETURNING") || says(w, S, "RETURNED")) // the source's Abort arrives
		return act ? speak(w, D, "ABORTED"), true : true;
	if (passed(w, S, LS_GATE_STOPPED) && !a->at[LS_GATE_DECIDE])
		return act ? reach(w, D, LS_GATE_DECIDE), true : true;
	if (passed(w, D, LS_GATE_DECIDE) && says(w, S, "ACTIVE"))
		return act ? speak(w, S, "CONSENTED"), true : true;
	if (passed(w, D, LS_GATE_DECIDE) && says(w, S, "CONSENTED"))
		return act ? speak(w, D, "COMMITTED"), true : true;
	return false;
}

static void agent_fails(struct world *w, int side)
{
	speak(w, side, side == S ? "RETURNING" : "ABORTED");
}

// ---- calls ----

static const char *const call_name[] = {"persist", "plan", "prepare", "grant",   "unwind",
					"settle",  "word", "find",    "resolve", "watch"};

// The gates that clients let go, as far as the disk knows.
static uint32_t released(const struct world *w)
{
	uint32_t gates = 0;

	for (unsigned i = 0; i < w->n_disk; i++)
		if (w->disk[i]->kind_case == LOCKSTEP__STORE__RECORD__KIND_ASKED)
			gates |= 1u << w->disk[i]->asked->release & ~1u;
	return gates;
}

static void check_call(struct world *w, int side, const struct ls_seq_action *c)
{
	uint32_t allowed = (1u << LS_GATE_COUNT) - 2;

	for (unsigned g = LS_GATE_BEFORE_PAUSE; g < LS_GATE_COUNT; g++)
		if (w->held & ~released(w) & 1u << g)
			allowed &= (1u << g) - 1;
	switch (c->kind) {
	case LS_SEQ_PREPARE:
		HOLDS(w, side == D || w->agent[D].word[0]);
		// Another life, which perhaps made another plan: it may not be prepared anew.
		HOLDS(w, !w->agent[side].word[0] || w->agent[side].prepared_in == w->life ||
				 says(w, side, "ABORTED"));
		break;
	case LS_SEQ_GRANT:
		HOLDS(w, c->gates && !(c->gates & ~allowed));
		HOLDS(w, w->agent[S].at[LS_GATE_BEFORE_PAUSE]);
		HOLDS(w, side == D ? c->gates == 1u << LS_GATE_DECIDE : !(c->gates & 1u << LS_GATE_DECIDE));
		// Nothing is left to ask for once the VM stands still.
		HOLDS(w, side == D || !(allowed & 1u << LS_GATE_DECIDE) || w->agent[D].granted || w->agent[D].ended);
		break;
	case LS_SEQ_UNWIND:
		HOLDS(w, side == S);
		break;
	case LS_SEQ_RESOLVE:
		HOLDS(w, w->fenced && side == S && c->resolve == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED);
		HOLDS(w, w->n_disk && ls_seq_claim(w->q)); // rule 8: recorded before it is told
		break;
	case LS_SEQ_SETTLE:
		HOLDS(w, side == D);
		HOLDS(w, !w->agent[S].word[0] || says(w, S, "RETURNING") || says(w, S, "RETURNED") ||
				 w->agent[S].prepared_refuses || says(w, D, "ABORTED"));
		break;
	default:
		break;
	}
}

static void apply_call(struct world *w, int side, struct ls_seq_answer *answer)
{
	struct world_agent *a = &w->agent[side];

	switch (a->call.kind) {
	case LS_SEQ_PREPARE:
		if (a->prepared_refuses || (side == D && says(w, D, "ABORTED"))) {
			answer->status = LS_RPC_FAILED_PRECONDITION;
			ls_fail(&answer->error, LS_E_DEVICE_BUSY, 0, "refused");
		} else if (!a->word[0]) {
			speak(w, side, side == S ? "ACTIVE" : "UNDECIDED");
			a->prepared_in = w->life;
		}
		break;
	case LS_SEQ_RESOLVE:
		if (says(w, S, "CONSENTED")) {
			speak(w, S, "RETURNING");
		} else {
			answer->status = LS_RPC_FAILED_PRECONDITION;
			ls_fail(&answer->error, LS_E_CONFLICT, 0, "settled");
		}
		break;
	case LS_SEQ_FIND:
		answer->prepare = w->prepare[side];
		break;
	case LS_SEQ_GRANT:
		a->granted |= a->call.gates;
		break;
	case LS_SEQ_UNWIND:
		if (says(w, S, "ACTIVE")) {
			speak(w, S, "RETURNING");
		} else if (says(w, S, "CONSENTED") || says(w, S, "RELEASED")) {
			answer->status = LS_RPC_FAILED_PRECONDITION;
			ls_fail(&answer->error, LS_E_BAD_STATE, 0, "too late");
		}
		break;
	case LS_SEQ_SETTLE:
		if (!a->word[0] || says(w, D, "UNDECIDED"))
			speak(w, D, "ABORTED");
		break;
	default:
		break;
	}
	answer->word = a->word;
	answer->ledger_id = side == S ? "ledger-s" : "ledger-d";
	answer->known = a->word[0];
}

enum { ANSWERED, APPLIED_BUT_LOST, NEVER_ARRIVED };

static void finish_call(struct world *w, int side, int how)
{
	struct world_agent *a = &w->agent[side];
	struct ls_seq_answer answer = {.kind = a->call.kind, .sent = true};

	note(w, "%s%c%s ", call_name[a->call.kind], side == S ? 'S' : 'D',
	     how == ANSWERED	       ? ""
	     : how == APPLIED_BUT_LOST ? "(answer lost)"
				       : "(lost)");
	a->calling = false;
	if (how != NEVER_ARRIVED)
		apply_call(w, side, &answer);
	if (how != ANSWERED) {
		answer.status = LS_RPC_UNAVAILABLE;
		answer.word = answer.ledger_id = NULL;
		ls_fail(&answer.error, LS_E_UNAVAILABLE, 0, "cut");
	}
	ls_seq_answer(w->q, (enum ls_seq_side)side, &answer, now(w));
}

// ---- the coordinator's shell ----

static void drain(struct world *w)
{
	struct ls_seq_action a;

	while (ls_seq_next(w->q, &a)) {
		struct world_agent *g = &w->agent[a.side];

		switch (a.kind) {
		case LS_SEQ_PERSIST:
			HOLDS(w, w->n_pending < WORLD_RECORDS);
			w->pending[w->n_pending++] = a.record;
			break;
		case LS_SEQ_PLAN:
			HOLDS(w, !w->planning);
			w->planning = true;
			break;
		case LS_SEQ_CHANGED:
			break;
		case LS_SEQ_WATCH:
			HOLDS(w, !g->watching);
			g->watching = true;
			g->told = (unsigned)a.after;
			break;
		default:
			HOLDS(w, !g->calling);
			check_call(w, a.side, &a);
			g->calling = true;
			g->call = a;
			break;
		}
	}
}

static void drop_pending(struct world *w)
{
	for (unsigned i = 0; i < w->n_pending; i++)
		ls_msg_free(w->pending[i]);
	w->n_pending = 0;
}

static void lose_store(struct world *w, unsigned keep);

static void crash(struct world *w)
{
	if (!w->n_disk && w->losses)
		return lose_store(w, 0); // what was learnt was not durable: the agents tell again
	note(w, "CRASH ");
	w->life++;
	ls_seq_free(w->q);
	drop_pending(w);
	w->planning = w->cancelled = false;
	// What was not durable was not promised: clients ask again.
	for (unsigned i = 0; i < w->n_disk; i++)
		if (w->disk[i]->kind_case == LOCKSTEP__STORE__RECORD__KIND_ASKED)
			w->cancelled |= w->disk[i]->asked->cancel;
	w->released = released(w);
	for (int i = 0; i < 2; i++)
		w->agent[i].calling = w->agent[i].watching = false;
	if (!w->n_disk) {
		// Nobody was told that it exists.
		w->q = NULL;
		w->crashed_early = true;
		return;
	}
	w->q = ls_seq_restore(w->disk[0]);
	for (unsigned i = 1; i < w->n_disk; i++)
		ls_seq_fold(w->q, w->disk[i]);
	ls_seq_go_on(w->q, now(w));
}

// The store is an older copy from now on, or empty: then the agents tell.
static void lose_store(struct world *w, unsigned keep)
{
	Lockstep__V1__ListAgentMigrationsResponse__Entry e = LOCKSTEP__V1__LIST_AGENT_MIGRATIONS_RESPONSE__ENTRY__INIT;
	int side = w->agent[S].word[0] && !ls_seq_last_word(w->agent[S].word) ? S : D;

	note(w, "LOST>%u ", keep);
	w->losses++;
	while (w->n_disk > keep)
		ls_msg_free(w->disk[--w->n_disk]);
	if (keep)
		return crash(w);
	ls_seq_free(w->q);
	drop_pending(w);
	w->planning = w->cancelled = false;
	w->released = 0;
	w->life++;
	for (int i = 0; i < 2; i++)
		w->agent[i].calling = w->agent[i].watching = false;
	w->q = NULL;
	w->forgotten = !w->agent[side].word[0] || ls_seq_last_word(w->agent[side].word);
	if (w->forgotten)
		return;
	e.migration = w->spec->id;
	e.side = side == S ? LOCKSTEP__V1__SIDE__SIDE_SOURCE : LOCKSTEP__V1__SIDE__SIDE_DESTINATION;
	e.word = w->agent[side].word;
	e.ledger_id = (char *)(uintptr_t)(side == S ? "ledger-s" : "ledger-d");
	e.prepare = w->prepare[side];
	w->q = ls_seq_rebuild(&e, side == S ? "a" : "b", now(w));
	HOLDS(w, w->q);
}

static void persist_one(struct world *w)
{
	Lockstep__Store__Record *r = w->pending[0];

	memmove(w->pending, w->pending + 1, --w->n_pending * sizeof(w->pending[0]));
	HOLDS(w, w->n_disk < WORLD_RECORDS);
	w->disk[w->n_disk++] = r;
	ls_seq_persisted(w->q, r, now(w));
}

static void deliver(struct world *w, int side, bool again)
{
	struct world_agent *a = &w->agent[side];

	if (again)
		ls_seq_agent_event(w->q, (enum ls_seq_side)side, a->event[a->told - 1], now(w));
	else if (a->told < a->n)
		ls_seq_agent_event(w->q, (enum ls_seq_side)side, a->event[a->told++], now(w));
	else {
		a->watching = false;
		ls_seq_watch_ended(w->q, (enum ls_seq_side)side, now(w));
	}
}

// ---- what may happen ----

enum what {
	PERSIST,
	PLANNED,
	REPLY,
	EVENT,
	STEP,
	RELEASE,
	TICK, // in this order without faults
	REPLY_LOST,
	CALL_LOST,
	WATCH_BREAKS,
	EVENT_AGAIN,
	FAILS,
	CANCEL,
	CRASH,
	FENCE,
	OLDER_STORE,
	EMPTY_STORE,
	N_WHAT
};

static bool may_fence(struct world *w)
{
	Lockstep__V1__ResolveResponse *r = ls_seq_explain(w->q);
	const Lockstep__V1__Migration *v = ls_seq_view(w->q);
	bool open = false;

	HOLDS(w, r->n_option == 5 && r->n_known >= 2);
	for (size_t i = 0; i < r->n_option; i++) {
		const Lockstep__V1__ResolveResponse__Option *o = r->option[i];

		HOLDS(w, o->effect[0] && o->open == !o->why_not[0]);
		if (o->action == LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED)
			open = o->open;
	}
	HOLDS(w, !open || (strcmp(v->source_word, "CONSENTED") == 0 && strcmp(v->destination_word, "COMMITTED") != 0 &&
			   strcmp(v->destination_word, "STARTED") != 0));
	ls_msg_free(r);
	return open;
}

static bool can(struct world *w, enum what what, int side)
{
	struct world_agent *a = &w->agent[side];
	const Lockstep__V1__Migration *v = ls_seq_view(w->q);

	switch (what) {
	case PERSIST:
		return side == S && w->n_pending;
	case PLANNED:
		return side == S && w->planning;
	case REPLY:
		return a->calling;
	case EVENT:
		return a->watching && (a->told < a->n || a->ended);
	case STEP:
		return agent_step(w, side, false);
	case RELEASE:
		return side == S && v->waiting_at && (w->held & ~w->released);
	case TICK:
		return side == S && ls_seq_deadline(w->q) != UINT64_MAX;
	case REPLY_LOST:
	case CALL_LOST:
		return w->faults && a->calling;
	case WATCH_BREAKS:
		return w->faults && a->watching;
	case EVENT_AGAIN:
		return w->faults && a->watching && a->told;
	case FAILS:
		return w->faults && (side == S ? says(w, S, "ACTIVE") : says(w, D, "UNDECIDED"));
	case CANCEL:
		return w->faults && side == S && !w->cancelled;
	case FENCE:
		return w->operators && w->faults && side == S && !w->fenced && may_fence(w);
	case OLDER_STORE:
		return w->operators && w->faults && side == S && w->n_disk > 1;
	case EMPTY_STORE:
		return w->operators && w->faults && side == S && w->n_disk && !w->losses;
	default:
		return w->faults && side == S;
	}
}

bool world_over(const struct world *w)
{
	if (w->crashed_early || w->forgotten)
		return true;
	if (ls_seq_operator(w->q) && strcmp(ls_seq_view(w->q)->error->reason, "CONFLICT") == 0)
		return !w->n_pending;
	return (ls_seq_ended(w->q) && !ls_seq_operator(w->q) && !ls_seq_loose(w->q) && !w->n_pending);
}

unsigned world_options(struct world *w)
{
	unsigned n = 0;

	if (world_over(w))
		return 0;
	for (int what = 0; what < N_WHAT; what++)
		for (int side = 0; side < 2; side++)
			n += can(w, (enum what)what, side);
	return n;
}

static void release(struct world *w)
{
	enum ls_gate gate = (enum ls_gate)ls_seq_view(w->q)->waiting_at;
	struct ls_error err;

	note(w, "release%d ", gate);
	w->released |= 1u << gate;
	HOLDS(w, ls_seq_release(w->q, gate, "test", now(w), &err) == 0);
}

static void fence(struct world *w)
{
	Lockstep__V1__FenceClaim claim = LOCKSTEP__V1__FENCE_CLAIM__INIT;
	struct ls_error err;

	note(w, "FENCE ");
	w->fenced = true;
	claim.host = w->spec->destination;
	claim.method = LOCKSTEP__V1__FENCE_CLAIM__METHOD__POWERED_OFF;
	claim.evidence = (char *)(uintptr_t) "off";
	HOLDS(w, ls_seq_resolve(w->q, LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_RETURN_FENCED, &claim, "op", now(w), &err) ==
			 0);
}

static void happen(struct world *w, enum what what, int side)
{
	static const uint8_t token[LS_TOKEN_SIZE] = {1};
	struct ls_error err;

	if (what > TICK)
		w->faults--;
	switch (what) {
	case PERSIST:
		return persist_one(w);
	case PLANNED:
		w->planning = false;
		return ls_seq_planned(w->q, w->plan, token, now(w));
	case REPLY:
		return finish_call(w, side, ANSWERED);
	case EVENT:
		return deliver(w, side, false);
	case STEP:
		return (void)agent_step(w, side, true);
	case RELEASE:
		return release(w);
	case TICK:
		w->now = ls_seq_deadline(w->q) > w->now ? ls_seq_deadline(w->q) : w->now + 1;
		return ls_seq_tick(w->q, now(w));
	case REPLY_LOST:
		return finish_call(w, side, APPLIED_BUT_LOST);
	case CALL_LOST:
		return finish_call(w, side, NEVER_ARRIVED);
	case WATCH_BREAKS:
		note(w, "break%c ", side == S ? 'S' : 'D');
		w->agent[side].watching = false;
		return ls_seq_watch_ended(w->q, (enum ls_seq_side)side, now(w));
	case EVENT_AGAIN:
		return deliver(w, side, true);
	case FAILS:
		return agent_fails(w, side);
	case CANCEL:
		note(w, "cancel ");
		w->cancelled = true;
		w->cancel_refused = ls_seq_cancel(w->q, "test", now(w), &err) < 0;
		return;
	case FENCE:
		return fence(w);
	case OLDER_STORE:
		return lose_store(w, (w->n_disk + 1) / 2);
	case EMPTY_STORE:
		return lose_store(w, 0);
	default:
		return crash(w);
	}
}

bool world_fence(struct world *w)
{
	enum what what = can(w, FENCE, S) ? FENCE : WATCH_BREAKS;
	int side = what == FENCE ? S : D;

	if (w->fenced || w->faults < 2)
		return false;
	if (what != FENCE && w->agent[D].calling)
		what = CALL_LOST;
	if (!can(w, what, side))
		return false;
	happen(w, what, side);
	drain(w);
	return true;
}

bool world_cut_dest(struct world *w)
{
	if (!w->agent[D].calling && !w->agent[D].watching)
		return false;
	happen(w, w->agent[D].calling ? CALL_LOST : WATCH_BREAKS, D);
	drain(w);
	return true;
}

void world_do(struct world *w, unsigned i)
{
	for (int what = 0; what < N_WHAT; what++)
		for (int side = 0; side < 2; side++)
			if (can(w, (enum what)what, side) && i-- == 0) {
				happen(w, (enum what)what, side);
				if (w->q)
					drain(w);
				return;
			}
	fail_msg("no such option\nafter: %s", w->trace);
}

void world_check_end(struct world *w)
{
	const Lockstep__V1__Migration *v;

	if (w->crashed_early) {
		HOLDS(w, !w->agent[S].word[0] && !w->agent[D].word[0]);
		return;
	}
	if (w->forgotten)
		return;
	v = ls_seq_view(w->q);
	HOLDS(w, world_over(w));
	if (v->phase == LOCKSTEP__V1__PHASE__PHASE_OPERATOR) {
		// Only a false fence may end so, and it never ends in silence.
		HOLDS(w, w->fenced && strcmp(v->error->reason, "CONFLICT") == 0);
		HOLDS(w, says(w, D, "COMMITTED") || says(w, D, "STARTED"));
		return;
	}
	switch (v->phase) {
	case LOCKSTEP__V1__PHASE__PHASE_DONE:
		HOLDS(w, says(w, S, "RELEASED") && says(w, D, "STARTED"));
		break;
	case LOCKSTEP__V1__PHASE__PHASE_RETURNED:
		HOLDS(w, says(w, S, "RETURNED") || !w->agent[S].word[0]);
		HOLDS(w, says(w, D, "ABORTED") || !w->agent[D].word[0]);
		HOLDS(w, v->error != NULL);
		break;
	case LOCKSTEP__V1__PHASE__PHASE_REFUSED:
		HOLDS(w, !w->plan->feasible && !w->agent[S].word[0] && !w->agent[D].word[0] && v->error);
		break;
	default:
		fail_msg("ended in phase %d\nafter: %s", v->phase, w->trace);
	}
	HOLDS(w, v->waiting_at == LOCKSTEP__V1__GATE__GATE_NONE);
	HOLDS(w, ls_seq_deadline(w->q) == UINT64_MAX);
}

static Lockstep__V1__DryRunResponse *make_plan(bool feasible)
{
	Lockstep__V1__DryRunResponse *p;
	Lockstep__V1__Check *c;

	LS_MSG_NEW(p, LOCKSTEP__V1__DRY_RUN_RESPONSE__INIT);
	LS_MSG_NEW(c, LOCKSTEP__V1__CHECK__INIT);
	ls_msg_set(&c->id, "pair.type");
	c->result = feasible ? LOCKSTEP__V1__CHECK__RESULT__PASS : LOCKSTEP__V1__CHECK__RESULT__FAIL;
	LS_MSG_APPEND(p->n_check, p->check, c);
	p->feasible = feasible;
	if (feasible)
		LS_MSG_NEW(p->schedule, LOCKSTEP__V1__SCHEDULE__INIT);
	return p;
}

struct world *world_new(uint32_t held, bool feasible, unsigned faults)
{
	struct world *w = ls_msg_alloc(sizeof(*w));

	w->plan = make_plan(feasible);
	w->held = held;
	w->faults = faults;
	w->now = 1000000000;
	LS_MSG_NEW(w->spec, LOCKSTEP__V1__MIGRATION_SPEC__INIT);
	ls_msg_set(&w->spec->id, "m1");
	w->spec->hold = ls_msg_alloc(LS_GATE_COUNT * sizeof(w->spec->hold[0]));
	for (unsigned g = 1; g < LS_GATE_COUNT; g++)
		if (held & 1u << g)
			w->spec->hold[w->spec->n_hold++] = (Lockstep__V1__Gate)g;
	ls_msg_set(&w->spec->vm, "vm");
	ls_msg_set(&w->spec->source, "a");
	ls_msg_set(&w->spec->destination, "b");
	for (int i = 0; i < 2; i++) {
		Lockstep__V1__PrepareRequest *p;

		LS_MSG_NEW(p, LOCKSTEP__V1__PREPARE_REQUEST__INIT);
		LS_MSG_NEW(p->schedule, LOCKSTEP__V1__SCHEDULE__INIT);
		ls_msg_set(&p->vm, "vm");
		ls_msg_set(&p->peer_host, i == S ? "b" : "a");
		ls_msg_set(&p->peer_ledger_id, i == S ? "ledger-d" : "");
		p->side = i == S ? LOCKSTEP__V1__SIDE__SIDE_SOURCE : LOCKSTEP__V1__SIDE__SIDE_DESTINATION;
		p->n_hold = w->spec->n_hold;
		p->hold = ls_msg_alloc(LS_GATE_COUNT * sizeof(p->hold[0]));
		memcpy(p->hold, w->spec->hold, w->spec->n_hold * sizeof(p->hold[0]));
		w->prepare[i] = p;
	}
	w->q = ls_seq_new(w->spec, "test", now(w));
	drain(w);
	return w;
}

void world_free(struct world *w)
{
	drop_pending(w);
	for (unsigned i = 0; i < w->n_disk; i++)
		ls_msg_free(w->disk[i]);
	for (int a = 0; a < 2; a++)
		for (unsigned i = 0; i < w->agent[a].n; i++)
			ls_msg_free(w->agent[a].event[i]);
	ls_seq_free(w->q);
	ls_msg_free(w->prepare[S]);
	ls_msg_free(w->prepare[D]);
	ls_msg_free(w->plan);
	ls_msg_free(w->spec);
	free(w);
}
