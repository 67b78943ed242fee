// SPDX-License-Identifier: Apache-2.0
#include "coordinator/sequencer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_next.h"

static struct ls_seq *fresh(const Lockstep__V1__MigrationSpec *spec, const char *actor)
{
	struct ls_seq *q = ls_msg_alloc(sizeof(*q));

	LS_MSG_NEW(q->view, LOCKSTEP__V1__MIGRATION__INIT);
	q->view->spec = ls_msg_clone(spec);
	ls_msg_set(&q->view->actor, actor);
	return q;
}

struct ls_seq *ls_seq_new(const Lockstep__V1__MigrationSpec *spec, const char *actor, struct ls_seq_time t)
{
	struct ls_seq *q = fresh(spec, actor);
	Lockstep__Store__Record *r = ls_seq_record(t);

	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_CREATED;
	LS_MSG_NEW(r->created, LOCKSTEP__STORE__CREATED__INIT);
	r->created->spec = ls_msg_clone(spec);
	ls_msg_set(&r->created->actor, actor);
	ls_seq_persist(q, r);
	return q;
}

struct ls_seq *ls_seq_restore(const Lockstep__Store__Record *created)
{
	struct ls_seq *q;

	if (created->kind_case != LOCKSTEP__STORE__RECORD__KIND_CREATED || !created->created->spec)
		return NULL;
	q = fresh(created->created->spec, created->created->actor);
	ls_seq_fold(q, created);
	return q;
}

void ls_seq_go_on(struct ls_seq *q, struct ls_seq_time t)
{
	// Whatever the last life asked for may have been done; this store may even be an older copy of its store.
	for (int i = 0; i < 2 && !q->finished; i++) {
		struct seq_side *s = &q->side[i];

		s->unsure = !s->prepared && !s->refused && !s->gone && (!q->planned || q->planned->plan->feasible);
		// What has called for an operator stays so until the agents have been asked. And one that refused to
		// unwind what it is not known to have prepared is watched by nobody.
		s->ask = s->prepared ? q->called : s->unwind_refused;
		s->silent_ns = q->called && s->prepared;
		s->silent_ms = t.unix_ms;
	}
	if (q->planned && q->planned->plan->feasible) {
		q->side[LS_SEQ_DEST].tried = true;
		q->side[LS_SEQ_SOURCE].tried = q->side[LS_SEQ_DEST].prepared;
	}
	ls_seq_advance(q, t);
}

void ls_seq_free(struct ls_seq *q)
{
	struct ls_seq_action a;

	if (!q)
		return;
	while (ls_seq_next(q, &a))
		ls_msg_free(a.record);
	free(q->queue);
	for (int i = 0; i < 2; i++)
		ls_msg_free(q->side[i].error);
	ls_msg_free(q->first);
	ls_msg_free(q->refused);
	ls_msg_free(q->planned);
	ls_msg_free(q->view);
	free(q);
}

static void settled_at(struct ls_seq *q, Lockstep__V1__Side side)
{
	ls_seq_settled(&q->side[side == LOCKSTEP__V1__SIDE__SIDE_DESTINATION]);
}

void ls_seq_persisted(struct ls_seq *q, const Lockstep__Store__Record *r, struct ls_seq_time t)
{
	ls_seq_fold(q, r);
	switch (r->kind_case) {
	case LOCKSTEP__STORE__RECORD__KIND_PREPARED:
		settled_at(q, r->prepared->side);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_PREPARE_FAILED:
		settled_at(q, r->prepare_failed->side);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_TOLD:
		settled_at(q, r->told->side);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_FOUND:
		settled_at(q, r->found->side);
		q->side[r->found->side == LOCKSTEP__V1__SIDE__SIDE_DESTINATION].unsure = false;
		break;
	case LOCKSTEP__STORE__RECORD__KIND_RESOLVE_ANSWERED:
		settled_at(q, r->resolve_answered->side);
		break;
	case LOCKSTEP__STORE__RECORD__KIND_RESOLVED:
		q->deciding = false;
		break;
	case LOCKSTEP__STORE__RECORD__KIND_ASKED:
		q->cancelling &= !r->asked->cancel;
		break;
	case LOCKSTEP__STORE__RECORD__KIND_FINISHED:
	case LOCKSTEP__STORE__RECORD__KIND_RESUMED:
		q->finishing = q->overlaying = false;
		break;
	default:
		break;
	}
	ls_seq_advance(q, t);
	ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_CHANGED});
}

void ls_seq_planned(struct ls_seq *q, const Lockstep__V1__DryRunResponse *plan, const uint8_t token[LS_TOKEN_SIZE],
		    struct ls_seq_time t)
{
	Lockstep__Store__Record *r;
	struct ls_error err;

	if (q->planned || q->finishing || q->finished)
		return;
	r = ls_seq_record(t);
	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_PLANNED;
	LS_MSG_NEW(r->planned, LOCKSTEP__STORE__PLANNED__INIT);
	r->planned->plan = ls_msg_clone(plan);
	ls_msg_set_bytes(&r->planned->token, token, LS_TOKEN_SIZE);
	if (!plan->feasible) {
		ls_plan_error(plan, &err);
		r->planned->error = ls_msg_error(&err);
	}
	ls_seq_persist(q, r);
}

void ls_seq_agent_event(struct ls_seq *q, enum ls_seq_side side, const Lockstep__V1__AgentEvent *e,
			struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];
	Lockstep__Store__Record *r;

	if (ls_seq_deaf(q) || ls_seq_through(s))
		return;
	s->watch_tries = 0;
	s->silent_ns = 0;
	if (e->kind_case == LOCKSTEP__V1__AGENT_EVENT__KIND_PROGRESS) {
		ls_seq_progress(q, side, e->progress, e->time_ns);
		ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_CHANGED});
		return;
	}
	if (e->kind_case == LOCKSTEP__V1__AGENT_EVENT__KIND__NOT_SET || e->sequence <= s->seen)
		return;
	s->seen = e->sequence;
	s->handed_back |= e->kind_case == LOCKSTEP__V1__AGENT_EVENT__KIND_WORD && ls_seq_last_word(e->word);
	r = ls_seq_record(t);
	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_AGENT;
	LS_MSG_NEW(r->agent, LOCKSTEP__STORE__FROM_AGENT__INIT);
	r->agent->side = ls_seq_side_value(side);
	r->agent->event = ls_msg_clone(e);
	ls_seq_persist(q, r);
}

void ls_seq_watch_ended(struct ls_seq *q, enum ls_seq_side side, struct ls_seq_time t)
{
	struct seq_side *s = &q->side[side];

	s->watching = false;
	// If Ended is on its way to the disk, the word that is asked for meanwhile does no harm.
	s->ask = true;
	s->watch_retry_ns = ls_seq_backoff(s->watch_tries, t.now_ns);
	s->watch_tries++;
	ls_seq_advance(q, t);
}

void ls_seq_tick(struct ls_seq *q, struct ls_seq_time t)
{
	ls_seq_advance(q, t);
}

void ls_seq_store_failing(struct ls_seq *q, bool failing, struct ls_seq_time t)
{
	if (q->store_failing == failing)
		return;
	q->store_failing = failing;
	ls_seq_advance(q, t);
}

int ls_seq_cancel(struct ls_seq *q, const char *actor, struct ls_seq_time t, struct ls_error *err)
{
	Lockstep__Store__Record *r;

	if (q->finished || q->finishing || q->closing)
		return ls_fail(err, LS_E_BAD_STATE, 0, "the migration has ended");
	if (ls_seq_cancel_refused(q))
		return ls_fail(err, LS_E_BAD_STATE, 0,
			       "too late: the source has given its consent, the destination decides");
	if (q->cancel_asked || q->cancelling)
		return 0;
	r = ls_seq_record(t);
	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_ASKED;
	LS_MSG_NEW(r->asked, LOCKSTEP__STORE__ASKED__INIT);
	r->asked->cancel = true;
	ls_msg_set(&r->asked->actor, actor);
	q->cancelling = true;
	ls_seq_persist(q, r);
	return 0;
}

int ls_seq_release(struct ls_seq *q, enum ls_gate gate, const char *actor, struct ls_seq_time t, struct ls_error *err)
{
	Lockstep__Store__Record *r;
	bool holds = false;

	for (size_t i = 0; i < q->view->spec->n_hold; i++)
		holds |= q->view->spec->hold[i] == (Lockstep__V1__Gate)gate;
	if (!holds)
		return ls_fail(err, LS_E_INVALID, 0, "the migration does not hold the gate %s", ls_gate_name(gate));
	if (q->finished || q->finishing)
		return ls_fail(err, LS_E_BAD_STATE, 0, "the migration has ended");
	if (q->released & ls_seq_gate_bit(gate))
		return 0;
	r = ls_seq_record(t);
	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_ASKED;
	LS_MSG_NEW(r->asked, LOCKSTEP__STORE__ASKED__INIT);
	r->asked->release = (Lockstep__V1__Gate)gate;
	ls_msg_set(&r->asked->actor, actor);
	ls_seq_persist(q, r);
	return 0;
}

bool ls_seq_next(struct ls_seq *q, struct ls_seq_action *ret)
{
	if (!q->n)
		return false;
	*ret = q->queue[q->head++];
	if (!--q->n)
		q->head = 0;
	return true;
}

const Lockstep__V1__Migration *ls_seq_view(const struct ls_seq *q)
{
	return q->view;
}

const Lockstep__Store__Planned *ls_seq_plan(const struct ls_seq *q)
{
	return q->planned;
}

const char *ls_seq_ledger_id(const struct ls_seq *q, enum ls_seq_side side)
{
	return q->side[side].ledger_id;
}

bool ls_seq_ended(const struct ls_seq *q)
{
	return q->finished || q->called;
}

bool ls_seq_operator(const struct ls_seq *q)
{
	return q->called;
}

enum ls_seq_cancel ls_seq_cancel_state(const struct ls_seq *q)
{
	if (!q->cancel_asked && !q->cancelling)
		return LS_SEQ_NOT_ASKED;
	if (ls_seq_cancel_refused(q))
		return LS_SEQ_REFUSED;
	return q->finished || ls_seq_source_returns(q) ? LS_SEQ_UNWINDS : LS_SEQ_ASKED;
}

unsigned ls_seq_marks(const struct ls_seq *q, const struct ls_seq_mark **ret)
{
	*ret = q->mark;
	return q->n_marks;
}
