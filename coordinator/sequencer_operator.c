// SPDX-License-Identifier: Apache-2.0
// When an operator is needed, and when no longer.
#include <stdio.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_next.h"

// How long an agent may be silent, where its word is needed, before an operator is told.
#define SILENCE_NS 30000000000ull
// How long the other side has to name the cause.
#define HEARSAY_NS 2000000000ull

static const char *host_of(const struct ls_seq *q, enum ls_seq_side side)
{
	return side == LS_SEQ_SOURCE ? q->view->spec->source : q->view->spec->destination;
}

// Does the migration stand still without a word of this side?
static bool needed(const struct ls_seq *q, enum ls_seq_side side)
{
	const struct seq_side *s = &q->side[side];

	if (!s->prepared || s->ended || s->gone)
		return false;
	if (ls_seq_through(&q->side[LS_SEQ_SOURCE]) && q->side[LS_SEQ_SOURCE].how == HOW_DONE)
		return false;
	return side == LS_SEQ_SOURCE || !(ls_seq_abandoned(q) && ls_seq_source_home(q));
}

uint64_t ls_seq_operator_deadline(const struct ls_seq *q)
{
	uint64_t at = q->hearsay_ns && !q->called ? q->hearsay_ns : UINT64_MAX;

	for (int i = 0; i < 2 && !q->called; i++)
		if (ls_seq_silent(&q->side[i]) && needed(q, (enum ls_seq_side)i) &&
		    q->side[i].silent_ns + SILENCE_NS < at)
			at = q->side[i].silent_ns + SILENCE_NS;
	return at;
}

static bool silence(const struct ls_seq *q, enum ls_seq_side side, struct ls_seq_time t, struct ls_error *ret)
{
	const struct seq_side *s = &q->side[side];

	// One that is called for already stays so until the agent answers.
	if (!ls_seq_silent(s) || !needed(q, side) || (!q->called && t.now_ns < s->silent_ns + SILENCE_NS))
		return false;
	if (side == LS_SEQ_DEST)
		ls_fail(ret, LS_E_UNAVAILABLE, 0,
			ls_seq_consented(q) ? "the source has consented and the destination's agent is silent: the VM "
					      "waits for its answer, or for an operator's word that it was fenced"
					    : "the destination's agent is silent; a cancel returns the VM");
	else if (ls_seq_dest_runs(q))
		ls_fail(ret, LS_E_UNAVAILABLE, 0,
			"the VM runs at the destination; the source's agent is silent and keeps its stopped devices");
	else
		ls_fail(ret, LS_E_UNAVAILABLE, 0, "the source's agent is silent, and its word is needed to go on");
	snprintf(ret->host, sizeof(ret->host), "%s", host_of(q, side));
	return true;
}

// Why the agents wait; what only follows from the other side's failure gives way to the failure itself.
static const Lockstep__V1__ErrorDetail *agents_reason(const struct ls_seq *q, const char **ret_host)
{
	const Lockstep__V1__ErrorDetail *first = ls_seq_first_cause(q), *why = NULL;

	*ret_host = "";
	for (int i = 0; i < 2; i++) {
		const struct seq_side *s = &q->side[i];

		if (!ls_seq_waits(s) || s->closed || !s->error || !s->error->reason[0] ||
		    (why && ls_seq_only_consequence(s->error)))
			continue;
		why = s->error;
		*ret_host = host_of(q, (enum ls_seq_side)i);
	}
	if (first && (!why || (ls_seq_only_consequence(why) && !ls_seq_only_consequence(first)))) {
		*ret_host = "";
		return first;
	}
	return why;
}

static void by_agent(const struct ls_seq *q, struct ls_error *ret)
{
	const char *host;
	const Lockstep__V1__ErrorDetail *why = agents_reason(q, &host);

	if (why)
		ls_msg_error_read(why, ret);
	else
		ls_fail(ret, LS_E_INTERNAL, 0, "an agent waits for an operator and did not say why");
	if (!ret->host[0])
		snprintf(ret->host, sizeof(ret->host), "%s", host);
}

static bool says_why(const struct seq_side *s)
{
	return s->error && s->error->reason[0] && !ls_seq_only_consequence(s->error);
}

// At once, as the other side may have nothing to say before the operator has decided. One that does not say why, or
// only that the other side failed, leaves that one a moment to say more.
static bool agent_calls(struct ls_seq *q, struct ls_seq_time t)
{
	const Lockstep__V1__ErrorDetail *first = ls_seq_first_cause(q);
	bool waits = false, why = first && !ls_seq_only_consequence(first), all = true;

	for (int i = 0; i < 2; i++) {
		const struct seq_side *s = &q->side[i];

		waits |= ls_seq_waits(s) && !s->closed;
		why |= ls_seq_waits(s) && !s->closed && says_why(s);
		all &= s->ended || ls_seq_never_held(s);
	}
	if (!waits || why || all || q->called) {
		q->hearsay_ns = 0;
		return waits;
	}
	if (!q->hearsay_ns)
		q->hearsay_ns = t.now_ns + HEARSAY_NS;
	return t.now_ns >= q->hearsay_ns;
}

// The destination has said its last word here, and the source goes on waiting to hear it: they do not reach each other,
// or the destination's ledger has lost it since.
static bool unheard(struct ls_seq *q, struct ls_seq_time t, struct ls_error *ret)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE];

	if (!ls_seq_through(&q->side[LS_SEQ_DEST]) || s->ended || !ls_seq_word_is(s, "CONSENTED"))
		return false;
	if (!q->called && !ls_seq_patience_over(q, t))
		return false;
	ls_fail(ret, LS_E_UNAVAILABLE, 0,
		ls_seq_dest_runs(q)
			? "the VM runs at the destination; the source does not hear it from there and keeps "
			  "its stopped devices"
			: "the destination has given up; the source does not hear it from there, and may only "
			  "return the VM on a fence");
	snprintf(ret->host, sizeof(ret->host), "%s", host_of(q, LS_SEQ_SOURCE));
	return true;
}

static bool reason(struct ls_seq *q, struct ls_seq_time t, struct ls_error *ret)
{
	const struct seq_side *s = &q->side[LS_SEQ_SOURCE], *d = &q->side[LS_SEQ_DEST];

	if (ls_seq_conflict(q)) {
		if (ls_seq_source_returns(q))
			ls_fail(ret, LS_E_CONFLICT, 0,
				"the source took the VM back and the destination has decided to run it%s",
				q->view->n_claim ? ": the fence was false" : "");
		else
			ls_fail(ret, LS_E_CONFLICT, 0, "the source let the VM go and the destination gave it up");
		return true;
	}
	// A source that returns does so without consent, or on a fence, and one that is home never gave it: then the
	// destination's word matters no more.
	bool forgot = s->ledger_lost || (!s->prepared && !s->unsure && ls_seq_consented(q)); // it did consent
	if (forgot || (d->ledger_lost && !ls_seq_source_returns(q) && !ls_seq_source_home(q))) {
		ls_fail(ret, LS_E_LEDGER_LOST, 0,
			"the %s's ledger is not the one that was prepared, or was set back: its word is lost",
			forgot ? "source" : "destination");
		snprintf(ret->host, sizeof(ret->host), "%s", host_of(q, forgot ? LS_SEQ_SOURCE : LS_SEQ_DEST));
		return true;
	}
	if (q->finished)
		return false;
	if (agent_calls(q, t)) {
		by_agent(q, ret);
		return true;
	}
	return silence(q, LS_SEQ_DEST, t, ret) || silence(q, LS_SEQ_SOURCE, t, ret) || unheard(q, t, ret);
}

static bool told_already(const struct ls_seq *q, const struct ls_error *err)
{
	const Lockstep__V1__ErrorDetail *e = q->view->error;

	return q->called && e && strcmp(e->reason, ls_reason_name(err->reason)) == 0 &&
	       strcmp(e->message, err->message) == 0 && strcmp(e->device, err->device) == 0;
}

void ls_seq_call_operator(struct ls_seq *q, struct ls_seq_time t)
{
	Lockstep__Store__Record *r;
	struct ls_error err = {0};

	if (reason(q, t, &err)) {
		if (!told_already(q, &err))
			ls_seq_finish(q, LOCKSTEP__V1__PHASE__PHASE_OPERATOR, &err, t);
	} else if (q->called) {
		r = ls_seq_record(t);
		r->kind_case = LOCKSTEP__STORE__RECORD__KIND_RESUMED;
		LS_MSG_NEW(r->resumed, LOCKSTEP__STORE__RESUMED__INIT);
		q->overlaying = true;
		ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_PERSIST, .record = r});
	}
}
