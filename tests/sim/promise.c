// SPDX-License-Identifier: Apache-2.0
// What words, terms and claims promise (claims (a) and (d) of docs/decision.md), checked as they are written, spoken
// and acted on.
#include <string.h>

#include "tests/sim/agent.h"

static const char *name_of(const struct sim_agent *a)
{
	return a->w->host[a->host].name;
}

// Is `later` the word `word`, or one that comes after it?
static bool follows(enum ls_word word, enum ls_word later)
{
	if (word == later)
		return true;
	for (enum ls_word next = LS_WORD_ACTIVE; next < LS_WORD_COUNT; next++)
		if (word != LS_WORD_NONE && ls_word_may_follow(word, next) && follows(next, later))
			return true;
	return false;
}

static void check_spoken(const struct sim_agent *a, unsigned migration, enum ls_word word)
{
	enum ls_word durable = a->durable[migration].word;

	if (word != LS_WORD_NONE && !follows(word, durable))
		sim_violation(a->w, "word-spoken", "%s %s: says %s, the disk holds %s", name_of(a),
			      sim_migration_id(migration), ls_word_name(word), ls_word_name(durable));
}

// A letter says a word, or rests on one: it is on the disk by then.
void sim_promise_letter(const struct sim_mig *m, const struct ls_role_msg *msg)
{
	bool source = m->request.side == LS_SIDE_SOURCE;

	switch (msg->kind) {
	case LS_MSG_CONSENT:
		check_spoken(m->a, m->request.migration, LS_WORD_CONSENTED);
		break;
	case LS_MSG_STARTED:
		check_spoken(m->a, m->request.migration, LS_WORD_STARTED);
		break;
	case LS_MSG_ABORT:
		check_spoken(m->a, m->request.migration, source ? LS_WORD_RETURNING : LS_WORD_ABORTED);
		break;
	case LS_MSG_WORD:
		check_spoken(m->a, m->request.migration, msg->word);
		break;
	default:
		break;
	}
}

void sim_promise_answer(const struct sim_agent *a, const struct sim_call *call, bool known, enum ls_word word)
{
	if (known)
		check_spoken(a, call->migration, word);
}

// Rule 7: a term that the ledger holds is not forgotten, nor gone back behind.
void sim_promise_order(const struct sim_agent *a, const struct sim_call *call)
{
	if (call->term < a->durable_term)
		sim_violation(a->w, "term-kept", "%s: obeys term %llu after %llu", name_of(a),
			      (unsigned long long)call->term, (unsigned long long)a->durable_term);
}

static bool fenced(const struct sim_agent *a, unsigned migration)
{
	return a->durable[migration].claim;
}

static const struct sim_agent *dest_of(const struct sim_agent *a, unsigned migration)
{
	return a->w->agent[a->mig[migration] ? a->mig[migration]->request.peer : a->w->dest];
}

static bool disk_changed(const struct sim_agent *a)
{
	return a->w->rolled_back & 1u << a->host;
}

static void source_returns(const struct sim_agent *a, unsigned migration, enum ls_word before)
{
	const struct sim_past *past = &a->w->past[migration];
	const struct sim_mig *m = a->mig[migration];
	bool given_up = m && past->gave_up[0] && strcmp(past->gave_up, m->request.peer_ledger_id) == 0;

	if (before == LS_WORD_CONSENTED && !given_up && !fenced(a, migration))
		sim_violation(
			a->w, "consent-kept",
			"%s %s: takes back its consent: the destination has not given up, and nobody claims a fence",
			name_of(a), sim_migration_id(migration));
}

void sim_promise_written(struct sim_agent *a, unsigned migration, enum ls_word before)
{
	struct sim_past *past = &a->w->past[migration];
	const struct sim_agent *dest = dest_of(a, migration);

	switch (a->durable[migration].word) {
	case LS_WORD_CONSENTED:
		past->consented = true;
		break;
	case LS_WORD_RETURNING:
		source_returns(a, migration, before);
		past->returning_ns = a->w->now;
		break;
	case LS_WORD_RELEASED:
		past->released = true;
		if (dest->durable[migration].word != LS_WORD_STARTED && !disk_changed(dest))
			sim_violation(a->w, "released-last", "%s %s: lets go, the destination's disk holds %s",
				      name_of(a), sim_migration_id(migration),
				      ls_word_name(dest->durable[migration].word));
		break;
	case LS_WORD_COMMITTED:
		past->committed = true;
		if (!past->consented)
			sim_violation(a->w, "consent-first", "%s %s: COMMITTED, and the source has not consented",
				      name_of(a), sim_migration_id(migration));
		break;
	case LS_WORD_ABORTED:
	case LS_WORD_LOST:
		strcpy(past->gave_up, a->ledger_id);
		break;
	default:
		break;
	}
}

// Rule 6: an agent whose life began after the source took the VM back has no excuse to start it.
void sim_promise_start(const struct sim_mig *m)
{
	const struct sim_past *past = &m->a->w->past[m->request.migration];

	if (m->request.side == LS_SIDE_DEST && past->returning_ns && m->a->born_ns > past->returning_ns &&
	    !m->a->w->rolled_back)
		sim_violation(m->a->w, "asks-first",
			      "%s %s: starts what the source had taken back before this agent was born", name_of(m->a),
			      sim_migration_id(m->request.migration));
}

// On a false claim the source returned what the destination had decided to run: from here on two may run.
bool sim_promise_split(const struct world *w)
{
	for (unsigned m = 0; w->lied && m < SIM_MIGRATIONS; m++)
		if (w->past[m].committed && w->past[m].returning_ns && w->agent[0]->durable[m].claim)
			return true;
	return false;
}
