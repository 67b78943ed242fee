// SPDX-License-Identifier: Apache-2.0
// The agents of seq_world.h: docs/decision.md in the small, and what each call to them may be and does.
#include "seq_world_internal.h"

void world_note(struct world *w, const char *fmt, ...)
{
	size_t n = strlen(w->trace);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->trace + n, sizeof(w->trace) - n, fmt, ap);
	va_end(ap);
}

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

void world_speak(struct world *w, int side, const char *word)
{
	Lockstep__V1__AgentEvent *e = event(w, side);

	e->kind_case = LOCKSTEP__V1__AGENT_EVENT__KIND_WORD;
	e->word = (char *)protobuf_c_empty_string;
	ls_msg_set(&e->word, word);
	snprintf(w->agent[side].word, sizeof(w->agent[side].word), "%s", word);
	world_note(w, "[%c:%s] ", side == S ? 'S' : 'D', word);
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
	world_note(w, "[%c waits: %s] ", side == S ? 'S' : 'D', reason);
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

bool world_agent_step(struct world *w, int side, bool act)
{
	struct world_agent *a = &w->agent[side];

	if (side == S) {
		if (world_says(w, S, "RETURNING"))
			return act  ? world_speak(w, S, "RETURNED"), end(w, S, LOCKSTEP__V1__ENDED__HOW__RETURNED),
			       true : true;
		if ((world_says(w, S, "ACTIVE") || world_says(w, S, "CONSENTED")) && world_says(w, D, "ABORTED"))
			return act ? world_speak(w, S, "RETURNING"), true : true;
		if (world_says(w, S, "ACTIVE") && !a->at[LS_GATE_BEFORE_PAUSE])
			return act ? reach(w, S, LS_GATE_BEFORE_PAUSE), true : true;
		if (world_says(w, S, "ACTIVE") && passed(w, S, LS_GATE_BEFORE_PAUSE) && !a->at[LS_GATE_STOPPED])
			return act ? reach(w, S, LS_GATE_STOPPED), true : true;
		if (world_says(w, S, "CONSENTED") && world_says(w, D, "STARTED") && !a->deaf)
			return act ? world_speak(w, S, "RELEASED"), end(w, S, LOCKSTEP__V1__ENDED__HOW__DONE),
			       true : true;
		return false;
	}
	if (world_says(w, D, "COMMITTED") && !a->ended)
		return act ? world_speak(w, D, "STARTED"), end(w, D, LOCKSTEP__V1__ENDED__HOW__DONE), true : true;
	if (world_says(w, D, "ABORTED") && !a->ended)
		return act ? end(w, D, LOCKSTEP__V1__ENDED__HOW__ABORTED), true : true;
	if (!world_says(w, D, "UNDECIDED"))
		return false;
	if (world_says(w, S, "RETURNING") || world_says(w, S, "RETURNED")) // the source's Abort arrives
		return act ? world_speak(w, D, "ABORTED"), true : true;
	if (passed(w, S, LS_GATE_STOPPED) && !a->at[LS_GATE_DECIDE])
		return act ? reach(w, D, LS_GATE_DECIDE), true : true;
	if (passed(w, D, LS_GATE_DECIDE) && world_says(w, S, "ACTIVE"))
		return act ? world_speak(w, S, "CONSENTED"), true : true;
	if (passed(w, D, LS_GATE_DECIDE) && world_says(w, S, "CONSENTED"))
		return act ? world_speak(w, D, "COMMITTED"), true : true;
	return false;
}

void world_agent_fails(struct world *w, int side)
{
	world_speak(w, side, side == S ? "RETURNING" : "ABORTED");
}

// ---- calls ----

static const char *const call_name[] = {"persist", "plan", "prepare", "grant",   "unwind",
					"settle",  "word", "find",    "resolve", "watch"};

uint32_t world_released(const struct world *w)
{
	uint32_t gates = 0;

	for (unsigned i = 0; i < w->n_disk; i++)
		if (w->disk[i]->kind_case == LOCKSTEP__STORE__RECORD__KIND_ASKED)
			gates |= 1u << w->disk[i]->asked->release & ~1u;
	return gates;
}

void world_check_call(struct world *w, int side, const struct ls_seq_action *c)
{
	uint32_t allowed = (1u << LS_GATE_COUNT) - 2;

	for (unsigned g = LS_GATE_BEFORE_PAUSE; g < LS_GATE_COUNT; g++)
		if (w->held & ~world_released(w) & 1u << g)
			allowed &= (1u << g) - 1;
	switch (c->kind) {
	case LS_SEQ_PREPARE:
		HOLDS(w, side == D || w->agent[D].word[0]);
		// Another life, which perhaps made another plan: it may not be prepared anew.
		HOLDS(w, !w->agent[side].word[0] || w->agent[side].prepared_in == w->life ||
				 world_says(w, side, "ABORTED"));
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
		HOLDS(w, !w->agent[S].word[0] || world_says(w, S, "RETURNING") || world_says(w, S, "RETURNED") ||
				 w->agent[S].prepared_refuses || world_says(w, D, "ABORTED"));
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
		if (a->prepared_refuses || (side == D && world_says(w, D, "ABORTED"))) {
			answer->status = LS_RPC_FAILED_PRECONDITION;
			ls_fail(&answer->error, LS_E_DEVICE_BUSY, 0, "refused");
		} else if (!a->word[0]) {
			world_speak(w, side, side == S ? "ACTIVE" : "UNDECIDED");
			a->prepared_in = w->life;
		}
		break;
	case LS_SEQ_RESOLVE:
		if (world_says(w, S, "CONSENTED")) {
			world_speak(w, S, "RETURNING");
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
		if (world_says(w, S, "ACTIVE")) {
			world_speak(w, S, "RETURNING");
		} else if (world_says(w, S, "CONSENTED") || world_says(w, S, "RELEASED")) {
			answer->status = LS_RPC_FAILED_PRECONDITION;
			ls_fail(&answer->error, LS_E_BAD_STATE, 0, "too late");
		}
		break;
	case LS_SEQ_SETTLE:
		if (!a->word[0] || world_says(w, D, "UNDECIDED"))
			world_speak(w, D, "ABORTED");
		break;
	default:
		break;
	}
	answer->word = a->word;
	answer->ledger_id = side == S ? "ledger-s" : "ledger-d";
	answer->known = a->word[0];
}

void world_finish_call(struct world *w, int side, int how)
{
	struct world_agent *a = &w->agent[side];
	struct ls_seq_answer answer = {.kind = a->call.kind, .sent = true};

	world_note(w, "%s%c%s ", call_name[a->call.kind], side == S ? 'S' : 'D',
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
	ls_seq_answer(w->q, (enum ls_seq_side)side, &answer, world_now(w));
}
