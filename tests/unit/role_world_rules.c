// SPDX-License-Identifier: Apache-2.0
// What the roles ask for becomes pending, and what the rules forbid is noticed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role_world_internal.h"

void world_violate(struct world *w, const char *what)
{
	if (!w->out->violation[0])
		snprintf(w->out->violation, sizeof(w->out->violation), "completion %u: %s", w->n_completed, what);
}

void world_check(struct world *w)
{
	struct side *s = &w->side[S], *d = &w->side[D];

	if (s->runs && d->runs && (!w->fenced || d->must_ask))
		world_violate(w, "both run");
	if (d->runs && (w->wrong_image || w->strayed))
		world_violate(w, "the destination runs with a wrong image");
	if (d->runs && d->disk != LS_WORD_COMMITTED && d->disk != LS_WORD_STARTED)
		world_violate(w, "the destination runs without COMMITTED on its disk");
	if (s->runs && s->paused && s->disk != LS_WORD_RETURNING && s->disk != LS_WORD_RETURNED)
		world_violate(w, "the source runs again without RETURNING on its disk");
	if ((d->disk == LS_WORD_COMMITTED || d->disk == LS_WORD_STARTED) && s->disk != LS_WORD_CONSENTED &&
	    s->disk != LS_WORD_RELEASED && !w->fenced)
		world_violate(w, "committed without consent");
	if (d->heard && s->disk == LS_WORD_CONSENTED)
		world_violate(w, "the destination forgets a word that the source waits for");
	if (s->disk == LS_WORD_RELEASED && d->disk != LS_WORD_STARTED)
		world_violate(w, "released before started");
	for (unsigned i = 0; i < w->plan->n; i++)
		if (d->state[i] != LS_STATE_RUNNING && ls_state_valid(d->state[i]) && !ls_state_deaf(d->state[i]) &&
		    d->disk != LS_WORD_COMMITTED && d->disk != LS_WORD_STARTED)
			world_violate(w, "a destination device left STOP before COMMITTED");
	for (int k = 0; k < 2; k++)
		for (unsigned i = 0; i < w->plan->n; i++)
			for (unsigned j = 0; j < w->plan->n; j++)
				if (w->side[k].runs && i != j && w->side[k].state[j] != LS_STATE_ERROR &&
				    ls_state_deaf(w->side[k].state[j]))
					world_violate(w, "vCPUs run with a device in STOP");
}

void world_check_settled(struct world *w)
{
	const struct ls_role *r = w->side[D].role;

	if (ls_role_word(r) == LS_WORD_UNDECIDED && !ls_role_persisting(r) && !ls_role_mute(r))
		world_violate(w, "asked to settle, it leaves it undecided");
}

bool world_silent_conflict(const struct world *w)
{
	const struct side *s = &w->side[S], *d = &w->side[D];

	if ((d->disk != LS_WORD_COMMITTED && d->disk != LS_WORD_STARTED) || s->persist_failed || d->persist_failed)
		return false;
	if (s->disk != LS_WORD_RETURNING && s->disk != LS_WORD_RETURNED)
		return false;
	return !ls_role_conflict(s->role) || !ls_role_conflict(d->role);
}

struct pending *world_put(struct world *w, enum what what, int side)
{
	if (w->n_pending == PENDING_MAX)
		abort();
	struct pending *p = &w->pending[w->n_pending++];
	memset(p, 0, sizeof(*p));
	p->what = what;
	p->side = side;
	return p;
}

void world_act(struct world *w, int k, const struct ls_role_action *a)
{
	struct side *me = &w->side[k];
	struct pending *p;

	if (me->silent && (a->kind == LS_ACT_JOB || a->kind == LS_ACT_VMM || a->kind == LS_ACT_PEER_SEND ||
			   a->kind == LS_ACT_PERSIST))
		world_violate(w, "acts after a failed sync");
	switch (a->kind) {
	case LS_ACT_PERSIST:
		world_put(w, WHAT_PERSIST, k)->word = a->word;
		break;
	case LS_ACT_JOB:
		p = world_put(w, WHAT_JOB, k);
		p->device = (unsigned)a->device;
		p->job = a->job;
		p->target = a->target;
		if (k == S && a->job == LS_JOB_ARC && a->unwind && me->disk != LS_WORD_RETURNING)
			world_violate(w, "an unwind arc before RETURNING");
		break;
	case LS_ACT_INTERRUPT:
		w->side[S].broken[a->device] = w->side[D].broken[a->device] = true;
		for (unsigned i = 0; i < w->n_pending; i++)
			if (w->pending[i].what == WHAT_JOB && w->pending[i].side == k &&
			    w->pending[i].device == (unsigned)a->device)
				w->pending[i].interrupted = true;
		break;
	case LS_ACT_VMM:
		if (!me->vmm_alive || me->vmm_away)
			world_violate(w, "talks to a dead VMM");
		world_put(w, WHAT_VMM, k)->op = a->op;
		break;
	case LS_ACT_PEER_CONNECT:
		world_put(w, WHAT_DIAL, S)->connection = ++w->next_connection;
		break;
	case LS_ACT_PEER_CLOSE:
		w->closing = true;
		break;
	case LS_ACT_PEER_SEND:
		p = world_put(w, WHAT_MSG, !k);
		p->connection = w->connection;
		ls_role_fill(me->role, a, &p->msg);
		if (a->msg == LS_MSG_CONSENT && me->disk != LS_WORD_CONSENTED)
			world_violate(w, "consent before CONSENTED");
		if (a->msg == LS_MSG_STARTED && me->disk != LS_WORD_STARTED)
			world_violate(w, "Started before STARTED");
		if (a->msg == LS_MSG_WORD && p->msg.word != me->disk)
			world_violate(w, "said a word that is not on the disk");
		if (a->msg == LS_MSG_ABORT && me->disk != LS_WORD_ABORTED && me->disk != LS_WORD_RETURNING &&
		    me->disk != LS_WORD_RETURNED)
			world_violate(w, "Abort before its word");
		break;
	case LS_ACT_END:
		if (me->ended && me->ended != LS_END_OPERATOR && a->how != LS_END_OPERATOR)
			world_violate(w, "ended twice");
		me->ended = a->how;
		break;
	case LS_ACT_CONFLICT:
		if (me->conflict)
			world_violate(w, "a conflict is written twice");
		me->conflict = true;
		break;
	case LS_ACT_HEARD:
		me->heard = true;
		break;
	case LS_ACT_DONE:
		if (me->conflict)
			world_violate(w, "a conflict is closed without an operator");
		if (me->done)
			world_violate(w, "done twice");
		me->done = true;
		break;
	default:
		break;
	}
}
