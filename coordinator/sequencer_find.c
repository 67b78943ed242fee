// SPDX-License-Identifier: Apache-2.0
// What an agent still holds of a migration that the store knows less of, or nothing: it was lost, or is an older copy.
#include <stdio.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_next.h"

// As far as Prepare told the agent: no checks, no sizes, and not the streams' token.
static Lockstep__Store__Record *planned(const Lockstep__V1__PrepareRequest *p, struct ls_seq_time t)
{
	Lockstep__Store__Record *r = ls_seq_record(t);

	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_PLANNED;
	LS_MSG_NEW(r->planned, LOCKSTEP__STORE__PLANNED__INIT);
	LS_MSG_NEW(r->planned->plan, LOCKSTEP__V1__DRY_RUN_RESPONSE__INIT);
	r->planned->plan->feasible = true;
	r->planned->plan->schedule = ls_msg_clone(p->schedule);
	return r;
}

static Lockstep__Store__Record *found(enum ls_seq_side side, const char *word, const char *ledger_id,
				      const Lockstep__V1__PrepareRequest *p, struct ls_seq_time t)
{
	Lockstep__Store__Record *r = ls_seq_record(t);

	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_FOUND;
	LS_MSG_NEW(r->found, LOCKSTEP__STORE__FOUND__INIT);
	r->found->side = ls_seq_side_value(side);
	ls_msg_set(&r->found->word, word);
	ls_msg_set(&r->found->ledger_id, ledger_id);
	if (p && side == LS_SEQ_SOURCE)
		ls_msg_set(&r->found->peer_ledger_id, p->peer_ledger_id);
	return r;
}

bool ls_seq_found(struct ls_seq *q, enum ls_seq_side side, const struct ls_seq_answer *a, struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];

	// A word without a plan, to go with none: what is prepared anew will be refused there.
	if (!a->known || (!q->planned && !q->plan_busy && (!a->prepare || !a->prepare->schedule))) {
		s->unsure = false;
		return false;
	}
	if (!q->planned && !q->plan_busy) {
		q->plan_busy = true;
		ls_seq_persist(q, planned(a->prepare, t));
	}
	s->busy = true;
	ls_seq_persist(q, found(side, a->word, a->ledger_id, a->prepare, t));
	return true;
}

static Lockstep__V1__MigrationSpec *spec_of(const Lockstep__V1__PrepareRequest *p, const char *id, const char *host)
{
	bool source = p->side == LOCKSTEP__V1__SIDE__SIDE_SOURCE;
	Lockstep__V1__MigrationSpec *spec;

	LS_MSG_NEW(spec, LOCKSTEP__V1__MIGRATION_SPEC__INIT);
	ls_msg_set(&spec->id, id);
	ls_msg_set(&spec->vm, p->vm);
	ls_msg_set(&spec->source, source ? host : p->peer_host);
	ls_msg_set(&spec->destination, source ? p->peer_host : host);
	spec->deadline_ms = p->deadline_ms;
	spec->precopy = ls_msg_clone(p->precopy);
	spec->hold = p->n_hold ? ls_msg_alloc(p->n_hold * sizeof(spec->hold[0])) : NULL;
	spec->n_hold = p->n_hold;
	for (size_t i = 0; i < p->n_hold; i++)
		spec->hold[i] = p->hold[i];
	return spec;
}

struct ls_seq *ls_seq_rebuild(const Lockstep__V1__ListAgentMigrationsResponse__Entry *e, const char *host,
			      struct ls_seq_time t)
{
	const Lockstep__V1__PrepareRequest *p = e->prepare;
	enum ls_seq_side side = e->side == LOCKSTEP__V1__SIDE__SIDE_SOURCE ? LS_SEQ_SOURCE : LS_SEQ_DEST;
	Lockstep__V1__MigrationSpec *spec;
	struct ls_seq *q;
	char actor[100];

	if (!p || !p->schedule || !p->peer_host[0] || e->side == LOCKSTEP__V1__SIDE__SIDE_NONE)
		return NULL;
	spec = spec_of(p, e->migration, host);
	snprintf(actor, sizeof(actor), "not known: learnt from %.64s", host);
	q = ls_seq_new(spec, actor, t);
	ls_msg_free(spec);
	q->side[LS_SEQ_SOURCE].unsure = q->side[LS_SEQ_DEST].unsure = true;
	q->side[side].busy = true; // until what is found is durable
	q->side[LS_SEQ_SOURCE].tried = q->side[LS_SEQ_DEST].tried = true;
	q->plan_busy = true;
	ls_seq_persist(q, planned(p, t));
	ls_seq_persist(q, found(side, e->word, e->ledger_id, p, t));
	return q;
}
